"""Starting children: a preloaded forkserver forks one process an attempt; here is the parent's end of it."""

import contextlib
import multiprocessing
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import forkserver
from typing import Any

from worker.job import GitToken
from worker.runtime import tree
from worker.runtime.channel import Secrets, pack_secrets
from worker.runtime.child import ChildOrder, child_main
from worker.settings import without_secrets

PRELOAD = ["worker.runtime.preload", "worker.runtime.child"]


class Launcher:
    """Forks children from a forkserver that has the grammars, the tokenizer and the handlers loaded."""

    def __init__(self, secrets: Secrets, handler_modules: Sequence[str] = ()) -> None:
        self._secrets = replace(secrets, settings=secrets.settings.for_children())
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*PRELOAD, *handler_modules])

    def warm_up(self) -> None:
        """Start the forkserver, without secrets in its environment. Takes about a second."""
        kept = without_secrets(os.environ)
        for name in set(os.environ) - set(kept):
            del os.environ[name]
        _forget_main_module()
        forkserver.ensure_running()

    def start(self, order: ChildOrder, git_token: GitToken | None = None) -> "Child":
        """Fork a child for one attempt; the token is that of its job."""
        ours, theirs = socket.socketpair()
        liveness_read, liveness_write = self._context.Pipe(duplex=False)
        try:
            process = self._context.Process(target=child_main, args=(order, liveness_read, theirs), daemon=False)
            process.start()
            ours.sendall(pack_secrets(replace(self._secrets, git_token=git_token)))
        except BaseException:
            ours.close()
            liveness_write.close()
            raise
        finally:
            theirs.close()
            liveness_read.close()
        return Child(process, ours, liveness_write)


class Child:
    """One running child: its pid is its session, `channel` carries its messages."""

    def __init__(self, process: Any, channel: socket.socket, liveness: Any) -> None:
        assert process.pid is not None
        self.pid: int = process.pid
        self.channel = channel
        self._process = process
        self._liveness = liveness  # the only write end: when this process dies, the child sees it close

    def kill(self) -> bool:
        """Kill the child and everything it started; safe from any thread."""
        return tree.kill(self.pid)

    def exit_code(self, wait_seconds: float) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        self._process.join(wait_seconds)
        return self._process.exitcode

    def close(self) -> None:
        """Kill what is left, take the exit statuses and free the descriptors."""
        self.kill()
        self._process.join(5)
        tree.reap(self.pid)
        with contextlib.suppress(ValueError):  # still running: its process is stuck in the kernel
            self._process.close()
        self.channel.close()
        self._liveness.close()


def _forget_main_module() -> None:
    """Children must not import the command line again as their __main__: it costs each of them 0.3 s."""
    main = sys.modules["__main__"]
    main.__spec__ = None
    with contextlib.suppress(AttributeError):
        del main.__file__
