"""The program's own log on stderr: one form for every line, ours and the libraries', and no secret in any."""

import logging
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

from worker.redact import Redactor

if TYPE_CHECKING:  # both take a fifth of a second to import; whoever only wants the redactor shall not wait for them
    from structlog.typing import FilteringBoundLogger

    from worker.settings import Settings

_redactor = Redactor()
_QUIET = ("httpx", "httpcore", "urllib3", "botocore", "boto3", "s3transfer", "asyncio", "git.cmd")
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "uvicorn.access")
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS_BUT_LAYOUT = {code: text for code, text in _CONTROLS.items() if chr(code) not in "\n\t"}


def redactor() -> Redactor:
    """The process's redactor; configure() teaches it the secrets of the settings."""
    return _redactor


def get_logger(**facts: Any) -> "FilteringBoundLogger":
    """A logger whose lines carry these facts; before configure() it writes lines of level info and above."""
    import structlog

    if not structlog.is_configured():  # structlog's own default prints to stdout, unredacted
        _arrange(None, logging.INFO, console=_in_terminal())
    return structlog.get_logger(**facts)


def configure(settings: "Settings", *, process: str) -> None:
    """Send everything this process logs to stderr, redacted, as console lines or JSON."""
    for secret in settings.secrets():
        _redactor.add(secret)
    level = logging.getLevelNamesMapping()[settings.worker_log_level.upper()]
    _arrange(process, level, console=_wants_console(settings))
    _route_libraries(level)
    _route_uncaught()


def _arrange(process: str | None, level: int, *, console: bool) -> None:
    import structlog

    structlog.configure(
        processors=_processors(process, console=console),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )


def _wants_console(settings: "Settings") -> bool:
    if settings.worker_log_format == "auto":
        return _in_terminal()
    return settings.worker_log_format == "console"


def _in_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _processors(process: str | None, *, console: bool) -> list[Any]:
    import structlog

    def name_process(_logger: Any, _method: str, facts: dict[str, Any]) -> dict[str, Any]:
        return {"process": process, **facts} if process else facts

    shared = [
        structlog.contextvars.merge_contextvars,
        name_process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _write_out_exception,
        _redact,
    ]
    if not console:
        return [*shared, structlog.processors.JSONRenderer()]
    renderer = structlog.dev.ConsoleRenderer(
        colors=_in_terminal(), timestamp_key="at", exception_formatter=structlog.dev.plain_traceback, pad_event_to=40
    )
    return [*shared, _escape_controls, renderer]


def _write_out_exception(_logger: Any, _method: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Turn exc_info into text here: renderers would add local variables, and come after redaction."""
    given = facts.pop("exc_info", None)
    if (text := exception_text(given)) is not None:
        facts["exception"] = text
    if facts.pop("stack_info", None):
        facts["stack"] = "".join(traceback.format_stack(limit=20))
    return facts


def exception_text(given: Any) -> str | None:
    """The traceback that a logger's exc_info argument means, without local variables; None without an exception."""
    if not given:
        return None
    failure = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if failure is None:
        return None
    try:
        return "".join(traceback.format_exception(failure)).rstrip("\n")
    except Exception as second:  # a foreign exception's own __str__ may fail in any way
        return f"{type(failure).__name__} (its text cannot be had: {type(second).__name__})"


def _redact(_logger: Any, _method: str, facts: dict[str, Any]) -> Any:
    first = {name: facts.pop(name) for name in ("at", "level", "event") if name in facts}
    return _redactor.value({**first, **facts})


def _escape_controls(_logger: Any, _method: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Foreign text must not steer the reader's terminal."""
    for name, fact in facts.items():
        table = _CONTROLS_BUT_LAYOUT if name in ("exception", "stack") else _CONTROLS
        facts[name] = fact.translate(table) if isinstance(fact, str) else fact
    return facts


class _Stderr:
    """Writes whole lines to what stderr is now; a closed or broken stderr must not end the program."""

    _lock = threading.Lock()

    def msg(self, line: str) -> None:
        try:
            with self._lock:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
        except (OSError, ValueError, AttributeError):  # broken pipe, closed, or None under some launchers
            pass

    log = debug = info = warn = warning = error = critical = exception = fatal = msg


class _Forward(logging.Handler):
    """Hands a library's record to our logger."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # a library's wrong format string; its own words are still worth a line
            text = str(record.msg)
        write = getattr(get_logger(), _method_of(record.levelno))
        write(text, logger=record.name, exc_info=record.exc_info)


def _method_of(level: int) -> str:
    names = (
        (logging.CRITICAL, "critical"),
        (logging.ERROR, "error"),
        (logging.WARNING, "warning"),
        (logging.INFO, "info"),
    )
    return next((name for least, name in names if level >= least), "debug")


def _route_libraries(level: int) -> None:
    root = logging.getLogger()
    root.handlers = [_Forward()]
    root.setLevel(level)
    for name in _OWN_HANDLERS:
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    for name in _QUIET:  # a line for each request, with its URL
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, category, filename, lineno, line=None: (
        f"{filename}:{lineno}: {category.__name__}: {message}"
    )


def _route_uncaught() -> None:
    def report(
        kind: type[BaseException], failure: BaseException | None, place: TracebackType | None, name: str
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, failure or kind(), place)
            return
        get_logger().critical(name, exc_info=failure or kind())

    def uncaught(kind: type[BaseException], failure: BaseException, place: TracebackType | None) -> None:
        report(kind, failure, place, "uncaught exception")

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread else "?"
            report(args.exc_type, args.exc_value, args.exc_traceback, f"uncaught exception in thread {name}")

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
