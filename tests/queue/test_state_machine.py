"""The verbs in any order, by several workers, against the model: what stands in Postgres is what the model says."""

# ruff: noqa: D102  (a rule is named by its verb)

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.queue import model, mutants
from worker.database.connect import connect, connect_async
from worker.database.patience import AsyncConnection
from worker.errors import LeaseLost
from worker.job import Ending, Job, Outcome, new_job_id
from worker.queue import lease
from worker.queue.cancel import cancel, hurry, retry_finished
from worker.queue.claim import claim
from worker.queue.enqueue import NewDelivery, NewJob, deliver, enqueue, enqueue_many
from worker.queue.events import progress, tell
from worker.queue.finish import complete_in_transaction, complete_many, finish, hold
from worker.queue.prune import prune
from worker.queue.rescue import rescue
from worker.queue.seal import seal_log, take_unsealed

T = TypeVar("T")

LEASE = 3600.0  # longer than any example takes
TYPES = ("full_index", "incremental_update", "validate", "tidy")
INDEX_TYPES = tuple(name for name in TYPES if name in model.INDEX_TYPES)
LIGHT_TYPES = tuple(name for name in TYPES if name not in model.INDEX_TYPES)
NOBODY = uuid.UUID(int=0)
TENANTS = (uuid.UUID(int=0xA), uuid.UUID(int=0xB))
OWNERS = {uuid.UUID(int=0xA1): TENANTS[0], uuid.UUID(int=0xA2): TENANTS[0], uuid.UUID(int=0xB1): TENANTS[1]}

_CLEAR = """
truncate public.indexing_jobs, public.indexing_job_events, public.webhook_deliveries, public.token_usage,
    public.workers, public.queue_lanes, queue.waiting, queue.running, queue.unsealed, queue.paused_types, queue.heads,
    queue.turns cascade;
update public.repositories set status = 'pending', sync_state = 'pending';
select setval('queue.virtual_clock', 0, false), setval('queue.turns_floor', 0, false)"""

_LOOK = """
select
    (select jsonb_object_agg(j.id, jsonb_build_object(
        'status', j.status, 'attempt', j.attempt, 'errors', j.errors, 'crashes', j.crashes, 'snoozes', j.snoozes,
        'priority', j.priority, 'token', j.lease_token, 'after', j.payload ->> 'after',
        'rebuild', coalesce(j.payload -> 'rebuild' = 'true', false),
        'is_due', j.status <> 'queued' or j.run_after <= clock_timestamp(),
        'worker', case when j.status = 'in_progress' then j.worker_id end,
        'cancel', case when j.status = 'in_progress' and j.cancel_requested_at is not null then j.cancel_reason end,
        'superseded', j.status = 'cancelled' and coalesce(j.error_class = 'superseded', false),
        'unsealed', exists (select from queue.unsealed u where u.job_id = j.id),
        'effects', (select count(*) from token_usage t where t.job_id = j.id),
        'events', (select jsonb_agg(e.event_type order by e.id) from indexing_job_events e where e.job_id = j.id),
        'waits', exists (select from queue.waiting w
            where (w.job_id, w.user_id, w.job_type, w.rank, w.run_after, w.queued_at)
                = (j.id, queue.lane(j.user_id), j.job_type, queue.rank(j.priority, j.queued_at), j.run_after,
                   j.queued_at)
              and (w.repository_id, w.coalesce_key) is not distinct from (j.repository_id, j.coalesce_key)),
        'runs', exists (select from queue.running r
            where (r.job_id, r.token, r.worker_id, r.user_id)
                = (j.id, j.lease_token, j.worker_id, queue.lane(j.user_id))
              and r.repository_id is not distinct from j.repository_id)))
     from indexing_jobs j) as jobs,
    (select jsonb_object_agg(w.job_id, jsonb_build_object(
        'tenant', w.user_id, 'repository', w.repository_id, 'type', w.job_type, 'rank', w.rank, 'hold', w.hold,
        'is_due', w.run_after <= clock_timestamp()))
     from queue.waiting w) as waiting,
    (select count(*) from queue.running) as running,
    (select jsonb_object_agg(d.repository_id || '/' || d.delivery_id, jsonb_build_array(d.status, d.job_id))
     from webhook_deliveries d) as deliveries,
    (select jsonb_object_agg(l.user_id, jsonb_build_object(
        'active', l.active, 'time', l.virtual_time, 'paused', l.paused, 'cap', l.max_running,
        'slots', (select count(*) from queue.running r where r.user_id = l.user_id and r.slot is not null)))
     from queue_lanes l) as lanes,
    (select jsonb_object_agg(w.id, w.state) from workers w) as workers,
    (select jsonb_object_agg(r.id, r.sync_state) from repositories r) as repositories"""

