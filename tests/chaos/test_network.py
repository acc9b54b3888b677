"""Promises 2, 3 and 11: the network between worker and Postgres is cut, refuses, or swallows everything."""

import threading

import pytest

from tests.fixtures.workers import SETTINGS, eventually

pytestmark = pytest.mark.timeout(300)
LEASE = float(SETTINGS["WORKER_LEASE_SECONDS"])


def wait_past_the_lease(load):
    """Until the database's clock has gone on by a lease and a little more."""
    began = load.ask("select clock_timestamp() as at")[0]["at"]
    over = "select from (select 1) one where clock_timestamp() > %s + make_interval(secs => %s)"
    eventually(lambda: load.ask(over, began, LEASE * 1.5), seconds=LEASE * 3, what="the end of the lease")


def known(load):
    """How many workers say that they run."""
    return load.ask(
        "select count(*) as n from workers where state = 'running' and last_seen_at > now() - interval '2 s'"
    )[0]["n"]


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_promise_11_connections_cut_ten_times_a_second_lose_nothing(start_worker, load, proxy, stop_all, seconds):
    """Every connection is reset every 100 ms, also in the middle of a statement: each job has its effect once."""
    workers = [start_worker(state=name, database_url=proxy.url) for name in ("one", "two")]
    before = load.usual_speed(2)
    pause = threading.Event()
    with load.flowing():
        load.flow_on()
        for _ in range(seconds * 10):
            proxy.cut()
            pause.wait(0.1)
        load.flow_on()
    load.settle()
    load.check()
    load.as_before(before, "cut connections")
    stop_all(*workers)


@pytest.mark.parametrize("outage", [pytest.param("refuse", marks=pytest.mark.slow), "freeze"])
def test_promise_11_an_outage_longer_than_the_lease_costs_nothing(start_worker, load, proxy, stop_all, outage):
    """Postgres cannot be reached for one and a half leases: the worker fences itself, comes back and goes on alone."""
    worker = start_worker(database_url=proxy.url, WORKER_SLOTS="3")
    before = load.usual_speed(1)
    with load.flowing():
        load.flow_on()
        if outage == "refuse":
            proxy.refuse()
            proxy.cut()
        else:
            proxy.freeze()
        eventually(lambda: worker.said("worker fences itself"), what="self-fencing")
        wait_past_the_lease(load)
        proxy.accept() if outage == "refuse" else proxy.thaw()
        began = load.ask("select clock_timestamp() as at")[0]["at"]
        eventually(lambda: known(load) == 1, seconds=60, what="the worker's return")
        load.flow_on()
        seconds = load.ask("select extract(epoch from clock_timestamp() - %s)::float as n", began)[0]["n"]
        print(f"{outage}: jobs go on {seconds:.1f} s after the outage")
    load.settle()
    load.check()
    load.as_before(before, outage)
    stop_all(worker)


def test_promise_2_what_a_cut_off_worker_held_is_taken_over_once(start_worker, load, proxy, stop_all):
    """One of two workers hears nothing any more: the other takes over within the lease, and no effect comes twice."""
    frozen = start_worker(state="frozen", database_url=proxy.url, WORKER_SLOTS="3", WORKER_INLINE_SLOTS="20")
    load.usual_speed(1)
    held = load.put([("talk", {"number": 30, "seconds": 0.1})] * 3 + [("inline_sleep", {"seconds": 3})] * 20)
    eventually(lambda: load.ask("select from queue.running having count(*) >= 10"), what="claims")
    proxy.freeze()
    cut_off = load.ask("select clock_timestamp() as at")[0]["at"]
    other = start_worker(state="other")
    with load.flowing():
        taken = """
            select max(created_at) - %s as after from indexing_job_events
            where event_type = 'rescue' having count(*) > 0"""
        after = eventually(lambda: load.ask(taken, cut_off), seconds=60, what="the rescue")[0]["after"]
        print(f"rescued {after.total_seconds():.1f} s after the cut")
        eventually(lambda: frozen.said("worker fences itself"), what="self-fencing")
        proxy.thaw()
        eventually(lambda: known(load) == 2, seconds=60, what="the worker's return")
        load.flow_on()
    load.settle()
    load.check(most_crashes=len(held))
    stop_all(frozen, other)


def test_promise_11_after_half_open_connections_the_slots_are_free_again(start_worker, load, proxy, stop_all):
    """All slots are busy when the network swallows everything: after it is back the same jobs run there again, soon."""
    worker = start_worker(database_url=proxy.url, WORKER_SLOTS="3")
    jobs = load.put([("talk", {"number": 20, "seconds": 0.1})] * 3, in_repositories=False)
    attempts = "select from indexing_jobs where id = any (%s) and attempt >= %s having count(*) = 3"
    eventually(lambda: load.ask(attempts, jobs, 1), what="the first attempts")
    proxy.freeze()
    eventually(lambda: worker.said("worker fences itself"), what="self-fencing")
    wait_past_the_lease(load)
    proxy.thaw()
    began = load.ask("select clock_timestamp() as at")[0]["at"]
    eventually(lambda: load.ask(attempts, jobs, 2), seconds=45, what="the second attempts")
    print(f"slots are free {load.ask('select clock_timestamp() - %s as n', began)[0]['n'].total_seconds():.1f} s later")
    load.settle()
    load.check()
    stop_all(worker)


@pytest.mark.slow
def test_promise_11_a_slow_network_is_only_slow(start_worker, load, proxy, stop_all):
    """50 ms each way: nobody fences itself, nothing is lost."""
    worker = start_worker(database_url=proxy.url)
    load.usual_speed(1)
    proxy.delay(0.05)
    with load.flowing(40):
        load.flow_on()
        wait_past_the_lease(load)
    load.settle()
    load.check()
    assert worker.said("worker fences itself") == []
    proxy.delay(0)
    stop_all(worker)
