"""The nursery: one small process, forked when the pool opens, that forks the extractors.

Not the caller itself: by the time an extractor must be replaced the caller may have threads, connections and secrets,
and a process that parses foreign bytes should have a copy of none of them. The nursery has one thread, so that the
extractors can be told to die with it, and it dies with the caller: the other end of its socket closes.
"""

import contextlib
import errno
import os
import signal
import socket
import struct
import warnings
from dataclasses import dataclass

from worker.indexing.extractor import serve
from worker.indexing.isolation import die_with, isolate, limit_memory

_NUMBER = struct.Struct("!i")
_FORK = b"f"
_BURY = b"b"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one extractor may use: processor seconds a file, and bytes of memory beyond what it starts with."""

    seconds_per_file: float
    memory_bytes: int


class Nursery:
    """The caller's end."""

    def __init__(self, limits: Limits) -> None:
        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            # Python warns of forks beside threads: what the nursery runs takes no lock that a thread could hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _run(lambda: _tend(theirs, limits))
        theirs.close()
        self._socket = ours

    def fork(self, tasks: int, results: int) -> int:
        """Fork an extractor that reads tasks and writes results there; answers its pid."""
        socket.send_fds(self._socket, [_FORK], [tasks, results])
        pid = self._receive()
        if pid < 0:
            raise OSError(-pid, f"No extractor could be started: {os.strerror(-pid)}")
        return pid

    def bury(self, pid: int) -> int:
        """Kill an extractor, if it still runs, and answer how it ended (as os.waitstatus_to_exitcode does)."""
        self._socket.sendall(_BURY + _NUMBER.pack(pid))
        return self._receive()

    def close(self) -> None:
        """End the nursery, and with it whatever extractor is left."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _receive(self) -> int:
        answer = self._socket.recv(_NUMBER.size, socket.MSG_WAITALL)
        if len(answer) < _NUMBER.size:
            raise ConnectionResetError(errno.ECONNRESET, "The process that starts extractors is gone.")
        return _NUMBER.unpack(answer)[0]


def _run(story) -> None:
    """Run a forked process to its end; never return into the caller's code."""
    try:
        story()
    except BaseException:
        os._exit(1)
    os._exit(0)


def _tend(control: socket.socket, limits: Limits) -> None:
    """Fork and bury on request until the caller closes its end, or dies; then take all extractors down."""
    isolate([control.fileno()])
    alive: set[int] = set()
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if request == _FORK:
            pid = _fork(control, descriptors, limits)
            alive.add(pid)
            answer = pid
        elif request == _BURY:
            (pid,) = _NUMBER.unpack(control.recv(_NUMBER.size, socket.MSG_WAITALL))
            alive.discard(pid)
            answer = _end(pid)
        else:
            break
        control.sendall(_NUMBER.pack(answer))
    for pid in alive:
        _end(pid)


def _fork(control: socket.socket, descriptors: list[int], limits: Limits) -> int:
    """Fork an extractor; a negative error number where the system refuses."""
    nursery = os.getpid()
    try:
        pid = os.fork()
    except OSError as failure:
        pid = -(failure.errno or errno.EAGAIN)
    if pid == 0:
        control.close()
        tasks, results = descriptors
        die_with(nursery)
        limit_memory(limits.memory_bytes)
        _run(lambda: serve(tasks, results, seconds_per_file=limits.seconds_per_file))
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def _end(pid: int) -> int:
    if pid <= 0:
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # a dead one stays as it died until it is waited for
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
