"""Everything that a job's log consists of before it is sealed, in the order of its lines."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, groupby
from typing import Any
from uuid import UUID

from worker.joblog.clean import clean_lines, marker
from worker.joblog.identity import Segment, live_prefix, parse_sealed, parse_segment
from worker.joblog.store import LogStore

Parts = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Piece:
    """The lines of one attempt: the bytes of its spool, or its uploaded segments."""

    token: int
    segments: tuple[Segment, ...] = ()
    spooled: Iterable[bytes] | None = None  # the whole spool: it holds what its segments hold, and more


def segments_of(store: LogStore, job_id: UUID, created_at: datetime) -> list[Segment]:
    """All segments of a job in the store, in order of attempt and piece."""
    names = (parse_segment(key) for key, _ in store.list(live_prefix(job_id, created_at)))
    return sorted((name for name in names if name is not None), key=_order)


def _order(segment: Segment) -> tuple[int, int, int]:
    return segment.token, segment.offset, -segment.length


def pieces(segments: Iterable[Segment], spools: Mapping[int, Iterable[bytes]]) -> list[Piece]:
    """The attempts in order, each from its spool where there is one, else from its segments."""
    found = {token: Piece(token, segments=tuple(group)) for token, group in groupby(segments, lambda s: s.token)}
    found.update({token: Piece(token, spooled=spooled) for token, spooled in spools.items()})
    return [found[token] for token in sorted(found)]


def lines_of_parts(store: LogStore, parts: Parts) -> Iterator[bytes]:
    """The lines of a sealed log, which may be several objects."""
    for part in parts:
        yield from clean_lines(store.get(part["key"]))


def lines_of_piece(store: LogStore, piece: Piece, *, ended: bool = True) -> Iterator[bytes]:
    """The lines of one attempt; a gap between its segments shows as a line of its own."""
    if piece.spooled is not None:
        yield from clean_lines(piece.spooled, ended=ended)
        return
    for run, missing in _runs(piece.segments):
        if missing:
            yield marker("lines missing", at=None, bytes=missing)
        yield from clean_lines(chain.from_iterable(store.get(segment.key) for segment in run))


def is_sealed_by(parts: Parts, token: int | None) -> bool:
    """Whether this very token's owner sealed the log that these parts are."""
    names = (parse_sealed(part["key"]) for part in parts)
    return any(name is not None and name.token == token for name in names)


def _runs(segments: Iterable[Segment]) -> Iterator[tuple[list[Segment], int]]:
    """Runs of segments without a gap, each with the number of bytes missing before it."""
    run: list[Segment] = []
    end = missing = 0
    for segment in segments:
        if segment.offset > end:
            if run:
                yield run, missing
            run, missing = [], segment.offset - end
        if segment.offset >= end:  # a piece that overlaps was cut anew after a crash: its bytes are known
            run.append(segment)
            end = segment.offset + segment.length
    if run:
        yield run, missing
