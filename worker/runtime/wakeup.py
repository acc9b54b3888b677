"""When an idle worker looks for jobs again: told by a notification, by its own work, by a due time, or by a poll."""

import asyncio
import contextlib

from worker.backoff import poll_delay

SECONDS_BETWEEN_POLLS_WHILE_LISTENING = 6.5
"""What a job costs at most whose enqueuer did not call, or whose call got lost. Idle workers shall ask Postgres at most
once in five seconds, the listener's proofs included."""


class WakeUp:
    """One event, its timers, and how long a poll may be away.

    Jobs are claimed by kind (light ones, and those of children); what is known to concern one kind only does not make
    the worker look for the other.
    """

    def __init__(self, poll_seconds: float) -> None:
        self.is_listening = False
        self._poll_seconds = poll_seconds
        self._event = asyncio.Event()
        self._due_at: float | None = None
        self._in_vain_until: dict[str, float] = {}

    def now(self, kind: str = "") -> None:
        """Something changed that may let a job (of this kind) be claimed."""
        if kind:
            self._in_vain_until.pop(kind, None)
        else:
            self._in_vain_until.clear()
        self._event.set()

    def was_in_vain(self, kind: str) -> None:
        """There was nothing of this kind: not again for a poll's time, unless something changes."""
        self._in_vain_until[kind] = asyncio.get_running_loop().time() + self._poll_seconds

    def is_time(self, kind: str) -> bool:
        """Whether a claim of this kind may find something."""
        return asyncio.get_running_loop().time() >= self._in_vain_until.get(kind, 0)

    def soon(self) -> None:
        """Something failed: again after a poll's time, listening or not."""
        self._in_vain_until.clear()
        self.in_seconds(poll_delay(self._poll_seconds))

    def in_seconds(self, seconds: float) -> None:
        """A job becomes due then; the earliest of these counts."""
        at = asyncio.get_running_loop().time() + seconds
        self._due_at = at if self._due_at is None else min(at, self._due_at)

    def forget(self) -> None:
        """From here on every change counts: called before a look, so that none is missed during it."""
        self._event.clear()

    async def wait(self, at_most: float | None = None) -> bool:
        """Until there is a reason to look; true when it is only the poll's."""
        now = asyncio.get_running_loop().time()
        poll = self._poll_seconds
        if self.is_listening:
            poll = max(poll, SECONDS_BETWEEN_POLLS_WHILE_LISTENING)
        pause = poll_delay(poll) if at_most is None else at_most
        is_due = False
        if self._due_at is not None and self._due_at - now <= pause:
            pause, is_due = max(self._due_at - now, 0), True
            self._due_at = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._event.wait()
                return False
        self._in_vain_until.clear()
        return not is_due
