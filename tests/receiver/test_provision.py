"""Making, showing and rotating webhook secrets, and what the receiver remembers of a repository."""

import asyncio
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from worker.credentials.master_keys import MasterKeys
from worker.database.connect import connect
from worker.errors import MasterKeyError, NotFound
from worker.receiver.github import Tracked
from worker.receiver.provision import provision_secret, rotate_secret
from worker.receiver.repository import READ, Repository, RepositoryCache, accepted_secrets
from worker.receiver.signature import fingerprint, webhook_secret

Database = psycopg.Connection[dict[str, Any]]
FIRST, SECOND = "a" * 32, "b" * 32


def _read(db: Database, repository: uuid.UUID) -> Repository:
    row = db.execute(READ, (repository,)).fetchone()
    assert row is not None
    return Repository.of(row)


def test_a_secret_is_made_once_and_never_stored(db: Database, make_repository: Callable[..., uuid.UUID]) -> None:
    """The row names key, version and fingerprint; the secret itself is derived again when asked for."""
    keys, repository = MasterKeys.parse(f"k1={FIRST}"), make_repository()
    secret = provision_secret(db, keys, repository)
    assert provision_secret(db, keys, repository) == secret == webhook_secret(keys.newest, repository, 1)
    row = db.execute("select r::text as text, r.webhook_secret_fingerprint as mark from repositories r").fetchone()
    assert row is not None
    assert secret not in row["text"]
    assert row["mark"] == fingerprint(secret)


def test_a_wrong_key_prints_no_secret(db: Database, make_repository: Callable[..., uuid.UUID]) -> None:
    """A laptop with another key of the same id is refused instead of showing a secret that cannot work."""
    repository = make_repository()
    provision_secret(db, MasterKeys.parse(f"k1={FIRST}"), repository)
    with pytest.raises(MasterKeyError, match="is not the one that made"):
        provision_secret(db, MasterKeys.parse(f"k1={SECOND}"), repository)
    with pytest.raises(MasterKeyError, match="'k1' is not configured"):
        provision_secret(db, MasterKeys.parse(f"k2={SECOND}"), repository)
    with pytest.raises(NotFound):
        provision_secret(db, MasterKeys.parse(f"k1={FIRST}"), uuid.uuid4())


def test_a_rotation_goes_to_the_newest_key_and_keeps_the_old_secret_for_a_while(
    db: Database, make_repository: Callable[..., uuid.UUID]
) -> None:
    """Master keys rotate with secrets; the grace time ends by the clock, and a lost old key does not block it."""
    repository = make_repository()
    old = provision_secret(db, MasterKeys.parse(f"k1={FIRST}"), repository)
    both = MasterKeys.parse(f"k2={SECOND},k1={FIRST}")
    new = rotate_secret(db, both, repository, grace=timedelta(hours=1))
    row = _read(db, repository)
    assert (row.key_id, row.version, row.previous_key_id, row.previous_version) == ("k2", 2, "k1", 1)
    assert accepted_secrets(row, both) == [new, old]
    assert accepted_secrets(row, both, now=datetime.now(UTC) + timedelta(hours=2)) == [new]
    only_new = MasterKeys.parse(f"k2={SECOND}")
    assert accepted_secrets(row, only_new) == [new]
    newest = rotate_secret(db, only_new, repository, grace=timedelta(0))
    assert accepted_secrets(_read(db, repository), only_new) == [newest]


def test_rotations_at_once_give_each_caller_a_secret_that_was_current(
    database_url: str, db: Database, make_repository: Callable[..., uuid.UUID]
) -> None:
    """Two people rotate at the same moment: two versions, not one overwritten."""
    keys, repository = MasterKeys.parse(f"k1={FIRST}"), make_repository()
    provision_secret(db, keys, repository)
    made: list[str] = []

    def rotate() -> None:
        with connect(database_url, name="test") as connection:
            made.append(rotate_secret(connection, keys, repository))

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4
    assert _read(db, repository).version == 5


def test_the_cache_reads_seldom_and_forgets_in_time() -> None:
    """A known row is read once per time to live, a mismatch reads at most once a second, strangers push out nobody."""
    known, now, reads = uuid.uuid4(), [100.0], list[uuid.UUID]()

    async def read(repository_id: uuid.UUID) -> Repository | None:
        reads.append(repository_id)
        return Repository(known, Tracked()) if repository_id == known else None

    async def story() -> None:
        cache = RepositoryCache(read, ttl=300, size=3, clock=lambda: now[0])
        assert await cache.get(known) is not None
        assert await cache.get_fresh(known) is not None
        assert reads == [known]
        now[0] += 1.5
        await cache.get(known)
        assert len(reads) == 1
        await cache.get_fresh(known)
        assert len(reads) == 2
        for _ in range(20):
            assert await cache.get(uuid.uuid4()) is None
        assert len(reads) == 22
        await cache.get(known)
        assert len(reads) == 22
        stranger = uuid.uuid4()
        await cache.get(stranger)
        await cache.get_fresh(stranger)
        assert len(reads) == 23
        now[0] += 300
        await cache.get(known)
        assert len(reads) == 24

    asyncio.run(story())
