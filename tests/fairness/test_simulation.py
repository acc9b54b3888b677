"""Fair share, held against the real claim: histories of claims and ends, and who started when.

Lease tokens grow in the order of start, so the order of the tokens is the order of the turns, whatever the claims'
sizes. The bounds below hold in every window of starts, not on average:

- equal weights, tenants that always have a job to give: within one job of an equal share, for any claim size and any
  number of claimers;
- weights: within 1 + s × (k - 2) jobs of its share s, among k tenants (start-time fair queueing); with equal weights
  that is 2 - 2 / k, which holds from the moment a tenant comes (back);
- a tenant with a job to give waits for at most two starts of any other of its weight.
"""

import itertools
import random
import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.fairness.conftest import Line, Start


def furthest(order: Sequence[uuid.UUID], tenant: uuid.UUID, share: float) -> float:
    """The most jobs by which a tenant misses its share in any window of starts: all windows at once.

    A window's miss is the difference of two points of the running miss, so the worst window spans its extremes.
    """
    points = list(itertools.accumulate((((who == tenant) - share) for who in order), initial=0.0))
    return max(points) - min(points)


def assert_equal_shares(starts: Sequence[Start], tenants: Sequence[uuid.UUID], bound: float = 1) -> None:
    """In every window of these starts each tenant is within one job of an equal share."""
    order = [start.tenant for start in starts]
    assert set(order) == set(tenants)
    worst = {tenant: furthest(order, tenant, 1 / len(tenants)) for tenant in tenants}
    assert max(worst.values()) <= bound + 1e-6, sorted(worst.values())


def assert_equal_shares_from_now(starts: Sequence[Start], tenants: Sequence[uuid.UUID]) -> None:
    """As above where one has just come (back): its first job goes at once, so the bound is that of weights."""
    assert_equal_shares(starts, tenants, 2 - 2 / len(tenants))


