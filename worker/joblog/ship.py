"""An attempt has ended but its job goes on: its spool becomes segments in the store, for whoever seals the log."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from worker.errors import LogStoreError
from worker.joblog.identity import LogIdentity
from worker.joblog.spool import LONGEST_LINE, Spool
from worker.joblog.store import LogStore

SEGMENT_BYTES = 8 * 1024 * 1024

Step = Callable[[str], None]


def no_step(_: str) -> None:
    """Take no notice of a step."""


def ship(
    store: LogStore, spool: Spool, identity: LogIdentity, *, step: Step = no_step, segment_bytes: int = SEGMENT_BYTES
) -> int:
    """Upload the spool as segments, then delete it; answers how many. After a crash at any step, call it again.

    The cut depends on the spool alone, which no longer grows: a repetition puts the same bytes under the same keys.
    """
    with local_failures("shipping a log"):
        cuts = list(_cuts(spool.path(identity), segment_bytes))
        keys = [identity.segment_key(seq, offset, length) for seq, (offset, length) in enumerate(cuts)]
        if keys:
            spool.note_keys(identity, keys)
        step("noted")
        for key, (offset, length) in zip(keys, cuts, strict=True):
            store.put(key, _slice(spool.path(identity), offset, length))
            step("put")
        spool.remove(identity)
        step("removed")
        return len(keys)


@contextlib.contextmanager
def local_failures(doing: str) -> Iterator[None]:
    """Failures of the spool's disk are LogStoreErrors to the caller: nothing is lost, call again later."""
    try:
        yield
    except OSError as failure:
        raise LogStoreError(
            f"The spool's disk failed at {doing}: {failure.strerror or failure}.",
            retryable=True,
            hint="Check that WORKER_STATE_DIR is writable and has room.",
        ) from failure


def _cuts(path: Path, most: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each segment: at line ends, and at most so many bytes."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    offset = 0
    while offset < size:
        length = min(most, size - offset)
        if offset + length < size:
            tail_bytes = min(length, 2 * LONGEST_LINE)
            tail = _slice(path, offset + length - tail_bytes, tail_bytes)
            length -= (len(tail) - tail.rfind(b"\n") - 1) % len(tail)  # without any line end: not at all
        yield offset, length
        offset += length


def _slice(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
