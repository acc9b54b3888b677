"""Printing a job's log: once, or following it until the job has ended."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import typer

from worker.cli.state import State
from worker.errors import DatabaseUnavailable, LogStoreError, NotFound
from worker.job import Status
from worker.joblog.choose import Choice, moment
from worker.joblog.read import read_log
from worker.joblog.render import render
from worker.joblog.spool import Spool
from worker.joblog.stores import open_store
from worker.joblog.tail import LogState, follow
from worker.queue.look import has_live_worker
from worker.queue.seal import LogState as Row
from worker.queue.seal import log_state

SECONDS_TO_WAIT_FOR_SEALING = 10.0
SECONDS_TO_WAIT_FOR_SEALING_AFTER_TROUBLE = 60.0
SECONDS_TO_WAIT_FOR_OTHERS = 660.0
"""Only the machine that ran the job has its last lines before the log is sealed; ten minutes after the job's end others
seal it without them.
"""
SECONDS_OF_AN_ADDRESS = 3600

# What does not end a command that follows: Postgres or the log store may be away for a while.
_PASSING = (LogStoreError, DatabaseUnavailable, psycopg.OperationalError)


def choice(since: str | None, level: str, attempt: int | None) -> Choice:
    """What the options ask for."""
    try:
        start = moment(since, datetime.now(UTC)) if since else None
    except ValueError:
        sentence = f"{since!r} is no time: say 90s, 10m, 2h or 1d, or a date and time such as 2026-03-04T12:00."
        raise typer.BadParameter(sentence, param_hint="--since") from None
    return Choice(start, level, attempt)


def print_log(state: State, job_id: UUID, chosen: Choice, *, follow: bool, as_json: bool) -> None:
    """Print the log; with `follow`, go on until the job has ended and its log is sealed."""
    row = _row(state, job_id)
    if not as_json:
        _tell_if_nothing_comes(state, row, follow=follow)
    color = state.out.is_terminal
    for line in chosen.of(_followed(state, job_id, row.created_at) if follow else log_lines(state, job_id)):
        # As JSON the log's own bytes; whoever reads a line at a time gets it when it is written.
        typer.echo(line.rstrip(b"\n") if as_json else render(line, color=color))


def print_url(state: State, job_id: UUID) -> None:
    """Print the addresses of the finished log's objects, in order."""
    row = _row(state, job_id)
    if not row.sealed:
        raise NotFound(f"The log of {job_id} is not finished: it is {row.status}.", hint="`worker logs` reads it.")
    if not row.parts:
        raise NotFound(f"{job_id} logged nothing.")
    store = open_store(state.settings)
    for part in row.parts:
        address = store.url(part["key"], SECONDS_OF_AN_ADDRESS)
        if address is None:
            raise NotFound("This log store gives out no addresses.", hint="`worker logs` reads the log.")
        typer.echo(address)


def _tell_if_nothing_comes(state: State, row: Row, *, follow: bool) -> None:
    if follow and row.status == Status.QUEUED and not state.ask(has_live_worker, state.settings.worker_lease_seconds):
        sentence = "It waits in the queue, and no worker is running: start one with `worker run`."
    elif row.token is None and row.status == Status.QUEUED:
        sentence = "It waits in the queue: it has no log yet."
    elif row.token is None:
        sentence = f"It never ran, so it has no log: it is {row.status}."
    else:
        return
    state.aside.print(sentence, style="dim")


def log_lines(state: State, job_id: UUID) -> Iterator[bytes]:
    """The whole log as it is now."""
    row = _row(state, job_id)
    yield from read_log(
        open_store(state.settings),
        Spool(state.settings.state_dir / "spool"),
        job_id=job_id,
        created_at=row.created_at,
        parts=row.parts,
        token=row.token,
        again=lambda: _row(state, job_id).parts,
    )


def _followed(state: State, job_id: UUID, created_at: datetime) -> Iterator[bytes]:
    store, spool = open_store(state.settings), Spool(state.settings.state_dir / "spool")
    sealing = _Sealing(state, spool)

    def now() -> LogState:
        row = _row(state, job_id)
        finished = row.status.is_terminal and (row.sealed or row.token is None or sealing.is_waited_for(row))
        return LogState(parts=row.parts, token=row.token, finished=finished)

    def tell(failure: Exception, is_first: bool) -> None:
        sealing.had_trouble()
        if is_first:
            state.aside.print(f"{failure}\nTrying again until it answers.", style="dim", markup=False, highlight=False)

    yield from follow(store, spool, job_id=job_id, created_at=created_at, state=now, passing=_PASSING, on_trouble=tell)


class _Sealing:
    """How long a follower waits for the log of a job that has ended: what was not flushed is read here, or then."""

    def __init__(self, state: State, spool: Spool) -> None:
        self._state, self._spool = state, spool
        self._ended_at: float | None = None
        self._least = SECONDS_TO_WAIT_FOR_SEALING
        self._has_told = False

    def is_waited_for(self, row: Row) -> bool:
        """Whether that was long enough; the job has ended."""
        if self._ended_at is None:
            self._ended_at = time.monotonic()
        waited = time.monotonic() - self._ended_at
        if waited <= self._least:
            return False
        if any(one.token == row.token for one in self._spool.identities(row.job_id)):
            return True
        if not self._has_told:
            self._has_told = True
            sentence = "The job has ended, and its log is not sealed yet: waiting for the last lines. Ctrl-C ends this."
            self._state.aside.print(sentence, style="dim")
        return waited > SECONDS_TO_WAIT_FOR_OTHERS

    def had_trouble(self) -> None:
        """Whoever seals may have had it too: it has more time."""
        self._ended_at, self._least = None, SECONDS_TO_WAIT_FOR_SEALING_AFTER_TROUBLE


def _row(state: State, job_id: UUID) -> Row:
    row = state.ask(log_state, job_id)
    if row is None:
        raise NotFound(f"There is no job {job_id}.", hint="`worker jobs` lists them.")
    return row
