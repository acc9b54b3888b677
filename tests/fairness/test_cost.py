"""The cost of a claim depends on its limit, not on how many jobs wait: counted in buffers touched, not in seconds."""

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import pytest

from tests.fairness.conftest import Line, Start

FEW, MANY = 500, 50_000


def fill(line: Line, tenants: Sequence[uuid.UUID], count: int, *, job_type: str = "light", after: str = "0",
         repositories: Sequence[uuid.UUID] | None = None) -> None:  # fmt: skip
    """This many jobs more, the tenants in turn; with repositories, in those in turn."""
    line.db.execute(
        "select queue.enqueue_many(array_agg(gen_random_uuid()),"
        " array_agg((%(homes)s::uuid[])[1 + n %% %(homes_count)s]), array_agg(%(type)s::text),"
        " array_agg('{}'::jsonb), array_agg(0), array_agg(now() + %(after)s::interval), array_agg(5),"
        " array_agg(null::integer), null, array_agg((%(tenants)s::uuid[])[1 + n %% %(tenants_count)s]))"
        " from generate_series(1, %(count)s) n",
        {
            "homes": list(repositories or []), "homes_count": len(repositories or [0]), "type": job_type,
            "after": after, "tenants": list(tenants), "tenants_count": len(tenants), "count": count,
        },
    )  # fmt: skip


def ready(line: Line, ours: Sequence[uuid.UUID]) -> Callable[[int], None]:
    """More of what is claimed."""
    return lambda count: fill(line, ours, count)


def paused_type(line: Line, ours: Sequence[uuid.UUID]) -> Callable[[int], None]:
    """Jobs of the same tenants of a type that is paused."""
    line.db.execute("select queue.set_paused('held', true)")
    return lambda count: fill(line, ours, count, job_type="held")


def other_type(line: Line, ours: Sequence[uuid.UUID]) -> Callable[[int], None]:
    """Jobs of the same tenants of a type that this worker does not claim."""
    return lambda count: fill(line, ours, count, job_type="other")


def paused_tenants(line: Line, ours: Sequence[uuid.UUID]) -> Callable[[int], None]:
    """Jobs of fifty tenants that are paused."""
    held = line.tenants(50)
    fill(line, held, 50)
    line.db.execute("update queue_lanes set paused = true where user_id = any (%s)", (held,))
    return lambda count: fill(line, held, count)


def not_due(line: Line, ours: Sequence[uuid.UUID]) -> Callable[[int], None]:
    """Jobs of the same tenants that wait for their time."""
    return lambda count: fill(line, ours, count, after="1 hour")


def behind_busy(line: Line, ours: Sequence[uuid.UUID]) -> Callable[[int], None]:
    """Jobs of the same tenants in repositories where one runs."""
    homes = [repository for tenant in ours for repository in line.repositories(tenant, 3)]
    fill(line, ours, len(homes), job_type="busy", repositories=homes)
    assert len(line.claim(100, ["busy"])) == len(homes)
    return lambda count: fill(line, ours, count, repositories=homes)


@pytest.mark.parametrize("kind", [ready, paused_type, other_type, paused_tenants, not_due, behind_busy])
def test_a_claim_touches_as_much_with_50000_waiting_as_with_500(line: Line, kind):
    """claim and complete_many touch at most twice the buffers, and read none of the queue's tables from end to end."""
    ours = line.tenants(3)
    more = kind(line, ours)
    fill(line, ours, 300)
    more(FEW)
    few = cost(line)
    more(MANY - FEW)
    many = cost(line)
    assert many["claim"] <= 2 * few["claim"], (few, many)
    assert many["complete"] <= 2 * few["complete"], (few, many)
    assert (few["scans"], many["scans"]) == ({}, {})


@pytest.mark.parametrize("limit", [1, 10])
def test_jobs_that_were_queued_before_their_repository_was_busy_are_moved_aside_once(line: Line, limit):
    """5,000 ready jobs of busy repositories cost the first claims something, and then nothing."""
    (tenant,) = line.tenants(1)
    homes = line.repositories(tenant, 5)
    fill(line, [tenant], 5000, repositories=homes)
    assert len(line.claim(10)) == 5
    assert line.claim(limit) == []
    fill(line, [tenant], 60)
    small = cost(line, rounds=3)
    assert line.holds() == {"repository": 4995, None: 29}
    assert small["claim"] < 1500


def cost(line: Line, rounds: int = 5) -> dict[str, Any]:
    """Buffers that a claim of ten and their completion touch, and which tables were read from end to end."""
    claims: list[int] = []
    completes: list[int] = []
    scans: Counter[str] = Counter()
    line.db.execute("analyze queue.waiting")
    line.complete(line.claim(1))  # this session's caches are warm
    for _ in range(rounds):
        before = full_scans(line)
        claims.append(buffers(line, "select * from queue.claim(%s, '{light}', 10)", line.me))
        scans += full_scans(line) - before
        starts = _just_started(line)
        assert len(starts) == 10
        jobs, tokens = [start.job for start in starts], [start.token for start in starts]
        before = full_scans(line)
        completes.append(buffers(line, "select queue.complete_many(%s, %s, '[]')", jobs, tokens))
        scans += full_scans(line) - before
    return {"claim": median(claims), "complete": median(completes), "scans": dict(scans)}


def full_scans(line: Line) -> Counter[str]:
    """How often tables of the queue have been read from end to end."""
    line.db.execute("select pg_stat_force_next_flush()")
    rows = line.db.execute(
        "select relname, seq_scan from pg_stat_user_tables where relname = any (%s)",
        (["waiting", "running", "indexing_jobs", "queue_lanes"],),
    ).fetchall()
    return Counter({row["relname"]: row["seq_scan"] for row in rows})


def buffers(line: Line, query: Any, *arguments: Any) -> int:
    """How many buffers a query touches."""
    row = line.db.execute("explain (analyze, buffers, format json) " + query, arguments).fetchone()
    assert row is not None
    plan = row["QUERY PLAN"][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def _just_started(line: Line) -> list[Start]:
    rows = line.db.execute(
        "select token, job_id, user_id, repository_id from queue.running order by token desc limit 10"
    ).fetchall()
    return [Start(row["token"], row["job_id"], row["user_id"], row["repository_id"], "light", 0) for row in rows]


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        ("claim", {"plan_cache_mode=force_generic_plan", "jit=off", "enable_seqscan=off"}),
        ("complete_many", {"plan_cache_mode=force_generic_plan", "jit=off", "enable_seqscan=off"}),
        ("look", {"jit=off"}),
        ("mend", {"jit=off"}),
    ],
)
def test_what_runs_often_keeps_how_it_is_planned(line: Line, function, settings):
    """`create or replace function` forgets what `alter function` has set: beside a million jobs that cost a third."""
    query = "select proconfig from pg_proc where oid = ('queue.' || %s)::regproc"
    (row,) = line.db.execute(query, (function,)).fetchall()
    assert settings <= set(row["proconfig"])
