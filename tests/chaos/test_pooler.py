"""Promise 11 behind PgBouncer in transaction mode: the whole load, and a pooler that is restarted in its middle."""

import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.fixtures.workers import eventually
from worker.database.account import account_for

pytestmark = pytest.mark.timeout(300)


@contextmanager
def killed_and_started_again():
    """The one pooler of this test is killed, and for the time of the block another takes its place and address."""
    (pooler,) = [child for child in psutil.Process().children() if child.name() == "pgbouncer"]
    command = pooler.cmdline()
    pooler.kill()
    eventually(lambda: pooler.status() == psutil.STATUS_ZOMBIE, what="the end of the pooler")
    account = account_for(Path(command[-1]).parent)
    new = subprocess.Popen(command, **account.starts(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        new.terminate()
        new.wait(10)


def test_promise_11_a_restart_of_the_pooler_loses_nothing(start_worker, load, database_url, pgbouncer, stop_all):
    """Workers poll behind it, and say so; its sudden end costs no job and no budget."""
    url = pgbouncer(database_url, pool_size=10)
    workers = [start_worker(state=name, database_url=url) for name in ("one", "two")]
    before = load.usual_speed(2)
    for worker in workers:
        reason = eventually(lambda worker=worker: worker.said("polling for new jobs, not listening"), what="polling")
        assert "did not arrive" in reason[0]["reason"]
    with ExitStack() as new_pooler:
        with load.flowing():
            load.flow_on()
            new_pooler.enter_context(killed_and_started_again())
            load.flow_on()
        load.settle()
        load.check()
        load.as_before(before, "a new pooler")
        assert [line for worker in workers for line in worker.said("listening for new jobs")] == []
        stop_all(*workers)


def test_promise_11_behind_a_pooler_a_direct_url_is_listened_on(start_worker, load, database_url, pgbouncer, stop_all):
    """DATABASE_LISTEN_URL leads past the pooler: notifications arrive, whoever sends them."""
    worker = start_worker(database_url=pgbouncer(database_url), DATABASE_LISTEN_URL=database_url)
    eventually(lambda: worker.said("listening for new jobs"), what="listening")
    assert worker.said("polling for new jobs, not listening") == []
    with load.flowing():
        load.flow_on()
    load.settle()
    load.check()
    stop_all(worker)


def test_behind_a_transaction_pooler_the_session_pooler_is_listened_on(start_worker, load, database_url, pgbouncer):
    """Both addresses of a hosted project, as docs/supabase.md says: work through one, news through the other."""
    worker = start_worker(
        database_url=pgbouncer(database_url, "transaction", pool_size=5),
        DATABASE_LISTEN_URL=pgbouncer(database_url, "session", pool_size=2),
        WORKER_POLL_SECONDS="30",
    )
    eventually(lambda: worker.said("listening for new jobs"), seconds=60, what="listening")
    load.put([("inline_nothing", {})] * 20)
    load.tell("select pg_notify('indexing_worker_jobs', '')")
    load.settle()
    load.check()
