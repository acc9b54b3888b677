"""When a worker looks for jobs: told, by a due time, or by a poll."""

import asyncio
import time

from tests.fixtures.workers import eventually
from worker.database.connect import connect_async
from worker.database.listen import SECONDS_BETWEEN_PROOFS
from worker.queue.wake import CHANNEL, Caller, call, look
from worker.runtime.wakeup import SECONDS_BETWEEN_POLLS_WHILE_LISTENING, WakeUp

_ENQUEUE_LATER = """
select job_id from queue.enqueue(
    gen_random_uuid(), null, 'inline_nothing', '{}', p_run_after => clock_timestamp() + %s::interval)"""
_LOOKED_AND_IDLE = """
select from pg_stat_activity
where datname = current_database() and application_name = 'indexing-worker claim' and state = 'idle'
  and query ilike '%queue.look%'"""


def test_a_call_wakes_at_once_and_a_poll_says_that_it_is_one():
    """Whoever waits learns whether somebody called or only time has passed."""

    async def story():
        wake = WakeUp(0.05)
        assert await wake.wait() is True
        wake.now()
        assert await wake.wait() is False
        wake.forget()
        assert await wake.wait() is True

    asyncio.run(story())


def test_a_due_time_comes_before_the_poll_and_the_earliest_counts():
    """A retry that is due soon is not left to the next poll."""

    async def story():
        wake = WakeUp(30)
        wake.in_seconds(20)
        wake.in_seconds(0.1)
        started = time.monotonic()
        assert await wake.wait() is False
        assert time.monotonic() - started < 10

    asyncio.run(story())


def test_what_was_in_vain_is_not_tried_again_before_news_of_its_kind():
    """An empty claim of one kind is not repeated for each batch of the other."""

    async def story():
        wake = WakeUp(30)
        assert wake.is_time("children")
        wake.was_in_vain("children")
        wake.now("light")
        assert not wake.is_time("children")
        wake.now("children")
        assert wake.is_time("children")
        wake.forget()
        wake.was_in_vain("children")
        wake.now()
        assert wake.is_time("children")

    asyncio.run(story())


def test_what_is_told_during_a_claim_counts_more_than_its_finding_nothing():
    """The job of a call that comes while an empty answer is on its way does not wait for a poll."""

    async def story():
        wake = WakeUp(30)
        for told in ("children", ""):
            wake.forget()
            wake.now(told)
            wake.was_in_vain("children")
            assert wake.is_time("children")
        wake.forget()
        wake.now("light")
        wake.was_in_vain("children")
        assert not wake.is_time("children")

    asyncio.run(story())


def test_a_due_time_outlives_other_news():
    """Whoever is woken before it is due still starts it on time, and tries what was in vain until then."""

    async def story():
        wake = WakeUp(30)
        wake.in_seconds(0.2)
        wake.was_in_vain("children")
        wake.now("light")
        assert await wake.wait() is False
        wake.forget()
        async with asyncio.timeout(10):
            assert await wake.wait() is False
        assert wake.is_time("children")

    asyncio.run(story())


def test_a_due_time_is_met_by_a_worker_that_never_waits():
    """While light jobs flow, what was in vain is tried again when something is due."""

    async def story():
        wake = WakeUp(30)
        wake.was_in_vain("children")
        wake.in_seconds(0.05)
        assert not wake.is_time("children")
        await asyncio.sleep(0.1)
        assert wake.is_time("children")

    asyncio.run(story())


def test_a_look_is_owed_after_a_call_and_after_a_due_time_but_not_after_own_work():
    """An idle worker learns when the next job is due, and one that is done with its own jobs does not ask."""

    async def story():
        wake = WakeUp(30)
        assert wake.owes_look, "a new worker has not looked"
        wake.looked(None)
        wake.now("light")
        wake.forget()
        assert not wake.owes_look
        wake.called("light")
        wake.forget()
        assert wake.owes_look
        wake.looked(0.05)
        assert not wake.owes_look
        assert await wake.wait() is False
        assert wake.owes_look

    asyncio.run(story())


def test_a_look_does_not_settle_a_call_that_comes_during_it():
    """It may have read before that call's job was there."""

    async def story():
        wake = WakeUp(30)
        wake.called()
        wake.looked(None)
        assert wake.owes_look

    asyncio.run(story())


def test_a_worker_whose_claim_failed_does_not_look_before_it_tries_again():
    """While Postgres is away each try is one attempt to reach it, and the look that was owed comes after them."""

    async def story():
        wake = WakeUp(0.05)
        wake.called()
        wake.forget()
        wake.soon()
        assert not wake.owes_look
        wake.is_listening = True  # its poll is far away: what ends the wait is the next try
        assert await wake.wait() is False
        assert wake.owes_look

    asyncio.run(story())


