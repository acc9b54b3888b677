"""enqueue: many jobs at once, jobs of a tenant without a repository, and pushes that stop what runs."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from worker.database.connect import connect
from worker.errors import NotFound
from worker.job import Ending, Outcome
from worker.queue.cancel import cancel
from worker.queue.enqueue import InvalidJob, NewDelivery, NewJob, deliver, enqueue, enqueue_many, index_coalesce_key
from worker.queue.finish import finish
from worker.queue.wake import CHANNEL


def count(queue):
    """Rows of jobs and of those that wait."""
    row = queue.db.execute(
        "select (select count(*) from indexing_jobs) as jobs, (select count(*) from queue.waiting) as waiting"
    ).fetchone()
    return row["jobs"], row["waiting"]


def test_many_jobs_are_enqueued_in_order(queue, make_repository):
    """Ids come back in the order given, and that is the order in which the jobs are claimed."""
    repositories = [make_repository(user_id=(owner := uuid.uuid4())) for _ in range(3)]
    owners = {queue.db.execute("select user_id from repositories where id = %s", (r,)).fetchone()["user_id"]
              for r in repositories}  # fmt: skip
    jobs = [NewJob("full_index", repository, {"n": n}) for n, repository in enumerate(repositories)]
    ids = queue.ask(enqueue_many, jobs)
    assert [queue.row(job_id)["payload"]["n"] for job_id in ids] == [0, 1, 2]
    assert {queue.row(job_id)["user_id"] for job_id in ids} == owners
    assert [queue.events(job_id) for job_id in ids] == [["enqueue"]] * 3
    assert owner in owners
    mine = queue.ask(enqueue_many, [NewJob("full_index", user_id=owner, payload={"n": n}) for n in range(5)])
    claimed = queue.claim(queue.worker(), limit=20)
    assert [job.id for job in claimed if job.id in mine] == mine


def test_more_jobs_than_a_statement_holds(queue):
    """Batches of 1,000, each whole."""
    tenants = [uuid.uuid4() for _ in range(3)]
    ids = queue.ask(enqueue_many, [NewJob("full_index", user_id=tenants[n % 3]) for n in range(2001)])
    assert len(set(ids)) == 2001
    assert count(queue) == (2001, 2001)
    lanes = queue.db.execute("select user_id, count(*) as n from queue.waiting group by 1").fetchall()
    assert {row["user_id"]: row["n"] for row in lanes} == dict.fromkeys(tenants, 667)


def test_jobs_with_a_coalesce_key_among_many(queue, make_repository):
    """They join what is queued, also each other; the answer names the job that does the work."""
    repository = make_repository()
    first = queue.push(repository).job_id
    key = index_coalesce_key(repository, "refs/heads/main")
    plain, joined, new, again = queue.ask(
        enqueue_many,
        [
            NewJob("nothing"),
            NewJob("full_index", repository, coalesce_key=key),
            NewJob("nothing", coalesce_key="k"),
            NewJob("nothing", coalesce_key="k"),
        ],
    )
    assert joined == first
    assert new == again
    assert len({plain, joined, new}) == 3
    assert count(queue) == (3, 3)


def test_options_of_many_jobs_arrive(queue):
    """Priority, time, budget and limit, with nulls among them."""
    later = datetime.now(UTC) + timedelta(hours=1)
    one, two = queue.ask(
        enqueue_many,
        [
            NewJob("a", priority=7, run_after=later, max_attempts=2, timeout_seconds=9, payload={"ü": ["\\u0000"]}),
            NewJob("b"),
        ],
    )
    row = queue.row(one)
    assert (row["priority"], row["run_after"], row["max_attempts"], row["timeout_seconds"]) == (7, later, 2, 9)
    assert row["payload"] == {"ü": ["\\u0000"]}
    assert (queue.row(two)["timeout_seconds"], queue.row(two)["user_id"]) == (None, None)
    holds = queue.db.execute("select hold from queue.waiting order by job_id").fetchall()
    assert [hold["hold"] for hold in holds] == ["time", None]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"job_type": ""}, "needs a job type"),
        ({"payload": {"x": float("nan")}}, "no JSON object"),
        ({"payload": {"x": object()}}, "no JSON object"),
        ({"payload": {"x": "\ud800"}}, "no JSON object"),
        ({"payload": {"x": "a\0b"}}, "NUL"),
        ({"priority": 2**31}, "priority must be"),
        ({"priority": True}, "priority must be"),
        ({"max_attempts": 0}, "max_attempts must be"),
        ({"timeout_seconds": 0}, "timeout_seconds must be"),
        ({"run_after": datetime(2026, 1, 1)}, "no time zone"),
        ({"coalesce_key": "x" * 3000}, "coalesce key is longer"),
        ({"supersede": True}, "only a job with a coalesce key"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(queue, bad, reason):
    """Also when it is the last of many batches."""
    jobs = [*[NewJob("nothing")] * 1500, NewJob(**{"job_type": "nothing"} | bad)]
    with pytest.raises(InvalidJob, match=reason) as refused:
        queue.ask(enqueue_many, jobs)
    assert "Job 1500 of those given" in str(refused.value)
    assert count(queue) == (0, 0)


def test_many_jobs_of_a_repository_that_is_gone(queue, make_repository):
    """Nothing is written, and the error names it."""
    gone = uuid.uuid4()
    with pytest.raises(NotFound, match=str(gone)):
        queue.ask(enqueue_many, [NewJob("full_index", make_repository()), NewJob("full_index", gone)])
    with pytest.raises(NotFound, match="API key"):
        queue.ask(enqueue_many, [NewJob("full_index"), NewJob("full_index", requested_by=gone)])
    assert count(queue) == (0, 0)
    assert queue.ask(enqueue_many, []) == []


def test_a_job_without_a_repository_has_the_tenant_it_was_given(queue, make_repository):
    """One of a repository is its owner's, whatever was given."""
    tenant, owner = uuid.uuid4(), uuid.uuid4()
    repository = make_repository(user_id=owner)
    alone = queue.ask(enqueue, NewJob("nothing", user_id=tenant)).job_id
    owned = queue.ask(enqueue, NewJob("nothing", repository, user_id=tenant)).job_id
    (many,) = queue.ask(enqueue_many, [NewJob("nothing", repository, user_id=tenant)])
    assert [queue.row(job_id)["user_id"] for job_id in (alone, owned, many)] == [tenant, owner, owner]
    rows = queue.db.execute("select job_id, user_id from queue.waiting").fetchall()
    assert {row["job_id"]: row["user_id"] for row in rows} == {alone: tenant, owned: owner, many: owner}


