"""One attempt of one job, seen from the parent: start the child, listen, stop it when told, and say how it ended."""

import asyncio
import json
import signal
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from worker import metrics
from worker.errors import ChildCrashed, OutOfMemory, TimedOut
from worker.job import Ending, GitToken, Job, Outcome
from worker.runtime.channel import LONGEST_MESSAGE
from worker.runtime.launch import Child
from worker.runtime.verdict import crashed, outcome_of, to_retry

Message = dict[str, Any]
ANSWERS = ("done", "published", "failed", "lost")


class Stop(StrEnum):
    """Why a running attempt was stopped from outside; also the reason label of child_kills_total."""

    CANCEL = "cancel"
    RELEASE = "release"
    LOST = "lost"
    TIME = "time"
    MEMORY = "memory"


class Attempt:
    """A running attempt. `stop` may be called from any thread, at any moment, any number of times."""

    def __init__(
        self,
        job: Job,
        launch: Callable[[GitToken | None], Child],
        *,
        timeout_seconds: float,
        first_backoff: float,
        on_message: Callable[[Message], None],
    ) -> None:
        self.job = job
        self.stopped: Stop | None = None
        self.timeout_seconds = timeout_seconds
        self.git_token: GitToken | None = None  # to be set before `run`
        self._launch = launch
        self._first_backoff = first_backoff
        self._on_message = on_message
        self._lock = threading.Lock()
        self._child: Child | None = None

    @property
    def session(self) -> int | None:
        """The session of the attempt's processes, once there is one."""
        child = self._child
        return child.pid if child else None

    def stop(self, reason: Stop) -> None:
        """Kill the attempt's whole process tree; the first reason counts."""
        with self._lock:
            self.stopped = self.stopped or reason
            child = self._child
        if child is not None:
            metrics.child_killed(str(reason))
            child.kill()

    async def run(self) -> Outcome:
        """Run to the end, whatever that is; raises only when no child could be started."""
        child = await asyncio.to_thread(self._start)
        answer: Message | None = None
        try:
            async with asyncio.timeout(self.timeout_seconds):
                answer = await self._listen(child)
        except TimeoutError:
            await asyncio.to_thread(self.stop, Stop.TIME)
        finally:
            exit_code = await asyncio.to_thread(self._end, child, answer)
        return self._outcome(answer, exit_code)

    def _start(self) -> Child:
        child = self._launch(self.git_token)
        with self._lock:
            self._child = child
            stopped = self.stopped
        if stopped is not None:
            child.kill()
        return child

    def _end(self, child: Child, answer: Message | None) -> int | None:
        """Whatever the child still has running ends with its answer."""
        exit_code = child.exit_code(1.0) if answer is None and self.stopped is None else None
        with self._lock:
            self._child = None
        child.close()
        return exit_code

    async def _listen(self, child: Child) -> Message | None:
        """Pass messages on until the answer; None when the child ended without one."""
        reader, writer = await asyncio.open_unix_connection(sock=child.channel.dup(), limit=LONGEST_MESSAGE)
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if message.get("kind") in ANSWERS:
                    return message
                self._on_message(message)
        except (ValueError, ConnectionError):  # cut off in the middle of a line, or not a line of ours
            return None
        finally:
            writer.close()
        return None

    def _outcome(self, answer: Message | None, exit_code: int | None) -> Outcome:
        if answer is not None:
            return outcome_of(answer, self.job, first_backoff=self._first_backoff)
        match self.stopped:
            case Stop.CANCEL:
                return Outcome(Ending.CANCEL)
            case Stop.RELEASE:
                return Outcome(Ending.RELEASE, message="the worker is shutting down")
            case Stop.LOST:
                return Outcome(Ending.LOST)
            case Stop.TIME:
                sentence = f"The attempt ran into its time limit of {self.timeout_seconds:g} s and was killed."
                return to_retry(self.job, TimedOut.code, sentence, self._first_backoff)
            case Stop.MEMORY:
                sentence = "The attempt went over its memory limit and was killed."
                return crashed(self.job, OutOfMemory.code, sentence, self._first_backoff)
            case None:
                sentence = f"The attempt's process died without an answer{_how(exit_code)}."
                return crashed(self.job, ChildCrashed.code, sentence, self._first_backoff)


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return ""
    if exit_code == -signal.SIGKILL:
        return " (killed with SIGKILL: by hand, or by a system short of memory)"
    if exit_code < 0:
        return f" (killed by {signal.Signals(-exit_code).name})"
    return f" (exit code {exit_code})"
