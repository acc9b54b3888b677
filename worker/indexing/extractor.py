"""The extractor process: reads tasks from one pipe, writes an extract for each into another, in order.

Every extract is written before the next task is begun, so the first task without one is the one that a dead process
died of.
"""

import os
import signal
from typing import BinaryIO

from worker.indexing.extract import extract
from worker.indexing.wire import LENGTH, pack_extract, unpack_task


def serve(tasks: int, results: int, *, seconds_per_file: float) -> None:
    """Extract until the tasks' pipe is closed.

    The kernel ends this process (SIGPROF) when one file takes more processor time than it may: nothing in C code can
    delay that, and a busy machine cannot cause it.
    """
    with open(tasks, "rb", buffering=1 << 18) as reader:
        while (body := _read_frame(reader)) is not None:
            task, parse_it = unpack_task(body)
            signal.setitimer(signal.ITIMER_PROF, seconds_per_file)
            answer = pack_extract(extract(task, parse_it=parse_it))
            signal.setitimer(signal.ITIMER_PROF, 0)
            _write_all(results, answer)


def _read_frame(reader: BinaryIO) -> bytes | None:
    """The next frame; None when the caller closed the pipe, or died in the middle of one."""
    length = reader.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(length)
    body = reader.read(size)
    return body if len(body) == size else None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