# Everything that a person or another verb can read.
_FINGERPRINT = """
select md5(concat(
    (select string_agg(t::text, ' ' order by t.id) from indexing_jobs t),
    (select string_agg(t::text, ' ' order by t.id) from indexing_job_events t),
    (select string_agg(t::text, ' ' order by t.id) from webhook_deliveries t),
    (select string_agg(t::text, ' ' order by t.id) from token_usage t),
    (select string_agg(t::text, ' ' order by t.job_id) from queue.waiting t),
    (select string_agg(t::text, ' ' order by t.token) from queue.running t),
    (select string_agg(t::text, ' ' order by t.job_id) from queue.unsealed t),
    (select string_agg(t::text, ' ' order by t.user_id) from queue_lanes t))) as everything"""

_PASS_TIME = """
with jobs as (
    update indexing_jobs set run_after = run_after - %(time)s, queued_at = queued_at - %(time)s,
        snoozed_since = snoozed_since - %(time)s
)
update queue.waiting w set run_after = run_after - %(time)s, queued_at = queued_at - %(time)s,
    rank = rank - (extract(epoch from %(time)s) * 1000000)::bigint"""

_FALL_SILENT = """
with silent as (
    update workers set last_seen_at = last_seen_at - %(time)s where id = %(worker)s
)
update queue.running set claimed_at = claimed_at - %(time)s where worker_id = %(worker)s"""

_STEADY = "update workers set renewing_since = renewing_since - %s where id = %s"
_SNOOZED_OFTEN = "update indexing_jobs set snoozes = %s, snoozed_since = now() where id = %s"
_IS_BLOCKED = "select wait_event_type = 'Lock' as is_blocked from pg_stat_activity where pid = %s"
_EFFECT = "insert into token_usage (job_id, usage_type, tokens_used) values (%s, %s, 1)"


class Bench:
    """One database, and the connections that all examples of a test share."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.db = connect(url, name="test")
        self.one: AsyncConnection = self._runner.run(connect_async(url, name="one"))
        self.other: AsyncConnection = self._runner.run(connect_async(url, name="other"))
        for connection in (self.one, self.other):  # a planted bug may loop for ever
            self._runner.run(connection.execute("set statement_timeout = '20s'"))
        for repository, owner in OWNERS.items():
            self.db.execute("insert into auth.users (id) values (%s) on conflict do nothing", (owner,))
            self._add_repository(repository)

        # What claims do now and then is done by every third one: it is where they might pass over a job.
        (row,) = self.db.execute("select pg_get_functiondef('queue.claim'::regproc) as source").fetchall()
        assert row["source"].count("random()") == 4
        self.db.execute(row["source"].replace("random()", "random() / 300").encode())

    def clear(self) -> None:
        """An empty queue."""
        self.db.execute(_CLEAR)

    def ask(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call an async verb with a connection."""
        return self._runner.run(verb(self.one, *arguments, **named))

    def tell(self, query: str, parameters: Any = None) -> dict[str, Any]:
        """One statement; its only row, empty for a command."""
        cursor = self.db.execute(query.encode(), parameters)
        return (cursor.fetchone() if cursor.description else None) or {}

    def remove_repository(self, repository: uuid.UUID) -> None:
        """With all that hangs on it; at once there is a new one of its name."""
        self.db.execute("delete from repositories where id = %s", (repository,))
        self._add_repository(repository)

    def _add_repository(self, repository: uuid.UUID) -> None:
        self.db.execute(
            "insert into repositories (id, user_id, name, git_url) values (%s, %s, 'repo', %s)",
            (repository, OWNERS[repository], f"https://github.com/acme/{repository}"),
        )

    def look(self) -> dict[str, Any]:
        """What stands in the tables."""
        return {name: found or {} for name, found in self.tell(_LOOK).items()}

    def overlapping_claims(
        self, first: tuple[uuid.UUID, int], second: tuple[uuid.UUID, int]
    ) -> tuple[list[Job], list[Job]]:
        """Two claims, of which the second begins while the first has not committed."""

        async def both() -> tuple[list[Job], list[Job]]:
            async with self.one.transaction():
                mine = await claim(self.one, first[0], TYPES, first[1])
                theirs = asyncio.create_task(claim(self.other, second[0], TYPES, second[1]))
                blocked = (_IS_BLOCKED, (self.other.info.backend_pid,))
                while not theirs.done() and not self.tell(*blocked)["is_blocked"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.0005)  # Postgres tells nobody when a lock is waited for
            return mine, await theirs

        return self._runner.run(both())

    def close(self) -> None:
        """The connections."""
        self._runner.run(self.one.close())
        self._runner.run(self.other.close())
        self.db.close()
        self._runner.close()


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    """A database of this test's own."""
    bench = Bench(database_url)
    yield bench
    bench.close()


def nth(items: Collection[T], number: int) -> T:
    """One of them; any number will do."""
    return list(items)[number % len(items)]


def is_refused(verb: Callable[..., Any], *arguments: Any) -> bool:
    """Whether the verb says that the token is no longer the job's."""
    try:
        verb(*arguments)
    except LeaseLost:
        return True
    return False


