"""When an idle worker looks for jobs again: told by a notification, by its own work, by a due time, or by a poll."""

import asyncio
import contextlib

from worker.backoff import poll_delay

SECONDS_BETWEEN_POLLS_WHILE_LISTENING = 6.5
"""What a job costs at most whose enqueuer did not call, or whose call got lost. Idle workers shall ask Postgres at most
once in five seconds, the listener's proofs included."""

SECONDS_UNTIL_ASKED_AGAIN = 1.0
"""A look that finds an overdue job does not say what is due after it; this much later it may."""


class WakeUp:
    """One event, its timers, and how long a poll may be away.

    Jobs are claimed by kind (light ones, and those of children); what is known to concern one kind only does not make
    the worker look for the other.

    `owes_look`: since the last look somebody called or a due time came, so nobody here knows what is due next.
    """

    def __init__(self, poll_seconds: float) -> None:
        self.is_listening = False
        self.owes_look = True  # a new worker has not looked
        self._poll_seconds = poll_seconds
        self._event = asyncio.Event()
        self._due_at: float | None = None
        self._in_vain_until: dict[str, float] = {}
        self._told: set[str] = set()

    def now(self, kind: str = "") -> None:
        """Something changed that may let a job (of this kind) be claimed."""
        if kind:
            self._in_vain_until.pop(kind, None)
        else:
            self._in_vain_until.clear()
        self._told.add(kind)
        self._event.set()

    def called(self, kind: str = "") -> None:
        """Somebody enqueued. As `now`, but the job may be one of a later time: a look shall tell."""
        self.owes_look = True
        self.now(kind)

    def was_in_vain(self, kind: str) -> None:
        """There was nothing of this kind: not again for a poll's time, unless something changes.

        What was told since `forget` counts more: the claim may have read before it. Nothing waits for the time to pass,
        for it brings no job: who enqueues calls, and a poll ends it.
        """
        if not self._told & {kind, ""}:
            self._in_vain_until[kind] = asyncio.get_running_loop().time() + self._poll_seconds

    def is_time(self, kind: str) -> bool:
        """Whether a claim of this kind may find something."""
        self._pass_due()
        return asyncio.get_running_loop().time() >= self._in_vain_until.get(kind, 0)

    def soon(self) -> None:
        """Something failed: again after a poll's time, listening or not. Until then no look either."""
        self._in_vain_until.clear()
        self.owes_look = False
        self.in_seconds(poll_delay(self._poll_seconds))

    def in_seconds(self, seconds: float) -> None:
        """A job becomes due then; the earliest of these counts."""
        at = asyncio.get_running_loop().time() + seconds
        self._due_at = at if self._due_at is None else min(at, self._due_at)

    def looked(self, next_due_seconds: float | None) -> None:
        """A look was had: the first job with a later time is due then; 0: it is overdue; None: there is none."""
        if not self._event.is_set():  # else it may have read before the job of a call that came meanwhile
            self.owes_look = False
        if next_due_seconds is not None:
            self.in_seconds(next_due_seconds or SECONDS_UNTIL_ASKED_AGAIN)

    def forget(self) -> None:
        """From here on every change counts: called before a claim, so that none is missed during it."""
        self._event.clear()
        self._told.clear()

    async def wait(self, at_most: float | None = None) -> bool:
        """Until there is a reason to claim; true when only time has passed, so that a look shall tell."""
        pause = self._until_poll() if at_most is None else at_most
        ends_at = asyncio.get_running_loop().time() + pause
        if self._due_at is not None:  # stays when somebody wakes us before: the job is due then all the same
            ends_at = min(ends_at, self._due_at)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(ends_at):
                await self._event.wait()
                return False
        self._in_vain_until.clear()
        return not self._pass_due()

    def _until_poll(self) -> float:
        if self.is_listening:
            return poll_delay(max(self._poll_seconds, SECONDS_BETWEEN_POLLS_WHILE_LISTENING))
        return poll_delay(self._poll_seconds)

    def _pass_due(self) -> bool:
        """Whether a due time has come: then a job of any kind may be there, and the next one's time is unknown."""
        if self._due_at is None or asyncio.get_running_loop().time() < self._due_at:
            return False
        self._due_at = None
        self._in_vain_until.clear()
        self.owes_look = True
        return True
