"""A deployment's servers on one machine: each ready before the next is started, and ended by its process id."""

import argparse
import atexit
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil

from scripts.lib.swift import ACCESS_KEY, SECRET_KEY, swift_commands, swift_is_installed
from worker.database.account import account_for
from worker.database.connect import connect
from worker.database.embedded import EmbeddedPostgres
from worker.database.migrate import migrate
from worker.settings import LOCAL_USER_ID

ROOT = Path(__file__).parents[2]
STACK = Path(os.environ.get("STACK_DIR") or ROOT / ".stack").absolute()
FIRST_PORT = int(os.environ.get("STACK_PORT") or 25400)
PORTS = {
    name: FIRST_PORT + number
    for number, name in enumerate(
        ("postgres", "pgbouncer", "prometheus", "receiver", "worker-1", "worker-2", "swift-proxy", "swift-object",
         "swift-container", "swift-account", "swift-cache", "spare")
    )
}  # fmt: skip
WORKERS = ("worker-1", "worker-2")
SECONDS_TO_START, SECONDS_TO_END = 90, 60
BUCKET = "worker-logs"

_PGBOUNCER = """
[databases]
postgres = host=127.0.0.1 port={postgres} pool_mode=transaction
session = host=127.0.0.1 port={postgres} dbname=postgres pool_mode=session

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
default_pool_size = 20
max_client_conn = 200
"""
_PROMETHEUS = """
global: {{scrape_interval: 5s, evaluation_interval: 5s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: indexing-worker
    static_configs:
      - targets: [{targets}]
"""


def say(text: str) -> None:
    """One line for whoever waits."""
    print(text, flush=True)


class Server:
    """One process that goes on when this one has ended; known by its pid and when that began."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._file = STACK / "run" / f"{name}.json"
        self.log = STACK / "log" / f"{name}.log"

    def process(self) -> psutil.Process | None:
        """The running process; None when it is gone, also when another one has its number now."""
        try:
            known = json.loads(self._file.read_text())
            process = psutil.Process(known["pid"])
            return process if abs(process.create_time() - known["began"]) < 1 else None
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
            return None

    def start(self, command: Sequence[str | Path], *, ready: Callable[[], bool], **options: Any) -> None:
        """Start it and wait until it is ready; exits with the end of its log if that fails."""
        if self.process() is None:
            for folder in (self._file.parent, self.log.parent):
                folder.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                child = subprocess.Popen(
                    [str(word) for word in command],
                    stdout=log, stderr=log, start_new_session=True, **{"stdin": subprocess.DEVNULL, **options},
                )  # fmt: skip
            self._file.write_text(json.dumps({"pid": child.pid, "began": psutil.Process(child.pid).create_time()}))
        deadline = time.monotonic() + SECONDS_TO_START
        while not ready():
            process = self.process()
            if process is None or process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
                ending = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
                sys.exit(f"{self.name} did not start; the end of {self.log}:\n{ending}")
            time.sleep(0.1)

    def end(self) -> None:
        """Ask it to end, wait, and kill what does not, with all it started."""
        process = self.process()
        if process is not None:
            family = [process, *process.children(recursive=True)]
            process.send_signal(signal.SIGTERM)
            _, left = psutil.wait_procs(family, timeout=SECONDS_TO_END)
            for straggler in left:
                straggler.kill()
            say(f"ended {self.name} ({process.pid})")
        self._file.unlink(missing_ok=True)


def up() -> int:
    """Start everything that is not running yet; answers the exit code of the smoke test."""
    _check_ports()
    STACK.mkdir(parents=True, exist_ok=True)
    STACK.chmod(0o755)
    direct = _postgres()
    environment = _environment(direct, *_pgbouncer(direct)) | _log_store()
    _write_environment(environment)
    processes = {**os.environ, **environment, "WORKER_LOG_FORMAT": "json"}
    worker = ROOT / ".venv/bin/worker"
    Server("receiver").start(
        [worker, "receive", "--port", str(PORTS["receiver"])],
        ready=lambda: _answers(f"{_url('receiver')}/health/live"), env=processes, cwd=STACK,
    )  # fmt: skip
    for name in WORKERS:
        folder = STACK / name
        folder.mkdir(exist_ok=True)
        Server(name).start(
            [worker, "run", "--metrics-port", str(PORTS[name])],
            ready=lambda name=name: _answers(f"{_url(name)}/health"),
            env={**processes, "WORKER_STATE_DIR": str(folder), "WORKER_GIT_CACHE_DIR": str(folder / "git")}, cwd=folder,
        )  # fmt: skip
    _prometheus()
    status()
    return subprocess.run(
        [ROOT / "scripts/smoke", _url("receiver"), "--wait", "60",
         *(word for name in WORKERS for word in ("--worker", _url(name)))],
        check=False,
    ).returncode  # fmt: skip


def down(*, wipe: bool) -> None:
    """End everything, last started first; with `wipe` delete its data."""
    for name in ("prometheus", *WORKERS, "receiver", *swift_commands(STACK, PORTS), "pgbouncer"):
        Server(name).end()
    postgres = EmbeddedPostgres(STACK)
    was_running = postgres.is_running()
    postgres.stop()
    if was_running:
        say("ended postgres")
    shutil.rmtree(_pgbouncer_folder(), ignore_errors=True)
    if wipe:
        shutil.rmtree(STACK, ignore_errors=True)
        say(f"deleted {STACK}")


def status() -> None:
    """What runs, and where."""
    runs = EmbeddedPostgres(STACK).is_running()
    say(f"postgres      runs  port {PORTS['postgres']}" if runs else "postgres      is not running")
    for name in ("pgbouncer", *swift_commands(STACK, PORTS), "receiver", *WORKERS, "prometheus"):
        process = Server(name).process()
        where = f"  pid {process.pid}  port {PORTS[name]}" if process else ""
        say(f"{name:13} {'runs' if process else 'is not running'}{where}")
    say(f"\nlogs: {STACK / 'log'}\nto speak to it:  source {STACK / 'env'}; worker status")


def _postgres() -> str:
    """Debian's server where there is one, else the embedded wheel's; migrated and seeded. Its direct URL."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if debian and "PG_BIN" not in os.environ:
        os.environ["PG_BIN"] = str(debian[-1].parent)
    server = EmbeddedPostgres(STACK, port=PORTS["postgres"])
    url = server.start()
    atexit.unregister(server.release)  # it goes on when this process has ended
    migrate(url)
    with connect(url, name="stack") as connection:
        connection.execute((ROOT / "supabase/seed.sql").read_bytes())
    say(f"postgres      {os.environ.get('PG_BIN', 'embedded')}")
    return url


