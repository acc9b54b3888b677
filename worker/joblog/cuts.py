"""Which bytes of a spool are which segment: frozen on disk before the first upload, and never cut anew."""

from collections import deque
from pathlib import Path

from worker.joblog.identity import LogIdentity, Segment, parse_segment
from worker.joblog.spool import LONGEST_LINE, Spool

SEGMENT_BYTES = 8 * 1024 * 1024
LEAST_BYTES = 2 * LONGEST_LINE
"""A store that refuses even this as too large is not tried with less."""


class Cuts:
    """The segments of one spool in order: those that wait for their upload, and the next one to be cut."""

    def __init__(self, spool: Spool, identity: LogIdentity, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Take up where the last process, perhaps a killed one, stopped."""
        self._spool = spool
        self._identity = identity
        self.most = segment_bytes
        frozen = _chain(spool.noted_keys(identity), identity)
        uploaded = spool.uploaded_keys(identity)
        self.waiting = deque(segment for segment in frozen if segment.key not in uploaded)
        self.count = len(frozen)
        self.end = frozen[-1].offset + frozen[-1].length if frozen else 0

    @property
    def size(self) -> int:
        """Bytes of the spool as it is now."""
        return _size(self._spool.path(self._identity))

    def freeze(self, *, ended: bool) -> Segment | None:
        """Cut the next segment at a line's end; None while there is none. `ended`: nobody writes any more."""
        length = _next_length(self._spool.path(self._identity), self.end, self.most, ended=ended)
        if not length:
            return None
        key = self._identity.segment_key(self.count, self.end, length)
        self._spool.freeze(self._identity, key)
        segment = parse_segment(key)
        assert segment is not None
        self.waiting.append(segment)
        self.count, self.end = self.count + 1, self.end + length
        return segment

    def cut_smaller(self) -> bool:
        """The store takes no segment as large as the first that waits: what waits is cut anew. False: it was small."""
        first = self.waiting[0]
        if first.length // 2 < LEAST_BYTES:
            return False
        self._spool.withdraw(self._identity, [segment.key for segment in self.waiting])
        self.waiting.clear()
        self.most, self.count, self.end = first.length // 2, first.seq, first.offset
        return True

    def data(self, segment: Segment) -> bytes:
        """A segment's bytes."""
        return _slice(self._spool.path(self._identity), segment.offset, segment.length)

    def is_uploaded(self, segment: Segment) -> None:
        """The store has the first of those that wait."""
        assert self.waiting[0] == segment
        self._spool.note_uploaded(self._identity, segment.key)
        self.waiting.popleft()


def _chain(keys: list[str], identity: LogIdentity) -> list[Segment]:
    """This attempt's own segments, as far as they follow each other."""
    chain: list[Segment] = []
    end = 0
    for segment in map(parse_segment, keys):
        is_next = segment is not None and segment.token == identity.token and segment.job_id == identity.job_id
        if segment is not None and is_next and (segment.seq, segment.offset) == (len(chain), end):
            chain.append(segment)
            end += segment.length
    return chain


def _next_length(path: Path, offset: int, most: int, *, ended: bool) -> int:
    left = _size(path) - offset
    length = min(most, left)
    if length <= 0 or (ended and length == left):
        return max(length, 0)
    tail_bytes = min(length, 2 * LONGEST_LINE)
    tail = _slice(path, offset + length - tail_bytes, tail_bytes)
    beyond = len(tail) - tail.rfind(b"\n") - 1
    if beyond < len(tail):
        return length - beyond
    return length if length == most else 0  # no line end at all: a damaged file goes as it is, a young one waits


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _slice(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