def push(repository, number, *, supersede=True):
    """A delivery of a push to main."""
    job = NewJob(
        "full_index", repository, coalesce_key=index_coalesce_key(repository, "refs/heads/main"), supersede=supersede
    )
    return NewDelivery(repository, "github", f"d{number}", "push", {}, {}, job=job)


def test_a_push_asks_the_running_job_of_its_ref_to_stop(queue, make_repository):
    """The superseded run ends cancelled, and its deliveries are those of the follow-up."""
    repository = make_repository()
    queue.ask(deliver, push(repository, 1))
    (job,) = queue.claim(queue.worker())
    follow_up = queue.ask(deliver, push(repository, 2)).job_id
    assert queue.row(job.id)["cancel_requested_at"] is not None
    assert queue.ask(finish, job, Outcome(Ending.CANCEL), crash_limit=3)
    row = queue.row(job.id)
    assert (row["status"], row["error_class"]) == ("cancelled", "superseded")
    deliveries = queue.db.execute("select job_id, status from webhook_deliveries").fetchall()
    assert deliveries == [{"job_id": follow_up, "status": "queued"}] * 2
    assert [claimed.id for claimed in queue.claim(queue.worker())] == [follow_up]


def test_a_push_without_the_wish_lets_the_running_job_go_on(queue, make_repository):
    """Also one that wishes it, to another ref."""
    repository = make_repository()
    queue.ask(deliver, push(repository, 1))
    (job,) = queue.claim(queue.worker())
    queue.ask(deliver, push(repository, 2, supersede=False))
    queue.ask(enqueue, NewJob("full_index", repository, coalesce_key="another ref", supersede=True))
    assert queue.row(job.id)["cancel_requested_at"] is None


def test_a_persons_cancel_outlives_a_superseding_push(queue, make_repository):
    """Who asked first to cancel for good gets that: the follow-up does not take the deliveries over."""
    repository = make_repository()
    queue.ask(deliver, push(repository, 1))
    (job,) = queue.claim(queue.worker())
    queue.ask(cancel, job.id)
    queue.ask(deliver, push(repository, 2))
    queue.ask(finish, job, Outcome(Ending.CANCEL), crash_limit=3)
    assert queue.row(job.id)["error_class"] == "cancelled"
    statuses = queue.db.execute("select status from webhook_deliveries order by id").fetchall()
    assert [row["status"] for row in statuses] == ["failed", "queued"]


def heard_meanwhile(queue, work) -> list[str]:
    """The payloads that a listener hears of what `work` commits."""
    with connect(queue.url, name="test") as listener:
        listener.execute(f'listen "{CHANNEL}"')
        work()
        return [message.payload for message in listener.notifies(timeout=0.3)]


def test_a_call_goes_along_with_a_job_when_asked(queue, make_repository):
    """With the commit, in the same statement; not when the statement fails, and not for a job that is only ignored."""
    assert heard_meanwhile(queue, lambda: queue.push(make_repository())) == []
    assert heard_meanwhile(queue, lambda: queue.ask(enqueue, NewJob("refresh"), and_call=True)) == ["refresh"]

    def fail() -> None:
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            queue.ask(enqueue, NewJob("refresh", uuid.uuid4()), and_call=True)

    assert heard_meanwhile(queue, fail) == []

    delivery = push(make_repository(), 1)
    assert heard_meanwhile(queue, lambda: queue.ask(deliver, delivery, and_call=True)) == ["full_index"]
    ignored = replace(delivery, delivery_id="another", job=None, reason="a tag")
    assert heard_meanwhile(queue, lambda: queue.ask(deliver, ignored, and_call=True)) == []