@pytest.mark.parametrize("tenants", [2, 5, 20])
@pytest.mark.parametrize("limit", [1, 3, 10, 500])
def test_every_window_of_starts_is_shared_equally(line: Line, tenants, limit):
    """k tenants with equal jobs: each has its equal share of any window of starts, to within one job."""
    crowd = line.tenants(tenants)
    each = {1: 120, 3: 240, 10: 600, 500: 2000}[limit] // tenants
    for tenant in crowd:
        line.jobs(tenant, each + limit // tenants + 2)
    assert_equal_shares(line.drain(limit, each * tenants, dice=random.Random(limit)), crowd)


def test_claims_of_all_sizes_in_turn_share_as_one_of_size_one_would(line: Line):
    """Where a batch ends does not show in the order of starts."""
    dice = random.Random(1)
    crowd = line.tenants(7)
    for tenant in crowd:
        line.jobs(tenant, 300)
    starts = [start for _ in range(60) for start in line.claim(dice.choice([1, 2, 3, 10, 50, 120]))][:1900]
    assert_equal_shares(starts, crowd)


@pytest.mark.parametrize("tenants", [2, 5, 20])
def test_four_claimers_at_once_share_as_one_would(line: Line, tenants):
    """The order of the lease tokens of racing claims is the order of turns, exactly."""
    crowd = line.tenants(tenants)
    for tenant in crowd:
        line.jobs(tenant, 1200 // tenants)
    begun: list[Start] = []
    barrier = threading.Barrier(4)

    def race(number: int, connection) -> None:
        dice = random.Random(number)
        barrier.wait()
        for _ in range(15):
            starts = line.claim(dice.choice([1, 3, 10, 30]), on=connection)
            begun.extend(starts)
            line.complete([start for start in starts if dice.random() < 0.7], on=connection)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(race, range(4), line.connections(4)))
    starts = sorted(begun, key=lambda start: start.token)
    assert_equal_shares(starts[:1000], crowd)


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_tenants_with_one_repository_each_take_turns(line: Line, limit):
    """One job at a time a repository: with every job ended before the next claim, the shares are equal."""
    crowd = line.tenants(12)
    for tenant in crowd:
        line.jobs(tenant, 25, repositories=line.repositories(tenant, 1))
    assert_equal_shares(line.drain(limit, 240), crowd)


@pytest.mark.parametrize("limit", [1, 10, 80, 500])
def test_weights_are_shares(line: Line, limit):
    """Weights 1, 2, 5 and 1, 2, 5 again: each within 1 + s × (k - 2) jobs of its share s of any window."""
    weights = [1, 2, 5, 1, 2, 5]
    crowd = line.tenants(len(weights))
    for tenant, weight in zip(crowd, weights, strict=True):
        line.lane(tenant, weight=weight)
        line.jobs(tenant, 60 * weight + 150)
    order = [start.tenant for start in line.drain(limit, 160 if limit == 1 else 900)]
    for tenant, weight in zip(crowd, weights, strict=True):
        share = weight / sum(weights)
        assert furthest(order, tenant, share) <= 1 + share * (len(weights) - 2) + 1e-6, weight


def test_a_heavy_lane_among_many_gets_its_whole_share_of_large_claims(line: Line):
    """What a claim reads of each lane does not bound the lane's share: weight 20 among 20 of weight 1 is a half."""
    heavy, *others = line.tenants(21)
    line.lane(heavy, weight=20)
    line.jobs(heavy, 600)
    for tenant in others:
        line.jobs(tenant, 60)
    order = [start.tenant for start in line.drain(200, 1000)]
    assert furthest(order, heavy, 0.5) <= 1 + 0.5 * 19
    assert abs(order.count(heavy) - 500) <= 10


def test_a_tenant_whose_first_jobs_share_a_repository_gets_its_share(line: Line):
    """Runs of jobs of one repository at the head of a lane do not hide the lane's other repositories."""
    grouped, other = line.tenants(2)
    for repository in line.repositories(grouped, 40):
        line.jobs(grouped, 20, repositories=[repository])
    line.jobs(other, 200)
    starts = line.claim(60)
    assert Counter(start.tenant for start in starts) == {grouped: 30, other: 30}
    assert_equal_shares(starts, [grouped, other])


def test_priorities_order_jobs_within_a_tenant_and_nothing_between_tenants(line: Line):
    """A's priority of a million buys it nothing from B; within A the higher goes first."""
    eager, modest = line.tenants(2)
    line.jobs(eager, 100, priority=[1_000_000 + n % 10 for n in range(100)])
    line.jobs(modest, 100)
    starts = line.drain(7, 200)
    assert_equal_shares(starts, [eager, modest])
    priorities = [start.priority for start in starts if start.tenant == eager]
    assert priorities == sorted(priorities, reverse=True)


def test_a_point_of_priority_is_worth_a_minute_of_waiting(line: Line):
    """Ageing: a job goes before one of d points more that came more than d minutes later, and not before others."""
    (tenant,) = line.tenants(1)
    dice = random.Random(3)
    jobs = line.jobs(tenant, 120, priority=[dice.randrange(-20, 20) for _ in range(120)])
    came = {job: dice.uniform(0, 3600) for job in jobs}
    line.db.execute(
        "with came as (select * from unnest(%s::uuid[], %s::double precision[]) c (id, ago)),"
        " old as (update indexing_jobs j set queued_at = now() - make_interval(secs => ago) from came"
        "         where j.id = came.id returning j.id, j.priority, j.queued_at)"
        " update queue.waiting w set queued_at = old.queued_at, rank = queue.rank(old.priority, old.queued_at)"
        " from old where w.job_id = old.id",
        (list(came), list(came.values())),
    )
    starts = line.drain(9, 120)
    for earlier, later in itertools.combinations(starts, 2):
        waited_longer_seconds = came[later.job] - came[earlier.job]
        assert waited_longer_seconds <= (earlier.priority - later.priority) * 60 + 1e-3


def test_promise_6_the_first_job_of_a_newcomer_starts_within_one_round(line: Line):
    """A has 10,000 jobs of the highest priority queued, and 4 others wait: B's first job is among the next 6 starts."""
    crowd = line.tenants(5)
    line.jobs(crowd[0], 10_000, priority=1_000_000)
    for tenant in crowd[1:]:
        line.jobs(tenant, 400, priority=1_000_000)
    line.drain(100, 1000)
    (newcomer,) = line.tenants(1)
    line.jobs(newcomer, 1, priority=-1_000_000)
    assert newcomer in [start.tenant for start in line.drain(1, 6)]


@pytest.mark.parametrize("limit", [1, 10, 300])
def test_promise_6_nobody_owes_for_time_alone(line: Line, limit):
    """A ran alone for long, then B comes: from there on both have equal shares."""
    crowd = line.tenants(2)
    line.jobs(crowd[0], 1000)
    line.drain(100, 600)
    line.jobs(crowd[1], 200)
    assert_equal_shares_from_now(line.drain(limit, 300), crowd)


def test_promise_6_a_cancelled_backlog_leaves_no_debt(line: Line):
    """A tenant whose jobs were cancelled and that comes back has an equal share at once, no more and no less."""
    crowd = line.tenants(3)
    line.jobs(crowd[1], 400)
    line.jobs(crowd[2], 400)
    cancelled = line.jobs(crowd[0], 300)
    line.drain(10, 30)
    for job in cancelled[10:]:
        line.db.execute("select queue.cancel(%s)", (job,))
    line.drain(10, 200)
    line.jobs(crowd[0], 100)
    assert_equal_shares_from_now(line.drain(10, 240), crowd)


def test_promise_6_delayed_jobs_that_come_due_at_once_are_no_burst(line: Line):
    """A's 3,000 delayed jobs come due together: B and C go on with a third each."""
    crowd = line.tenants(3)
    line.jobs(crowd[0], 3000, due=timedelta(hours=1))
    for tenant in crowd[1:]:
        line.jobs(tenant, 300)
    line.drain(10, 200)
    come_due(line)
    assert_equal_shares_from_now(line.drain(10, 300), crowd)


def test_promise_6_a_delayed_job_starts_within_one_round_when_it_is_due(line: Line):
    """B's retry comes due after 10,000 of A: it is not behind them."""
    crowd = line.tenants(2)
    line.jobs(crowd[0], 10_000, due=timedelta(hours=1))
    line.jobs(crowd[1], 1, due=timedelta(hours=2))
    come_due(line)
    assert crowd[1] in [start.tenant for start in line.drain(1, 2)]


def come_due(line: Line) -> None:
    """Let all delayed jobs be due, in the order in which they would have been."""
    line.db.execute(
        "with due as (update indexing_jobs set run_after = run_after - interval '1 day' where status = 'queued'"
        "             returning id, run_after)"
        " update queue.waiting w set run_after = due.run_after from due where w.job_id = due.id"
    )


def test_promise_6_a_paused_tenant_saves_nothing_up(line: Line):
    """Resumed after a long pause, a tenant has an equal share, not what it missed."""
    crowd = line.tenants(3)
    for tenant in crowd:
        line.jobs(tenant, 400)
    line.drain(10, 30)
    line.lane(crowd[0], paused=True)
    assert crowd[0] not in {start.tenant for start in line.drain(10, 300)}
    line.lane(crowd[0], paused=False)
    assert_equal_shares_from_now(line.drain(10, 300), crowd)


@pytest.mark.parametrize("limit", [1, 10])
def test_promise_6_a_tenant_blocked_behind_its_repository_saves_nothing_up(line: Line, limit):
    """All of A's jobs wait for its busy repository; when others come, A has an equal share, not what it missed."""
    crowd = line.tenants(3)
    for tenant in crowd[1:]:
        line.jobs(tenant, 400)
    line.jobs(crowd[0], 50, repositories=line.repositories(crowd[0], 1))
    (busy,) = [start for start in line.claim(3) if start.tenant == crowd[0]]
    line.drain(limit, 200)
    line.jobs(crowd[0], 200)
    line.complete([busy])
    assert_equal_shares_from_now(line.drain(limit, 150), crowd)


@pytest.mark.parametrize("limit", [4, 10, 50])
def test_promise_6_a_tenant_with_few_repositories_saves_nothing_up(line: Line, limit):
    """A can give one job a claim, others take the rest; with more repositories it has its share, not what it missed."""
    crowd = line.tenants(3)
    line.jobs(crowd[0], 100, repositories=line.repositories(crowd[0], 1))
    for tenant in crowd[1:]:
        line.jobs(tenant, 1000)
    for _ in range(20):
        line.complete(line.claim(limit))
    line.jobs(crowd[0], 300)
    (newcomer,) = line.tenants(1)
    line.jobs(newcomer, 300)
    assert_equal_shares_from_now(line.drain(1, 80), [*crowd, newcomer])


@pytest.mark.parametrize("limit", [1, 10])
def test_promise_6_a_capped_tenant_saves_nothing_up(line: Line, limit):
    """A's cap kept it below its share; without the cap it has an equal share, not what it missed."""
    crowd = line.tenants(3)
    for tenant in crowd:
        line.jobs(tenant, 500)
    line.lane(crowd[0], max_running=1)
    for _ in range(20):
        line.complete(line.claim(max(limit, 5)))
    line.lane(crowd[0], max_running=0)
    assert_equal_shares_from_now(line.drain(limit, 200), crowd)


def test_promise_6_tenants_of_a_rarer_job_type_take_turns_too(line: Line):
    """Workers of another type start a hundred jobs between two of ours: our tenants still take turns."""
    busy, *crowd = line.tenants(6)
    line.jobs(busy, 3000, job_type="frequent")
    for tenant in crowd:
        line.jobs(tenant, 20, job_type="rare")
    begun: list[Start] = []
    for _ in range(25):
        line.complete(line.claim(100, ["frequent"]))
        begun += line.claim(1, ["rare"])
    assert_equal_shares(begun, crowd)


def test_one_tenant_alone_takes_every_slot(line: Line):
    """Idle capacity is never held back: with nobody else waiting a claim is filled from one lane."""
    alone, *_ = line.tenants(3)
    line.jobs(alone, 300)
    assert len(line.claim(250)) == 250
    assert len(line.claim(250)) == 50


def test_a_share_that_is_not_used_goes_to_the_others_at_once(line: Line):
    """A tenant with two jobs leaves the rest of its share to the two that have more."""
    crowd = line.tenants(3)
    line.jobs(crowd[0], 2)
    line.jobs(crowd[1], 100)
    line.jobs(crowd[2], 100)
    counts = Counter(start.tenant for start in line.claim(52))
    assert counts == {crowd[0]: 2, crowd[1]: 25, crowd[2]: 25}


@pytest.mark.parametrize("seed", range(12))
def test_a_claim_answers_all_that_is_claimable_and_nobody_waits_long(line: Line, seed):
    """After any history a claim answers as many jobs as brute force finds, up to its limit; none is passed over.

    A tenant that had a job to give at every claim since its last start saw at most two starts of each other (of its
    weight) in the meantime.
    """
    dice = random.Random(seed)
    crowd = line.tenants(6)
    homes = {tenant: line.repositories(tenant, dice.choice([1, 2, 5, 20])) for tenant in crowd}
    running: list[Start] = []
    passed: dict[uuid.UUID, Counter[uuid.UUID]] = {tenant: Counter() for tenant in crowd}
    for _ in range(45):
        for _ in range(dice.randrange(4)):
            _change(line, dice, crowd, homes)
        done = [start for start in running if dice.random() < 0.4]
        running = [start for start in running if start not in done]
        line.complete(done)
        types, limit = dice.choice([(["light"], 1), (["light"], 5), (["light", "odd"], 3), (["light", "odd"], 50)])
        due = line.claimable(types)
        able = {tenant: _able(line, tenant, types) for tenant in crowd}
        starts = line.claim(limit, types)
        assert len(starts) == min(limit, due), (seed, types, limit)
        running += starts
        for start in starts:
            for tenant in crowd:
                passed[tenant][start.tenant] += 1
            passed[start.tenant].clear()
            able[start.tenant] -= 1
            assert all(count <= 2 for tenant in crowd if able[tenant] > 0 for count in passed[tenant].values()), (
                seed,
                passed,
            )
        for tenant in crowd:
            if able[tenant] <= 0:
                passed[tenant].clear()
    assert line.count("select queue.mend()") == 0


def _able(line: Line, tenant: uuid.UUID, types: list[str]) -> int:
    """How many jobs of this tenant a claim may start now."""
    with line.db.transaction(force_rollback=True):
        line.db.execute("update queue_lanes set paused = true where user_id <> %s", (tenant,))
        return line.claimable(types)


def _change(line: Line, dice: random.Random, crowd, homes) -> None:
    tenant = dice.choice(crowd)
    match dice.choice(["jobs"] * 6 + ["delayed", "due", "cap", "pause", "type", "cancel", "postpone"]):
        case "jobs":
            line.jobs(
                tenant, dice.choice([1, 3, 10, 60]), repositories=dice.sample(homes[tenant], 1) + homes[tenant],
                job_type=dice.choice(["light", "light", "odd"]), priority=dice.randrange(3),
            )  # fmt: skip
        case "delayed":
            line.jobs(tenant, 3, repositories=homes[tenant], due=timedelta(hours=1))
        case "due":
            come_due(line)
        case "cap":
            line.lane(tenant, max_running=dice.choice([0, 0, 1, 2, 5]))
        case "pause":
            line.lane(tenant, paused=dice.random() < 0.3)
        case "type":
            line.db.execute("select queue.set_paused('odd', %s)", (dice.random() < 0.3,))
        case "cancel":
            line.db.execute(
                "select queue.cancel(job_id) from (select job_id from queue.waiting where user_id = %s"
                " order by rank limit 3) w",
                (tenant,),
            )
        case "postpone":
            line.db.execute(
                "select queue.retry_finished(id) from (select id from indexing_jobs where user_id = %s"
                " and status = 'cancelled' limit 2) j",
                (tenant,),
            )
