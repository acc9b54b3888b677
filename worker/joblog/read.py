"""One continuous log at every moment: sealed or running, here or on another machine."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from uuid import UUID

from worker.errors import NotFound
from worker.joblog.sources import (
    Parts,
    Piece,
    covered_by,
    is_sealed_by,
    lines_of_parts,
    lines_of_piece,
    pieces,
    segments_of,
)
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore

_TRIES = 5


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where the log of one job is: in the store and, if it runs or ran on this machine, in the spool."""

    store: LogStore
    spool: Spool | None
    job_id: UUID
    created_at: datetime


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
    place = LogPlace(store, spool, job_id, created_at)
    seen = 0
    for chance in reversed(range(_TRIES)):
        try:
            for line in islice(_lines(place, parts, token, again), seen, None):
                seen += 1
                yield line
            return
        except (NotFound, _Moved):
            if again is None or not chance:
                raise
            parts = again()


def read_range(store: LogStore, parts: Parts, start: int, length: int) -> Iterator[bytes]:
    """Bytes of a sealed log, as one file whatever its parts: at most `length` of them from `start`. For web pages."""
    for part in parts:
        if length <= 0:
            return
        size = part["bytes"]
        if start < size:
            wanted = min(length, size - start)
            yield from store.get(part["key"], start, wanted)
            length -= wanted
        start = max(start - size, 0)


class _Moved(NotFound):
    """The log was sealed between reading its row and finding its pieces."""


def _lines(place: LogPlace, parts: Parts, token: int | None, again: Callable[[], Parts] | None) -> Iterator[bytes]:
    if is_sealed_by(parts, token):
        yield from lines_of_parts(place.store, parts)
        return
    covered = covered_by(parts)
    with contextlib.ExitStack() as files:
        # Spools before segments: a spool is deleted only when its segments are there. The row last: whatever moved
        # into a sealed log before we looked, it names that log now.
        spools = _open_spools(place, covered, files)
        segments = segments_of(place.store, place.job_id, place.created_at)
        if again is not None and list(again()) != list(parts):
            raise _Moved("The log has just been sealed.")
        yield from lines_of_parts(place.store, parts)
        for piece in pieces(segments, spools, covered):
            yield from lines_of_piece(place.store, piece, ended=piece.token != token)


def _open_spools(place: LogPlace, covered: dict[int, int], files: contextlib.ExitStack) -> dict[int, Piece]:
    """Open at once, read later: they may be deleted meanwhile."""
    if place.spool is None:
        return {}
    found: dict[int, Piece] = {}
    for identity in place.spool.identities(place.job_id):
        start, size = covered.get(identity.token, 0), place.spool.size(identity)
        if size > start:
            with contextlib.suppress(FileNotFoundError):
                spooled = files.enter_context(place.spool.opened(identity, start=start))
                found[identity.token] = Piece(identity.token, start, spooled=spooled, spooled_bytes=size - start)
    return found
