"""filter and bulk: which jobs are meant, and each by its own verb."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from worker.database.connect import connect_async
from worker.job import Ending, Outcome, Status
from worker.queue.bulk import Tally, act_on_all
from worker.queue.cancel import cancel, cancel_one_of_many, retry_one_of_many
from worker.queue.enqueue import NewJob, enqueue_many
from worker.queue.filter import Filter, count, database_time, walk
from worker.queue.finish import finish
from worker.queue.look import list_jobs


def wanted(queue, status, **what):
    """A filter as of now."""
    return Filter(status, **{"before": queue.ask(database_time)} | what)


def ids(queue, which, step=2):
    """The jobs that fit, by steps this small."""

    async def collect():
        async with await connect_async(queue.url, name="test") as connection:
            return [job_id async for piece in walk(connection, which, step=step) for job_id in piece]

    return asyncio.run(collect())


def act(queue, which, verb, limit=1000):
    """What came of it."""
    tally = Tally()
    queue.ask(act_on_all, which, verb, tally, limit=limit, on_step=lambda _: None)
    return tally


@pytest.fixture
def failed(queue):
    """Seven failed jobs of one tenant, oldest first, with an ended one of every other kind between them."""
    tenant = uuid.uuid4()
    made = queue.ask(enqueue_many, [NewJob("full_index", user_id=tenant) for _ in range(10)])
    for number, job in enumerate(queue.claim(queue.worker(), limit=10)):
        ending = {3: Ending.COMPLETE, 5: Ending.RELEASE, 8: Ending.CANCEL}.get(number, Ending.FAIL)
        outcome = Outcome(ending, error_class="git", message="no")
        queue.ask(finish, job, outcome, crash_limit=3)
    return [job_id for number, job_id in enumerate(made) if number not in (3, 5, 8)]


@pytest.mark.parametrize("step", [1, 3, 7, 10, 100])
def test_a_walk_finds_each_job_once_whatever_its_steps(queue, failed, step):
    """Oldest first; an ended job's status stands in no index."""
    which = wanted(queue, Status.FAILED)
    assert ids(queue, which, step) == failed
    assert queue.ask(count, which) == 7
    assert queue.ask(count, which, limit=4) == 4
    assert len(ids(queue, wanted(queue, Status.CANCELLED))) == 1
    assert len(ids(queue, wanted(queue, Status.QUEUED))) == 1


def test_each_part_of_a_choice_counts(queue, make_repository):
    """Type, tenant, repository, error class and both ages, for every status that can be asked for."""
    mine, other = make_repository(user_id=(owner := uuid.uuid4())), make_repository()
    first, _, third = queue.ask(
        enqueue_many, [NewJob("full_index", mine), NewJob("full_index", other), NewJob("a", mine)]
    )
    for job in queue.claim(queue.worker()):
        if job.id == first:
            queue.ask(finish, job, Outcome(Ending.FAIL, error_class="git", message="no"), crash_limit=3)
    (running,) = ids(queue, wanted(queue, Status.IN_PROGRESS))
    assert ids(queue, wanted(queue, Status.IN_PROGRESS, user_id=owner)) == []
    for status, job_id, repository, job_type in (
        (Status.FAILED, first, mine, "full_index"),
        (Status.QUEUED, third, mine, "a"),
        (Status.IN_PROGRESS, running, other, "full_index"),
    ):
        assert ids(queue, wanted(queue, status, repository_id=repository, job_type=job_type)) == [job_id]
        assert ids(queue, wanted(queue, status, job_type="b")) == []
        assert ids(queue, wanted(queue, status, repository_id=uuid.uuid4())) == []
        assert ids(queue, wanted(queue, status, error_class="x")) == []
        assert ids(queue, wanted(queue, status, user_id=uuid.uuid4())) == []
        hour = timedelta(hours=1)
        assert ids(queue, wanted(queue, status, before=datetime.now(UTC) - hour)) == []
        assert ids(queue, wanted(queue, status, after=datetime.now(UTC) - hour)) == [job_id]
        assert ids(queue, wanted(queue, status, after=datetime.now(UTC) + hour)) == []
    assert ids(queue, wanted(queue, Status.FAILED, user_id=owner, error_class="git")) == [first]


