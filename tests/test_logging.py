"""The program's own log: one form, on stderr alone, and no secret whatever logs."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SECRET = "hunter2horse"
PROGRAM = r"""
import logging, sys, threading, warnings
from worker.logging import configure, get_logger, redactor
from worker.settings import load_settings
get_logger().info("before configure")
configure(load_settings(), process="test")
log = get_logger(job="j1")
log.debug("left out")
log.info("hello hunter2horse", url="postgresql://app:hunter2horse@db/x", password="other", n=1)
try:
    local_variable = "never shown"
    raise ValueError("broken hunter2horse \x1b[31mred")
except ValueError:
    log.exception("failed")
logging.getLogger("psycopg.pool").warning("cannot reach %s", "postgresql://app:hunter2horse@db/x")
logging.getLogger("uvicorn.error").info("started \x1b]0;title\x07 at 100%")
logging.getLogger("httpx").info("GET https://example.com/?token=1")
logging.getLogger("wrong").error("two %s %s", "arguments")
warnings.warn("old hunter2horse")
thread = threading.Thread(target=lambda: 1 / 0, name="t1")
thread.start()
thread.join()
raise RuntimeError("last hunter2horse")
"""


def _run(log_format: str, program: str = PROGRAM, **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", program],
        env={
            "PYTHONPATH": str(root),
            "DATABASE_URL": f"postgresql://app:{SECRET}@db/x",
            "WORKER_LOG_FORMAT": log_format,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def json_run() -> subprocess.CompletedProcess[str]:
    """The program's output as JSON lines."""
    return _run("json")


@pytest.fixture(scope="module")
def entries(json_run: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Its lines after configure()."""
    lines = json_run.stderr.splitlines()
    return [json.loads(line) for line in lines[1:]]


@pytest.mark.parametrize("log_format", ["json", "console", "auto"])
def test_promise_10_no_secret_in_any_line(log_format: str) -> None:
    """Events, facts, tracebacks, libraries, warnings and uncaught exceptions: none shows the database's password."""
    done = _run(log_format)
    assert done.returncode == 1
    assert done.stdout == ""
    assert SECRET not in done.stderr
    assert "never shown" not in done.stderr.replace('local_variable = "never shown"', "")
    for text in ("hello [redacted]", "broken [redacted]", "cannot reach", "old [redacted]", "last [redacted]"):
        assert text in done.stderr


def test_every_line_is_json_in_one_form(entries: list[dict[str, Any]]) -> None:
    """Our lines and those of libraries have the same first names and the process's name."""
    assert all(list(entry)[:3] == ["at", "level", "event"] for entry in entries)
    assert {entry["process"] for entry in entries} == {"test"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["at"]) for entry in entries)


def test_levels_and_noise(entries: list[dict[str, Any]]) -> None:
    """Lines below the level are left out, and so are the request lines of HTTP clients."""
    events = [entry["event"] for entry in entries]
    assert "left out" not in events
    assert not [entry for entry in entries if entry.get("logger") == "httpx"]
    assert "two %s %s" in events  # a wrong format string costs the arguments, not the line


def test_uncaught_exceptions_are_lines(entries: list[dict[str, Any]]) -> None:
    """What nobody catches, in the main thread or another, goes through the same log."""
    critical = [entry for entry in entries if entry["level"] == "critical"]
    assert [entry["event"] for entry in critical] == ["uncaught exception in thread t1", "uncaught exception"]
    assert "ZeroDivisionError" in critical[0]["exception"]


def test_console_lines_cannot_steer_the_terminal() -> None:
    """Control characters from outside are shown, not sent."""
    done = _run("console")
    assert "\x1b" not in done.stderr
    assert "\\x1b]0;title\\x07" in done.stderr


def test_before_configure_a_logger_writes_to_stderr_as_well(json_run: subprocess.CompletedProcess[str]) -> None:
    """Standard output belongs to the command's data, even before the log is set up."""
    assert "before configure" in json_run.stderr.splitlines()[0]
    assert json_run.stdout == ""


def test_importing_is_light() -> None:
    """Whoever only wants the redactor does not load structlog, rich or pydantic."""
    program = "import sys, worker.logging; print([m for m in ('structlog', 'rich', 'pydantic') if m in sys.modules])"
    assert _run("auto", program).stdout.strip() == "[]"


def test_a_closed_stderr_ends_nothing() -> None:
    """Writing a line to a closed stderr is no error."""
    program = (
        "import sys; from worker.logging import get_logger; sys.stderr.close(); get_logger().error('x'); print('ok')"
    )
    assert _run("auto", program).stdout.strip() == "ok"
