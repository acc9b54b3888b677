"""Bugs to plant in a database's own copy of the verbs: tests that do not find them protect nothing."""

from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

Connection = psycopg.Connection[dict[str, Any]]

_SOURCE = """
select pg_get_functiondef(oid) as source from pg_proc
where pronamespace = any ('{queue, public}'::regnamespace[]) and proname = %s"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A text to replace in the source of the queue's functions: (function, from, to)."""

    name: str
    patches: tuple[tuple[str, str, str], ...]
    statement: LiteralString | None = None

    def plant(self, connection: Connection) -> None:
        """Change this database's functions; fails where the text to replace is not there."""
        for function, old, new in self.patches:
            (row,) = connection.execute(_SOURCE, (function,)).fetchall()
            assert row["source"].count(old) == 1, f"{function} has not exactly one {old!r}"
            connection.execute(row["source"].replace(old, new).encode())
        if self.statement is not None:
            connection.execute(self.statement)


def _one(name: str, function: str, old: str, new: str) -> Mutant:
    return Mutant(name, ((function, old, new),))


_LEAVE = "delete from queue.running where token = p_token returning slot into freed;"
_MOVE = """update public.webhook_deliveries set job_id = follow_up, status = 'queued'
    where job_id = p_job and"""

QUICK = [
    _one("complete_ignores_the_token", "complete", "where id = p_job and lease_token = p_token", "where id = p_job"),
    _one("complete_many_ignores_the_tokens", "complete_many", "and j.lease_token = g.token", "and j.attempt > 0"),
    _one("give_back_stays_in_running", "give_back", _LEAVE, "null;"),
    _one("leave_wakes_nobody", "leave", "perform queue.wake(repositories, capped);", "null;"),
    _one("wait_activates_no_lane", "wait", "perform queue.activate(array[queue.lane(p_user)]);", "null;"),
]
SLOWER = [
    _one("cancel_wakes_nobody", "cancel", "perform queue.wake_next(waiting_at);", "null;"),
    _one("a_delayed_join_wakes_nobody", "join_queued", "perform queue.wake_next(target.repository_id);", "null;"),
    _one("supersede_keeps_the_deliveries", "supersede", _MOVE, _MOVE + " false and"),
    _one("a_manual_retry_keeps_the_budgets", "retry_finished", "errors = 0, crashes = 0, ", ""),
    _one("a_join_keeps_the_errors", "join_queued", "        errors = 0,\n", ""),
    _one("a_drain_costs_a_crash", "orphans", "w.state in ('draining', 'fenced', 'stopped'), false", "false, false"),
    _one("renew_releases_what_was_just_claimed", "renew", "and r.claimed_at < previous ", ""),
    _one("anybody_may_rescue", "orphans", "and me.renewing_since <= clock_timestamp() - p_lease", ""),
    _one(
        "the_quick_way_ignores_other_types",
        "claim",
        "perform queue.settle(array[lone.empty_lane]);",
        "update public.queue_lanes set active = false where user_id = lone.empty_lane;",
    ),
    _one(
        "the_quick_way_ignores_busy_repositories",
        "take_lone",
        "where r.repository_id = repository;",
        "where r.repository_id <> repository;",
    ),
    _one("a_resumed_type_sleeps_on", "set_paused", "perform queue.activate(lanes);", "null;"),
    _one("caps_are_not_counted", "turns", "max_running - (select count(*)::integer", "max_running - (select 0"),
    _one("a_publish_makes_its_attempt_a_zombie", "progress", "(status = 'completed' and log_token = p_token)", "false"),
    _one("nobody_seals_an_earlier_attempts_log", "complete_many", "where attempt > 1", "where false"),
    _one("a_removed_repository_wakes_no_lane", "delete_events_of_deleted_jobs", "r)), capped);", "r)), null);"),
    _one("a_deleted_job_wakes_nobody", "delete_events_of_deleted_jobs", ":= repositories || left_by;", ":= null;"),
    _one("a_retry_that_joins_asks_for_nothing", "retry_finished", "set payload = merged", "set payload = payload"),
    _one("a_run_ends_with_its_follow_up", "cancel_running", "if reason = 'superseded' then", "if false then"),
    Mutant("nobody_lowers_a_head", (), "drop function queue.lower_heads cascade"),
    Mutant(
        "claims_have_no_gate",
        (("claim", "if not pg_try_advisory_xact_lock(7309940321140001) then", "if false then"),),
        "drop index queue.running_one_of_repository",
    ),
    Mutant(
        "a_repository_runs_twice",
        (("turns", "c.repository_id is not null and exists (", "c.repository_id is not null and not exists ("),),
        "drop index queue.running_one_of_repository",
    ),
]
