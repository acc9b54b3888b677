"""What the verbs of a job promise (docs/queue.md), said again in plain Python: which rows must stand there after each.

Which jobs a claim chooses is not said here, only which it may choose; time is whole hours that a test lets pass.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from uuid import UUID

INDEX_TYPES = frozenset({"full_index", "incremental_update"})
CRASH_LIMIT = 3
SNOOZE_LIMIT = 50
SNOOZE_HOURS = 24
ENDS = ("completed", "failed", "cancelled")
_OPEN = ("queued", "processing")


@dataclass
class Job:
    """A job's row, its events, and how often its effect was written. `hours` until it is due, while queued."""

    id: UUID
    job_type: str
    tenant: UUID
    repository: UUID | None
    key: str | None
    priority: int
    max_attempts: int
    hours: int
    after: str  # what was asked for last, a number that grows with each request
    rebuild: bool = False
    status: str = "queued"
    attempt: int = 0
    errors: int = 0
    crashes: int = 0
    snoozes: int = 0
    snoozed_hours: int | None = None
    token: int | None = None
    worker: UUID | None = None
    cancel_reason: str | None = None
    superseded: bool = False
    log: str = "none"  # open, once claimed; then sealed; skipped where an attempt wrote none
    log_token: int | None = None  # the last attempt's, until somebody else takes over the sealing
    effects: int = 0
    events: list[str] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """No verb but a manual retry moves it from here."""
        return self.status in ENDS

    @property
    def is_unsealed(self) -> bool:
        """It ended with a log that nobody has sealed."""
        return self.has_ended and self.log == "open"


@dataclass
class Delivery:
    """A delivery's row."""

    status: str
    job: UUID | None


@dataclass
class Worker:
    """A worker's row. `silent`: for longer than a lease; `steady`: it has renewed for a whole lease."""

    state: str = "running"
    silent: bool = False
    steady: bool = False
    strays: set[int] = field(default_factory=set)
    """Tokens of claims older than the last renewal: if the next one does not name them, their reply was lost."""


@dataclass
class Lane:
    """What a person has set for a tenant."""

    paused: bool = False
    cap: int | None = None


