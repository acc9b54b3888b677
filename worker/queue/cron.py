"""When a schedule is due: cron expressions in a time zone, as Debian's cron reads them. Every time answered is in UTC.

A fixed time that daylight saving skips comes at the end of the gap, and one that it repeats comes once; what comes
every few minutes or hours goes by the real time.
"""

import difflib
import itertools
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cronsim import CronSim, CronSimError

from worker.errors import ScheduleError

GRACE = timedelta(seconds=60)
MOST_TICKS = 100
LONGEST = 200
_HINT = "Five fields: minute, hour, day of month, month, day of week; for example */5 * * * * or 30 2 * * MON-FRI."


class CatchUp(StrEnum):
    """What becomes of ticks that nobody was there to fire."""

    NONE = "none"  # they are gone; one that is less than GRACE late still fires
    ONE = "one"  # one job for all of them
    ALL = "all"  # a job each, at most MOST_TICKS at once


def checked(cron: str, timezone: str) -> str:
    """The expression with single blanks between its fields; raises ScheduleError for one that is no use."""
    if timezone not in zoneinfo.available_timezones() - {"localtime", "Factory"}:
        near = difflib.get_close_matches(timezone, zoneinfo.available_timezones(), 1)
        meant = f"Did you mean {near[0]}?" if near else "For example Europe/Berlin, America/New_York or UTC."
        raise ScheduleError(f"There is no time zone {timezone!r}.", hint=meant)
    cron = " ".join(cron.split())
    if next(ticks(cron, timezone, datetime.now(UTC)), None) is None:
        raise ScheduleError(f"The cron expression {cron!r} fits no day of the next 50 years.", hint=_HINT)
    return cron


def ticks(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """The times that come after this one, without end; raises ScheduleError for what cannot be read."""
    last = after
    for local in _parse(cron, after.astimezone(_zone(timezone))):
        tick = local.astimezone(UTC)
        # Begun within the second pass of a repeated hour, the library begins with times of the first.
        if tick > last:
            yield tick
            last = tick


def due_ticks(
    cron: str, timezone: str, catch_up: CatchUp, *, due: datetime, now: datetime
) -> tuple[list[datetime], datetime]:
    """Which ticks to fire now, of those from `due` on, and the next one to wait for. `due` is itself a tick."""
    if catch_up is CatchUp.ALL:
        later = itertools.islice(ticks(cron, timezone, due), MOST_TICKS - 1)
        fire = [due, *itertools.takewhile(lambda tick: tick <= now, later)]
        return fire, _first(cron, timezone, fire[-1])
    if catch_up is CatchUp.NONE and now - due >= GRACE:
        newest = _first(cron, timezone, now - GRACE)
        return [newest] if newest <= now else [], _first(cron, timezone, now)
    return [due], _first(cron, timezone, now)


def _first(cron: str, timezone: str, after: datetime) -> datetime:
    for tick in ticks(cron, timezone, after):
        return tick
    raise ScheduleError(f"The cron expression {cron!r} fits no day of the next 50 years.", hint=_HINT)


def _parse(cron: str, start: datetime) -> CronSim:
    if len(cron) > LONGEST or len(cron.split()) != 5:  # with a sixth, the library counts seconds
        raise ScheduleError(f"The cron expression {cron[:LONGEST]!r} does not have five fields.", hint=_HINT)
    try:
        return CronSim(cron, start)
    except CronSimError as problem:
        reason = str(problem)[:1].lower() + str(problem)[1:]
        raise ScheduleError(f"The cron expression {cron!r} cannot be used: {reason}.", hint=_HINT) from problem


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError) as problem:
        raise ScheduleError(f"There is no time zone {name!r}.", hint="For example Europe/Berlin or UTC.") from problem
