"""How long to wait before the next try."""

import pytest

from worker.backoff import LONGEST_SECONDS, poll_delay, retry_delay


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_a_poll_is_never_sooner_than_asked_and_at_most_a_fifth_later(chance: float) -> None:
    """Whoever polls once a second asks Postgres at most once a second."""
    assert 1.5 <= poll_delay(1.5, random=lambda: chance) <= 1.8


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_a_retry_waits_twice_as_long_each_time_up_to_an_hour_and_half_of_it_is_chance(chance: float) -> None:
    """Also after more errors than a power of two can tell."""
    for errors, whole in ((1, 10), (2, 20), (5, 160), (10, LONGEST_SECONDS), (10_000, LONGEST_SECONDS)):
        assert whole / 2 <= retry_delay(errors, first=10, random=lambda: chance) <= whole
