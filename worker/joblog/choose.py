"""Which lines of a log somebody wants to see."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LEVELS = ("debug", "info", "warning", "error", "critical")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Choice:
    """Every condition that is set must hold."""

    since: datetime | None = None
    least_level: str = "debug"
    attempt: int | None = None

    def of(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The chosen lines. One that names no attempt, or no time, goes with the line before it."""
        attempt, at = 0, ""
        least = LEVELS.index(self.least_level)
        since = self.since.astimezone(UTC).isoformat(timespec="microseconds") if self.since else ""
        for line in lines:
            facts = json.loads(line)
            attempt, at = facts.get("attempt", attempt), facts.get("at") or at
            is_late = at.replace("Z", "+00:00") >= since
            if is_late and _gravity(facts) >= least and self.attempt in (None, attempt):
                yield line


def moment(text: str, now: datetime) -> datetime:
    """What `--since` says: "90s", "10m", "2h", "1d" ago, or a date and time (UTC, unless it says otherwise).

    Raises ValueError.
    """
    if match := re.fullmatch(r"(\d{1,9})([smhd])", text):
        try:
            return now - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
        except OverflowError:  # before the calendar begins
            return datetime.min.replace(tzinfo=UTC)
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _gravity(facts: dict[str, object]) -> int:
    level = facts.get("level")
    return LEVELS.index(level) if isinstance(level, str) and level in LEVELS else LEVELS.index("info")
