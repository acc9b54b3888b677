"""What an event changes in a repository's row, committed together with its delivery and job."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg

from worker.queue.enqueue import Delivered, NewDelivery, deliver
from worker.receiver.github import Change

Connection = psycopg.AsyncConnection[dict[str, Any]]

# Taken before the job's rows, as everywhere: repository, job, deliveries.
_LOCK = "select from public.repositories where id = %s for no key update"

# A default branch whose index is not there yet is shown by the job that publishes it, not before. Another repository
# of the owner with that address (registered after a rename, say) keeps it. A name that was the path's follows it.
_CHANGE = """
with facts as (
    select r.id, b.name as branch, b.commit,
           case when not exists (select from public.repositories o
                                 where o.user_id = r.user_id and o.git_url = %(address)s and o.id <> r.id)
                then %(address)s::text end as address
    from public.repositories r
    left join public.repository_branches b
        on b.repository_id = r.id and b.name = %(default_branch)s and b.commit is not null
    where r.id = %(id)s
)
update public.repositories r
set git_url = coalesce(f.address, r.git_url),
    name = case when f.address is not null and lower(r.name) = lower(regexp_replace(r.git_url, '^.*/|\\.git$', '', 'g'))
                then regexp_replace(f.address, '^.*/|\\.git$', '', 'g') else r.name end,
    provider_id = coalesce(r.provider_id, %(provider_id)s),
    default_branch = coalesce(f.branch, r.default_branch),
    last_indexed_commit = coalesce(f.commit, r.last_indexed_commit),
    visibility = case when %(turned_private)s then 'private' else r.visibility end,
    paused_reasons = array(
        select distinct reason from unnest(array_append(r.paused_reasons, %(pause)s::text)) reason
        where reason is not null and reason <> all (%(resume)s::text[]) order by reason),
    updated_at = now()
from facts f
where r.id = f.id"""
PROCESSED = """
update public.webhook_deliveries set status = 'processed', processed_at = now(), error_message = null where id = %s"""


async def deliver_with_change(connection: Connection, delivery: NewDelivery, change: Change | None) -> Delivered:
    """Inside the caller's transaction. One that was here before changes nothing: newer ones may have come since."""
    if change is None or delivery.repository_id is None:
        return await deliver(connection, delivery)
    await lock(connection, delivery.repository_id)
    delivered = await deliver(connection, delivery)
    if delivered.duplicate and delivered.status != "queued":
        return delivered
    await apply_change(connection, delivery.repository_id, change)
    if delivered.status != "ignored":
        return delivered
    await connection.execute(PROCESSED, (delivered.delivery_no,))
    return replace(delivered, status="processed")


async def lock(connection: Connection, repository_id: UUID) -> None:
    """Until the transaction ends nobody else changes the repository's row."""
    await connection.execute(_LOCK, (repository_id,))


async def apply_change(connection: Connection, repository_id: UUID, change: Change) -> None:
    """Write what an event says of a repository, whose row the caller has locked."""
    facts = {
        "id": repository_id,
        "address": change.address,
        "provider_id": change.provider_id,
        "default_branch": change.default_branch,
        "turned_private": change.turned_private,
        "pause": change.pause,
        "resume": list(change.resume),
    }
    await connection.execute(_CHANGE, facts)
