"""Worker and receiver as processes that a command starts for itself, and that never outlive it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType

from worker.errors import WorkerError

# What the reading of their log relies on, and an address that surely leads to them.
ENVIRONMENT = {"WORKER_LOG_FORMAT": "json", "WORKER_LOG_LEVEL": "info", "WORKER_HTTP_HOST": "127.0.0.1"}
SECONDS_TO_DRAIN = 5.0
SECONDS_TO_HAND_BACK = 20.0


class OwnProcess:
    """One `worker …` process, stopped in order when the block is left, and at once when that is by an exception."""

    def __init__(
        self, *arguments: str, ready: str, seconds: float = 60, environment: Mapping[str, str] | None = None
    ) -> None:
        """`ready` is what its log says once it can be used; the named groups of the match are `found`."""
        self.found: Mapping[str, str] = {}
        self._arguments = arguments
        self._ready = re.compile(ready)
        self._seconds = seconds
        self._environment = {**os.environ, **ENVIRONMENT, **(environment or {})}
        self._lines: list[str] = []
        self._is_ready = threading.Event()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "OwnProcess":
        """Start it and wait until it says it is ready."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli.owned", *self._arguments],
            stdin=subprocess.PIPE,  # closes when we are gone, however that came; see owned.py
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=self._environment,
            start_new_session=True,  # Ctrl-C reaches us, and we end it in order
        )
        try:
            threading.Thread(target=self._read, args=(process,), daemon=True).start()
            if not self._is_ready.wait(self._seconds) or not self.found:
                raise WorkerError(f"`worker {' '.join(self._arguments)}` did not start: {self._last_words()}")
        except BaseException:
            self._stop(process, SECONDS_TO_HAND_BACK)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let running jobs end for a moment, then have them handed back to the queue, which costs them nothing."""
        if self._process is not None:
            self._stop(self._process, SECONDS_TO_DRAIN if kind is None else 0)

    def check(self) -> None:
        """Raise WorkerError when the process has ended by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise WorkerError(f"`worker {' '.join(self._arguments)}` ended with {code}: {self._last_words()}")

    def _last_words(self) -> str:
        return _words("".join(self._lines[-1:])) or "it said nothing."

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stderr or ():
            self._lines.append(line)
            del self._lines[:-200]
            if not self._is_ready.is_set() and (found := self._ready.search(line)):
                self.found = found.groupdict()
                self._is_ready.set()
        self._is_ready.set()

    def _stop(self, process: subprocess.Popen[str], seconds_to_drain: float) -> None:
        try:
            for number, seconds in ((signal.SIGTERM, seconds_to_drain), (signal.SIGTERM, SECONDS_TO_HAND_BACK)):
                if _ends(process, number, seconds):
                    return
        finally:  # also for whoever presses Ctrl-C once more
            if process.poll() is None:
                process.kill()
                process.wait(10)


def _words(line: str) -> str:
    """A line of its log as a person would say it: of a traceback the last line."""
    try:
        said = json.loads(line)
    except ValueError:
        return line.strip()
    reason = str(said.get("exception") or said.get("reason") or "").strip().rpartition("\n")[2]
    return f"{said.get('event')}: {reason}" if reason else str(said.get("event"))


def _ends(process: subprocess.Popen[str], number: signal.Signals, seconds: float) -> bool:
    if process.poll() is not None:
        return True
    process.send_signal(number)
    try:
        process.wait(max(seconds, 0.2))  # two signals that come together would count as one
    except subprocess.TimeoutExpired:
        return False
    return True


def own_worker(environment: Mapping[str, str] | None = None) -> OwnProcess:
    """A worker process on any free port for its metrics; `found["port"]` is that."""
    ready = r'"metrics_port": (?P<port>\d+)'
    return OwnProcess("run", "--metrics-port", "0", ready=ready, environment=environment)
