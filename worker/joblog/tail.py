"""Following a log: each line once, from the first to the last, while it moves from spools to segments to one object.

A reader remembers up to which byte of each attempt's spool it has read; segments have the spool's offsets, so that it
goes on in either. In a sealed log it goes on by counting the lines of each attempt.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from worker.errors import LogStoreError, NotFound
from worker.joblog.clean import LONGEST_REST, clean_lines, marker
from worker.joblog.identity import LogIdentity, Segment
from worker.joblog.read import LogPlace
from worker.joblog.sources import CUT_OFF, Parts, covered_by, is_ending, is_sealed_by, lines_of_parts, segments_of
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore

SECONDS_BETWEEN_LISTINGS = 2.0
"""How often the store is asked for segments of an attempt that runs elsewhere."""

SECONDS_AFTER_TROUBLE = 2.0
"""How soon a database or a store that did not answer is asked again."""


@dataclass(frozen=True, slots=True)
class LogState:
    """What the job's row says of its log: log_parts, log_token, and whether no line will come any more."""

    parts: Parts
    token: int | None
    finished: bool


def follow(
    store: LogStore,
    spool: Spool | None,
    *,
    job_id: UUID,
    created_at: datetime,
    state: Callable[[], LogState],
    poll: float = 0.5,
    wait: Callable[[float], Any] = time.sleep,
    passing: tuple[type[Exception], ...] = (LogStoreError,),
    on_trouble: Callable[[Exception, bool], None] = lambda _failure, _is_first: None,
) -> Iterator[bytes]:
    """The log's lines so far, then each new one, until `state` says that it is finished and the rest is read.

    Failures of these `passing` kinds are waited out however long they last: of `state` always, of the store after a
    first look that went well. `on_trouble` learns of each, and whether it is the first in a row.
    """
    tail = _Tail(LogPlace(store, spool, job_id, created_at))
    has_looked, is_well = False, True
    while True:
        now: LogState | None = None
        try:
            now = state()
            try:
                yield from tail.news(now)
            except NotFound:
                if state() == now:
                    raise  # not sealed meanwhile, but gone
                continue
        except passing as failure:
            if now is not None and not has_looked:
                raise
            on_trouble(failure, is_well)
            is_well = False
            wait(SECONDS_AFTER_TROUBLE)
            continue
        has_looked = is_well = True
        if now.finished:
            return
        wait(poll)


class _Tail:
    """How far one reader has come."""

    def __init__(self, place: LogPlace) -> None:
        self._place = place
        self._state: LogState | None = None
        self._parts: Parts = ()
        self._offsets: dict[int, int] = {}  # by token: bytes of the spool that were read
        self._counts: Counter[int] = Counter()  # by attempt: lines given
        self._cuts = 0  # marks of attempts without an end, given from sealed logs
        self._last: dict[int, bytes] = {}  # by token: the last line given
        self._attempt = 0
        self._spooled: set[int] = set()
        self._listed_at = float("-inf")

    def news(self, now: LogState) -> Iterator[bytes]:
        """The lines that are new since the last call."""
        if list(now.parts) != list(self._parts):
            yield from self._sealed(now.parts)
        if not is_sealed_by(now.parts, now.token):
            yield from self._pieces(now)
        if now.finished:
            yield from self._without_an_end()
        self._state = now

    def _sealed(self, parts: Parts) -> Iterator[bytes]:
        covered = covered_by(parts)
        if not covered or any(self._offsets.get(token, 0) < end for token, end in covered.items()):
            yield from self._unseen(parts)
            for token, end in covered.items():
                self._offsets[token] = max(end, self._offsets.get(token, 0))
                self._last.pop(token, None)
        self._parts = list(parts)

    def _unseen(self, parts: Parts) -> Iterator[bytes]:
        passed: Counter[int] = Counter()
        cuts = 0
        self._attempt = 0
        for line in lines_of_parts(self._place.store, parts):
            self._attempt = _attempt_of(line, self._attempt)
            if _is_cut_off(line):
                cuts += 1
                if cuts > self._cuts:
                    self._cuts += 1
                    yield line
                continue
            passed[self._attempt] += 1
            if passed[self._attempt] > self._counts[self._attempt]:
                self._counts[self._attempt] += 1
                yield line

    def _pieces(self, now: LogState) -> Iterator[bytes]:
        # Spools before segments: a spool is deleted only when its segments are there.
        spools = self._spools()
        segments = self._segments(now, spools)
        covered = covered_by(now.parts)
        for token in sorted({*spools, *segments}):
            self._offsets[token] = max(self._offsets.get(token, 0), covered.get(token, 0))
            if token in spools:
                yield from self._of_spool(spools[token])
            else:
                yield from self._of_segments(segments[token])

    def _spools(self) -> dict[int, LogIdentity]:
        spool = self._place.spool
        found = spool.identities(self._place.job_id) if spool is not None else []
        return {identity.token: identity for identity in found}

    def _segments(self, now: LogState, spools: dict[int, LogIdentity]) -> dict[int, list[Segment]]:
        """By token; nothing if it is not yet time to ask."""
        is_elsewhere = now.token not in spools and time.monotonic() - self._listed_at >= SECONDS_BETWEEN_LISTINGS
        if not (is_elsewhere or now != self._state or set(spools) != self._spooled):
            return {}
        found: dict[int, list[Segment]] = {}
        for segment in segments_of(self._place.store, self._place.job_id, self._place.created_at):
            found.setdefault(segment.token, []).append(segment)
        self._listed_at, self._spooled = time.monotonic(), set(spools)
        return found

    def _of_spool(self, identity: LogIdentity) -> Iterator[bytes]:
        """Whole lines only: what follows the last newline is a line in the making."""
        assert self._place.spool is not None
        rest = b""
        for chunk in self._place.spool.read(identity, start=self._offsets[identity.token]):
            whole, newline, begun = (rest + chunk).rpartition(b"\n")
            if not newline and len(begun) < LONGEST_REST:
                rest = begun
                continue
            rest = begun if newline else b""
            yield from self._given(identity.token, whole + newline if newline else begun)

    def _of_segments(self, segments: list[Segment]) -> Iterator[bytes]:
        for segment in segments:
            start = self._offsets[segment.token]
            if segment.offset + segment.length <= start:
                continue
            data = b"".join(self._place.store.get(segment.key, max(start - segment.offset, 0)))
            if segment.offset > start:
                yield marker("lines missing", at=None, bytes=segment.offset - start)
                self._offsets[segment.token] = segment.offset
            yield from self._given(segment.token, data)

    def _given(self, token: int, data: bytes) -> Iterator[bytes]:
        self._offsets[token] += len(data)
        for line in clean_lines([data]):
            self._attempt = _attempt_of(line, self._attempt)
            self._counts[self._attempt] += 1
            self._last[token] = line
            yield line

    def _without_an_end(self) -> Iterator[bytes]:
        for token, line in sorted(self._last.items()):
            if not is_ending(line):
                reason = "the attempt's worker or machine was lost"
                yield marker(CUT_OFF, at=json.loads(line).get("at"), token=token, reason=reason)


def _attempt_of(line: bytes, before: int) -> int:
    attempt = json.loads(line).get("attempt", before)
    return attempt if isinstance(attempt, int) else before


def _is_cut_off(line: bytes) -> bool:
    facts = json.loads(line)
    return facts.get("source") == "joblog" and facts.get("event") == CUT_OFF
