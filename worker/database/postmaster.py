"""The server process of one data folder: find it, start it, stop it."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from worker.database.account import Account
from worker.database.binaries import Binaries
from worker.errors import EmbeddedPostgresError

_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running server: its process, its port and whether it takes connections yet."""

    process: psutil.Process
    port: int
    ready: bool


def running(data: Path) -> Postmaster | None:
    """The server of this data folder, or None; a pid file left behind proves nothing."""
    try:
        # One a line: pid, data folder, start, port, socket folder, address, shared memory, state.
        lines = (data / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        if not _serves(process, data):
            return None
        return Postmaster(process, int(lines[3]), ready=len(lines) > 7 and lines[7].strip() == "ready")
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return None


def launch(binaries: Binaries, data: Path, account: Account, options: Mapping[str, str], log: Path) -> int:
    """Start a server in a session of its own, no child of ours; answers its pid, while it may still be starting."""
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    # A shell between us and the server, gone at once: init reaps the server, and no Popen object waits for it.
    command = ["/bin/sh", "-c", '"$0" "$@" </dev/null >&2 & echo $!', binaries.program("postgres"), "-D", str(data)]
    with log.open("ab") as written:
        said = subprocess.run(
            [*command, *settings],
            **account.starts(),
            stdout=subprocess.PIPE,
            stderr=written,
            start_new_session=True,
            check=True,
            text=True,
        )
    return int(said.stdout)


def wait_until_ready(data: Path, pid: int | None, seconds: float) -> Postmaster | None:
    """The server once it takes connections; None when none is starting (as this pid, if given) or time is over."""
    found: list[Postmaster] = []

    def settled() -> bool:
        server = running(data)
        if server is not None and server.ready:
            found.append(server)
        starting = server is not None or (pid is not None and psutil.pid_exists(pid) and _alive(psutil.Process(pid)))
        return bool(found) or not starting

    _wait(settled, seconds)
    return found[0] if found else None


def stop(server: Postmaster, data: Path) -> None:
    """Fast shutdown: running statements are cancelled, everything committed stays. Returns when the server is gone."""
    for number, seconds in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        try:
            server.process.send_signal(number)  # psutil refuses when the pid is another process's by now
        except psutil.NoSuchProcess:
            return
        if _wait(lambda: not _alive(server.process), seconds):
            return
    raise EmbeddedPostgresError(f"The embedded Postgres in {data} does not stop (pid {server.process.pid}).")


def clear_remains(data: Path) -> None:
    """After a crash: end processes that outlived their server, and remove its pid file.

    Postgres refuses to start while one of them holds the shared memory, or while the pid in the file is anybody's.
    """
    if not (data / "postmaster.pid").exists():
        return
    left = [process for process in psutil.process_iter(["name"]) if _is_postgres_in(process, data)]
    for number in (signal.SIGQUIT, signal.SIGKILL):
        for process in left:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        if _wait(lambda: not any(_alive(process) for process in left), 5):
            break
    (data / "postmaster.pid").unlink(missing_ok=True)


def _serves(process: psutil.Process, data: Path) -> bool:
    # The children of a server carry a title in place of their arguments.
    try:
        return _is_postgres_in(process, data) and "-D" in process.cmdline()
    except psutil.Error:
        return False


def _is_postgres_in(process: psutil.Process, data: Path) -> bool:
    # The folder it stands in, not the one it was told: true also after the state folder was moved.
    try:
        return _alive(process) and process.name() == "postgres" and Path(process.cwd()) == data.resolve()
    except psutil.Error:  # another user's process is not ours
        return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
