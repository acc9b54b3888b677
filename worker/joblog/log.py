"""The log that code inside an attempt writes to: each call is one line in the spool before it returns."""

from types import TracebackType
from typing import Any, Literal, Self

import structlog
from structlog.typing import FilteringBoundLogger

from worker.joblog.identity import LogIdentity
from worker.joblog.lines import encode_line
from worker.joblog.spool import Spool, SpoolWriter
from worker.logging import exception_text
from worker.redact import Redactor

Source = Literal["worker", "child"]


def open_job_log(
    spool: Spool,
    identity: LogIdentity,
    redactor: Redactor,
    *,
    source: Source,
    level: str = "info",
    worker: str | None = None,
) -> "OpenJobLog":
    """Open one process's end of an attempt's log; the worker's end begins the attempt with a marker line."""
    opened = OpenJobLog(spool.open(identity), redactor, identity.attempt, source, level)
    if source == "worker" and opened.is_empty():
        opened.write("info", {"event": "attempt started", "worker": worker})
    return opened


class OpenJobLog:
    """A job log open for writing in this process: hand `.log` to the code that runs, and close it at the end."""

    def __init__(self, writer: SpoolWriter, redactor: Redactor, attempt: int, source: Source, level: str) -> None:
        self._writer = writer
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
        """Write one line, whatever the level; `event` is one of the facts."""
        event = facts.pop("event", "")
        if (text := exception_text(facts.pop("exc_info", None))) is not None:
            facts["exception"] = text
        written = self._append(level, event, facts)
        if written and self._writer.lost > self._reported:
            lost, self._reported = self._writer.lost - self._reported, self._writer.lost
            self._append("warning", "lines lost", {"lines": lost})

    def close(self) -> None:
        """Stop writing. Later lines are counted as lost, and harm nobody."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, place: TracebackType | None
    ) -> None:
        self.close()

    def _process(self, _logger: Any, method: str, facts: Any) -> Any:
        self.write(method, dict(facts))
        raise structlog.DropEvent  # written here, once; nothing is left for a renderer

    def _append(self, level: str, event: Any, facts: dict[str, Any]) -> bool:
        line = encode_line(
            self._redactor, level=level, event=event, attempt=self._attempt, source=self._source, facts=facts
        )
        return self._writer.append_line(line)


class _Sink:
    """Stands where structlog wants a logger to print to."""

    def msg(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    debug = info = warning = warn = error = critical = exception = fatal = log = msg
