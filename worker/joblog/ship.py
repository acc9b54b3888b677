"""An attempt has ended but its job goes on: its spool becomes segments in the store, for whoever seals the log."""

import contextlib
from collections.abc import Callable, Iterator

from worker.errors import ObjectTooLarge, SpoolError
from worker.joblog.cuts import SEGMENT_BYTES, Cuts
from worker.joblog.identity import LogIdentity
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore

Step = Callable[[str], None]


def no_step(_: str) -> None:
    """Take no notice of a step."""


def ship(
    store: LogStore, spool: Spool, identity: LogIdentity, *, step: Step = no_step, segment_bytes: int = SEGMENT_BYTES
) -> int:
    """Upload what is left of the spool, then delete it; answers how many segments the attempt has in all.

    After a crash at any step, call it again.
    """
    count = upload(store, spool, identity, step=step, segment_bytes=segment_bytes)
    with local_failures("shipping a log"):
        spool.remove(identity)
    step("removed")
    return count


def is_all_uploaded(spool: Spool, identity: LogIdentity) -> bool:
    """Whether `upload` would find nothing to do."""
    with local_failures("shipping a log"):
        cuts = Cuts(spool, identity)
        return not cuts.waiting and cuts.size <= cuts.end


def upload(
    store: LogStore,
    spool: Spool,
    identity: LogIdentity,
    *,
    on_sent: Callable[[int], None] = lambda _: None,
    step: Step = no_step,
    segment_bytes: int = SEGMENT_BYTES,
) -> int:
    """Upload what the store does not have yet of a spool that nobody writes any more; the spool stays.

    `on_sent` learns the bytes of each segment that the store has taken. Answers how many the attempt has in all.
    """
    with local_failures("shipping a log"):
        cuts = Cuts(spool, identity, segment_bytes)
        while cuts.waiting or cuts.freeze(ended=True):
            segment = cuts.waiting[0]
            step("noted")
            try:
                store.put(segment.key, cuts.data(segment))
            except ObjectTooLarge:
                if not cuts.cut_smaller():
                    raise
                continue
            step("put")
            cuts.is_uploaded(segment)
            on_sent(segment.length)
        return cuts.count


@contextlib.contextmanager
def local_failures(doing: str) -> Iterator[None]:
    """Failures of the spool's disk are SpoolErrors to the caller: nothing is lost, call again later."""
    try:
        yield
    except OSError as failure:
        raise SpoolError(f"The spool's disk failed at {doing}: {failure.strerror or failure}.") from failure
