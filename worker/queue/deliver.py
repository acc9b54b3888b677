"""Webhook deliveries that came at the same time, committed together with their jobs in one round trip."""

import json
from collections.abc import Sequence
from typing import Any

import psycopg

from worker.errors import NotFound, WorkerError
from worker.job import new_job_id
from worker.queue.enqueue import Delivered, NewDelivery
from worker.queue.wake import call

Connection = psycopg.AsyncConnection[dict[str, Any]]

_LIMITS = """
select set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"""
_DELIVER_MANY = """
select place, delivery_no, job_id, status, duplicate from queue.deliver_many(%s::text::jsonb)"""


class RepositoryChanged(WorkerError):
    """The repository's row is no longer what the caller decided by; nothing was written."""

    code = "repository_changed"


def as_item(delivery: NewDelivery, stamp: str | None) -> str:
    """A delivery as an item of `deliver_many`; `stamp`: `queue.webhook_stamp` of the row it was judged by.

    None: it was judged by no row; only a delivery without a repository is taken so.
    """
    item: dict[str, Any] = {
        "repository": None if delivery.repository_id is None else str(delivery.repository_id),
        "stamp": stamp,
        "provider": delivery.provider,
        "delivery_id": delivery.delivery_id,
        "event_type": delivery.event_type,
        "payload": delivery.payload,
        "headers": delivery.headers,
        "signature": delivery.signature,
        "reason": delivery.reason,
    }
    if (job := delivery.job) is not None:
        item |= {
            "id": str(new_job_id()),
            "job_type": job.job_type,
            "job_payload": job.payload,
            "priority": job.priority,
            "coalesce_key": job.coalesce_key,
            "max_attempts": job.max_attempts,
            "timeout_seconds": job.timeout_seconds,
            "supersede": job.supersede,
        }
    return json.dumps(item)


async def deliver_many(
    connection: Connection, items: Sequence[str], *, seconds: float, lock_seconds: float, and_call: str | None = None
) -> list[Delivered | WorkerError]:
    """Commit these items in one transaction and one round trip; what became of each, in order.

    The connection commits by itself and has no transaction open.
    Of an item that was not delivered: RepositoryChanged or NotFound. When Postgres refuses one, or somebody holds a
    lock for longer than `lock_seconds`, none is committed. `and_call`: the workers are told of this
    job type (empty: any) with the commit; only now and then, see `Caller.may_go_along`.
    """
    limits = (f"{seconds * 1000:.0f}", f"{lock_seconds * 1000:.0f}")
    # No begin and commit: what one pipeline holds is one transaction to Postgres, and psycopg would wait for begin.
    async with connection.pipeline():
        await connection.execute(_LIMITS, limits)
        cursor = await connection.execute(_DELIVER_MANY, (f"[{','.join(items)}]",))
        if and_call is not None:
            await call(connection, and_call)
    rows = sorted(await cursor.fetchall(), key=lambda row: row["place"])
    return [_outcome(row, called=and_call is not None) for row in rows]


def _outcome(row: dict[str, Any], *, called: bool) -> Delivered | WorkerError:
    if row["status"] == "changed":
        return RepositoryChanged("The repository's row has changed.")
    if row["status"] == "gone":
        return NotFound("The repository is gone.")
    return Delivered(row["delivery_no"], row["job_id"], row["status"], row["duplicate"], called)
