"""The log that code inside an attempt writes to: each call is one line in the spool before it returns."""

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Literal, Self

import structlog
from structlog.typing import FilteringBoundLogger

from worker.joblog.identity import LogIdentity
from worker.joblog.lines import encode_line
from worker.joblog.room import DROPPED_EVENT, LogLimits, RoomSign, is_dropped
from worker.joblog.spool import Spool, SpoolWriter
from worker.logging import exception_text
from worker.redact import Redactor

Source = Literal["worker", "child"]
SECONDS_BETWEEN_MARKERS = 5.0
"""While lines are dropped, the log says so at most that often."""


def open_job_log(
    spool: Spool,
    identity: LogIdentity,
    redactor: Redactor,
    *,
    source: Source,
    level: str = "info",
    worker: str | None = None,
    limits: LogLimits | None = None,
) -> "OpenJobLog":
    """Open one process's end of an attempt's log; the worker's end begins the attempt with a marker line."""
    room = _Room(RoomSign(spool.root), limits or LogLimits())
    opened = OpenJobLog(spool.open(identity), redactor, identity.attempt, source, level, room)
    if source == "worker" and opened.is_empty():
        opened.write("info", {"event": "attempt started", "worker": worker})
    return opened


class OpenJobLog:
    """A job log open for writing in this process: hand `.log` to the code that runs, and close it at the end."""

    def __init__(
        self,
        writer: SpoolWriter,
        redactor: Redactor,
        attempt: int,
        source: Source,
        level: str,
        room: "_Room",
    ) -> None:
        self._writer = writer
        self._room = room
        self._redactor = redactor
        self._attempt = attempt
        self._source: Source = source
        self._reported = 0
        self.log: FilteringBoundLogger = structlog.wrap_logger(
            _Sink(),
            processors=[self._process],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            context_class=dict,
            cache_logger_on_first_use=True,
        ).bind()

    @property
    def lost(self) -> int:
        """Lines that could not be written: the disk was full, or the folder gone."""
        return self._writer.lost

    def is_empty(self) -> bool:
        """Nobody has written a line yet."""
        return self._writer.is_empty()

    def write(self, level: str, facts: dict[str, Any]) -> None:
        """Write one line, whatever the level and however little room there is; `event` is one of the facts."""
        event = facts.pop("event", "")
        if (text := exception_text(facts.pop("exc_info", None))) is not None:
            facts["exception"] = text
        if self._append(level, event, facts):
            self._tell_lost()

    def end(self, event: str, **facts: Any) -> None:
        """Write the attempt's last line, whatever the level and however little room there is."""
        self._tell_dropped(self._room.take_dropped())
        self.write("info", {"event": event, **facts})

    def close(self) -> None:
        """Stop writing. Later lines are counted as lost, and harm nobody."""
        self._tell_dropped(self._room.take_dropped())
        self._tell_lost()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, place: TracebackType | None
    ) -> None:
        self.close()

    def _process(self, _logger: Any, method: str, facts: Any) -> Any:
        if self._room.has_room(method, self._writer):
            self.write(method, dict(facts))
        self._tell_dropped(self._room.take_dropped_now_and_then())
        raise structlog.DropEvent  # written here, once; nothing is left for a renderer

    def _append(self, level: str, event: Any, facts: dict[str, Any]) -> bool:
        line = encode_line(
            self._redactor, level=level, event=event, attempt=self._attempt, source=self._source, facts=facts
        )
        return self._writer.append_line(line)

    def _tell_lost(self) -> None:
        """How many lines the disk did not take, as soon as it takes one again."""
        lost = self._writer.lost
        if lost > self._reported and self._append("warning", "lines lost", {"lines": lost - self._reported}):
            self._reported = lost

    def _tell_dropped(self, lines: dict[str, int]) -> None:
        if lines and not self._append("warning", DROPPED_EVENT, {"lines": lines, "reason": self._room.reason}):
            self._room.give_back(lines)


class _Room:
    """What of this process's lines must be left out, and how many were."""

    def __init__(self, sign: RoomSign, limits: LogLimits) -> None:
        self.reason = ""
        self._sign = sign
        self._limits = limits
        self._lock = threading.Lock()
        self._lines = 0
        self._dropped: Counter[str] = Counter()
        self._told_at = float("-inf")

    def has_room(self, level: str, writer: SpoolWriter) -> bool:
        """Whether a line of this level may be written; if not, it is counted."""
        own, shared = self._limits.pressure(writer.size, self._lines), self._sign.pressure
        with self._lock:
            if not is_dropped(level, max(own, shared)):
                self._lines += 1
                return True
            self._dropped[level] += 1
            self.reason = "the job's log is full" if own >= shared else "the worker's disk or spool is full"
            return False

    def take_dropped_now_and_then(self) -> dict[str, int]:
        """What was dropped and not told, if it is time to tell."""
        if not self._dropped or time.monotonic() - self._told_at < SECONDS_BETWEEN_MARKERS:
            return {}
        return self.take_dropped()

    def take_dropped(self) -> dict[str, int]:
        """Lines that were dropped and not told yet, by level."""
        with self._lock:
            self._told_at = time.monotonic()
            dropped, self._dropped = self._dropped, Counter()
        return dict(dropped)

    def give_back(self, lines: dict[str, int]) -> None:
        """They could not be told."""
        with self._lock:
            self._dropped.update(lines)


class _Sink:
    """Stands where structlog wants a logger to print to."""

    def msg(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    debug = info = warning = warn = error = critical = exception = fatal = log = msg
