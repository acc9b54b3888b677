"""Process trees: an attempt's processes are one session; here they are found, measured, killed and reaped.

A session, not the parent links: a grandchild whose parent died hangs under somebody else, but stays in its session.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def members(session: int) -> list[int]:
    """Live processes of a session (zombies are dead), its leader first."""
    found = [pid for pid in psutil.pids() if _session_of(pid) == session and not _is_zombie(pid)]
    return sorted(found, key=lambda pid: pid != session)


def kill(session: int, *, wait_seconds: float = 5.0) -> bool:
    """SIGKILL every process of a session until none is left; true when that was reached in time.

    Again and again, because a process may fork between the look and the signal.
    """
    deadline = time.monotonic() + wait_seconds
    _signal(session)  # even before it has become a session of its own
    while left := [pid for pid in members(session) if pid != os.getpid()]:
        for pid in left:
            _signal(pid)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def kill_own_session() -> None:
    """Kill every other process of the caller's session; the caller is left to end itself."""
    session = os.getsid(0)
    for _ in range(200):
        others = [pid for pid in members(session) if pid != os.getpid()]
        if not others:
            return
        for pid in others:
            _signal(pid)
        time.sleep(0.005)


def memory_by_session(sessions: Iterable[int]) -> dict[int, int]:
    """Bytes of memory of each session. Shared pages count once (proportional set size) where the system says so."""
    totals = dict.fromkeys(sessions, 0)
    if totals:
        for pid in psutil.pids():
            session = _session_of(pid)
            if session in totals:
                totals[session] += _memory(pid)
    return totals


def become_subreaper() -> None:
    """Orphans of our attempts come to us instead of init (Linux); `reap` takes them."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(session: int) -> None:
    """Take the exit statuses of a dead session's processes that have become our children."""
    for pid in psutil.pids():
        if _session_of(pid) == session and _is_zombie(pid):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _memory(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        if sys.platform == "linux":
            return process.memory_full_info().pss
        return process.memory_info().rss
    except (psutil.Error, AttributeError):
        return 0


def _signal(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
