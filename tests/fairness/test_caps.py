"""Caps: a tenant's max_running is exact, whoever claims at once and whenever it is changed."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fairness.conftest import Line, Start


def running(line: Line) -> int:
    """How many jobs run now."""
    return line.count("select count(*)::int from queue.running")


def test_eight_claimers_at_once_never_pass_a_cap(line: Line):
    """Racing claims and ends: at no moment more run than the cap allows, and every job runs once."""
    capped, free = line.tenants(2)
    line.lane(capped, max_running=3)
    line.jobs(capped, 150)
    line.jobs(free, 150)
    begun: list[Start] = []
    tokens_at_end: dict[int, int] = {}
    most: list[int] = []
    barrier = threading.Barrier(8)

    def race(number: int, connection) -> None:
        dice = random.Random(number)
        barrier.wait()
        for _ in range(400):
            starts = line.claim(dice.choice([1, 2, 10]), on=connection)
            begun.extend(starts)
            row = connection.execute("select count(*) as n from queue.running where user_id = %s", (capped,)).fetchone()
            most.append(row["n"])
            line.complete(starts, on=connection)
            tokens_at_end.update((start.token, 1) for start in starts)
            if not starts and len(begun) == 300:
                return

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(race, range(8), line.connections(8)))
    assert Counter(start.tenant for start in begun) == {capped: 150, free: 150}
    assert len({start.job for start in begun}) == len(tokens_at_end) == 300
    assert max(most) <= 3


def test_a_freed_slot_is_taken_by_the_next_claim(line: Line):
    """A tenant at its cap sleeps, and the end of one of its jobs wakes it."""
    (tenant,) = line.tenants(1)
    line.lane(tenant, max_running=2)
    line.jobs(tenant, 6)
    first = line.claim(10)
    assert len(first) == 2
    assert line.claim(10) == []
    line.complete(first[:1])
    assert len(line.claim(10)) == 1
    assert line.claim(10) == []


@pytest.mark.parametrize("before", [0, 4])
def test_a_cap_is_set_lowered_raised_and_removed_while_jobs_run(line: Line, before):
    """What runs already counts; nothing starts above the new cap, and everything below it at once."""
    (tenant,) = line.tenants(1)
    line.lane(tenant, max_running=before)
    line.jobs(tenant, 60)
    begun = line.claim(4)
    assert len(begun) == 4

    line.lane(tenant, max_running=2)
    assert line.claim(10) == []
    line.complete(begun[:2])
    assert line.claim(10) == []
    line.complete(begun[2:3])
    assert len(line.claim(10)) == 1
    assert running(line) == 2

    line.lane(tenant, max_running=5)
    assert len(line.claim(10)) == 3
    line.lane(tenant, max_running=0)
    assert len(line.claim(10)) == 10
    assert running(line) == 15

    line.lane(tenant, max_running=16)
    assert len(line.claim(10)) == 1
    assert line.claim(10) == []


def test_random_changes_of_caps_are_followed_exactly(line: Line):
    """After any history of caps, starts and ends a claim takes exactly what the cap leaves."""
    dice = random.Random(8)
    (tenant,) = line.tenants(1)
    line.jobs(tenant, 400)
    alive: list[Start] = []
    cap = None
    for _ in range(80):
        if dice.random() < 0.4:
            cap = dice.choice([None, 1, 2, 3, 7, 20])
            line.lane(tenant, max_running=cap or 0)
        limit = dice.choice([1, 3, 8])
        starts = line.claim(limit)
        assert len(starts) == (limit if cap is None else max(0, min(limit, cap - len(alive))))
        alive += starts
        done = [start for start in alive if dice.random() < 0.4]
        alive = [start for start in alive if start not in done]
        line.complete(done)
