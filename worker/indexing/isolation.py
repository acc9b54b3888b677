"""What a process gives up before it touches foreign bytes: descriptors, environment, signals, memory, core files."""

import ctypes
import faulthandler
import gc
import os
import resource
import signal
import sys
from collections.abc import Collection
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def isolate(kept: Collection[int]) -> None:
    """Forget the caller in a fresh fork: no descriptor but those kept, no environment, no signal handler."""
    faulthandler.disable()  # it keeps a descriptor's number, which will soon be somebody else's
    _close_others(kept)
    os.environ.clear()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What was there before the fork stays shared, and what comes after makes no cycles.
    gc.freeze()
    gc.disable()


def _close_others(kept: Collection[int]) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, _highest_descriptor() + 1)


def _highest_descriptor() -> int:
    for listing in ("/proc/self/fd", "/dev/fd"):
        if Path(listing).is_dir():
            return max(int(name) for name in os.listdir(listing))  # noqa: PTH208
    return os.sysconf("SC_OPEN_MAX")


def limit_memory(more_bytes: int) -> None:
    """Let the address space grow by so much from here on. Linux; elsewhere the limit is not kept."""
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    wanted = pages * resource.getpagesize() + more_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def die_with(parent: int) -> None:
    """End as soon as the parent does, however busy this process is (Linux; elsewhere a closed pipe tells it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
