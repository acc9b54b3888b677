"""When a worker looks for jobs: told, by a due time, or by a poll."""

import asyncio
import time

from tests.fixtures.workers import eventually
from worker.database.connect import connect_async
from worker.database.listen import SECONDS_BETWEEN_PROOFS
from worker.queue.wake import Caller, call, look
from worker.runtime.wakeup import SECONDS_BETWEEN_POLLS_WHILE_LISTENING, WakeUp


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
        wake.was_in_vain("children")
        wake.now()
        assert wake.is_time("children")

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
