"""The fixtures other tests stand on."""

import socket
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.fixtures.docker import engine_answers, postgres_in_container
from tests.fixtures.git_repositories import GitRepository
from worker.database.migrate import pending


def test_a_test_gets_a_migrated_database_of_its_own(db: psycopg.Connection[dict[str, Any]], database_url: str) -> None:
    """Nothing is left to migrate, and nothing of another test is in it."""
    assert pending(database_url) == []
    assert db.execute("select count(*) as n from public.repositories").fetchone() == {"n": 0}


def test_a_repository_is_made_with_its_owner(
    db: psycopg.Connection[dict[str, Any]], make_repository: Callable[..., uuid.UUID]
) -> None:
    """Columns given by name are kept; two repositories of one owner are possible."""
    owner = uuid.uuid4()
    first = make_repository(user_id=owner, name="one", settings={"a": 1})
    make_repository(user_id=owner)
    row = db.execute("select user_id, name, settings from public.repositories where id = %s", (first,)).fetchone()
    assert row == {"user_id": owner, "name": "one", "settings": {"a": 1}}


def test_a_git_repository_serves_any_commit_without_blobs(
    git_repository: Callable[..., GitRepository], tmp_path: Any
) -> None:
    """A partial fetch of a commit by its hash works, as with the big hosts."""
    source = git_repository(files={"a/b.py": "x = 1\n", "c.bin": b"\x00\x01"})
    older = source.head
    newer = source.commit({"a/b.py": None, "d.txt": "new"}, message="Second")
    assert source.head == newer != older
    assert source.git("branch", "--show-current").strip() == "main"
    target = git_repository("target")
    target.git("fetch", "--quiet", "--depth=1", "--filter=blob:none", source.url, older)
    missing = target.git("rev-list", "--objects", "--missing=print", older)
    assert missing.count("?") == 2


@pytest.mark.parametrize(
    ("answer", "is_there"), [(b"HTTP/1.1 200 OK\r\n\r\nOK", True), (b"HTTP/1.1 500 No\r\n\r\n", False)]
)
def test_a_docker_engine_is_asked_on_its_socket(
    answer: bytes, is_there: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only one that answers the ping counts; a socket without an engine, or none at all, does not."""
    path = tmp_path / "engine"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    assert not engine_answers()
    with socket.socket(socket.AF_UNIX) as engine, ThreadPoolExecutor(1) as asking:
        engine.bind(str(path))
        assert not engine_answers()
        engine.listen()
        answered = asking.submit(engine_answers)
        connection, _ = engine.accept()
        with connection:
            assert connection.recv(64).startswith(b"GET /_ping ")
            connection.sendall(answer)
        assert answered.result() is is_there


def test_an_engine_that_runs_nothing_leaves_the_embedded_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an image, or without rights, there is no URL, and no failure."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'nothing'}")
    with postgres_in_container() as url:
        assert url is None
