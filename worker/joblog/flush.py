"""The flusher: while attempts run, what they log goes to the store before it is old.

One thread looks at the sizes of all running attempts' spools; a few others, shared, upload. A byte is uploaded when it
has waited for `age_seconds`, or when there are `segment_bytes` of them. Memory holds a few segments at most, whatever
the number of attempts and however long the store is away: what waits stays in the spool.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future

from worker import metrics
from worker.errors import LogStoreError, ObjectTooLarge, SpoolError
from worker.joblog.cuts import SEGMENT_BYTES, Cuts
from worker.joblog.health import LONGEST_PAUSE, NotCalled, StoreHealth
from worker.joblog.identity import LogIdentity, Segment
from worker.joblog.room import DROPPED, dropped_by
from worker.joblog.ship import local_failures
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore
from worker.logging import get_logger

LOOKS_AN_AGE = 30
LARGE_BYTES = 1024 * 1024
MOST_LARGE_AT_ONCE = 2


class Flusher:
    """Uploads the spools of running attempts, each from `watch` to `let_go`."""

    def __init__(
        self,
        store: LogStore,
        spool: Spool,
        executor: Executor,
        health: StoreHealth,
        *,
        age_seconds: float,
        segment_bytes: int = SEGMENT_BYTES,
        on_look: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_look` is called at each look, in the looking thread."""
        self.age_seconds = age_seconds
        self._store = store
        self._spool = spool
        self._executor = executor
        self._health = health
        self._segment_bytes = segment_bytes
        self._on_look = on_look
        self._clock = clock
        self._lock = threading.Lock()
        self._watched: dict[int, _Watched] = {}
        self._large = threading.BoundedSemaphore(MOST_LARGE_AT_ONCE)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._run, name="log flusher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; uploads under way go on."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(5)

    def watch(self, identity: LogIdentity) -> None:
        """An attempt begins to log."""
        with self._lock:
            self._watched[identity.token] = _Watched(identity, self._clock())

    def let_go(self, identity: LogIdentity) -> Future[None] | None:
        """Upload no more of this attempt; what is answered ends when an upload under way has ended.

        Its lines go on counting as waiting until `forget`.
        """
        with self._lock:
            watched = self._watched.get(identity.token)
            if watched is None:
                return None
            watched.is_let_go = True
            upload = watched.upload
        return None if upload is None or upload.cancel() else upload

    def forget(self, identity: LogIdentity) -> None:
        """All of this attempt is in the store."""
        with self._lock:
            self._watched.pop(identity.token, None)

    def count_rest(self, identity: LogIdentity) -> None:
        """Count what was logged since the last segment: the attempt has ended, and its spool will go."""
        with self._lock:
            watched = self._watched.get(identity.token)
        if watched is not None:
            self._count_bytes(watched, self._spool.size(identity))
            for data in self._spool.read(identity, start=watched.end):
                _count_lines(data)

    def look(self) -> None:
        """Look once at every spool, and begin the uploads that are due."""
        now = self._clock()
        with self._lock:
            watched = list(self._watched.values())
        for one in watched:
            self._count_bytes(one, self._spool.size(one.identity))
            if one.upload is None:
                one.note_growth(now)
                if self._is_due(one, now):
                    self._begin(one)
            if one.is_let_go and self._spool.size(one.identity) == 0:
                self.forget(one.identity)  # another process of this machine has brought it where it belongs
        metrics.log_waiting(max((now - one.oldest for one in watched if one.oldest is not None), default=0.0))
        self._on_look()

    def _run(self) -> None:
        pause = min(max(self.age_seconds / LOOKS_AN_AGE, 0.02), 0.5)
        while not self._stopped.wait(pause):
            try:
                self.look()
            except Exception:  # without this thread no log leaves the machine
                get_logger().exception("looking at the spools failed")

    def _count_bytes(self, watched: "_Watched", size: int) -> None:
        metrics.log_written(max(size - watched.size, 0))
        watched.size = max(size, watched.size)

    def _is_due(self, watched: "_Watched", now: float) -> bool:
        if watched.is_let_go or now < watched.not_before or not self._health.may_try:
            return False
        if watched.frozen_since is not None:
            return True
        is_old = watched.growing_since is not None and now - watched.growing_since >= self.age_seconds
        return is_old or watched.size - watched.end >= self._segment_bytes

    def _begin(self, watched: "_Watched") -> None:
        with self._lock:
            if watched.is_let_go:
                return
            upload = watched.upload = self._executor.submit(self._upload, watched)
        upload.add_done_callback(lambda _: watched.ended())

    def _upload(self, watched: "_Watched") -> None:
        try:
            with self._health.call() as may_call:
                if may_call and not self._upload_due(watched):
                    raise NotCalled
        except SpoolError as failure:  # not the store's fault, and not every log's
            watched.not_before = self._clock() + self.age_seconds
            get_logger().warning("a log is not flushed", job=str(watched.identity.job_id), reason=str(failure))
        except ObjectTooLarge:
            watched.not_before = self._clock() + LONGEST_PAUSE  # of no use soon; sealing goes by smaller objects
        except LogStoreError:
            pass  # said by its health, which also knows when to try again
        except Exception:
            watched.not_before = self._clock() + self.age_seconds
            get_logger().exception("flushing a log failed", job=str(watched.identity.job_id))

    def _upload_due(self, watched: "_Watched") -> bool:
        """What is due now, and on while there are whole segments: after an outage there may be many. False: nothing
        was sent.
        """
        with local_failures("flushing a log"):
            cuts = watched.cuts = watched.cuts or Cuts(self._spool, watched.identity, self._segment_bytes)
        has_sent = False
        while cuts.waiting or self._freeze(watched, cuts):
            if not self._send(watched, cuts, cuts.waiting[0]):
                break
            has_sent = True
            # Where segments must be small, what was behind the first one is as old as it.
            is_rest_young = cuts.most == self._segment_bytes and cuts.size - cuts.end < cuts.most
            if watched.is_let_go or is_rest_young:
                break
        return has_sent

    def _freeze(self, watched: "_Watched", cuts: Cuts) -> bool:
        with local_failures("flushing a log"):
            is_cut = cuts.freeze(ended=False) is not None
            since = watched.growing_since
            is_more = cuts.size > cuts.end
        watched.growing_since = watched.looked_at if is_more else None
        if is_cut:
            watched.end = cuts.end
            watched.frozen_since = since if since is not None else watched.looked_at
        return is_cut

    def _send(self, watched: "_Watched", cuts: Cuts, segment: Segment) -> bool:
        """Upload one segment; False if there are too many large ones in memory already."""
        is_large = segment.length > LARGE_BYTES
        if is_large and not self._large.acquire(blocking=False):
            return False
        try:
            with local_failures("flushing a log"):
                data = cuts.data(segment)
            self._store.put(segment.key, data)
        except ObjectTooLarge:
            with local_failures("flushing a log"):
                if not cuts.cut_smaller():
                    raise
            watched.is_cut_anew(cuts.end)
            return True
        finally:
            if is_large:
                self._large.release()
        with local_failures("flushing a log"):
            cuts.is_uploaded(segment)
        since, watched.frozen_since = watched.frozen_since, None
        metrics.log_stored(segment.length)
        metrics.log_flushed(self._clock() - since if since is not None else 0.0)
        _count_lines(data)
        return True