numbers = st.integers(0, 11)
# Much happens to few of them: that is where the verbs meet.
repositories = st.sampled_from([*OWNERS, next(iter(OWNERS)), next(iter(OWNERS)), None])
types = st.sampled_from([*TYPES, "full_index", "full_index", "tidy"])
some_types = st.sampled_from([TYPES, TYPES, TYPES, INDEX_TYPES, LIGHT_TYPES])
priorities = st.sampled_from([0, 0, 7])
delays = st.sampled_from([0, 0, 0, 1, 30])
endings = st.sampled_from([
    "complete", "complete", "publish", "retry", "retry", "crash", "snooze", "snooze too often", "release", "fail",
    "cancel",
])  # fmt: skip
branches = st.sampled_from([None, "main", "main", "dev"])


class QueueMachine(RuleBasedStateMachine):
    """Each rule does one thing to the database and to the model; the invariants compare them after each."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.bench.clear()
        self.model = model.Model()
        self.attempts: list[Job] = []
        self.unheard: set[int] = set()  # tokens whose claim's reply was lost
        self.pushes = 0
        self.is_sound = True
        self.seen: dict[str, Any] = {}
        for _ in range(2):
            self.start_worker(steady=True)

    # what the rules share

    def ask(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self.is_sound = False
        return self.bench.ask(verb, *arguments, **named)

    def tell(self, query: str, parameters: Any = None) -> dict[str, Any]:
        self.is_sound = False
        return self.bench.tell(query, parameters)

    def new_job(
        self, repository: uuid.UUID | None, job_type: str, branch: str | None,
        *, priority: int = 0, hours: int = 0, max_attempts: int = 2,
    ) -> model.Job:  # fmt: skip
        """Index jobs and others do not share coalesce keys."""
        self.pushes += 1
        kind = "index" if job_type in model.INDEX_TYPES else "light"
        tenant = OWNERS[repository] if repository else nth([NOBODY, *TENANTS], self.pushes)
        return model.Job(
            new_job_id(), job_type, tenant, repository,
            f"{kind}:{repository or tenant}:{branch}" if branch else None,
            priority, max_attempts, hours, str(self.pushes), rebuild=self.pushes % 3 == 0,
        )  # fmt: skip

    def live(self) -> list[tuple[Job, model.Job]]:
        """The attempts whose token is still their job's, as far as their workers know."""
        return [
            (attempt, job)
            for attempt in self.attempts
            if (job := self.model.jobs.get(attempt.id)) is not None
            and job.token == attempt.lease_token not in self.unheard
        ]

    def running_workers(self) -> list[uuid.UUID]:
        return [name for name, row in self.model.workers.items() if row.state == "running"]

    def stale(self) -> list[Job]:
        return [
            attempt for attempt in self.attempts
            if (job := self.model.jobs.get(attempt.id)) is None or job.token != attempt.lease_token
        ]  # fmt: skip

    def due(self, hours: int) -> datetime | None:
        return datetime.now(UTC) + timedelta(hours=hours) if hours else None

    # enqueue

    def as_new(self, job: model.Job, *, supersede: bool = False) -> NewJob:
        return NewJob(
            job.job_type, job.repository, {"after": job.after, "rebuild": job.rebuild}, job.priority,
            self.due(job.hours), job.key, max_attempts=job.max_attempts, supersede=supersede and job.key is not None,
            user_id=None if job.repository or job.tenant == NOBODY else job.tenant,
        )  # fmt: skip

    @rule(
        repository=repositories, job_type=types, branch=branches, priority=priorities, hours=delays,
        max_attempts=st.integers(1, 3), supersede=st.booleans(),
    )  # fmt: skip
    def enqueue(self, repository, job_type, branch, priority, hours, max_attempts, supersede) -> None:
        new = self.new_job(repository, job_type, branch, priority=priority, hours=hours, max_attempts=max_attempts)
        answer = self.ask(enqueue, self.as_new(new, supersede=supersede))
        new.id = answer.job_id
        is_known = answer.job_id in self.model.jobs
        # Without a repository, nobody finds the one that runs.
        target = self.model.enqueue(new, supersede=supersede and repository is not None)
        assert (target.id, answer.joined) == (answer.job_id, is_known)

    @precondition(lambda self: any(job.key for job in self.model.jobs.values()))
    @rule(number=numbers, priority=priorities, hours=delays, supersede=st.booleans())
    def enqueue_again(self, number, priority, hours, supersede) -> None:
        """Under a coalesce key that is, or was, in use."""
        known = [job for job in self.model.jobs.values() if job.key]
        like = nth([job for job in self.awaited() if job.key] or known, number)
        branch = (like.key or "").rpartition(":")[2]
        if like.repository is not None:
            self.enqueue(like.repository, like.job_type, branch, priority, hours, 2, supersede)

    @precondition(lambda self: any(job.key for job in self.awaited()))
    @rule(number=numbers)
    def put_off(self, number) -> None:
        """A job that others wait behind is joined by one that is not due: they must not wait so long."""
        self.enqueue_again(number, 0, 30, False)

    @rule(
        repository=st.sampled_from(list(OWNERS)), number=st.integers(0, 5), job_type=types, branch=branches,
        is_wanted=st.sampled_from([True, True, True, False]), supersede=st.booleans(),
    )  # fmt: skip
    def deliver(self, repository, number, job_type, branch, is_wanted, supersede) -> None:
        """The same number again is a redelivery."""
        new = self.new_job(repository, job_type, branch) if is_wanted else None
        job = self.as_new(new, supersede=supersede) if new else None
        answer = self.ask(deliver, NewDelivery(repository, "github", str(number), "push", {}, {}, job=job))
        if new is not None and answer.job_id is not None:
            new.id = answer.job_id
        expected = self.model.deliver((repository, str(number)), new, supersede=supersede)
        assert (answer.job_id, answer.status, answer.duplicate) == expected

    @rule(
        jobs=st.lists(st.tuples(repositories, types, priorities, delays), max_size=2),
        alike=st.lists(priorities, max_size=3), repository=repositories, job_type=types,
    )  # fmt: skip
    def enqueue_many(self, jobs, alike, repository, job_type) -> None:
        """A few of any kind, and some that differ in their priority only."""
        jobs = [*jobs, *((repository, job_type, priority, 0) for priority in alike)]
        new = [
            self.new_job(repository, job_type, None, priority=priority, hours=hours)
            for repository, job_type, priority, hours in jobs
        ]
        answer = self.ask(enqueue_many, [self.as_new(job) for job in new])
        for job, job_id in zip(new, answer, strict=True):
            job.id = job_id
            self.model.enqueue(job)

    # claim

    @precondition(lambda self: self.model.with_status("queued"))
    @rule(number=numbers, wanted=some_types, limit=st.integers(1, 4), is_heard=st.sampled_from([True, True, False]))
    def claim(self, number, wanted, limit, is_heard) -> None:
        """A reply that is lost leaves jobs that nobody works at."""
        worker = nth(self.running_workers() or list(self.model.workers), number)
        self.claimed(worker, wanted, limit, self.ask(claim, worker, wanted, limit), is_heard=is_heard)

    @precondition(lambda self: self.model.with_status("queued"))
    @rule(first=numbers, second=numbers, limits=st.tuples(st.integers(1, 2), st.integers(1, 3)))
    def claim_at_once(self, first, second, limits) -> None:
        """The second claim begins before the first has committed, and sees all that it leaves."""
        self.tell("select queue.wake_due()")
        workers = nth(self.model.workers, first), nth(self.model.workers, second)
        answers = self.bench.overlapping_claims((workers[0], limits[0]), (workers[1], limits[1]))
        for worker, limit, jobs in zip(workers, limits, answers, strict=True):
            self.claimed(worker, TYPES, limit, jobs)

    def claimed(
        self, worker: uuid.UUID, wanted: Collection[str], limit: int, jobs: list[Job], *, is_heard: bool = True
    ) -> None:
        """Each may be claimed, nothing that may is left out, and nobody of a tenant is overtaken."""
        is_running = self.model.workers[worker].state == "running"
        before = self.model.claimable(wanted) if is_running else []
        for job in jobs:
            assert job.id in {claimable.id for claimable in self.model.claimable(wanted)}, f"may not start: {job}"
            self.model.claimed(self.model.jobs[job.id], worker, job.lease_token)
            self.attempts.append(job)
            self.unheard |= set() if is_heard else {job.lease_token}
        assert len(jobs) <= limit
        assert is_running or not jobs
        if is_running and len(jobs) < limit:
            assert self.model.claimable(wanted) == []
        self.overtakes_nobody({job.id for job in jobs}, before)

    def overtakes_nobody(self, chosen: set[uuid.UUID], before: list[model.Job]) -> None:
        ranks = {job.id: (self.seen["waiting"][str(job.id)]["rank"], job.id) for job in before}
        for job in before:
            for left in before:
                busy = {self.model.jobs[job_id].repository for job_id in chosen} - {None}
                if job.id in chosen and left.id not in chosen and left.repository not in busy:
                    assert job.tenant != left.tenant or ranks[job.id] < ranks[left.id]

    # how attempts end

    def finish(self, attempt: Job, ending: Ending, hours: int = 0) -> str:
        outcome = Outcome(ending, {}, "error", "message", hours * 3600)
        return self.ask(finish, attempt, outcome, crash_limit=model.CRASH_LIMIT)

    @precondition(lambda self: self.live())
    @rule(number=numbers, how=endings, hours=delays)
    def end(self, number, how, hours) -> None:
        self.ends(*nth(self.live(), number), how, hours)

    @precondition(lambda self: self.running_workers() and self.model.with_status("queued"))
    @rule(number=numbers, limit=st.integers(1, 4), how=endings, hours=delays)
    def work(self, number, limit, how, hours) -> None:
        """Claim, and end what was claimed."""
        worker = nth(self.running_workers(), number)
        jobs = self.ask(claim, worker, TYPES, limit)
        self.claimed(worker, TYPES, limit, jobs)
        for attempt in jobs:
            self.ends(attempt, self.model.jobs[attempt.id], how, hours)

    def ends(self, attempt: Job, job: model.Job, how: str, hours: int) -> None:
        if how == "publish":
            self.publishes(attempt)
            self.model.complete(job)
            job.effects += 1
        elif how == "complete":
            assert self.finish(attempt, Ending.COMPLETE) == "complete"
            self.model.complete(job)
        elif how == "fail":
            assert self.finish(attempt, Ending.FAIL) == "fail"
            self.model.fail(job)
        elif how == "cancel":
            expected = self.model.cancel_running(job)
            assert self.finish(attempt, Ending.CANCEL) == ("release" if expected == "release" else "cancel")
        else:
            self.goes_back(attempt, job, how, hours)

    @precondition(lambda self: self.making_way())
    @rule(number=numbers, is_wanted=st.booleans())
    def make_way(self, number, is_wanted) -> None:
        """A run stops for a newer push, whose own job somebody may have cancelled in the last second."""
        attempt, job = nth(self.making_way(), number)
        follow_up = self.model.queued_under(job.key)
        if follow_up is not None and not is_wanted:
            assert self.ask(cancel, follow_up.id, "not wanted") == self.model.cancel(follow_up, "not wanted")
        self.ends(attempt, job, "cancel", 0)

    def making_way(self) -> list[tuple[Job, model.Job]]:
        return [(attempt, job) for attempt, job in self.live() if job.cancel_reason == "superseded"]

    def goes_back(self, attempt: Job, job: model.Job, how: str, hours: int) -> None:
        if how == "snooze too often":
            self.tell(_SNOOZED_OFTEN, (model.SNOOZE_LIMIT, job.id))
            job.snoozes, job.snoozed_hours = model.SNOOZE_LIMIT, 0
        ending, verb, spends = {
            "retry": (Ending.RETRY, "retry", "error"), "crash": (Ending.CRASH, "retry", "crash"),
            "release": (Ending.RELEASE, "release", "none"),
        }.get(how, (Ending.SNOOZE, "snooze", "none"))  # fmt: skip
        expected = self.model.give_back(job, verb, spends=spends, hours=hours)
        assert self.finish(attempt, ending, hours) == expected

    def publishes(self, attempt: Job) -> None:
        self.is_sound = False
        with self.bench.db.transaction():
            self.bench.db.execute(_EFFECT, (attempt.id, str(uuid.uuid4())))
            complete_in_transaction(self.bench.db, attempt, {})

    def holds(self, attempt: Job) -> None:
        with self.bench.db.transaction():
            hold(self.bench.db, attempt)

    @precondition(lambda self: self.attempts)
    @rule(chosen=st.sets(numbers, min_size=1, max_size=4))
    def complete_many(self, chosen) -> None:
        """Light jobs in a batch: what is no longer ours stays as it is, what we completed before counts as done."""
        light = [attempt for attempt in self.attempts if attempt.job_type in LIGHT_TYPES]
        batch = {attempt.lease_token: attempt for attempt in (nth(light, number) for number in chosen if light)}
        done = set[int]()
        for token, attempt in batch.items():
            job = self.model.jobs.get(attempt.id)
            if job is not None and job.token == token:
                self.model.complete(job, logged=False)
            if job is not None and (job.status, job.log_token) == ("completed", token):
                done.add(token)
        assert self.ask(complete_many, [(attempt, {}) for attempt in batch.values()]) == done

    @precondition(lambda self: self.live())
    @rule(number=numbers)
    def start(self, number) -> None:
        attempt, job = nth(self.live(), number)
        assert self.ask(tell, attempt, "start", None, {})
        assert self.ask(progress, attempt, {"phase": "fetch"})
        job.events.append("start")

    @precondition(lambda self: self.stale())
    @rule(number=numbers)
    def zombie_writes(self, number) -> None:
        """No verb under an old token changes anything."""
        attempt = nth(self.stale(), number)
        before = self.tell(_FINGERPRINT)
        for ending in (Ending.COMPLETE, Ending.RETRY, Ending.CRASH, Ending.SNOOZE, Ending.RELEASE, Ending.FAIL,
                       Ending.CANCEL):  # fmt: skip
            assert is_refused(self.finish, attempt, ending)
        if attempt.id in self.model.jobs:
            assert is_refused(self.publishes, attempt)
            assert is_refused(self.holds, attempt)
        job = self.model.jobs.get(attempt.id)
        was_its_last = job is not None and (job.status, job.log_token) == ("completed", attempt.lease_token)
        assert self.ask(complete_many, [(attempt, {})]) == ({attempt.lease_token} if was_its_last else set())
        assert self.ask(progress, attempt, {"phase": "too late"}) == was_its_last
        if not was_its_last:  # what an attempt said in its last second may still come
            assert not self.ask(tell, attempt, "start", None, {})
        assert self.tell(_FINGERPRINT) == before

    # what a person does

    @precondition(lambda self: self.model.jobs)
    @rule(number=numbers, which=st.sampled_from(["awaited", "awaited", "open", "any"]))
    def cancel(self, number, which) -> None:
        """Whatever comes next in its repository has to be woken up."""
        kinds = {"awaited": self.awaited(), "open": self.model.with_status("queued", "in_progress")}
        job = nth(kinds.get(which) or self.model.jobs.values(), number)
        expected = self.model.cancel(job, "not wanted")
        assert self.ask(cancel, job.id, "not wanted") == expected

    def awaited(self) -> list[model.Job]:
        """Ready jobs whose repository has others that are put aside, and will wake up after them."""
        waiting = self.seen["waiting"]
        aside = {row["repository"] for row in waiting.values() if row["hold"] == "repository"}
        return [
            job for job in self.model.with_status("queued")
            if waiting[str(job.id)]["hold"] is None and str(job.repository) in aside
        ]  # fmt: skip

    @precondition(lambda self: self.model.jobs)
    @rule(number=numbers, ended=st.booleans())
    def retry_finished(self, number, ended) -> None:
        retriable = self.model.with_status("failed", "cancelled") or list(self.model.jobs.values())
        job = nth(retriable if ended else self.model.jobs.values(), number)
        target = self.model.retry_finished(job)
        assert self.ask(retry_finished, job.id) == (target.id if target else None)

    @precondition(lambda self: self.model.with_status("queued"))
    @rule(number=numbers)
    def hurry(self, number) -> None:
        """Only what has not been due yet, or is not known to be."""
        job = nth(self.model.with_status("queued"), number)
        may_wait = self.seen["waiting"][str(job.id)]["hold"] == "time"
        assert self.ask(hurry, job.id) == may_wait
        if may_wait:
            job.hours = 0
            job.events.append("enqueue")

    @precondition(lambda self: self.model.with_status("queued"))
    @rule(tenant=st.sampled_from([*TENANTS, NOBODY]), weight=st.sampled_from([None, 0.5, 4]),
          paused=st.sampled_from([None, None, False, False, False, True]),
          cap=st.sampled_from([None, 0, 1, 2]))  # fmt: skip
    def set_lane(self, tenant, weight, paused, cap) -> None:
        self.tell("select queue.set_lane(%s, %s::real, %s, %s)", (tenant, weight, paused, cap))
        lane = self.model.lanes.setdefault(tenant, model.Lane())
        lane.paused = lane.paused if paused is None else paused
        lane.cap = lane.cap if cap is None else cap or None

    @precondition(lambda self: self.model.with_status("queued"))
    @rule(job_type=types, paused=st.sampled_from([True, False, False, False]))
    def set_paused(self, job_type, paused) -> None:
        self.tell("select queue.set_paused(%s, %s)", (job_type, paused))
        (self.model.paused_types.add if paused else self.model.paused_types.discard)(job_type)

    @precondition(lambda self: self.model.with_status("queued", "in_progress"))
    @rule(number=numbers, with_repository=st.booleans())
    def remove(self, number, with_repository) -> None:
        """A person deletes a repository, or a job for which no delivery waits: those behind it must not wait on."""
        job = nth(self.model.with_status("queued", "in_progress"), number)
        waited_for = {d.job for d in self.model.deliveries.values() if d.status in ("queued", "processing")}
        if with_repository and job.repository is not None:
            self.is_sound = False
            self.bench.remove_repository(job.repository)
            self.model.remove([other for other in self.model.jobs.values() if other.repository == job.repository])
            for name in [name for name in self.model.deliveries if name[0] == job.repository]:
                del self.model.deliveries[name]
        elif job.id not in waited_for:
            self.tell("delete from indexing_jobs where id = %s", (job.id,))
            self.tell("select queue.show_state(%s)", (job.repository,))
            self.model.remove([job])

    # workers

    @precondition(lambda self: len(self.running_workers()) < 2)
    @rule(steady=st.booleans())
    def start_worker(self, steady) -> None:
        worker_id = new_job_id()  # by age, so that the n-th is the same one each time
        lease.register(self.bench.db, lease.WorkerIdentity(worker_id, "test", 1, "0", None, 4, list(TYPES)))
        self.model.workers[worker_id] = model.Worker(steady=steady)
        if steady:
            self.tell(_STEADY, (timedelta(seconds=LEASE), worker_id))

    @precondition(lambda self: self.model.with_status("in_progress"))
    @rule(number=numbers, forgotten=st.sets(numbers, max_size=2))
    def renew(self, number, forgotten) -> None:
        """With the tokens it knows of; those whose claim it never heard of, or forgot, go back."""
        worker = nth(self.model.workers, number)
        tokens = [
            attempt.lease_token for attempt in self.attempts
            if attempt.lease_token not in self.unheard
        ]  # fmt: skip
        sent = {token for place, token in enumerate(tokens) if place not in forgotten}
        answer = lease.renew(self.bench.db, worker, sent, LEASE)
        self.is_sound = False
        expected: Any = {
            name: frozenset(value) if isinstance(value, set) else value
            for name, value in self.model.renew(worker, sent).items()
        }
        assert answer == lease.Renewal(**expected)

    @precondition(lambda self: self.with_work())
    @rule(number=numbers, what=st.sampled_from(["silent", "silent", "draining", "stopped", "fenced", "fenced alone"]))
    def trouble(self, number, what) -> None:
        """A worker with jobs is killed or cut off, drains, or fences itself; its next life may hand back the jobs."""
        worker = nth(self.with_work(), number)
        if what == "silent":
            self.silence(worker)
        elif what == "fenced":
            lease.hand_back(self.bench.db, worker, on_error=self.cannot_give_back)
            for job in self.model.running_of(worker):
                self.model.give_back(job, "release")
        else:
            lease.mark(self.bench.db, worker, what.split()[0])
        self.model.workers[worker].state = self.model.workers[worker].state if what == "silent" else what.split()[0]
        self.is_sound = False

    def with_work(self) -> list[uuid.UUID]:
        return [name for name in self.model.workers if self.model.running_of(name)]

    def silence(self, worker: uuid.UUID) -> None:
        self.tell(_FALL_SILENT, {"worker": worker, "time": timedelta(seconds=LEASE + 1)})
        self.model.workers[worker].silent = True

    @precondition(lambda self: self.with_work() and self.answering())
    @rule(number=numbers, is_steady=st.sampled_from([True, True, False]))
    def rescue(self, number, is_steady) -> None:
        """Only by a worker that has itself renewed for a whole lease."""
        worker = nth(self.answering(), number)
        if is_steady:
            self.tell(_STEADY, (timedelta(seconds=LEASE), worker))
            self.model.workers[worker].steady = True
        rescued = self.ask(
            rescue, worker, lease_seconds=LEASE, crash_limit=model.CRASH_LIMIT, on_error=self.cannot_give_back
        )
        assert {job.job_id: job.verb for job in rescued} == self.model.rescue(worker)

    def answering(self) -> list[uuid.UUID]:
        return [name for name in self.running_workers() if not self.model.workers[name].silent]

    def cannot_give_back(self, job_id: uuid.UUID, failure: psycopg.Error) -> None:
        raise failure

    # time and housekeeping

    @precondition(lambda self: any(job.hours > 0 or job.snoozes for job in self.model.jobs.values()))
    @rule(hours=st.sampled_from([1, 1, 30]))
    def pass_time(self, hours) -> None:
        self.tell(_PASS_TIME, {"time": timedelta(hours=hours)})
        self.model.pass_time(hours)

    @precondition(lambda self: any(job.is_unsealed for job in self.model.jobs.values()))
    @rule()
    def seal(self) -> None:
        sealed = self.model.seal()
        states = self.ask(take_unsealed, after_seconds=0)
        assert {state.job_id for state in states} == sealed
        for state in states:
            assert self.ask(seal_log, state.job_id, state.token, [], 0, 0)

    @precondition(lambda self: any(job.has_ended and job.log != "open" for job in self.model.jobs.values()))
    @rule()
    def prune(self) -> None:
        assert self.ask(prune, completed_days=0, failed_days=0, window=3) == self.model.prune()

    @precondition(lambda self: self.model.with_status("queued"))
    @rule()
    def mend(self) -> None:
        """There is never anything to mend."""
        assert self.tell("select queue.mend() as found")["found"] == 0

    # what holds after each of them

    @invariant()
    def stands_as_the_model_says(self) -> None:
        before, self.seen = self.seen, self.bench.look()
        assert self.seen["jobs"] == {str(job.id): self.as_row(job) for job in self.model.jobs.values()}
        assert self.seen["deliveries"] == {
            f"{repository}/{number}": [delivery.status, str(delivery.job) if delivery.job else None]
            for (repository, number), delivery in self.model.deliveries.items()
        }
        assert self.seen["workers"] == {str(worker): row.state for worker, row in self.model.workers.items()}
        self.holds_promise_5()
        self.deliveries_agree_with_their_jobs()
        self.everybody_has_a_way_on()
        self.repositories_show_their_state()
        self.never_goes_back(before)
        self.is_sound = True

    def as_row(self, job: model.Job) -> dict[str, Any]:
        is_queued, is_running = job.status == "queued", job.status == "in_progress"
        return {
            "status": job.status, "attempt": job.attempt, "errors": job.errors, "crashes": job.crashes,
            "snoozes": job.snoozes, "priority": job.priority, "token": job.token, "after": job.after,
            "rebuild": job.rebuild, "is_due": not is_queued or job.hours <= 0,
            "worker": str(job.worker) if is_running else None,
            "cancel": job.cancel_reason if is_running else None, "superseded": job.superseded,
            "unsealed": job.is_unsealed, "effects": job.effects, "events": job.events,
            "waits": is_queued, "runs": is_running,
        }  # fmt: skip

    def holds_promise_5(self) -> None:
        """One running job a repository, one queued job a key, and no row beside them."""
        queued, running = self.model.with_status("queued"), self.model.with_status("in_progress")
        assert (len(self.seen["waiting"]), self.seen["running"] or 0) == (len(queued), len(running))
        repositories = [job.repository for job in running if job.repository is not None]
        keys = [job.key for job in queued if job.key is not None]
        assert len(set(repositories)) == len(repositories)
        assert len(set(keys)) == len(keys)

    def deliveries_agree_with_their_jobs(self) -> None:
        """None is left with a job that will not end it."""
        fits = {
            "queued": ("queued",), "processing": ("in_progress",), "processed": ("completed", None),
            "failed": ("failed", "cancelled", None), "ignored": (None,),
        }  # fmt: skip
        for status, job_id in self.seen["deliveries"].values():
            job = self.seen["jobs"][job_id] if job_id else None
            assert (job and job["status"]) in fits[status]

    def everybody_has_a_way_on(self) -> None:
        """What waits for a repository will be woken up, and no ready job of an unpaused type is in a sleeping lane."""
        waiting = self.seen["waiting"].values()
        busy = {str(job.repository) for job in self.model.with_status("in_progress")}
        ready = {(job["repository"], job["type"]) for job in waiting if job["hold"] is None}
        for job in waiting:
            assert job["is_due"] or job["hold"] == "time"
            if job["hold"] == "repository":
                assert job["repository"] in busy or (job["repository"], job["type"]) in ready
            if job["hold"] is None and job["type"] not in self.model.paused_types:
                lane = self.seen["lanes"].get(job["tenant"], {"active": False, "cap": None})
                assert lane["active"] or (lane["cap"] is not None and lane["cap"] <= lane["slots"])

    def repositories_show_their_state(self) -> None:
        """Of its index jobs, and no others."""
        index_jobs = [job for job in self.model.jobs.values() if job.job_type in model.INDEX_TYPES]
        syncing = {str(job.repository) for job in index_jobs if job.status == "in_progress"}
        queued = {str(job.repository) for job in index_jobs if job.status == "queued"}
        for repository, state in self.seen["repositories"].items():
            assert (state == "syncing") == (repository in syncing)
            assert state != "queued" or repository in queued

    def never_goes_back(self, before: dict[str, Any]) -> None:
        """Attempts, and the lanes' virtual time."""
        for tenant, lane in before.get("lanes", {}).items():
            assert self.seen["lanes"][tenant]["time"] >= lane["time"]
        for job_id, job in before.get("jobs", {}).items():
            now = self.seen["jobs"].get(job_id, job)
            assert now["attempt"] >= job["attempt"]
            assert now["token"] is None or job["token"] is None or now["token"] >= job["token"]

    def teardown(self) -> None:
        """From wherever it stands, the queue runs empty."""
        if not self.is_sound:
            return
        assert self.tell("select queue.mend() as found")["found"] == 0
        for tenant in (*TENANTS, NOBODY):
            self.set_lane(tenant, None, False, None)
        for job_type in TYPES:
            self.set_paused(job_type, False)
        self.pass_time(1000)
        for worker in self.model.workers:
            self.silence(worker)
        self.start_worker(steady=True)
        self.rescue(len(self.answering()) - 1, True)
        self.stands_as_the_model_says()
        worker = list(self.model.workers)[-1]
        while self.model.with_status("queued", "in_progress"):
            jobs = self.ask(claim, worker, TYPES, 10)
            self.claimed(worker, TYPES, 10, jobs)
            assert jobs
            for job in jobs:
                self.finish(job, Ending.COMPLETE)
                self.model.complete(self.model.jobs[job.id])
            self.stands_as_the_model_says()
        assert all(delivery.status in ("processed", "failed", "ignored") for delivery in self.model.deliveries.values())


