"""Extractors at work: tasks out to a few processes, extracts back as they come, dead processes replaced.

A file may take so many seconds of processor time; then the kernel ends its process. Where a process makes no progress
at all for five times that, it is killed. A file that ended its process by its time, its memory or a crash is read
again as text, without parsing; where somebody else killed the process, it is first read once more as before. A file
that ends its process even without parsing is Skip.POISON. The other files of that process go on in its replacement.
"""

import hashlib
import select
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType

from worker.indexing.classify import Skip
from worker.indexing.handle import Handle, Job
from worker.indexing.nursery import Limits, Nursery
from worker.indexing.records import Extract, Task

BYTES_IN_FLIGHT = 1_000_000
"""Contents handed to one process and not answered yet: work for a quarter of a second, so that it need not wait."""
JOBS_IN_FLIGHT = 512
_CRASHES = frozenset(
    {signal.SIGPROF, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)
WORN_AFTER_BYTES = 32_000_000
"""An extractor that has read so much is replaced: tree-sitter's binding keeps every content that it parsed."""

STALLED_AFTER = 5  # times the seconds a file may take


class ExtractorPool:
    """Extractor processes that stay warm for the whole `with`. Call `preload` first; enter before secrets are read.

    `memory_bytes` is what one process may take beyond its start: the parser's error recovery can ask for all there is.
    """

    def __init__(self, processes: int, *, seconds_per_file: float = 2.0, memory_bytes: int = 512 << 20) -> None:
        self._processes = processes
        self._limits = Limits(seconds_per_file, memory_bytes)
        self._stalled_after = seconds_per_file * STALLED_AFTER
        self._handles: list[Handle] = []
        self._retries: deque[Job] = deque()

    def __enter__(self) -> "ExtractorPool":
        self._nursery = Nursery(self._limits)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        handles, self._handles = self._handles, []  # an extract() that is closed later finds nothing to close
        for handle in handles:
            handle.close()
        self._nursery.close()

    @property
    def pids(self) -> list[int]:
        """The processes that extract now."""
        self._fill()
        return [handle.pid for handle in self._handles]

    def extract(self, tasks: Iterable[Task]) -> Iterator[Extract]:
        """Read every task, taken as room comes up; extracts come in no order. One such call at a time."""
        source = iter(tasks)
        self._fill()
        try:
            while self._assign(source):
                for handle in self._ready():
                    yield from handle.collect()
                    if handle.is_dead:
                        yield from self._replace(handle, handle.fault)
                for handle in self._stalled():
                    yield from self._replace(handle, "it made no progress")
        finally:
            self._abandon()

    def _fill(self) -> None:
        """Fork the extractors when first there is work: a push that changes nothing needs none. The nursery that forks
        them has stood since the pool opened, so they hold as little of what came meanwhile.
        """
        if not self._handles:
            self._handles = [self._new_handle() for _ in range(self._processes)]

    def _assign(self, source: Iterator[Task]) -> bool:
        """Give the least busy process the next job until all have enough; false when nothing is left to wait for."""
        while True:
            handle = min(self._fresh(), key=lambda handle: handle.bytes_in_flight, default=None)
            if handle is None:
                break
            if handle.bytes_in_flight >= BYTES_IN_FLIGHT or len(handle.jobs) >= JOBS_IN_FLIGHT:
                break
            job = self._retries.popleft() if self._retries else _next_job(source)
            if job is None:
                break
            handle.give(job)
        return any(handle.jobs for handle in self._handles)

    def _fresh(self) -> list[Handle]:
        """Those that are not worn; a worn one without a job gives way to a new one."""
        for place, handle in enumerate(self._handles):
            if handle.bytes_answered >= WORN_AFTER_BYTES and not handle.jobs:
                handle.close()
                self._handles[place] = self._new_handle()
        return [handle for handle in self._handles if handle.bytes_answered < WORN_AFTER_BYTES]

    def _ready(self) -> list[Handle]:
        """Handles with something to read, after a wait; what can be written meanwhile is."""
        poll = select.poll()
        by_descriptor: dict[int, Handle] = {}
        for handle in self._handles:
            poll.register(handle.results, select.POLLIN)
            by_descriptor[handle.results] = handle
            if handle.wants_to_write:
                poll.register(handle.tasks, select.POLLOUT)
                by_descriptor[handle.tasks] = handle
        ready: list[Handle] = []
        for descriptor, _ in poll.poll(1_000 * min(self._stalled_after / 4, 1.0)):
            handle = by_descriptor[descriptor]
            if descriptor == handle.results:
                ready.append(handle)
            else:
                handle.write()
        return ready

    def _stalled(self) -> list[Handle]:
        """Processes that had work and gave no sign for too long, and give none now."""
        silent_since = time.monotonic() - self._stalled_after
        return [
            handle
            for handle in self._handles
            if handle.jobs and handle.heard_at < silent_since and not handle.is_readable()
        ]

    def _replace(self, handle: Handle, cause: str) -> Iterator[Extract]:
        """Bury a process and put another in its place; its first unanswered job is the one that it died of."""
        exit_code = handle.close()
        self._handles[self._handles.index(handle)] = self._new_handle()
        if handle.jobs:
            guilty = handle.jobs.popleft()
            self._retries.extend(handle.jobs)
            yield from self._judge(guilty, cause or _cause(exit_code), _is_own_fault(exit_code))

    def _new_handle(self) -> Handle:
        try:
            return Handle(self._nursery)
        except (BrokenPipeError, ConnectionResetError):
            # The nursery itself was killed, and its extractors with it.
            self._nursery.close()
            self._nursery = Nursery(self._limits)
            return Handle(self._nursery)

    def _judge(self, job: Job, cause: str, is_own_fault: bool) -> Iterator[Extract]:
        """Try again, with less; or give up on the file and say so."""
        job.deaths += 1
        job.cause = cause
        if not job.parse_it:
            yield _poison(job.task, cause)
            return
        if is_own_fault or job.deaths > 1:
            job.parse_it = False
        self._retries.appendleft(job)

    def _abandon(self) -> None:
        """Leave nothing of this call to the next one: a process with unanswered jobs is replaced."""
        self._retries.clear()
        for handle in [handle for handle in self._handles if handle.jobs]:
            handle.close()
            self._handles[self._handles.index(handle)] = self._new_handle()


def _next_job(source: Iterator[Task]) -> Job | None:
    task = next(source, None)
    return Job(task) if task is not None else None


def _is_own_fault(exit_code: int) -> bool:
    """Whether the file did it, and would again: its time, an exception, a crash (as C code out of memory does)."""
    return exit_code >= 0 or -exit_code in _CRASHES


def _cause(exit_code: int) -> str:
    if exit_code == -signal.SIGPROF:
        return "it took too long"
    if exit_code < 0:
        return f"its process was ended by {signal.Signals(-exit_code).name}"
    return f"its process ended with {exit_code}"


def _poison(task: Task, cause: str) -> Extract:
    digest = hashlib.sha256(task.content).digest()
    reason = f"Not read: {cause}, even without parsing."
    return Extract(task.oid, task.lang, Skip.POISON, len(task.content), digest, 0, 0, None, (), (), reason)
