"""One git process: started in our environment, read while it runs, never left behind.

GitPython's command layer cannot carry this: `Git.execute` hands git the whole environment of this process
(secrets and GIT_* variables included), and stops only git itself where git has children.
"""

import functools
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from worker.errors import Forbidden, GitError, GitPermanentError, GitTimeout, RateLimited, ServerBusy, TooLarge
from worker.git.environment import OPTIONS, environment
from worker.git.failures import failure
from worker.git.probe import asked_to_wait
from worker.git.url import RepositoryUrl

OLDEST_GIT = (2, 37)
"""Older ones do not know http.curloptResolve, and ignore it without a word."""

_NO_REPOSITORY = Path("/dev/null")  # git must neither look for a repository around it nor read the settings of one
_STDERR_KEPT = 16_384


class GitProcess:
    """A running git and its descendants: one process group, in this process's session."""

    def __init__(self, command: Sequence[str], variables: dict[str, str], *, about: str, feed: bool) -> None:
        self._about = about
        self._seconds = float("inf")
        self._deadline = float("inf")
        self._timed_out = False
        self._stderr = b""
        self._process = subprocess.Popen(
            command,
            env=variables,
            cwd="/",
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=1 << 18,
            process_group=0,  # not a session: what is left of a job is killed by session
        )
        self.stdin = cast(IO[bytes], self._process.stdin)
        self.stdout = cast(BufferedReader, self._process.stdout)
        self._companion = threading.Thread(target=self._accompany, name="git-companion", daemon=True)

    def begin(self, seconds: float) -> None:
        """Start the clock, and take in what git says."""
        self.allow(seconds)
        self._companion.start()

    def allow(self, seconds: float) -> None:
        """From now on git may take this long; `inf` while it is our own turn."""
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def ended(self, seconds: float) -> bool:
        """Wait up to so many seconds for git to end; says whether it has."""
        self._companion.join(seconds)
        return not self._companion.is_alive()

    def output(self, *, at_most: int) -> bytes:
        """All that git prints; raises TooLarge past the limit."""
        printed = self.stdout.read(at_most + 1)
        if len(printed) > at_most:
            raise TooLarge(f"git printed more than {at_most} bytes about {self._about}.")
        return printed

    def tell(self, text: bytes) -> None:
        """Give git all its input, which it must read before it prints anything."""
        with suppress(OSError):  # git is gone: `finish` says why
            self.stdin.write(text)
            self.stdin.close()

    def finish(self) -> None:
        """Wait for git's end; raises GitTimeout, or the error class of what git said when it failed."""
        self._companion.join()
        status = self._process.wait()
        if status and self._timed_out:
            raise GitTimeout(f"git took longer than {self._seconds:g} seconds on {self._about} and was stopped.")
        if status:
            raise failure(self._about, status, self._stderr)

    def close(self) -> None:
        """Kill what still runs, and reap it."""
        self._kill()
        if self._companion.ident is not None:  # it was started
            self._companion.join()
        self._process.wait()
        for pipe in (self.stdin, self.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(OSError):  # unwritten input of a dead git
                    pipe.close()

    def _accompany(self) -> None:
        """Keep the tail of stderr, which ends when all of the group have; kill the group at the deadline."""
        stderr = cast(IO[bytes], self._process.stderr)
        with selectors.DefaultSelector() as selector:
            selector.register(stderr, selectors.EVENT_READ)
            while True:
                if selector.select(min(1.0, max(0.0, self._deadline - time.monotonic()))):
                    said = os.read(stderr.fileno(), 65_536)
                    if not said:
                        return
                    self._stderr = (self._stderr + said)[-_STDERR_KEPT:]
                if time.monotonic() >= self._deadline:
                    self._timed_out = True
                    self._deadline = float("inf")
                    self._kill()

    def _kill(self) -> None:
        # Nobody reaps git before the companion has ended, so its number cannot belong to anybody else yet.
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
                os.killpg(self._process.pid, signal.SIGKILL)


@contextmanager
def git(
    *arguments: str,
    about: str,
    seconds: float,
    git_dir: Path | None = None,
    url: RepositoryUrl | None = None,
    feed: bool = False,
) -> Iterator[GitProcess]:
    """Run git for the length of the block: waited for at its end, killed with its children on an early exit.

    `about` names what git works on, for errors. Only `url` may be talked to. With `feed` the block has stdin.
    """
    command = ["git", f"--git-dir={git_dir or _NO_REPOSITORY}", *OPTIONS, *arguments]
    try:
        process = GitProcess(command, environment(url), about=about, feed=feed)
    except FileNotFoundError as missing:
        raise GitError("There is no git on this machine's PATH.", hint="Install git 2.37 or later.") from missing
    try:
        process.begin(seconds)
        yield process
        process.finish()
    except (Forbidden, RateLimited, ServerBusy) as refusal:
        if url is None:
            raise
        raise asked_to_wait(url, refusal) from refusal
    finally:
        process.close()


@functools.cache
def git_version() -> str:
    """The version of git on the PATH, such as `2.39.5`; raises GitError when it is missing or too old."""
    with git("version", about="itself", seconds=10) as process:
        printed = process.output(at_most=1_000).decode("utf-8", "replace")
    version = re.search(r"\d+(?:\.\d+)+", printed)
    if version is None or tuple(map(int, version[0].split(".")))[:2] < OLDEST_GIT:
        wanted = ".".join(map(str, OLDEST_GIT))
        raise GitPermanentError(f"This git is too old ({printed.strip()}).", hint=f"Install git {wanted} or later.")
    return version[0]
