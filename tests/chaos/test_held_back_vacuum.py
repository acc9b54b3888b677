"""A transaction that stays open keeps every dead row of the queue; its tables are built to bear that."""

import psycopg
import pytest

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_promise_11_an_idle_transaction_slows_nothing_down_for_good(start_worker, load, stop_all, rounds):
    """Thousands of light jobs beside a session that holds back vacuum are done, in batches afterwards as before.

    What a claim costs meanwhile is counted in tests/fairness/test_heads.py.
    """
    worker = start_worker()
    before = load.usual_speed(1)
    with psycopg.connect(load.url) as idle:
        idle.execute("set transaction isolation level repeatable read")
        idle.execute("select count(*) from indexing_jobs")
        during = [load.speed() for _ in range(rounds)]
        assert idle.execute("select backend_xmin from pg_stat_activity where pid = pg_backend_pid()").fetchone()
    print(f"{rounds * 2500} jobs meanwhile, at {', '.join(f'{speed / before:.0%}' for speed in during)}")
    for table in ("queue.waiting", "queue.running"):
        load.tell(f"vacuum {table}")
    load.check()
    load.as_before(before, "an idle transaction")
    stop_all(worker)
