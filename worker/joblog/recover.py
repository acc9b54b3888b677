"""What killed workers of this machine left behind."""

from collections.abc import Iterator

from worker.joblog.identity import LogIdentity
from worker.joblog.spool import Spool


def leftovers(spool: Spool) -> Iterator[LogIdentity]:
    """Attempts whose spool no process writes any more; each is ours alone while the caller's loop body runs."""
    spool.remove_orphans()
    for identity in spool.identities():
        with spool.claim(identity) as ours:
            if ours:
                yield identity
