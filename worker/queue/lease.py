"""The worker's row and its lease: register, renew, mark, and what a renewal answers. Used by the heartbeat thread."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """One life of a worker process in the database: after self-fencing the same process takes a new one."""

    id: UUID
    hostname: str
    pid: int
    version: str
    machine: str | None
    slots: int
    job_types: Sequence[str]


@dataclass(frozen=True, slots=True)
class Renewal:
    """The answer to a heartbeat. `known` false: others have given this worker up, and it must fence itself."""

    known: bool
    held: frozenset[int] = frozenset()
    cancel: frozenset[int] = frozenset()
    released: frozenset[int] = frozenset()
    stuck: tuple[str, ...] = ()
    """Jobs whose claim's reply was lost and that cannot be released now, each with the reason."""
    drain: bool = False
    """Somebody asked this worker to drain."""


_REGISTER = """
insert into public.workers (id, hostname, pid, version, machine, slots, job_types)
values (%s, %s, %s, %s, %s, %s, %s)"""
_RENEW = """
select queue.renew(%(worker)s, %(tokens)s, %(lease)s) as renewal,
       exists (select from public.workers where id = %(worker)s and drain_requested_at is not null) as drain"""
_MARK = "update public.workers set state = %s where id = %s"


def register(connection: Connection, worker: WorkerIdentity) -> None:
    """Write the worker's row; from now on it may claim."""
    connection.execute(
        _REGISTER,
        (
            worker.id,
            worker.hostname,
            worker.pid,
            worker.version,
            worker.machine,
            worker.slots,
            list(worker.job_types),
        ),
    )


def renew(connection: Connection, worker_id: UUID, tokens: Collection[int], lease_seconds: float) -> Renewal:
    """Say that the worker lives and which lease tokens it holds."""
    facts = {"worker": worker_id, "tokens": list(tokens), "lease": timedelta(seconds=lease_seconds)}
    row = connection.execute(_RENEW, facts).fetchone()
    assert row is not None
    answer = row["renewal"]
    return Renewal(
        known=answer["known"],
        held=frozenset(answer.get("held", ())),
        cancel=frozenset(answer.get("cancel", ())),
        released=frozenset(answer.get("released", ())),
        stuck=tuple(answer.get("stuck", ())),
        drain=row["drain"],
    )


def mark(connection: Connection, worker_id: UUID, state: str) -> None:
    """Set the worker's state: running, draining, fenced or stopped."""
    connection.execute(_MARK, (state, worker_id))


PATIENCE_MS = 2000
"""How long one row is waited for that somebody holds."""

# Not waited for: unmarked, the worker falls silent, and what is left of it is rescued as any other's.
_MARK_FENCED = """
update public.workers set state = 'fenced'
where id = (select id from public.workers where id = %s for no key update skip locked)"""
_OWN_JOBS = """
select job_id as id, token as lease_token from queue.running where worker_id = %s order by job_id"""
_RELEASE = """
select queue.give_back_within(%s, %s, %s, 'release', 'none', 'self_fenced', 'the worker had fenced itself')"""


def hand_back(connection: Connection, worker_id: UUID, *, on_error: Callable[[UUID, psycopg.Error], None]) -> None:
    """After self-fencing: mark that life of the worker fenced and release what it still held, at no cost.

    A job whose row is held by somebody, or raises, is told to `on_error` and left to rescue.
    """
    connection.execute(_MARK_FENCED, (worker_id,))
    stuck = 0
    for row in connection.execute(_OWN_JOBS, (worker_id,)).fetchall():
        # One bad row must not keep the worker from its new life, nor may many, so each is waited for ever shorter.
        try:
            connection.execute(_RELEASE, (PATIENCE_MS // (1 + stuck), row["id"], row["lease_token"]))
        except psycopg.Error as failure:
            if connection.closed:
                raise
            stuck += 1
            on_error(row["id"], failure)
