"""What everybody shows of the whole queue: counted once a window, whoever asks, and right."""

import asyncio
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from worker.database.connect import connect, connect_async
from worker.job import new_job_id
from worker.queue.depth import Gauges, gauges


@pytest.fixture
def count(database_url: str) -> Callable[..., Gauges]:
    """The gauges, counted now unless a window is given."""

    async def asked(window: float) -> Gauges:
        async with await connect_async(database_url, name="test") as connection:
            return await gauges(connection, window=window)

    return lambda window=0.0: asyncio.run(asked(window))


@pytest.fixture
def put(db: Any) -> Callable[..., uuid.UUID]:
    """Enqueue a job for a repository, due in some seconds."""

    def put(repository: uuid.UUID, job_type: str = "full_index", *, seconds: float = 0) -> uuid.UUID:
        job_id = new_job_id()
        db.execute(
            "select * from queue.enqueue(%s, %s, %s, %s, p_run_after => clock_timestamp() + make_interval(secs => %s))",
            (job_id, repository, job_type, Jsonb({"key": str(job_id)}), seconds),
        )
        return job_id

    return put


def test_due_is_what_a_free_slot_could_take(db, count, put, make_repository) -> None:
    """Not what waits for its time, for its repository, for a paused type or tenant, or for its tenant's room."""
    tenant = uuid.uuid4()
    for _ in range(3):
        put(make_repository(user_id=tenant))
    put(make_repository(), seconds=600)
    assert count().due[0][:2] == ("full_index", 3)
    assert count().demand == 3
    db.execute("select queue.set_lane(%s, null, null, 2)", (tenant,))
    assert count().demand == 2
    db.execute("select queue.set_lane(%s, null, true, null)", (tenant,))
    assert count().demand == 0
    db.execute("select queue.set_lane(%s, null, false, null)", (tenant,))
    db.execute("select queue.set_paused('full_index', true)")
    assert count().due == []
    assert count().pauses == 1
    assert [(row.job_type, row.status, row.jobs) for row in count().depth] == [("full_index", "queued", 4)]


def test_running_jobs_are_demand_and_take_their_tenants_room(db, count, put, make_repository) -> None:
    """Scaling to zero never stops a busy worker: what runs counts, although nothing waits."""
    tenant, worker = uuid.uuid4(), uuid.uuid4()
    for _ in range(3):
        put(make_repository(user_id=tenant))
    db.execute("select queue.set_lane(%s, null, null, 2)", (tenant,))
    db.execute("insert into workers (id, hostname, pid, version, slots) values (%s, 'here', 1, '0', 5)", (worker,))
    assert len(db.execute("select * from queue.claim(%s, %s, 10)", (worker, ["full_index"])).fetchall()) == 2
    found = count()
    assert (found.demand, found.due) == (2, [])
    assert found.workers == {"running": 1, "draining": 0, "fenced": 0, "silent": 0}
    assert (found.slots, found.claims) == (5, 2)


def test_a_worker_that_is_silent_is_not_at_work(db, count) -> None:
    """Its row says running, and nobody has seen it."""
    db.execute("""insert into workers (id, hostname, pid, version, slots, last_seen_at)
                  values (gen_random_uuid(), 'here', 1, '0', 5, now() - interval '2 minutes')""")
    found = count()
    assert (found.workers["running"], found.workers["silent"], found.slots) == (0, 1, 0)


def test_the_tenants_that_have_waited_longest_come_first_and_are_few(db, count, put, make_repository) -> None:
    """As many labels as ten tenants need, however many there are."""
    for minutes in range(12):
        job = put(make_repository())
        db.execute(
            "update queue.waiting set queued_at = now() - make_interval(mins => %s) where job_id = %s", (minutes, job)
        )
    ages = [seconds for _, seconds, _ in count().tenants]
    assert len(ages) == 10
    assert ages == sorted(ages, reverse=True)
    assert ages[0] > 600


def test_the_queue_is_counted_once_a_window_whoever_asks(db, count, put, make_repository) -> None:
    """Twenty processes cost what one does: within the window all of them get one count."""
    put(make_repository())
    first = count(60)
    put(make_repository())
    assert count(60).demand == first.demand == 1
    assert count(60).age_seconds > 0
    assert count(0).demand == 2


def test_a_count_that_takes_long_stands_for_longer(db, count, put, make_repository) -> None:
    """A million jobs that wait cost Postgres a twentieth of its time at most; whoever wants to know gets to know."""
    put(make_repository())
    count(0)
    put(make_repository())
    db.execute("update queue.gauge_cache set took = '2 seconds', taken_at = clock_timestamp() - interval '30 seconds'")
    assert count(10).demand == 1
    assert count(10).age_seconds >= 30
    db.execute("update queue.gauge_cache set taken_at = clock_timestamp() - interval '41 seconds'")
    assert count(10).demand == 2
    put(make_repository())
    db.execute("update queue.gauge_cache set took = '1 hour', taken_at = clock_timestamp() - interval '4 minutes'")
    assert count(10).demand == 2
    db.execute("update queue.gauge_cache set taken_at = clock_timestamp() - interval '6 minutes'")
    assert count(10).demand == 3
    put(make_repository())
    db.execute("update queue.gauge_cache set took = '1 hour'")
    assert count(0).demand == 4


def test_nobody_waits_for_whoever_counts(database_url, db, count, put, make_repository) -> None:
    """While one process counts for long, the others answer what is known."""
    put(make_repository())
    count(0)
    with connect(database_url, name="slow") as slow, slow.transaction():
        slow.execute("select from queue.gauge_cache for update")
        answered: list[Gauges] = []
        thread = threading.Thread(target=lambda: answered.append(count(0)))
        thread.start()
        thread.join(10)
        assert [found.demand for found in answered] == [1]
