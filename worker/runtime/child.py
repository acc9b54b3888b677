"""The child process of one attempt: its own session, its limits, the handler, and dying with its worker."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg

from worker.database.connect import connect
from worker.handlers.registry import find, parse_payload
from worker.job import GitToken, Job, JobLog
from worker.joblog.identity import identity_of
from worker.joblog.log import open_job_log
from worker.joblog.room import LogLimits
from worker.joblog.spool import Spool
from worker.redact import Redactor
from worker.runtime import tree
from worker.runtime.channel import Secrets, pack, read_secrets
from worker.runtime.verdict import verdict
from worker.settings import Settings

SECONDS_BETWEEN_MESSAGES = 0.2
MOST_PHASES = 200


@dataclass(frozen=True, slots=True)
class ChildOrder:
    """What the parent asks of a child; holds no secret."""

    job: Job
    workdir: Path
    spool_root: Path
    log_level: str
    log_limits: LogLimits
    memory_bytes: int
    file_bytes: int
    processes: int
    traced: bool = False  # tell when each phase began and ended


def child_main(order: ChildOrder, liveness: Connection, channel: socket.socket) -> None:
    """Run one attempt and send its answer. Entry point of the process, called in a fresh fork of the forkserver."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _limit(order)
    threading.Thread(target=_die_with_worker, args=(liveness, order.workdir), name="liveness", daemon=True).start()
    context = ChildContext(order, channel)
    answer = _answer(context)
    context.close_log()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.sendall(answer)


def _limit(order: ChildOrder) -> None:
    """The second line of defence; the parent measures the whole tree and kills first."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_bytes, order.file_bytes))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (order.memory_bytes, order.memory_bytes))


def _die_with_worker(liveness: Connection, workdir: Path) -> None:
    """Wait for the worker's end of the pipe to close, then take everything down.

    Parent-death signals would not do: the parent is the forkserver, not the worker.
    """
    with contextlib.suppress(EOFError, OSError):
        liveness.recv_bytes()
    tree.kill_own_session()
    shutil.rmtree(workdir, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _answer(context: "ChildContext") -> bytes:
    """Run the handler and say how it went; everything a handler may raise is caught here."""
    try:
        registration = find(context.job.job_type)
        payload = parse_payload(registration, context.job)
        context.event("start", f"attempt {context.job.attempt}", pid=os.getpid())
        try:
            result = registration.run(context, payload)
        finally:
            context.tell_phases()
        if context.published_result is not None:
            return pack(kind="published", result=context.published_result)
        return pack(kind="done", result=context.redactor.value(dict(result)))
    except Exception as failure:
        return pack(**verdict(failure, context.log, context.redactor))


class ChildContext:
    """The JobContext of worker/job.py, as it is inside a child process."""

    def __init__(self, order: ChildOrder, channel: socket.socket) -> None:
        self.job = order.job
        self.workdir = order.workdir
        self.processes = order.processes
        self.redactor = Redactor()
        spool = Spool(order.spool_root)
        self._opened = open_job_log(
            spool, identity_of(order.job), self.redactor, source="child", level=order.log_level, limits=order.log_limits
        )
        self.log: JobLog = self._opened.log
        self.published_result: dict[str, Any] | None = None
        self._channel = channel
        self._sent_at = 0.0
        self._traced = order.traced
        self._phases: list[tuple[str, int, int]] = []
        self._phase: tuple[str, int] | None = None

    @cached_property
    def _secrets(self) -> Secrets:
        secrets = read_secrets(self._channel)
        for secret in [*secrets.settings.secrets(), secrets.database_url]:
            self.redactor.add(secret)
        if secrets.git_token is not None and secrets.git_token.token is not None:
            self.redactor.add(secrets.git_token.token)
        return secrets

    @property
    def settings(self) -> Settings:
        """The program's settings, secrets included."""
        return self._secrets.settings

    @property
    def git_token(self) -> GitToken | None:
        """What reads the job's repository, where strangers may not."""
        return self._secrets.git_token

    @contextlib.contextmanager
    def connect(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """A connection of the attempt's own; raises DatabaseUnavailable."""
        with connect(self._secrets.database_url, name=f"indexing-worker job {self.job.job_type}") as connection:
            yield connection

    def progress(self, phase: str, done: int = 0, total: int | None = None) -> None:
        """Tell the parent where the attempt is; calls that come too fast are dropped, a phase's end is not."""
        if self._traced:
            self._enter(phase)
        now = time.monotonic()
        if now - self._sent_at >= SECONDS_BETWEEN_MESSAGES or done == total:
            self._sent_at = now
            self._send(pack(kind="progress", phase=phase, done=done, total=total))

    def tell_phases(self) -> None:
        """Tell the parent all phases, where it wants to know them; they are counted from one to the next."""
        if self._traced:
            self._enter(None)
            self._send(pack(kind="phases", phases=self._phases[:MOST_PHASES]))

    def _enter(self, phase: str | None) -> None:
        now = time.time_ns()
        if self._phase is not None and self._phase[0] != phase:
            self._phases.append((*self._phase, now))
            self._phase = None
        if self._phase is None and phase is not None:
            self._phase = (phase, now)

    def event(self, verb: str, message: str | None = None, **context: Any) -> None:
        """Tell the parent an event of the job."""
        self._send(pack(kind="event", verb=verb, message=message, context=self.redactor.value(context)))

    def close_log(self) -> None:
        """Nothing more is logged."""
        self._opened.close()

    def published(self, result: Mapping[str, Any]) -> None:
        """The handler has completed the job in its own transaction: from here on a crash changes nothing."""
        self.published_result = dict(result)

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._channel.sendall(line)