def _count_lines(data: bytes) -> None:
    """A line of the spool is framed by two newlines."""
    metrics.log_lines((data.count(b"\n") + 1) // 2)
    if DROPPED in data:
        for line in data.split(b"\n"):
            if DROPPED in line:
                metrics.log_dropped(dropped_by(line))


class _Watched:
    """One running attempt's spool. Times are the clock's; the looking thread and one upload share it."""

    __slots__ = (
        "cuts", "end", "frozen_since", "growing_since", "identity", "is_let_go", "looked_at", "not_before", "size",
        "upload",
    )  # fmt: skip

    def __init__(self, identity: LogIdentity, now: float) -> None:
        self.identity = identity
        self.size = 0  # bytes seen
        self.end = 0  # bytes frozen
        self.looked_at = now
        self.growing_since: float | None = None  # age of the oldest byte behind `end`
        self.frozen_since: float | None = None  # age of the oldest byte of the segment that waits
        self.not_before = 0.0
        self.cuts: Cuts | None = None
        self.upload: Future[None] | None = None
        self.is_let_go = False

    def note_growth(self, now: float) -> None:
        """Called between uploads only: meanwhile the cut moves."""
        if self.size > self.end and self.growing_since is None:
            self.growing_since = self.looked_at  # it may have come right after the last look
        self.looked_at = now

    def is_cut_anew(self, end: int) -> None:
        """What was frozen behind `end` is not any more."""
        self.end = end
        self.growing_since, self.frozen_since = self.frozen_since, None

    def ended(self) -> None:
        """The upload has."""
        self.upload = None

    @property
    def oldest(self) -> float | None:
        """When the oldest byte was written that the store does not have."""
        return self.frozen_since if self.frozen_since is not None else self.growing_since
