"""Pure delays: how long to wait before the next try."""

import random as _random
from collections.abc import Callable

LONGEST_SECONDS = 3600.0


def retry_delay(errors: int, *, first: float, random: Callable[[], float] = _random.random) -> float:
    """Seconds before the retry that follows error number `errors` (from 1).

    Doubles from `first` up to an hour; a random half is taken off, so that jobs that failed together do not come back
    together ("equal jitter", Amazon's builders' library).
    """
    doubled = min(first * 2.0 ** min(max(errors - 1, 0), 32), LONGEST_SECONDS)
    return doubled / 2 + doubled / 2 * random()


def poll_delay(seconds: float, *, random: Callable[[], float] = _random.random) -> float:
    """A pause of `seconds` and up to a fifth more: never sooner, and not together with others that began together."""
    return seconds * (1 + 0.2 * random())