def test_an_overdue_job_that_nobody_can_claim_does_not_make_a_worker_look_without_end():
    """Somebody may hold its tenant's row for long: each look finds it overdue, each claim passes it over."""

    async def story():
        wake = WakeUp(30)
        wake.looked(0)
        assert await wake.wait(0.2) is True

    asyncio.run(story())


def test_an_idle_listener_asks_at_most_once_in_five_seconds():
    """Polls and proofs together stay in the budget, on average of their jitter."""
    assert 1 / SECONDS_BETWEEN_POLLS_WHILE_LISTENING + 1 / SECONDS_BETWEEN_PROOFS <= 0.2


def test_calls_of_a_moment_are_one_and_none_is_forgotten():
    """A hundred announcements become a few calls; the last one is after the last announcement."""

    async def story():
        sent: list[str] = []

        async def send(payload: str) -> None:
            sent.append(payload)

        caller = Caller(send)
        caller.announce("a")
        await asyncio.sleep(0)
        for _ in range(100):
            caller.announce("b")
        caller.announce("c")
        await caller.settle()
        assert sent == ["a", ""]

    asyncio.run(story())


def test_one_call_of_a_moment_may_go_along_with_its_transaction():
    """The first after a quiet moment; the jobs after it are announced, and called for when the moment is over."""

    async def story():
        sent: list[str] = []

        async def send(payload: str) -> None:
            sent.append(payload)

        caller = Caller(send)
        assert caller.may_go_along()
        assert not caller.may_go_along()
        caller.announce("b")
        assert sent == []
        await caller.settle()
        assert sent == ["b"]
        assert caller.may_go_along()
        await caller.settle()
        assert sent == ["b"]

    asyncio.run(story())


def test_a_worker_that_listens_starts_a_job_long_before_its_poll(start_worker, put, ended, database_url, row):
    """A call over another connection is enough; without it the job waits for the poll."""
    worker = start_worker(WORKER_POLL_SECONDS="60")
    eventually(lambda: worker.said("listening for new jobs"), what="a proven listener")
    job_id = put("inline_nothing")

    async def tell() -> None:
        async with await connect_async(database_url, name="test") as connection:
            await call(connection, "inline_nothing")

    asyncio.run(tell())
    assert ended(job_id, seconds=20)["status"] == "completed"


def test_delayed_jobs_start_on_time_after_one_call(start_worker, ended, db):
    """A worker that is called looks when the next job is due, and then looks again; its poll is half a minute away."""
    worker = start_worker(WORKER_POLL_SECONDS="30")
    eventually(lambda: worker.said("listening for new jobs"), what="a proven listener")
    eventually(lambda: db.execute(_LOOKED_AND_IDLE).rowcount, what="the look of its start")
    jobs = [db.execute(_ENQUEUE_LATER, (pause,)).fetchone()["job_id"] for pause in ("2 s", "4 s")]
    db.execute("select pg_notify(%s, 'inline_nothing')", (CHANNEL,))
    for job_id in jobs:
        job = ended(job_id, seconds=60)
        assert 0 <= (job["started_at"] - job["run_after"]).total_seconds() < 15


def test_a_worker_told_not_to_listen_polls(start_worker, put, ended):
    """WORKER_LISTEN=false: nothing is said of listening, and jobs are found all the same."""
    worker = start_worker(WORKER_LISTEN="false")
    assert ended(put("inline_nothing"))["status"] == "completed"
    assert not worker.said("listening for new jobs")


def test_a_worker_that_has_lost_its_listener_polls_and_listens_again(start_worker, put, ended, db):
    """The end of the listening connection is noticed at once, and mended."""
    worker = start_worker()
    eventually(lambda: worker.said("listening for new jobs"), what="a proven listener")
    db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name = 'indexing-worker listen'"
    )
    eventually(lambda: worker.said("polling for new jobs, not listening"), what="its doubt")
    assert ended(put("inline_nothing"))["status"] == "completed"
    eventually(lambda: len(worker.said("listening for new jobs")) == 2, seconds=40, what="listening again")


def test_a_look_at_an_empty_queue_finds_nothing_due_now_or_later(database_url, db, put):
    """No answer must read as "due at once": an idle worker would claim without end."""

    async def seen():
        async with await connect_async(database_url, name="test") as connection:
            return await look(connection)

    assert asyncio.run(seen()) == (False, None)
    job_id = put("nothing")
    assert asyncio.run(seen()) == (True, None)
    db.execute("update queue.waiting set run_after = now() + interval '1 hour', hold = 'time'")
    db.execute("update queue_lanes set active = false")
    due, seconds = asyncio.run(seen())
    assert not due, job_id
    assert seconds is not None
    assert 3500 < seconds <= 3600