def test_superseded_jobs_are_not_revived_by_the_way(queue, make_repository):
    """Their follow-up did the work; who wants them names them."""
    repository = make_repository()
    queue.push(repository)
    (job,) = queue.claim(queue.worker())
    follow_up = queue.push(repository).job_id
    queue.ask(finish, job, Outcome(Ending.RELEASE), crash_limit=3)
    queue.ask(cancel, follow_up)
    assert ids(queue, wanted(queue, Status.CANCELLED)) == [follow_up]
    assert ids(queue, wanted(queue, Status.CANCELLED, error_class="superseded")) == [job.id]


def test_many_are_retried_and_those_that_failed_again_are_not_met_twice(queue, failed):
    """The walk goes forward, and what ended after it began is not meant."""
    which = wanted(queue, Status.FAILED)
    tally = act(queue, which, retry_one_of_many, limit=5)
    assert (tally.done, tally.skipped, tally.failed) == (5, 0, [])
    assert ids(queue, wanted(queue, Status.FAILED)) == failed[5:]
    for job in queue.claim(queue.worker()):
        queue.ask(finish, job, Outcome(Ending.FAIL, error_class="git", message="no"), crash_limit=3)
    assert ids(queue, which) == failed[5:]


def test_one_that_is_refused_stops_no_other(queue, failed):
    """It is named with Postgres' reason."""
    queue.db.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not this one'; end $$"
    )
    queue.db.execute(
        "create trigger refuse before update on indexing_jobs for each row when (old.priority = 13)"
        " execute function refuse()"
    )
    queue.db.execute("alter table indexing_jobs disable trigger refuse")
    queue.set(failed[2], priority=13)
    queue.db.execute("alter table indexing_jobs enable trigger refuse")
    tally = act(queue, wanted(queue, Status.FAILED), retry_one_of_many)
    assert tally.done == 6
    assert tally.failed == [(failed[2], "not this one")]


def test_a_lost_connection_ends_the_walk_and_the_tally_stands(queue, failed):
    """The others would fail alike; what was done is known, and the same call goes on with them."""
    tally = Tally()

    async def cut_at_the_third(connection, job_id):
        if tally.done == 2:
            await connection.execute("select pg_terminate_backend(pg_backend_pid())")
        return await retry_one_of_many(connection, job_id)

    which = wanted(queue, Status.FAILED)
    with pytest.raises(psycopg.OperationalError):
        queue.ask(act_on_all, which, cut_at_the_third, tally, limit=10, on_step=lambda _: None)
    assert (tally.done, tally.failed) == (2, [])
    assert act(queue, which, retry_one_of_many).done == 5


def test_queued_and_running_jobs_are_cancelled(queue, failed):
    """A queued one ends, a running one's worker is asked; one that has changed meanwhile is left alone."""
    (left,) = queue.claim(queue.worker())
    queue.ask(enqueue_many, [NewJob("full_index") for _ in range(3)])
    assert act(queue, wanted(queue, Status.QUEUED), cancel_one_of_many).done == 3
    assert act(queue, wanted(queue, Status.IN_PROGRESS), cancel_one_of_many).done == 1
    assert queue.row(left.id)["cancel_requested_at"] is not None
    assert not queue.ask(cancel_one_of_many, failed[0])
    assert not queue.ask(retry_one_of_many, left.id)


def test_lists_of_queued_and_running_jobs(queue, make_repository):
    """From the narrow tables, newest first, with tenant and repository."""
    owner = uuid.uuid4()
    mine = make_repository(user_id=owner)
    made = queue.ask(enqueue_many, [NewJob("full_index", mine), NewJob("full_index", make_repository()), NewJob("a")])
    (running,) = queue.claim(queue.worker(), limit=1)
    waiting = [job_id for job_id in reversed(made) if job_id != running.id]

    def listed(**what):
        return [row["id"] for row in queue.ask(list_jobs, **what)]

    assert listed(status=Status.QUEUED) == waiting
    assert listed(status=Status.QUEUED, limit=1) == waiting[:1]
    assert listed(status=Status.IN_PROGRESS) == [running.id]
    of_mine = {row for status in (Status.QUEUED, Status.IN_PROGRESS) for row in listed(status=status, user_id=owner)}
    assert of_mine == {made[0]}
    in_mine = [
        row for status in (Status.QUEUED, Status.IN_PROGRESS) for row in listed(status=status, repository_id=mine)
    ]
    assert in_mine == [made[0]]
