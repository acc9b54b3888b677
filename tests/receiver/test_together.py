"""Deliveries that arrive at the same time are committed together, and each is answered as if it had come alone."""

import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import uvloop

from tests.receiver.conftest import Sender, make_push
from worker.database.connect import connect_async
from worker.errors import NotFound, WorkerError
from worker.queue.deliver import RepositoryChanged, as_item, deliver_many
from worker.queue.enqueue import Delivered, NewDelivery, NewJob, deliver, index_coalesce_key

Database = psycopg.Connection[dict[str, Any]]
_STORY = """
select d.delivery_id, d.status, d.error_message, d.processed_at is not null as processed, j.payload, j.coalesce_key,
       j.priority, j.max_attempts, j.user_id, w.hold, w.user_id as lane, w.rank is not null as ranked,
       r.sync_state,
       (select json_agg(json_build_object(e.event_type, e.context) order by e.id) from indexing_job_events e
        where e.job_id = d.job_id) as events
from webhook_deliveries d join repositories r on r.id = d.repository_id
left join indexing_jobs j on j.id = d.job_id left join queue.waiting w on w.job_id = j.id
where d.repository_id = %s order by d.delivery_id"""


def _delivery(repository: uuid.UUID, number: int, ref: str | None = "refs/heads/main") -> NewDelivery:
    job = ref and NewJob(
        "incremental_update",
        repository_id=repository,
        payload={"ref": ref, "after": f"{number:040x}", "hints": {"added": [f"{number}"]}},
        coalesce_key=index_coalesce_key(repository, ref),
    )
    return NewDelivery(repository, "github", f"d{number}", "push", {"n": number}, {}, "s", "why not", job or None)


def _together(url: str, items: list[str]) -> list[Delivered | WorkerError]:
    async def send() -> list[Delivered | WorkerError]:
        async with await connect_async(url, name="test") as connection:
            return await deliver_many(connection, items, seconds=5, lock_seconds=5)

    return uvloop.run(send())


def _alone(url: str, deliveries: list[NewDelivery]) -> list[Delivered]:
    async def send() -> list[Delivered]:
        async with await connect_async(url, name="test") as connection:
            return [await deliver(connection, delivery) for delivery in deliveries]

    return uvloop.run(send())


def _stamp(db: Database, repository: uuid.UUID) -> str:
    row = db.execute("select queue.webhook_stamp(r) as s from repositories r where id = %s", (repository,)).fetchone()
    assert row is not None
    return row["s"]


def _plain(rows: list[dict[str, Any]], repository: uuid.UUID) -> str:
    """What is equal whoever wrote it; the time at which somebody joined is not."""
    for row in rows:
        (row["payload"] or {}).pop("asked_at", None)
    return str(rows).replace(str(repository), "it")


def test_together_is_as_one_by_one(database_url: str, make_repository: Callable[..., uuid.UUID], db: Database) -> None:
    """New jobs, jobs that join, duplicates, ignored ones, a repository at work: the same rows, states and events."""
    owner = uuid.uuid4()
    one, other = make_repository(user_id=owner), make_repository(user_id=owner)
    shapes = [(1, "refs/heads/main"), (2, "refs/heads/main"), (3, "refs/heads/x"), (1, "refs/heads/main"), (4, None)]
    answers = [
        _alone(database_url, [_delivery(one, *shape) for shape in shapes]),
        _together(database_url, [as_item(_delivery(other, *shape), _stamp(db, other)) for shape in shapes]),
    ]
    told = [
        [(each.status, each.duplicate, each.job_id is None) for each in each_answer if isinstance(each, Delivered)]
        for each_answer in answers
    ]
    assert told[0] == told[1]
    assert [each[1] for each in told[1]] == [False, False, False, True, False]
    stories = [_plain(db.execute(_STORY, (each,)).fetchall(), each) for each in (one, other)]
    assert stories[0] == stories[1]
    lanes = db.execute("select user_id, active from queue_lanes").fetchall()
    assert lanes == [{"user_id": owner, "active": True}]


def test_together_waits_for_a_repository_at_work(
    database_url: str, make_repository: Callable[..., uuid.UUID], db: Database
) -> None:
    """While a job of the repository runs, the next one is held for it, as one enqueued alone would be."""
    repository = make_repository()
    stamp = _stamp(db, repository)
    _together(database_url, [as_item(_delivery(repository, 1), stamp)])
    worker = uuid.uuid4()
    db.execute("insert into workers (id, hostname, pid, version, slots) values (%s, 'here', 1, '0', 2)", (worker,))
    assert db.execute("select from queue.claim(%s, array['incremental_update'], 1)", (worker,)).rowcount == 1
    _together(database_url, [as_item(_delivery(repository, 2), stamp)])
    assert db.execute("select hold from queue.waiting").fetchall() == [{"hold": "repository"}]