def _pgbouncer(direct: str) -> tuple[str, str | None]:
    """URLs for work (transaction mode) and for listening (session mode); the direct one where there is no PgBouncer."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        say("pgbouncer     is not installed: processes connect to Postgres itself")
        return direct, None
    folder = _pgbouncer_folder()
    folder.mkdir(exist_ok=True)
    parts, port = urlsplit(direct), PORTS["pgbouncer"]
    (folder / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
    (folder / "pgbouncer.ini").write_text(_PGBOUNCER.format(postgres=parts.port, port=port, folder=folder))
    account = account_for(folder)  # PgBouncer refuses root, as Postgres does
    for path in (*folder.iterdir(), folder):
        path.chmod(0o700 if path.is_dir() else 0o600)
        account.own(path)
    command = [program, folder / "pgbouncer.ini"]
    Server("pgbouncer").start(command, ready=lambda: _listens(port), **account.starts())
    pooled = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}")
    return pooled.geturl(), pooled._replace(path="/session").geturl()


def _pgbouncer_folder() -> Path:
    """Below /tmp: root's own folders are closed to the account that root lends it."""
    return Path(tempfile.gettempdir()) / f"indexing-worker-stack-{os.getuid()}-{FIRST_PORT}"


def _log_store() -> dict[str, str]:
    """Settings of the S3 server's log store; of none where this machine has no such server."""
    if not swift_is_installed():
        say("s3            is not installed: job logs stay in local folders")
        return {}
    for name, command in swift_commands(STACK, PORTS).items():
        Server(name).start(command, ready=lambda name=name: _listens(PORTS[name]), cwd=STACK / "swift")
    return {
        "WORKER_LOG_BACKEND": "s3",
        "WORKER_LOG_BUCKET": BUCKET,
        "AWS_ENDPOINT_URL": _url("swift-proxy"),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }


def _prometheus() -> None:
    program = shutil.which("prometheus")
    if program is None:
        say("prometheus    is not installed: nothing is scraped")
        return
    folder = STACK / "prometheus"
    folder.mkdir(exist_ok=True)
    targets = ", ".join(f'"127.0.0.1:{PORTS[name]}"' for name in ("receiver", *WORKERS))
    rules = ROOT / "ops/prometheus/alerts.yml"
    (folder / "prometheus.yml").write_text(_PROMETHEUS.format(rules=rules, targets=targets))
    Server("prometheus").start(
        [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
         f"--web.listen-address=127.0.0.1:{PORTS['prometheus']}", "--log.level=warn"],
        ready=lambda: _answers(f"{_url('prometheus')}/-/ready"),
    )  # fmt: skip


def _environment(direct: str, pooled: str, session: str | None) -> dict[str, str]:
    keys = STACK / "master-keys"
    if not keys.exists():
        keys.touch(0o600)
        keys.write_text(f"k1={secrets.token_hex(32)}")
    return {
        "DATABASE_URL": pooled,
        "DATABASE_LISTEN_URL": session or direct,
        "WORKER_MASTER_KEYS": keys.read_text(),
        "WORKER_USER_ID": str(LOCAL_USER_ID),
        "WORKER_PUBLIC_URL": _url("receiver"),
        "WORKER_ALLOW_LOCAL_REPOSITORIES": "true",
        "WORKER_STATE_DIR": str(STACK / "state"),
        "WORKER_DRAIN_SECONDS": "30",
    }


def _write_environment(environment: Mapping[str, str]) -> None:
    path = STACK / "env"
    path.touch(0o600)
    path.chmod(0o600)
    lines = [f"export {name}='{value}'\n" for name, value in environment.items()]
    path.write_text("".join([*lines, f"export PATH='{ROOT / '.venv/bin'}':\"$PATH\"\n"]))


def _check_ports() -> None:
    """A port that somebody else has would end in a server that does not start, or in speaking to a stranger."""
    ours = {name for name in PORTS if Server(name).process() is not None}
    if EmbeddedPostgres(STACK).is_running():
        ours.add("postgres")
    taken = [f"{port} ({name})" for name, port in PORTS.items() if name not in ours and _listens(port)]
    if taken:
        sys.exit(f"Somebody else listens on {', '.join(taken)}: choose other ports with STACK_PORT.")


def _url(name: str) -> str:
    return f"http://127.0.0.1:{PORTS[name]}"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def main() -> int:
    """Do what the first argument says."""
    parser = argparse.ArgumentParser(prog="scripts/stack")
    parser.add_argument("what", nargs="?", default="up", choices=("up", "down", "status"))
    parser.add_argument("--wipe", action="store_true", help="with down: delete its data too")
    given = parser.parse_args()
    if given.what == "up":
        return up()
    if given.what == "down":
        down(wipe=given.wipe)
    else:
        status()
    return 0


if __name__ == "__main__":
    sys.exit(main())
