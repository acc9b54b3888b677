"""The caller's hold on one extractor process: its pipes, the jobs it has, and what it answered."""

import contextlib
import dataclasses
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from worker.indexing.nursery import Nursery
from worker.indexing.records import Extract, Task
from worker.indexing.wire import LENGTH, pack_task, unpack_extract

_PIPE_BYTES = 1 << 20  # most an unprivileged process may ask for: room for results while the caller is elsewhere
_MAX_ANSWER = 256 << 20


@dataclass(slots=True, eq=False)
class Job:
    """A task and what became of it so far."""

    task: Task
    parse_it: bool = True
    deaths: int = 0
    cause: str = ""


class Handle:
    """One extractor process. Its pipes never block the caller."""

    def __init__(self, nursery: Nursery) -> None:
        self.jobs: deque[Job] = deque()
        self.bytes_in_flight = 0
        self.bytes_answered = 0
        self.heard_at = time.monotonic()
        self.is_dead = False
        self.fault = ""
        self._outbox = bytearray()
        self._inbox = bytearray()
        self._nursery = nursery
        theirs_tasks, self.tasks = _pipe()
        self.results, theirs_results = _pipe()
        os.set_blocking(self.tasks, False)
        os.set_blocking(self.results, False)
        try:
            self.pid = nursery.fork(theirs_tasks, theirs_results)
        except BaseException:
            os.close(self.tasks)
            os.close(self.results)
            raise
        finally:
            os.close(theirs_tasks)
            os.close(theirs_results)

    def give(self, job: Job) -> None:
        """Hand over a job; it counts as in flight until it is answered."""
        if not self.jobs:
            self.heard_at = time.monotonic()
        self.jobs.append(job)
        self.bytes_in_flight += len(job.task.content)
        self._outbox += pack_task(job.task, job.parse_it)
        self.write()

    @property
    def wants_to_write(self) -> bool:
        """Whether there is more for the process than its pipe could take."""
        return bool(self._outbox)

    def write(self) -> None:
        """Write what the pipe takes. A closed pipe says nothing: the end of the results tells of a death."""
        try:
            written = os.write(self.tasks, self._outbox)
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._outbox)
        del self._outbox[:written]

    def collect(self) -> Iterator[Extract]:
        """Read once, and answer every job that is complete now. What makes no sense ends the process: it is dead to us,
        and what it said is the `fault`.
        """
        try:
            data = os.read(self.results, _PIPE_BYTES)
        except BlockingIOError:
            return
        self.is_dead = not data
        self.heard_at = time.monotonic()
        self._inbox += data
        while self.jobs and (body := self._frame()) is not None:
            try:
                extract = unpack_extract(body, self.jobs[0].task)
            except (ValueError, TypeError, KeyError, EOFError):
                self._is_mad()
                return
            job = self.jobs.popleft()
            self.bytes_in_flight -= len(job.task.content)
            self.bytes_answered += len(job.task.content)
            yield _with_cause(extract, job)

    def is_readable(self) -> bool:
        """Whether something has come in that `collect` has not seen."""
        poll = select.poll()
        poll.register(self.results, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> int:
        """End the process and answer its exit code, negative for a signal. The jobs stay for the caller to see."""
        os.close(self.tasks)
        os.close(self.results)
        try:
            return self._nursery.bury(self.pid)
        except OSError:  # the nursery was killed, and this process with it
            return -signal.SIGKILL

    def _is_mad(self) -> None:
        self.is_dead, self.fault = True, "its process sent what is no answer"

    def _frame(self) -> bytes | None:
        if len(self._inbox) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack_from(self._inbox)
        if size > _MAX_ANSWER:
            self._is_mad()
            return None
        end = LENGTH.size + size
        if len(self._inbox) < end:
            return None
        body = bytes(memoryview(self._inbox)[LENGTH.size : end])
        del self._inbox[:end]
        return body


def _with_cause(extract: Extract, job: Job) -> Extract:
    if job.parse_it:
        return extract
    reason = f"Not parsed: {job.cause}; the text is searchable, its symbols are not known."
    return dataclasses.replace(extract, reason=reason) if extract.content is not None else extract


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read, write
