"""The heartbeat: a thread with its own connection that renews the lease, because a blocked loop must not stop it.

No renewal for two thirds of the lease: the worker fences itself. It kills all its children, marks nothing, and takes a
new worker id before it claims again.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import psycopg

from worker import __version__
from worker.logging import get_logger
from worker.metrics import fenced as count_fence
from worker.metrics import lease_renewed
from worker.queue import lease
from worker.runtime.attempt import Stop

StopAttempt = Callable[[Stop], object]
Connect = Callable[[], psycopg.Connection[dict[str, Any]]]


class Heartbeat(threading.Thread):
    """Renews the lease of one worker process and carries what the answers say to its attempts."""

    def __init__(
        self,
        connect: Connect,
        *,
        lease_seconds: float,
        every_seconds: float,
        slots: int,
        job_types: Sequence[str],
        on_drain: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_drain` is called once, from this thread, when somebody asks the worker to drain."""
        super().__init__(name="heartbeat", daemon=True)
        self._connect = connect
        self._lease_seconds = lease_seconds
        self._every_seconds = every_seconds
        self._slots = slots
        self._job_types = job_types
        self._on_drain = on_drain
        self._was_asked_to_drain = False
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[int, StopAttempt] = {}
        self._wake = threading.Event()
        self._ending = False
        self._state = "running"
        self._written_state: str | None = None
        self._worker_id: uuid.UUID | None = None
        self._fenced_ids: list[uuid.UUID] = []
        self._renewed_at = clock()
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    @property
    def worker_id(self) -> uuid.UUID | None:
        """The id to claim under; None while there is none (not registered yet, or fenced)."""
        return self._worker_id

    @property
    def renewal_age(self) -> float:
        """Seconds since the last renewal that was answered."""
        return self._clock() - self._renewed_at

    def hold(self, token: int, stop: StopAttempt) -> None:
        """From now on the renewals name this token."""
        with self._lock:
            self._held[token] = stop

    def hold_all(self, stops: Mapping[int, StopAttempt]) -> None:
        """As `hold`, for many."""
        with self._lock:
            self._held.update(stops)

    def let_go_all(self, tokens: Iterable[int]) -> None:
        """As `let_go`, for many."""
        with self._lock:
            for token in tokens:
                self._held.pop(token, None)

    def let_go(self, token: int) -> None:
        """The job of this token has left us."""
        with self._lock:
            self._held.pop(token, None)

    def drain(self) -> None:
        """Tell the others that this worker is going away on purpose; leases go on."""
        self._state = "draining"
        self._wake.set()

    def end(self) -> None:
        """Mark the worker stopped and end the thread."""
        self._state = "stopped"
        self._ending = True
        self._wake.set()
        self.join(timeout=10)

    def run(self) -> None:
        """Beat until told to end."""
        while not self._ending:
            self._beat()
            self._wake.wait(self._every_seconds)
            self._wake.clear()
        self._beat()
        self._disconnect()

    def _beat(self) -> None:
        try:
            connection = self._connected()
            if self._worker_id is None:
                self._register(connection)
            self._write_state(connection)
            if not self._ending:
                self._renew(connection)
        except Exception as failure:  # whatever it was: a dead heartbeat thread would leave zombies
            self._disconnect()
            get_logger().warning("heartbeat failed", reason=str(failure), renewal_age=round(self.renewal_age, 1))
            self.check()

    def check(self) -> None:
        """Fence if it is time. Also called from the loop, in case the thread hangs in a half-open connection."""
        if self.renewal_age > self._lease_seconds * 2 / 3:
            self._fence("no renewal for two thirds of the lease")

    def _connected(self) -> psycopg.Connection[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _register(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        while self._fenced_ids:
            lease.hand_back(connection, self._fenced_ids[-1], on_error=_not_handed_back)
            self._fenced_ids.pop()
        identity = lease.WorkerIdentity(
            id=uuid.uuid4(),
            hostname=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            machine=os.uname().machine,
            slots=self._slots,
            job_types=self._job_types,
        )
        lease.register(connection, identity)
        self._written_state = "running"
        self._renewed_at = self._clock()
        self._worker_id = identity.id

    def _write_state(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        state = self._state  # once: another thread may change it while it is written
        if state != self._written_state and self._worker_id is not None:
            lease.mark(connection, self._worker_id, state)
            self._written_state = state

    def _renew(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        assert self._worker_id is not None
        with self._lock:
            held = dict(self._held)
        asked_at = self._clock()
        if asked_at - self._renewed_at > self._lease_seconds:
            # We slept through our own lease (a paused machine): others may have our jobs already.
            self._fence("woke up after the lease had run out")
            return
        renewal = lease.renew(connection, self._worker_id, held, self._lease_seconds)
        lease_renewed()
        if not renewal.known:
            self._fence("other workers have given this one up")
            return
        self._renewed_at = asked_at
        if renewal.stuck:
            get_logger().warning("lost claims cannot be released", jobs=len(renewal.stuck), reason=renewal.stuck[0])
        for token, stop in held.items():
            if token in renewal.cancel:
                stop(Stop.CANCEL)
            elif token not in renewal.held and token in self._held:
                stop(Stop.LOST)
        if renewal.drain and not self._was_asked_to_drain:
            self._was_asked_to_drain = True
            self._on_drain()

    def _fence(self, reason: str) -> None:
        """Kill all children, from this thread: the loop may be what hangs."""
        with self._lock:
            if self._worker_id is None:
                return
            fenced, self._worker_id = self._worker_id, None
            self._fenced_ids.append(fenced)
            held = dict(self._held)
        count_fence()
        get_logger().error("worker fences itself", reason=reason, worker=str(fenced), jobs=len(held))
        for stop in held.values():
            stop(Stop.LOST)


def _not_handed_back(job_id: uuid.UUID, failure: psycopg.Error) -> None:
    get_logger().warning("a job cannot be handed back; rescue will try", job=str(job_id), reason=str(failure))