class Model:
    """The queue as the verbs should leave it."""

    def __init__(self) -> None:
        self.jobs: dict[UUID, Job] = {}
        self.deliveries: dict[tuple[UUID, str], Delivery] = {}
        self.workers: dict[UUID, Worker] = {}
        self.lanes: dict[UUID, Lane] = {}
        self.paused_types: set[str] = set()

    def with_status(self, *statuses: str) -> list[Job]:
        """The jobs of these statuses, in the order of arrival."""
        return [job for job in self.jobs.values() if job.status in statuses]

    def queued_under(self, key: str | None) -> Job | None:
        """The queued job of a coalesce key."""
        return next((job for job in self.with_status("queued") if key is not None and job.key == key), None)

    def running_of(self, worker: UUID) -> list[Job]:
        """What a worker has in progress, by id."""
        return sorted((job for job in self.with_status("in_progress") if job.worker == worker), key=lambda job: job.id)

    # enqueue, deliver

    def enqueue(self, new: Job, *, supersede: bool = False) -> Job:
        """The new job, or the one of its coalesce key that it joins."""
        target = self.queued_under(new.key)
        if target is None:
            target = self.jobs[new.id] = new
            target.events.append("enqueue")
        else:
            self._join(target, new)
            target.events.append("coalesce")
        if supersede and new.key is not None:
            for job in self.with_status("in_progress"):
                if job.key == new.key and job.cancel_reason is None:
                    job.cancel_reason = "superseded"
        return target

    def deliver(
        self, name: tuple[UUID, str], new: Job | None, *, supersede: bool = False
    ) -> tuple[UUID | None, str, bool]:
        """The delivery's job, its status, and whether the delivery was known."""
        known = self.deliveries.get(name)
        if known is not None and known.status != "failed":
            return known.job, known.status, True
        if new is None:
            if known is None:
                self.deliveries[name] = Delivery("ignored", None)
            return (known.job, known.status, True) if known else (None, "ignored", False)
        job = self.enqueue(new, supersede=supersede)
        self.deliveries[name] = Delivery("queued", job.id)
        return job.id, "queued", known is not None

    # claim

    def claimable(self, types: Collection[str]) -> list[Job]:
        """The jobs that any one claim of these types might choose now."""
        busy = {job.repository for job in self.with_status("in_progress")} - {None}
        return [
            job
            for job in self.with_status("queued")
            if job.hours <= 0 and job.job_type in types and job.job_type not in self.paused_types
            and job.repository not in busy and self.room(job.tenant) > 0
        ]  # fmt: skip

    def room(self, tenant: UUID) -> float:
        """How many more jobs of a tenant may start."""
        lane = self.lanes.get(tenant, Lane())
        if lane.paused:
            return 0
        running = sum(job.tenant == tenant for job in self.with_status("in_progress"))
        return float("inf") if lane.cap is None else lane.cap - running

    def claimed(self, job: Job, worker: UUID, token: int) -> None:
        """A claim chose this job."""
        job.status, job.token, job.worker = "in_progress", token, worker
        job.attempt += 1
        job.cancel_reason = None
        job.log, job.log_token = "open", token
        job.events.append("claim")
        self._move_deliveries(job, "processing", _OPEN)

    # how an attempt ends

    def complete(self, job: Job, *, logged: bool = True) -> None:
        """The attempt succeeded; light jobs may have written no log, but for those of an earlier attempt."""
        job.events.append("complete")
        self._end(job, "completed", "processed")
        job.log = job.log if logged or job.attempt > 1 else "skipped"

    def fail(self, job: Job) -> None:
        """No retry helps."""
        job.errors += 1
        job.events.append("fail")
        self._end(job, "failed", "failed")

    def give_back(self, job: Job, verb: str, *, spends: str = "none", hours: int = 0) -> str:
        """retry, snooze, release and rescue; what came of it."""
        job.errors += spends == "error"
        job.crashes += spends == "crash"
        if verb == "snooze":
            job.snoozes += 1
            job.snoozed_hours = job.snoozed_hours or 0
        elif verb == "retry":
            job.snoozes, job.snoozed_hours = 0, None
        if job.cancel_reason not in (None, "superseded"):
            return self._cancelled(job)
        if self._has_spent(job, verb, spends):
            job.events.append("fail")
            self._end(job, "failed", "failed")
            return "fail"
        if self._supersede(job):
            return "supersede"
        job.status, job.token, job.worker, job.hours = "queued", None, None, hours
        job.events.append(verb)
        self._move_deliveries(job, "queued", _OPEN)
        return verb

    def cancel_running(self, job: Job) -> str:
        """What a worker writes when it has killed the attempt."""
        if job.cancel_reason == "superseded":
            return "supersede" if self._supersede(job) else self.give_back(job, "release")
        return self._cancelled(job)

    # what a person does

    def cancel(self, job: Job, reason: str) -> str:
        """At once, asked for, or too late."""
        if job.status == "queued":
            self._cancelled(job)
            return "cancelled"
        if job.status == "in_progress":
            job.cancel_reason = reason
            return "requested"
        return job.status

    def retry_finished(self, job: Job) -> Job | None:
        """The job that will run."""
        if job.status not in ("failed", "cancelled"):
            return None
        target = self.queued_under(job.key) or job
        if target is job:
            job.status, job.hours, job.worker = "queued", 0, None
            job.errors = job.crashes = job.snoozes = 0
            job.snoozed_hours = job.cancel_reason = None
            job.superseded = False
        else:
            self._join(target, replace(job, hours=0))
        target.events.append("enqueue")
        self._move_deliveries(job, "queued", ("failed",), to=target)
        return target

    # workers

    def renew(self, worker: UUID, sent: Collection[int]) -> dict[str, set[int] | bool]:
        """The answer to a heartbeat; releases what it should name and does not."""
        row = self.workers[worker]
        if row.state not in ("running", "draining"):
            return {"known": False}
        row.steady = row.steady and not row.silent
        row.silent = False
        released = set[int]()
        for job in self.running_of(worker):
            assert job.token is not None
            if job.token in row.strays and job.token not in sent:
                released.add(job.token)
                self.give_back(job, "release")
        mine = self.running_of(worker)
        row.strays = {job.token for job in mine if job.token is not None}
        held = row.strays & set(sent)
        cancel = {job.token for job in mine if job.token in held and job.cancel_reason is not None}
        return {"known": True, "held": held, "cancel": cancel, "released": released}

    def rescue(self, worker: UUID) -> dict[UUID, str]:
        """What a worker takes back from others: job, and what came of it."""
        me = self.workers[worker]
        if me.state != "running" or not me.steady or me.silent:
            return {}
        rescued: dict[UUID, str] = {}
        for job in sorted(self.with_status("in_progress"), key=lambda job: job.id):
            assert job.worker is not None
            owner = self.workers[job.worker]
            if owner.silent or owner.state in ("fenced", "stopped", "lost"):
                is_excused = owner.state in ("draining", "fenced", "stopped")
                rescued[job.id] = self.give_back(job, "rescue", spends="none" if is_excused else "crash")
        for other in self.workers.values():
            if other.silent and other.state in ("running", "draining"):
                other.state = "lost"
        return rescued

    # the clock, and what goes

    def remove(self, jobs: Collection[Job]) -> None:
        """Rows deleted by hand, or with their repository."""
        for job in jobs:
            del self.jobs[job.id]
            for delivery in self.deliveries.values():
                delivery.job = None if delivery.job == job.id else delivery.job

    def pass_time(self, hours: int) -> None:
        """Let hours pass for what waits."""
        for job in self.jobs.values():
            job.hours -= hours
            if job.snoozed_hours is not None:
                job.snoozed_hours += hours

    def seal(self) -> set[UUID]:
        """Every log of an ended job is sealed."""
        sealed = {job.id for job in self.jobs.values() if job.is_unsealed}
        for job_id in sealed:
            self.jobs[job_id].log, self.jobs[job_id].log_token = "sealed", None
        return sealed

    def prune(self) -> int:
        """Every ended job goes whose log is not wanted any more, and then every delivery without a job."""
        ended = [job for job in self.with_status(*ENDS) if not job.is_unsealed]
        self.remove(ended)
        self.deliveries = {name: delivery for name, delivery in self.deliveries.items() if delivery.job is not None}
        return len(ended)

    # the parts that verbs share

    def _has_spent(self, job: Job, verb: str, spends: str) -> bool:
        snoozed_too_long = job.snoozes > SNOOZE_LIMIT or (job.snoozed_hours or 0) >= SNOOZE_HOURS
        return (
            (spends == "error" and job.errors >= job.max_attempts)
            or (spends == "crash" and job.crashes >= CRASH_LIMIT)
            or (verb == "snooze" and snoozed_too_long)
        )

    def _join(self, target: Job, request: Job) -> None:
        """The queued job of a coalesce key does what this one asks for as well."""
        self._merge(target, request)
        target.priority = max(target.priority, request.priority)
        target.errors = target.crashes = 0
        target.hours = target.hours if target.snoozes else request.hours

    def _merge(self, target: Job, request: Job) -> None:
        target.after = max(target.after, request.after, key=int)
        target.rebuild = target.rebuild or request.rebuild

    def _cancelled(self, job: Job) -> str:
        job.events.append("cancel")
        self._end(job, "cancelled", "failed")
        return "cancel"

    def _supersede(self, job: Job) -> bool:
        follow_up = self.queued_under(job.key)
        if follow_up is None:
            return False
        job.events.append("cancel")
        self._move_deliveries(job, "queued", _OPEN, to=follow_up)
        self._merge(follow_up, job)
        self._end(job, "cancelled", "failed")
        job.superseded = True
        return True

    def _end(self, job: Job, status: str, delivery_status: str) -> None:
        job.status, job.token = status, None
        self._move_deliveries(job, delivery_status, _OPEN)

    def _move_deliveries(self, job: Job, status: str, before: Collection[str], *, to: Job | None = None) -> None:
        for delivery in self.deliveries.values():
            if delivery.job == job.id and delivery.status in before:
                delivery.status, delivery.job = status, (to or job).id
