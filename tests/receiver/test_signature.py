"""Signatures and the secrets they are made with."""

import stat
import threading
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from worker.credentials.master_keys import MasterKey, MasterKeys, load_master_keys
from worker.errors import MasterKeyError
from worker.receiver.signature import MOST_ACCEPTED, fingerprint, sign, verify, webhook_secret
from worker.settings import Settings

REPOSITORY = UUID("00000000-0000-4000-8000-00000000abcd")
OFFICIAL = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def _settings(tmp_path: Path, **values: object) -> Settings:
    return Settings(_env_file=None, worker_state_dir=tmp_path, **values)  # type: ignore[arg-type]


def test_githubs_own_vector_is_accepted() -> None:
    """The signature scheme is GitHub's, byte for byte."""
    assert verify(b"Hello, World!", OFFICIAL, ["It's a Secret to Everybody"])
    assert sign(b"Hello, World!", "It's a Secret to Everybody") == OFFICIAL


def test_any_accepted_secret_is_enough_and_no_other() -> None:
    """During a rotation both secrets are accepted; a body, secret or header that differs is not."""
    header = sign(b"body", "old")
    assert verify(b"body", header, ["new", "old"])
    assert not verify(b"body", header, ["new"])
    assert not verify(b"Body", header, ["new", "old"])
    assert not verify(b"body", header, [])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        "sha1=" + "0" * 40,
        OFFICIAL[7:],
        OFFICIAL[:-1],
        OFFICIAL.upper(),
        "sha256=é",
        "\udcff",
    ],
)
def test_a_header_of_another_form_is_refused_without_raising(header: str | None) -> None:
    """Whatever a stranger sends as signature, the answer is no and never an exception."""
    assert not verify(b"Hello, World!", header, ["It's a Secret to Everybody"])


@given(st.binary(max_size=50), st.text(max_size=100))
def test_no_header_raises(body: bytes, header: str) -> None:
    """compare_digest refuses non-ASCII text; verify must not."""
    assert not verify(body, header, ["secret"])


def test_secrets_differ_by_key_repository_and_version() -> None:
    """A leaked secret tells nothing about another repository or the next version."""
    key, other = MasterKey("a", "x" * 32), MasterKey("b", "y" * 32)
    secret = webhook_secret(key, REPOSITORY, 1)
    others = {
        webhook_secret(key, REPOSITORY, 2),
        webhook_secret(other, REPOSITORY, 1),
        webhook_secret(key, UUID(int=1), 1),
    }
    assert len(secret) == 64
    assert secret not in others
    assert len(others) == 3
    assert secret == webhook_secret(key, REPOSITORY, 1)
    assert secret not in fingerprint(secret)
    assert fingerprint(secret) not in {fingerprint(one) for one in others}


def test_keys_are_read_newest_first() -> None:
    """The first key makes new secrets; older ones are still found by their id; a secret may contain '='."""
    keys = MasterKeys.parse(f" k2 = {'n' * 32}== , k1={'o' * 40}")
    assert keys.newest == MasterKey("k2", "n" * 32 + "==")
    assert keys.find("k1").secret == "o" * 40
    with pytest.raises(MasterKeyError, match="'k0' is not configured here"):
        keys.find("k0")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "entry 1 is not of the form"),
        ("s3cr3tvalue" * 4, "entry 1 is not of the form"),
        (f"k1={'s3cr3tvalue' * 4},", "entry 2 is not of the form"),
        (f"={'s3cr3tvalue' * 4}", "the id of entry 1"),
        ("k1=s3cr3tvalue", "has 11 characters, at least 32"),
        ("k1=", "has 0 characters"),
        (f"k1={'s3cr3tvalue' * 4},k1={'other' * 10}", "names k1 more than once"),
    ],
)
def test_unusable_keys_are_refused_in_words_that_hide_them(text: str, problem: str) -> None:
    """The message says what is wrong and how to make a key, and repeats no secret."""
    with pytest.raises(MasterKeyError, match=problem) as caught:
        MasterKeys.parse(text)
    assert "s3cr3tvalue" not in str(caught.value) + repr(caught.value) + str(caught.value.hint)
    assert caught.value.hint


def test_a_key_is_never_printed() -> None:
    """The repr of keys, as a traceback shows it, holds ids alone."""
    assert "x" * 32 not in repr(MasterKeys.parse(f"k1={'x' * 32}"))


def test_a_laptop_makes_one_key_and_keeps_it(tmp_path: Path) -> None:
    """With the embedded Postgres a first start makes a private key file; later starts read the same key."""
    state = tmp_path / "state"
    first = load_master_keys(_settings(state))
    assert first.newest.id == "local"
    assert len(first.newest.secret) == 64
    assert load_master_keys(_settings(state)) == first
    assert stat.S_IMODE((state / "master.key").stat().st_mode) == 0o600
    assert [path.name for path in state.iterdir()] == ["master.key"]


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    """Receiver and command line start together: whoever writes first wins, the other reads it."""
    barrier, found = threading.Barrier(8), list[MasterKeys]()

    def load() -> None:
        barrier.wait()
        found.append(load_master_keys(_settings(tmp_path)))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({keys.newest.secret for keys in found}) == 1


def test_a_server_without_keys_is_told_how_to_make_one(tmp_path: Path) -> None:
    """With a DATABASE_URL nothing is invented: a second receiver would not know the key."""
    settings = _settings(tmp_path, database_url=SecretStr("postgresql://host/db"))
    with pytest.raises(MasterKeyError, match="WORKER_MASTER_KEYS is not set") as caught:
        load_master_keys(settings)
    assert "openssl rand" in str(caught.value.hint)
    assert not (tmp_path / "master.key").exists()


@pytest.mark.parametrize("accepted", [[], ["a" * 64], ["a" * 64, "b" * 64]])
def test_a_refusal_costs_the_same_whatever_is_accepted(accepted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown repository, one secret, two during a rotation: the body is hashed as often, so nothing can be timed."""
    hashed: list[bytes] = []

    def counted(body: bytes, secret: str) -> str:
        hashed.append(body)
        return sign(body, secret)

    monkeypatch.setattr("worker.receiver.signature.sign", counted)
    assert not verify(b"body", sign(b"body", "c" * 64), accepted)
    assert hashed == [b"body"] * MOST_ACCEPTED
