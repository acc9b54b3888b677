"""One worker process: claims jobs into free slots, runs their attempts, records how they ended, drains when told."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable
from typing import Any
from uuid import UUID

from worker import __version__, metrics
from worker.credentials.git_token import GitTokens
from worker.database.connect import connect
from worker.database.listen import Listener
from worker.database.pool import make_pool
from worker.database.session import Session
from worker.handlers import chosen_types, job_types, load_modules
from worker.job import Job
from worker.logging import get_logger
from worker.queue.claim import claim
from worker.queue.wake import CHANNEL, Caller, call, look
from worker.runtime import tree
from worker.runtime.channel import Secrets
from worker.runtime.endings import DATABASE_TROUBLE, Endings
from worker.runtime.gauges import QueueGauges
from worker.runtime.heartbeat import Heartbeat
from worker.runtime.http import HealthServer
from worker.runtime.inline import Inline
from worker.runtime.joblogs import JobLogs
from worker.runtime.launch import Launcher
from worker.runtime.limits import watch_memory
from worker.runtime.maintenance import Maintenance
from worker.runtime.scratch import Scratch
from worker.runtime.slots import Slots
from worker.runtime.wakeup import WakeUp
from worker.settings import Settings

SECONDS_BETWEEN_PASSING_ON = 1.0
"""A full worker tells the others so often that more waits."""

SECONDS_TO_CLAIM_IN_PLACE = 0.003
"""A worker that holds no job may stand still so long for the answer to a claim: the job starts the sooner."""

SECONDS_OF_QUIET = 0.05
"""So long nothing must happen before a worker that was called looks when the next job is due: the jobs that are due now
come first, and while they flow nobody looks."""

SECONDS_TO_HAND_BACK = 15
"""Longest wait for killing trees and recording releases; a database that is away longer finds them by rescue."""

SECONDS_TO_HAND_LOGS_ON = 10
"""Longest wait for the log store at the end; what it does not take by then stays in the spool."""


class Worker:
    """The parent of all attempts of this process."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        load_modules(settings.handler_modules)
        types = chosen_types(settings.claimed_job_types)
        self._child_types = [name for name in types if name in job_types(inline=False)]
        self._inline_types = [name for name in types if name in job_types(inline=True)]
        metrics.announce_job_types(types)
        metrics.lease(settings.worker_lease_seconds)
        self.settings = settings
        self.heartbeat = Heartbeat(
            lambda: connect(database_url, name="indexing-worker heartbeat", patience=settings.worker_lease_seconds / 3),
            lease_seconds=settings.worker_lease_seconds,
            every_seconds=settings.worker_heartbeat_seconds,
            slots=settings.worker_slots,
            job_types=types,
            on_drain=self._asked_to_drain,
        )
        patience = settings.worker_lease_seconds / 2
        size = settings.database_pool_size
        self.pool = make_pool(database_url, size=size, name="indexing-worker", patience=patience)
        self.launcher = Launcher(Secrets(settings, database_url), settings.handler_modules)
        self.scratch = Scratch(settings.scratch_dir)
        self.logs = JobLogs(settings, self.pool)
        self.wake = WakeUp(settings.worker_poll_seconds)
        self.caller = Caller(self._call)
        self.maintenance = Maintenance(self.pool, settings, self.heartbeat, self.logs, on_ready=self.caller.announce)
        self.gauges = QueueGauges(self.pool, window=settings.worker_metrics_seconds)
        self._listen_url = database_url
        if settings.database_listen_url is not None:
            self._listen_url = settings.database_listen_url.get_secret_value()
        self._claims = Session(database_url, name="indexing-worker claim", patience=patience)
        self._completions = Session(database_url, name="indexing-worker complete", patience=patience)
        endings = Endings(settings, self.pool, on_given_back=self._given_back)
        self.slots = Slots(
            settings, self.pool, self.heartbeat, launcher=self.launcher, scratch=self.scratch, logs=self.logs,
            git_tokens=GitTokens(settings, self.pool), endings=endings, on_room=lambda: self.wake.now("children"),
        )  # fmt: skip
        self.inline = Inline(
            settings, self.pool, self._completions, self.heartbeat, logs=self.logs, endings=endings,
            on_room=lambda: self.wake.now("light"),
        )  # fmt: skip
        self._loop: asyncio.AbstractEventLoop | None = None
        self.draining = asyncio.Event()
        self._at_once = asyncio.Event()
        self._passed_on_at = 0.0
        self._log = get_logger()

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until a signal ends it, or with `until_idle` until the queue holds nothing to do."""
        self._loop = asyncio.get_running_loop()
        tree.become_subreaper()
        self._listen_to_signals()
        if self._child_types:
            await asyncio.to_thread(self.launcher.warm_up)
        await self.pool.open()
        self.gauges.start()
        self.heartbeat.start()
        await self.logs.prepare()
        background = [
            asyncio.create_task(watch_memory(self.slots.running.values, self.settings.worker_memory_mb * 2**20)),
            asyncio.create_task(self.inline.watch_time()),
            asyncio.create_task(self._watch_heartbeat()),
            asyncio.create_task(self.maintenance.run()),
            asyncio.create_task(self.logs.keep()),
            *([asyncio.create_task(self._listen())] if self.settings.worker_listen else []),
        ]
        _spare_the_collector()
        try:
            await self._claim_until_drained(until_idle)
            await self._drain()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await self.logs.close(SECONDS_TO_HAND_LOGS_ON)
            await asyncio.to_thread(self.heartbeat.end)
            await self._claims.close()
            await self._completions.close()
            self.gauges.end()
            await self.pool.close()
            self.scratch.close()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether this process does its work, and the facts; called from the health thread."""
        age = self.heartbeat.renewal_age
        worker_id = self.heartbeat.worker_id
        facts = {
            "worker": str(worker_id) if worker_id else None,
            "version": __version__,
            "state": "draining" if self.draining.is_set() else "running",
            "slots": self.settings.worker_slots,
            "running": self.running,
            "renewal_age_seconds": round(age, 3),
        }
        return worker_id is not None and age < self.settings.worker_lease_seconds, facts

    # Claiming

    async def _claim_until_drained(self, until_idle: bool) -> None:
        while not self.draining.is_set():
            self.wake.forget()  # before the look: what changes during it is not missed
            claimed = await self._claim()
            if claimed and self.slots.free <= 0:
                await self._pass_on()
            if until_idle and not claimed and not self.running and self.heartbeat.worker_id is not None:
                return
            if not claimed:
                await self._wait_for_work()

    async def _claim(self) -> int:
        """Claim into every free place, and start what came; answers how many jobs that was."""
        worker_id = self.heartbeat.worker_id
        if worker_id is None:
            return 0
        try:
            children = await self._claim_children(worker_id)
            room = self.inline.room
            light = await self._claim_for(worker_id, self._inline_types, room)
            if light:
                self.inline.start(light)
                if len(light) < room:
                    await asyncio.sleep(0)  # they begin before we ask for more; else Postgres claims while they run
        except DATABASE_TROUBLE as failure:
            self._log.warning("cannot claim", reason=str(failure))
            self.wake.soon()
            return 0
        return children + len(light)

    async def _claim_children(self, worker_id: UUID) -> int:
        """Not before every batch of light jobs: only when there may be news, and once a poll."""
        free = self.slots.free
        if free <= 0 or not self.wake.is_time("children"):
            return 0
        jobs = await self._claim_for(worker_id, self._child_types, free)
        for job in jobs:
            self.slots.start(job)
        if not jobs:
            self.wake.was_in_vain("children")
        return len(jobs)

    async def _claim_for(self, worker_id: UUID, types: list[str], limit: int) -> list[Job]:
        if limit <= 0 or not types:
            return []
        in_place = 0 if self.running else SECONDS_TO_CLAIM_IN_PLACE
        async with self._claims.connection(in_place_seconds=in_place) as connection:
            jobs = await claim(connection, worker_id, types, limit)
        metrics.claimed(len(jobs))
        return jobs

    async def _wait_for_work(self) -> None:
        """Until there is a reason to claim."""
        while True:
            is_young = self.heartbeat.worker_id is None
            is_short = is_young or (self.wake.owes_look and self.inline.room > 0)  # no room: light jobs flow
            if not await self.wake.wait(SECONDS_OF_QUIET if is_short else None) or is_young or self.draining.is_set():
                return
            if (self.slots.free > 0 or self.inline.room > 0) and await self._is_any_due():
                return

    async def _is_any_due(self) -> bool:
        """One look, whatever kinds of jobs there are; it also tells when to wake up next."""
        try:
            async with self._claims.connection() as connection:
                seen = await look(connection)
        except DATABASE_TROUBLE as failure:
            self._log.warning("cannot look for jobs", reason=str(failure))
            self.wake.soon()
            return False
        self.wake.looked(seen.next_due_seconds)
        return seen.due

    async def _pass_on(self) -> None:
        """Every slot is taken: if there is more to do, another worker may have room for it."""
        now = asyncio.get_running_loop().time()
        if now < self._passed_on_at + SECONDS_BETWEEN_PASSING_ON:
            return
        self._passed_on_at = now
        with contextlib.suppress(*DATABASE_TROUBLE):
            async with self._claims.connection() as connection:
                if (await look(connection)).due:
                    self.caller.announce("")

    @property
    def running(self) -> int:
        """Jobs this worker holds."""
        return len(self.slots.running) + len(self.inline.held)

    def _given_back(self, job: Job, seconds: float) -> None:
        """A job of ours went back to the queue: somebody takes it when it is due, we or another worker."""
        if seconds > 0:
            self.wake.in_seconds(seconds)
        else:
            self.caller.announce(job.job_type)

    async def _call(self, payload: str) -> None:
        async with self.pool.connection() as connection:
            await call(connection, payload)

    async def _listen(self) -> None:
        listener = Listener(
            self._listen_url, CHANNEL, notify=self._call, on_message=self._called,
            on_change=self._listening,
        )  # fmt: skip
        await listener.run()

    def _called(self, job_type: str) -> None:
        self.wake.called("light" if job_type in self._inline_types else "children" if job_type else "")

    def _listening(self, proven: bool, reason: str) -> None:
        if proven:
            self._log.info("listening for new jobs")
        else:
            self._log.warning("polling for new jobs, not listening", reason=reason)
        self.wake.is_listening = proven
        # What was heard came through a session, of the same URL.
        self._claims.prepares = proven and self.settings.database_listen_url is None
        metrics.listening(proven)
        self.wake.called()  # perhaps somebody did, unheard

    # Drain

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError):  # not in the main thread: a test's worker
                loop.add_signal_handler(number, self.drain, signal.Signals(number).name)

    def drain(self, why: str = "asked") -> None:
        """First call: claim no more and wait for what runs. Second call: stop what runs at once."""
        if self.draining.is_set():
            self._log.warning("stopping at once", signal=why)
            self._at_once.set()
            return
        self._log.info("draining", signal=why, running=self.running, seconds=self.settings.worker_drain_seconds)
        self.draining.set()
        self.wake.now()
        self.heartbeat.drain()

    def _asked_to_drain(self) -> None:
        """By `worker drain`; called from the heartbeat's thread. A drain that goes on already is not hurried."""

        def begin() -> None:
            if not self.draining.is_set():
                self.drain("worker drain")

        assert self._loop is not None
        self._loop.call_soon_threadsafe(begin)

    async def _drain(self) -> None:
        """Until nothing runs, the deadline, or the second signal; what runs then is handed back."""
        self.inline.release_waiting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.worker_drain_seconds):
                await self._empty_or_at_once()
        if self.running:
            self._log.warning("handing jobs back", jobs=self.running)
            self.slots.release_all()
            self.inline.release_all()
            await self._wait_until_empty(SECONDS_TO_HAND_BACK)
        with contextlib.suppress(TimeoutError, *DATABASE_TROUBLE):
            async with asyncio.timeout(2):
                await self.caller.settle()

    async def _wait_until_empty(self, seconds: float | None) -> None:
        await asyncio.gather(self.slots.wait_until_empty(seconds), self.inline.wait_until_empty(seconds))

    async def _empty_or_at_once(self) -> None:
        waits = [asyncio.create_task(self._wait_until_empty(None)), asyncio.create_task(self._at_once.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _watch_heartbeat(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            metrics.renewal_age(self.heartbeat.renewal_age)
            metrics.slots("child", running=len(self.slots.running), free=self.slots.free)
            light = len(self.inline.held)
            metrics.slots("light", running=light, free=self.settings.worker_inline_slots - light)
            await asyncio.to_thread(self.heartbeat.check)


async def run_worker(
    settings: Settings,
    database_url: str,
    *,
    until_idle: bool = False,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Run one worker process to its end. `on_ready` gets the port of its health and metrics."""
    worker = Worker(settings, database_url)
    health = HealthServer(
        settings.worker_http_host, settings.worker_metrics_port, worker.health, before_metrics=worker.gauges.refresh
    )
    try:
        get_logger().info("worker starts", slots=settings.worker_slots, metrics_port=health.port)
        if on_ready is not None:
            on_ready(health.port)
        await worker.run(until_idle=until_idle)
        get_logger().info("worker ended")
    finally:
        health.close()


def _spare_the_collector() -> None:
    """What is imported by now stays for good, and what a batch of jobs makes is freed by its reference counts.

    To look through both again and again took a seventh of a busy worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
