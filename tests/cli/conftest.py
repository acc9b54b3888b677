"""The command line as a program: its real main, in this process where that is enough, as a process where it is not."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog

from worker.cli.app import main

ROOT = Path(__file__).parents[2]
USER = UUID("00000000-0000-4000-8000-00000000c11e")


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout; nothing else may be there."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


@pytest.fixture
def settings(
    database_url: str, db: Any, tmp_path: Path, scratch_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The environment of every command of this test: its database, its user, its folders."""
    db.execute("insert into auth.users (id) values (%s)", (USER,))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKER_", "DATABASE_"))}
    own = {
        "DATABASE_URL": database_url,
        "WORKER_USER_ID": str(USER),
        "WORKER_STATE_DIR": str(tmp_path / "state"),
        "WORKER_SCRATCH_DIR": str(scratch_dir),
        "WORKER_ALLOW_LOCAL_REPOSITORIES": "true",
        "WORKER_MASTER_KEYS": "k1=0123456789abcdef0123456789abcdef",
        "WORKER_POLL_SECONDS": "0.1",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "80",
    }
    for name in os.environ.keys() - clean.keys():
        monkeypatch.delenv(name)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)  # no .env of the checkout
    return {**clean, **own}


@pytest.fixture
def worker(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run a command in this process: `worker("jobs", "--json")`."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["worker", *arguments])
        capfd.readouterr()
        with undisturbed(), pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0 if code is None else 1, out, err)

    return run


@pytest.fixture
def start(settings: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command as a process of its own; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", *arguments],
            env={**settings, **more}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def make_job(db: Any) -> Callable[..., UUID]:
    """Insert a repository of the commands' user with a job; keyword arguments are columns of the job."""

    def make(*, name: str = "flask", **columns: Any) -> UUID:
        row = db.execute(
            """insert into public.repositories (user_id, name, git_url) values (%s, %s, %s)
               on conflict (user_id, git_url) do update set name = excluded.name returning id""",
            (USER, name, f"https://example.org/{name}"),
        ).fetchone()
        job = {"id": uuid4(), "job_type": "full_index", "user_id": USER, "repository_id": row["id"]} | columns
        if job.get("status", "queued") in ("completed", "failed", "cancelled"):
            job["finished_at"] = "now"
        names, places = ", ".join(job), ", ".join(["%s"] * len(job))
        db.execute(f"insert into public.indexing_jobs ({names}) values ({places})", list(job.values()))
        return job["id"]

    return make


class undisturbed:
    """Put back what a command sets for its whole process: log routes, hooks and signal handlers."""

    def __enter__(self) -> None:
        """Remember."""
        root = logging.getLogger()
        self._before = (root.handlers, root.level, sys.excepthook, threading.excepthook, warnings.formatwarning)
        self._signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def __exit__(self, *_: object) -> None:
        """Put back."""
        root = logging.getLogger()
        root.handlers, level, sys.excepthook, threading.excepthook, warnings.formatwarning = self._before
        root.setLevel(level)
        logging.captureWarnings(False)
        structlog.reset_defaults()
        for number, handler in self._signals.items():
            signal.signal(number, handler)
