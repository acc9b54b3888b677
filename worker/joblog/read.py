"""One continuous log at every moment: sealed or running, here or on another machine."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, islice
from typing import Any, BinaryIO
from uuid import UUID

from worker.errors import NotFound
from worker.joblog.clean import clean_lines
from worker.joblog.sources import Parts, is_sealed_by, lines_of_parts, lines_of_piece, pieces, segments_of
from worker.joblog.spool import Spool
from worker.joblog.store import CHUNK, LogStore

_TRIES = 5


@dataclass(frozen=True, slots=True)
class LogState:
    """What the job's row says of its log: log_parts, log_token, and whether no line will come any more."""

    parts: Parts
    token: int | None
    finished: bool


def read_log(
    store: LogStore,
    spool: Spool | None,
    *,
    job_id: UUID,
    created_at: datetime,
    parts: Parts,
    token: int | None,
    again: Callable[[], Parts] | None = None,
) -> Iterator[bytes]:
    """The whole lines of a job's log as far as it is written, in order, none twice.

    `parts` and `token` are log_parts and log_token of the row. `again` reads log_parts anew: a log that is sealed while
    it is read moves from its pieces to one object. Raises NotFound if the log is gone.
    """
    where = _Where(store, spool, job_id, created_at)
    seen = 0
    for chance in reversed(range(_TRIES)):
        try:
            for line in islice(_lines(where, parts, token, again), seen, None):
                seen += 1
                yield line
            return
        except (NotFound, _Moved):
            if again is None or not chance:
                raise
            parts = again()


def follow(
    store: LogStore,
    spool: Spool | None,
    *,
    job_id: UUID,
    created_at: datetime,
    state: Callable[[], LogState],
    poll: float = 0.5,
    wait: Callable[[float], Any] = time.sleep,
) -> Iterator[bytes]:
    """The log's lines so far, then each new one, until `state` says that it is finished and the rest is read."""
    where = _Where(store, spool, job_id, created_at)
    seen = 0
    while True:
        now = state()
        own = None if now.finished else _open_own(where, now)
        with contextlib.closing(own) if own else contextlib.nullcontext():
            try:
                for line in islice(_from_start(where, now, state, own, poll, wait), seen, None):
                    seen += 1
                    yield line
            except NotFound:
                if state() == now:
                    raise  # not sealed meanwhile, but gone
                continue
        if now.finished:
            return
        if own is None:
            wait(poll)


def _from_start(
    where: "_Where",
    now: LogState,
    state: Callable[[], LogState],
    own: BinaryIO | None,
    poll: float,
    wait: Callable[[float], Any],
) -> Iterator[bytes]:
    """All lines of the log; of a running attempt's own spool also those to come, until the row changes."""

    def again() -> Parts:
        return state().parts

    if own is None:
        return read_log(
            where.store,
            where.spool,
            job_id=where.job_id,
            created_at=where.created_at,
            parts=now.parts,
            token=now.token,
            again=again,
        )
    growing = _growing(own, lambda: state() != now, poll, wait)
    return chain(_lines(where, now.parts, now.token, again, own=False), clean_lines(growing, ended=False))


class _Moved(NotFound):
    """The log was sealed between reading its row and finding its pieces."""


@dataclass(frozen=True, slots=True)
class _Where:
    store: LogStore
    spool: Spool | None
    job_id: UUID
    created_at: datetime


def _lines(
    where: _Where, parts: Parts, token: int | None, again: Callable[[], Parts] | None, *, own: bool = True
) -> Iterator[bytes]:
    """All lines; without `own`, those before the attempt of this token."""
    if is_sealed_by(parts, token):
        yield from lines_of_parts(where.store, parts)
        return
    with contextlib.ExitStack() as files:
        # Spools before segments: a spool is deleted only when its segments are there. The row last: whatever moved
        # into a sealed log before we looked, it names that log now.
        spools = _open_spools(where, files)
        segments = segments_of(where.store, where.job_id, where.created_at)
        if again is not None and list(again()) != list(parts):
            raise _Moved("The log has just been sealed.")
        yield from lines_of_parts(where.store, parts)
        for piece in pieces(segments, spools):
            if own or piece.token != token:
                yield from lines_of_piece(where.store, piece, ended=piece.token != token)


def _open_spools(where: _Where, files: contextlib.ExitStack) -> dict[int, Iterator[bytes]]:
    if where.spool is None:
        return {}
    found: dict[int, Iterator[bytes]] = {}
    for identity in where.spool.identities(where.job_id):
        with contextlib.suppress(FileNotFoundError):
            file = files.enter_context(where.spool.path(identity).open("rb"))
            if os.fstat(file.fileno()).st_size:
                found[identity.token] = iter(partial(file.read, CHUNK), b"")
    return found


def _open_own(where: _Where, now: LogState) -> BinaryIO | None:
    """The spool of the running attempt, if it runs on this machine."""
    if where.spool is None or is_sealed_by(now.parts, now.token):
        return None
    for identity in where.spool.identities(where.job_id):
        if identity.token == now.token:
            with contextlib.suppress(FileNotFoundError):
                return where.spool.path(identity).open("rb")
    return None


def _growing(file: BinaryIO, changed: Callable[[], bool], poll: float, wait: Callable[[float], Any]) -> Iterator[bytes]:
    """What the file holds and what is added to it, until something else has changed."""
    while True:
        over = changed()
        while chunk := file.read(CHUNK):
            yield chunk
        if over:
            return
        wait(poll)