def run(bench: Bench, *, examples: int, steps: int, phases: Collection[Phase], derandomize: bool) -> None:
    """Run the machine against this database."""
    machine: Any = lambda: QueueMachine(bench)  # noqa: E731  (hypothesis asks for a class, and calls it)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            database=None,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            phases=phases,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )


IN_CI = "CI" in os.environ
SHRINKING = (Phase.generate, Phase.shrink)


@pytest.mark.timeout(600)
def test_the_verbs_do_what_the_model_says(bench):
    """In any order, by any workers, each verb leaves what it promises, and the queue always runs empty."""
    run(bench, examples=60, steps=50, phases=SHRINKING, derandomize=IN_CI)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_verbs_do_what_the_model_says_for_longer(bench):
    """As above, with many more and longer histories.

    In portions: which of two workers that claim at once gets a job differs from time to time, and Hypothesis refuses to
    go on when the same choices lead elsewhere. That says nothing of the verbs; the portion is left there.
    """
    whole = 0
    for _ in range(20):
        with contextlib.suppress(FlakyStrategyDefinition):
            run(bench, examples=50, steps=120, phases=SHRINKING, derandomize=False)
            whole += 1
    assert whole >= 10


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", mutants.QUICK, ids=lambda mutant: mutant.name)
def test_the_machine_finds_a_planted_bug(bench, mutant):
    """What it protects: a verb that is wrong in one line does not pass."""
    mutant.plant(bench.db)
    with pytest.raises((AssertionError, psycopg.Error)):
        run(bench, examples=300, steps=50, phases=(Phase.generate,), derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mutant", mutants.SLOWER, ids=lambda mutant: mutant.name)
def test_the_machine_finds_a_rarer_planted_bug(bench, mutant):
    """As above; some need three jobs of one repository in the right order, and a bad moment."""
    mutant.plant(bench.db)

    def hunt() -> None:
        for _ in range(20):
            with contextlib.suppress(FlakyStrategyDefinition):
                run(bench, examples=200, steps=50, phases=(Phase.generate,), derandomize=False)

    with pytest.raises((AssertionError, psycopg.Error)):
        hunt()
