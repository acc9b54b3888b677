"""The embedded Postgres: a server of this program's own, on 127.0.0.1, with its data in the state folder.

It is started by the first process that needs it and stopped by the last one that lets it go. After a kill -9 of the
last user it runs on, and the next user joins it. A killed server comes back with its data at the next start.
"""

import atexit
import socket
from collections.abc import Mapping
from pathlib import Path

from worker.database.account import Account
from worker.database.binaries import find_binaries, runnable_by
from worker.database.data_folder import SUPERUSER, ensure_cluster, password_of, place_of, settle
from worker.database.postmaster import Postmaster, clear_remains, launch, running, stop, wait_until_ready
from worker.database.users_lock import UsersLock, one_at_a_time
from worker.errors import EmbeddedPostgresError

_START_SECONDS = 300  # a crash's recovery may take a while; a server that dies is noticed at once
_LOG_BYTES = 10_000_000

# Modest in memory, made for one machine with an SSD. Durability is Postgres's own: fsync stays on.
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
}


class EmbeddedPostgres:
    """The server of one state folder, as one process uses it."""

    def __init__(self, state_dir: Path, *, port: int | None = None, options: Mapping[str, str] | None = None) -> None:
        """Use this state folder; the port and the server's options count only when this process starts the server."""
        self._folder = state_dir.absolute() / "postgres"
        self._port = port
        self._options = _OPTIONS | dict(options or {})
        self._users = UsersLock(self._folder / "users.lock")

    @property
    def log_file(self) -> Path:
        """Where the server writes its log."""
        return self._folder / "server.log"

    def start(self) -> str:
        """Start the server or join the running one, and answer its URL, password inside."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(self._folder / "start.lock"):
                return self._join_or_launch()
        except OSError as failure:
            raise EmbeddedPostgresError(
                f"The embedded Postgres in {self._folder} cannot be used: {failure}.",
                hint="Set WORKER_STATE_DIR to a folder you may write, or DATABASE_URL to a Postgres of your own.",
            ) from failure

    def release(self) -> None:
        """Let go of the server; it is stopped if nobody else uses it."""
        atexit.unregister(self.release)
        with self._users.leave() as last:
            if last:
                self._end()

    def stop(self) -> None:
        """Stop the server, whoever uses it; nothing to do when none was ever started."""
        if not self._folder.exists():
            return
        with one_at_a_time(self._folder / "start.lock"):
            self._end()
        self.release()

    def is_running(self) -> bool:
        """Whether the server of this state folder runs and takes connections."""
        server = running(place_of(self._folder) / "data")
        return server is not None and server.ready

    def _join_or_launch(self) -> str:
        self._users.join()
        try:
            password = password_of(self._folder)
            place, account = settle(self._folder)
            server = wait_until_ready(place / "data", None, _START_SECONDS)
            if server is None:
                server = self._launch(place, account, password)
        except BaseException:
            with self._users.leave() as last:
                if last:
                    self._end()
            raise
        atexit.register(self.release)
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{server.port}/postgres"

    def _launch(self, place: Path, account: Account, password: str) -> Postmaster:
        binaries = runnable_by(account, find_binaries(), place)
        ensure_cluster(binaries, place, account, password)
        data = place / "data"
        clear_remains(data)
        self._turn_log()
        for _ in range(1 if self._port else 3):  # somebody may take the port between our look and the server's
            options = self._options | {"port": str(self._free_port())}
            pid = launch(binaries, data, account, options, self.log_file)
            server = wait_until_ready(data, pid, _START_SECONDS)
            if server is not None:
                (self._folder / "port").write_text(f"{server.port}\n")
                return server
        said = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-5:])
        raise EmbeddedPostgresError(
            f"The embedded Postgres did not start. Its log ends:\n{said}",
            hint=f"The whole log is {self.log_file}; DATABASE_URL names another Postgres instead.",
        )

    def _end(self) -> None:
        data = place_of(self._folder) / "data"
        server = running(data)
        if server is not None:
            stop(server, data)

    def _free_port(self) -> int:
        if self._port is not None:
            return self._port
        path = self._folder / "port"
        remembered = path.read_text().strip() if path.exists() else ""
        for port in (int(remembered) if remembered.isdigit() else 0, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Postgres does
                try:
                    probe.bind(("127.0.0.1", port))
                except (OSError, OverflowError):
                    continue
                return probe.getsockname()[1]
        raise EmbeddedPostgresError("No free TCP port was found on 127.0.0.1.")

    def _turn_log(self) -> None:
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
