"""How often one repository may deliver: a bucket each, that fills evenly and holds a minute's worth."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

_MOST_BUCKETS = 10_000


class Rate:
    """So many a minute for each repository; 0: no limit."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # what is left, and when that was so

    def seconds_to_wait(self, repository_id: Hashable) -> float:
        """0, and one is taken; else how long until there is one."""
        if not self._most:
            return 0.0
        now = self._clock()
        left, then = self._buckets.pop(repository_id, (float(self._most), now))
        left = min(float(self._most), left + (now - then) * self._most / 60)
        enough = left >= 1
        self._buckets[repository_id] = (left - 1 if enough else left, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if enough else (1 - left) * 60 / self._most
