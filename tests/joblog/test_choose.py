"""Choosing lines of a log: by time, by level, by attempt."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from worker.joblog.choose import Choice, moment
from worker.joblog.clean import marker

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def line(number: int, level: str = "info", attempt: int = 1) -> bytes:
    """A line of the n-th minute after noon."""
    at = (NOW + timedelta(minutes=number)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return json.dumps({"at": at, "level": level, "event": str(number), "attempt": attempt}).encode() + b"\n"


LOG = [line(0), line(1, "debug"), line(2, "error"), marker("lines missing", at=None), line(3, attempt=2)]


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (Choice(), [0, 1, 2, 3, 4]),
        (Choice(least_level="info"), [0, 2, 3, 4]),
        (Choice(least_level="error"), [2]),
        (Choice(attempt=1), [0, 1, 2, 3]),
        (Choice(attempt=2), [4]),
        (Choice(since=NOW + timedelta(minutes=2)), [2, 3, 4]),
        (Choice(since=NOW + timedelta(minutes=2), attempt=1, least_level="error"), [2]),
    ],
)
def test_lines_are_chosen_by_every_condition(choice: Choice, chosen: list[int]) -> None:
    """Markers without attempt and time go with the line before them."""
    assert list(choice.of(LOG)) == [LOG[number] for number in chosen]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("10m", NOW - timedelta(minutes=10)),
        ("2h", NOW - timedelta(hours=2)),
        ("1d", NOW - timedelta(days=1)),
        ("2026-03-04T11:00", NOW - timedelta(hours=1)),
        ("2026-03-04T11:00+01:00", NOW - timedelta(hours=2)),
    ],
)
def test_moments_are_said_in_two_ways(text: str, at: datetime) -> None:
    """A while ago, or a date and time, UTC by default."""
    assert moment(text, NOW) == at


def test_what_is_no_moment_is_refused() -> None:
    """Neither a number nor a word."""
    for text in ("10", "yesterday", "-5m", "9" * 20 + "d"):
        with pytest.raises(ValueError):  # noqa: PT011
            moment(text, NOW)
