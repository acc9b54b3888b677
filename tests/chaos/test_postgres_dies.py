"""Promise 11: Postgres is restarted, dropped and killed under load, and its connections are ended by the dozen."""

import threading

import pytest

from tests.fixtures.load import Load
from worker.database.connect import connect

_END_CONNECTIONS = """
select count(pg_terminate_backend(pid)) as n from pg_stat_activity
where application_name like 'indexing-worker%' and datname = current_database()"""


def test_promise_11_postgres_goes_and_comes_back_under_load(start_worker, own_server, stop_all):
    """A restart, a crash and a power cut: two workers go on by themselves; nobody spends errors or crashes."""
    load = Load(own_server.url)
    workers = [start_worker(state=name, database_url=own_server.url) for name in ("one", "two")]
    before = load.usual_speed(2)
    with load.flowing():
        for end in (own_server.stop, lambda: own_server.stop("immediate"), own_server.kill):
            load.flow_on()
            end()
            own_server.start()
        load.flow_on()
    load.settle()
    load.check()
    load.as_before(before, "three ends of Postgres")
    stop_all(*workers)
    load.check()


@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_promise_11_a_stream_of_ended_connections_loses_nothing(start_worker, load, stop_all, seconds):
    """Every 50 ms all connections of the workers are ended; each job still has its effect once, at no cost."""
    workers = [start_worker(state=name) for name in ("one", "two")]
    before = load.usual_speed(2)
    ended = 0
    with load.flowing():
        load.flow_on()
        pause = threading.Event()
        with connect(load.url, name="test") as connection:
            for _ in range(seconds * 20):
                ended += connection.execute(_END_CONNECTIONS).fetchall()[0]["n"]
                pause.wait(0.05)
        load.flow_on()
    load.settle()
    load.check()
    assert ended > seconds * 5
    load.as_before(before, f"{ended} ended connections")
    stop_all(*workers)
