"""Worker and receiver as processes that a command starts for itself and stops again."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType

from worker.errors import WorkerError


class OwnProcess:
    """One `worker …` process, ended with SIGTERM when the block is left."""

    def __init__(self, *arguments: str, ready: str, seconds: float = 60) -> None:
        self._arguments = arguments
        self._ready = re.compile(ready)
        self._seconds = seconds
        self._environment = {**os.environ, "WORKER_LOG_FORMAT": "json"}
        self._lines: list[str] = []
        self._is_ready = threading.Event()
        self.found: Mapping[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "OwnProcess":
        """Start it and wait until it says it is ready."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker", *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=self._environment,
            start_new_session=True,  # Ctrl-C reaches us, and we end it in order
        )
        threading.Thread(target=self._read, daemon=True).start()
        if not self._is_ready.wait(self._seconds) or self._process.poll() is not None:
            self._stop()
            said = "".join(self._lines[-5:]).strip()
            raise WorkerError(f"`worker {' '.join(self._arguments)}` did not start: {said or 'it said nothing'}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it in order, at the latest by force."""
        self._stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line)
            del self._lines[:-200]
            if not self._is_ready.is_set() and (found := self._ready.search(line)):
                self.found = found.groupdict()
                self._is_ready.set()
        self._is_ready.set()

    def _stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        for number, seconds in ((signal.SIGTERM, 20), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            process.send_signal(number)
            try:
                process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                continue


def own_worker() -> OwnProcess:
    """A worker process on any free port for its metrics; `found["port"]` is that."""
    return OwnProcess("run", "--metrics-port", "0", ready=r'"metrics_port": (?P<port>\d+)')
