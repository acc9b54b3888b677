"""Everything that a job's log consists of before it is sealed, in the order of its lines."""

import json
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


ENDINGS = frozenset(
    ["complete", "retry", "snooze", "crash", "fail", "cancel", "release", "rescue", "supersede", "lost"]
)
"""Events of an attempt's last line, which its worker writes."""

CUT_OFF = "log cut off"


@dataclass(frozen=True, slots=True)
class Piece:
    """The lines of one attempt from some byte on: of its spool, or of its uploaded segments."""

    token: int
    start: int = 0
    segments: tuple[Segment, ...] = ()
    spooled: Iterable[bytes] | None = None  # the spool from `start` on: it holds what its segments hold, and more
    spooled_bytes: int = 0

    @property
    def end(self) -> int:
        """The byte of the attempt's spool with which this piece ends."""
        return self.start + self.spooled_bytes if self.spooled is not None else _end_of(self.segments, self.start)


def segments_of(store: LogStore, job_id: UUID, created_at: datetime) -> list[Segment]:
    """All segments of a job in the store, in order of attempt and piece."""
    names = (parse_segment(key) for key, _ in store.list(live_prefix(job_id, created_at)))
    return sorted((name for name in names if name is not None), key=_order)


def _order(segment: Segment) -> tuple[int, int, int]:
    return segment.token, segment.offset, -segment.length


def pieces(
    segments: Iterable[Segment], spools: Mapping[int, Piece], covered: Mapping[int, int] | None = None
) -> list[Piece]:
    """The attempts in order, each from its spool where there is one, else from its segments.

    `covered`: up to which byte each attempt is in the sealed log already; only what lies behind counts.
    """
    done = covered or {}
    found = {
        token: Piece(token, done.get(token, 0), segments=tuple(group))
        for token, group in groupby(segments, lambda segment: segment.token)
    }
    found.update(spools)
    return [piece for token, piece in sorted(found.items()) if piece.end > done.get(token, 0)]


def covered_by(parts: Parts) -> dict[int, int]:
    """Token → up to which byte of its spool an attempt is in the sealed log of these parts."""
    covers: dict[int, int] = {}
    for part in parts:
        for token, end in (part.get("covers") or {}).items():
            covers[int(token)] = max(int(end), covers.get(int(token), 0))
    return covers


def lines_of_parts(store: LogStore, parts: Parts) -> Iterator[bytes]:
    """The lines of a sealed log, which may be several objects."""
    for part in parts:
        yield from clean_lines(store.get(part["key"]))


def lines_of_piece(store: LogStore, piece: Piece, *, ended: bool = True) -> Iterator[bytes]:
    """The lines of one attempt; a gap between its segments, and an end without a last word, show as lines.

    Without `ended` the attempt may still run.
    """
    last = b""
    for line in _lines_of_piece(store, piece, ended=ended):
        yield line
        last = line
    if ended and last and not is_ending(last):
        yield marker(CUT_OFF, at=json.loads(last).get("at"), reason="the attempt's worker or machine was lost")


def is_ending(line: bytes) -> bool:
    """Whether the attempt's worker wrote this as the attempt's last line."""
    facts = json.loads(line)
    return facts.get("source") == "worker" and facts.get("event") in ENDINGS


def is_sealed_by(parts: Parts, token: int | None) -> bool:
    """Whether this very token's owner sealed the log that these parts are."""
    names = (parse_sealed(part["key"]) for part in parts)
    return any(name is not None and name.token == token for name in names)


def _lines_of_piece(store: LogStore, piece: Piece, *, ended: bool) -> Iterator[bytes]:
    if piece.spooled is not None:
        yield from clean_lines(piece.spooled, ended=ended)
        return
    for run, missing in _runs(piece.segments, piece.start):
        if missing:
            yield marker("lines missing", at=None, bytes=missing)
        yield from clean_lines(chain.from_iterable(store.get(segment.key, start) for segment, start in run))


def _runs(segments: Iterable[Segment], end: int) -> Iterator[tuple[list[tuple[Segment, int]], int]]:
    """Runs of segments without a gap, each with the number of bytes missing before it.

    Of a segment that overlaps what comes before it, cut anew after a crash, only the rest counts: from that byte on.
    """
    run: list[tuple[Segment, int]] = []
    missing = 0
    for segment in segments:
        if segment.offset + segment.length <= end:
            continue
        if segment.offset > end:
            if run:
                yield run, missing
            run, missing = [], segment.offset - end
        run.append((segment, max(end - segment.offset, 0)))
        end = segment.offset + segment.length
    if run:
        yield run, missing


def _end_of(segments: Iterable[Segment], start: int) -> int:
    return max([start, *(segment.offset + segment.length for segment in segments)])