def test_a_failed_delivery_is_enqueued_again_among_others(
    database_url: str, make_repository: Callable[..., uuid.UUID], db: Database
) -> None:
    """A redelivery of a failed delivery gets a job again; one of a processed delivery answers with its job."""
    repository = make_repository()
    stamp = _stamp(db, repository)
    items = [as_item(_delivery(repository, number, f"refs/heads/{number}"), stamp) for number in (1, 2, 3)]
    first = _together(database_url, items)
    db.execute("delete from queue.waiting")
    db.execute("update webhook_deliveries set status = 'failed' where delivery_id = 'd1'")
    db.execute("update webhook_deliveries set status = 'processed' where delivery_id = 'd2'")
    again = [as_item(_delivery(repository, number, f"refs/heads/{number}"), stamp) for number in (1, 2)]
    failed, processed = _together(database_url, again)
    assert isinstance(failed, Delivered)
    assert (failed.status, failed.duplicate) == ("queued", True)
    assert failed.job_id not in [each.job_id for each in first if isinstance(each, Delivered)]
    assert isinstance(processed, Delivered)
    assert isinstance(first[1], Delivered)
    assert (processed.status, processed.job_id) == ("processed", first[1].job_id)


def test_only_what_was_judged_by_the_newest_row_is_delivered(
    database_url: str, make_repository: Callable[..., uuid.UUID], db: Database
) -> None:
    """A row that changed, or went, between judging and committing: that item is told so, its neighbours go through."""
    steady, changed, gone = make_repository(), make_repository(), make_repository()
    items = [as_item(_delivery(each, 1), _stamp(db, each)) for each in (changed, steady, gone)]
    db.execute("update repositories set webhook_secret_version = 2 where id = %s", (changed,))
    db.execute("delete from repositories where id = %s", (gone,))
    db.execute("update repositories set last_indexed_at = now(), sync_state = 'ready' where id = %s", (steady,))
    first, second, third = _together(database_url, items)
    assert isinstance(first, RepositoryChanged)
    assert isinstance(second, Delivered)
    assert isinstance(third, NotFound)
    assert db.execute("select repository_id from webhook_deliveries").fetchall() == [{"repository_id": steady}]


def test_promise_1_the_same_delivery_from_50_connections_is_one(sender: Sender, db: Database) -> None:
    """Fifty posts of one delivery at once: one row, one job, one of them is first, and all name that job."""
    delivery = str(uuid.uuid4())
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: sender.post(make_push(), delivery=delivery), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert Counter(answer.json()["duplicate"] for answer in answers) == {False: 1, True: 49}
    assert db.execute("select count(*) as n from webhook_deliveries").fetchone() == {"n": 1}
    assert db.execute("select count(*) as n from indexing_jobs").fetchone() == {"n": 1}
    assert db.execute("select count(*) as n from indexing_job_events").fetchone() == {"n": 1}


def test_one_locked_job_holds_up_nobody_else(
    sender: Sender, make_sender: Callable[..., Sender], database_url: str, db: Database
) -> None:
    """Somebody holds one queued job's row: pushes to others go through while pushes to it are told to come again."""
    neighbour = make_sender(sender.client)
    assert sender.post(make_push()).status_code == 202
    with psycopg.connect(database_url) as holder, ThreadPoolExecutor(16) as threads:
        holder.execute("select from indexing_jobs where repository_id = %s for update", (sender.repository,))
        held = [threads.submit(sender.post, make_push()) for _ in range(3)]
        free = [threads.submit(neighbour.post, make_push()) for _ in range(12)]
        assert {answer.result().status_code for answer in free} == {202}
        assert {answer.result().status_code for answer in held} == {503}


def test_what_a_delivery_costs_does_not_grow_with_the_queue(
    database_url: str, make_repository: Callable[..., uuid.UUID], db: Database
) -> None:
    """Thousands of waiting jobs and stored deliveries are not read to commit one more."""
    repository = make_repository()
    stamp = _stamp(db, repository)

    def items(first: int, count: int) -> list[str]:
        return [as_item(_delivery(repository, n, f"refs/heads/b{n}"), stamp) for n in range(first, first + count)]

    def blocks(number: int) -> int:
        query = "explain (analyze, buffers, format json) select * from queue.deliver_many(%s::text::jsonb)"
        row = db.execute(query, (f"[{items(number, 1)[0]}]",)).fetchone()
        assert row is not None
        return row["QUERY PLAN"][0]["Plan"]["Shared Hit Blocks"]

    assert len(_together(database_url, items(0, 100))) == 100
    few = [blocks(100 + n) for n in range(8)]  # the last ones by the plan that the session keeps
    for first in range(1000, 6000, 500):
        _together(database_url, items(first, 500))
    many = [blocks(7000 + n) for n in range(8)]
    assert min(many) < min(few) + 100, (few, many)
