"""Whether the log store takes calls: after a failure one caller at a time tries, later and later, and all others wait.

A store that is down is down for every log, so what is learnt by one call holds for all.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from worker import metrics
from worker.errors import LogStoreError, ObjectTooLarge, SpoolError
from worker.logging import get_logger

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0


class NotCalled(Exception):
    """There was nothing to ask the store after all; ends at the block around the call."""


class StoreHealth:
    """Shared by everybody who calls one store; safe to use from any thread."""

    def __init__(
        self,
        *,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._longest = longest_pause
        self._wait = wait_exponential(multiplier=first_pause, max=longest_pause) + wait_random(0, first_pause)
        self._lock = threading.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._is_tried = False

    @property
    def may_try(self) -> bool:
        """Whether `call` would say so now."""
        return self._failures == 0 or not (self._is_tried or self._clock() < self._not_before)

    @contextlib.contextmanager
    def call(self) -> Iterator[bool]:
        """Around a call of the store: False when it is not yet time to try again; then nothing may be called.

        Who ends the block without an error has called it: that is taken for the store's answer. Else raise NotCalled.
        """
        if not self._take_try():
            yield False
            return
        try:
            yield True
        except NotCalled:
            self._untried()
            return
        except SpoolError:
            self._untried()
            raise
        except ObjectTooLarge as failure:  # it answered: no other log needs to wait for this one
            self._worked()
            metrics.log_upload_failed()
            get_logger().error("the log store refuses one log", reason=str(failure), hint=failure.hint)
            raise
        except LogStoreError as failure:
            self._failed(failure)
            raise
        except BaseException:
            self._untried()
            raise
        self._worked()

    def _take_try(self) -> bool:
        with self._lock:
            if not self.may_try:
                return False
            self._is_tried = self._failures > 0
            return True

    def _untried(self) -> None:
        with self._lock:
            self._is_tried = False

    def _worked(self) -> None:
        with self._lock:
            failures, self._failures, self._is_tried = self._failures, 0, False
        if failures:
            get_logger().info("the log store works again", failures=failures)

    def _failed(self, failure: LogStoreError) -> None:
        metrics.log_upload_failed()
        with self._lock:
            self._failures, self._is_tried = self._failures + 1, False
            # What will not pass by itself (no permission, no bucket) is tried slowly, and a person is told.
            pause = self._pause() if failure.retryable else self._longest
            self._not_before = self._clock() + pause
            failures = self._failures
        say = get_logger().warning if failure.retryable else get_logger().error
        say("the log store fails; logs wait in the spool", reason=str(failure), hint=failure.hint, failures=failures,
            next_try_seconds=round(pause, 1))  # fmt: skip

    def _pause(self) -> float:
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = self._failures
        return self._wait(state)
