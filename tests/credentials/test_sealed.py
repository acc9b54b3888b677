"""Stored keys: only ciphertext in the database, and of use in its own row alone."""

import uuid

import psycopg
import pytest

from worker.credentials.master_keys import MasterKeys
from worker.credentials.user_keys import open_user_key, remove_user_key, set_user_key
from worker.errors import MasterKeyError, NotFound

OLD, NEW = "k.1=" + "a" * 32, "k2=" + "b" * 32
TOKEN = "github_pat_planted0123456789"


def _stored(db, user_id: uuid.UUID) -> str:
    return db.execute("select api_key from user_api_keys where user_id = %s", (user_id,)).fetchone()["api_key"]


@pytest.fixture
def user_id(db) -> uuid.UUID:
    """A tenant."""
    key = uuid.uuid4()
    db.execute("insert into auth.users (id) values (%s)", (key,))
    return key


def test_a_key_is_kept_encrypted_and_opens_after_a_rotation(db, user_id) -> None:
    """Another time the same key looks otherwise; a new master key seals anew and opens what the old one sealed."""
    set_user_key(db, MasterKeys.parse(OLD), user_id, "github", TOKEN)
    first = _stored(db, user_id)
    assert TOKEN not in first
    keys = MasterKeys.parse(f"{NEW},{OLD}")
    assert open_user_key(first, keys, user_id, "github") == TOKEN
    set_user_key(db, keys, user_id, "github", TOKEN)
    assert _stored(db, user_id).startswith("v1.k2.")
    assert open_user_key(_stored(db, user_id), keys, user_id, "github") == TOKEN
    remove_user_key(db, user_id, "github")
    with pytest.raises(NotFound):
        remove_user_key(db, user_id, "github")


def test_a_key_copied_changed_or_without_its_master_key_does_not_open(db, user_id) -> None:
    """Whoever can write the table cannot make another tenant's key theirs."""
    keys = MasterKeys.parse(OLD)
    set_user_key(db, keys, user_id, "github", TOKEN)
    sealed = _stored(db, user_id)
    changed = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]
    for text, who, service in (
        (sealed, uuid.uuid4(), "github"),
        (sealed, user_id, "gitlab"),
        (changed, user_id, "github"),
        ("v1.k.1.", user_id, "github"),
        ("v2.k.1.AAAA", user_id, "github"),
    ):
        with pytest.raises(MasterKeyError) as refusal:
            open_user_key(text, keys, who, service)
        assert TOKEN not in str(refusal.value)
    with pytest.raises(MasterKeyError, match="not configured"):
        open_user_key(sealed, MasterKeys.parse(NEW), user_id, "github")


def test_users_see_which_keys_they_have_and_nothing_of_them(db, user_id) -> None:
    """Row 8: the ciphertext is for nobody, another's rows are not there, and none can be written."""
    set_user_key(db, MasterKeys.parse(OLD), user_id, "github", TOKEN)
    for who, count in ((user_id, 1), (uuid.uuid4(), 0)):
        with db.transaction(force_rollback=True):
            db.execute("set local role authenticated")
            db.execute("select set_config('request.jwt.claim.sub', %s, true)", (str(who),))
            db.execute("select set_config('request.jwt.claims', %s, true)", (f'{{"sub": "{who}"}}',))
            assert len(db.execute("select user_id, service from user_api_keys").fetchall()) == count
            with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
                db.execute("select api_key from user_api_keys")
            with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
                db.execute("update user_api_keys set api_key = 'v1.x'")
