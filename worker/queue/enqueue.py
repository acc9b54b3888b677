"""enqueue: a new queued job, alone or together with the webhook delivery that asked for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from worker.job import new_job_id

Connection = psycopg.AsyncConnection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class NewJob:
    """What to enqueue. Of a coalesce key at most one job is queued: a newer one joins it and replaces its target."""

    job_type: str
    repository_id: UUID | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    run_after: datetime | None = None
    coalesce_key: str | None = None
    requested_by: UUID | None = None
    max_attempts: int = 5
    timeout_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The job that will do the work; `joined` when it was queued already."""

    job_id: UUID
    joined: bool


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One webhook POST as it is stored. Without a job it is ignored, and `reason` says why."""

    repository_id: UUID | None
    provider: str
    delivery_id: str
    event_type: str
    payload: Mapping[str, Any]
    headers: Mapping[str, str]
    signature: str | None = None
    reason: str | None = None
    job: NewJob | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """The stored delivery and its job. `duplicate`: this delivery id was here before; the answer is the first one's."""

    delivery_no: int
    job_id: UUID | None
    status: str
    duplicate: bool


def index_coalesce_key(repository_id: UUID, ref: str) -> str:
    """The key under which index jobs of one branch coalesce."""
    return f"index:{repository_id}:{ref}"


_ENQUEUE = """
select job_id, joined from queue.enqueue(
    %(id)s, %(repository)s, %(job_type)s, %(payload)s, %(priority)s, %(run_after)s, %(coalesce_key)s,
    %(requested_by)s, %(max_attempts)s, %(timeout_seconds)s)"""

_DELIVER = """
select delivery_no, job_id, status, duplicate from queue.deliver(
    %(repository)s, %(provider)s, %(delivery_id)s, %(event_type)s, %(delivery_payload)s, %(headers)s, %(signature)s,
    %(reason)s, %(id)s, %(job_type)s, %(payload)s, %(priority)s, %(coalesce_key)s, %(max_attempts)s,
    %(timeout_seconds)s)"""


async def enqueue(connection: Connection, job: NewJob) -> Enqueued:
    """Commit one job. A coalesce key that is queued already is joined instead."""
    row = await (await connection.execute(_ENQUEUE, _job_parameters(job))).fetchone()
    assert row is not None
    return Enqueued(row["job_id"], row["joined"])


async def deliver(connection: Connection, delivery: NewDelivery) -> Delivered:
    """Commit a delivery and its job together; the same delivery twice makes one job, a failed one is enqueued again."""
    job = delivery.job
    parameters = {
        "repository": delivery.repository_id,
        "provider": delivery.provider,
        "delivery_id": delivery.delivery_id,
        "event_type": delivery.event_type,
        "delivery_payload": Jsonb(dict(delivery.payload)),
        "headers": Jsonb(dict(delivery.headers)),
        "signature": delivery.signature,
        "reason": delivery.reason,
    }
    row = await (await connection.execute(_DELIVER, _job_parameters(job) | parameters)).fetchone()
    assert row is not None
    return Delivered(row["delivery_no"], row["job_id"], row["status"], row["duplicate"])


def _job_parameters(job: NewJob | None) -> dict[str, Any]:
    return {
        "id": new_job_id(),
        "repository": job.repository_id if job else None,
        "job_type": job.job_type if job else None,
        "payload": Jsonb(dict(job.payload) if job else {}),
        "priority": job.priority if job else 0,
        "run_after": job.run_after if job else None,
        "coalesce_key": job.coalesce_key if job else None,
        "requested_by": job.requested_by if job else None,
        "max_attempts": job.max_attempts if job else 5,
        "timeout_seconds": job.timeout_seconds if job else None,
    }
