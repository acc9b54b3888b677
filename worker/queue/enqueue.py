"""enqueue: a new queued job, alone, together with the webhook delivery that asked for it, or many at once."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from worker.errors import NotFound, WorkerError
from worker.job import new_job_id
from worker.queue.wake import CHANNEL

Connection = psycopg.AsyncConnection[dict[str, Any]]
JOBS_A_STATEMENT = 1000
MOST_KEY_BYTES = 2000  # an entry of an index holds no more than some 2,700


class InvalidJob(WorkerError):
    """A job that cannot be stored as it was given; nothing was written."""

    code = "invalid_job"


@dataclass(frozen=True, slots=True)
class NewJob:
    """What to enqueue. Of a coalesce key at most one job is queued: a newer one joins it and replaces its target.

    A job of a repository is its owner's; one without is `user_id`'s, or nobody's. `supersede`: the running job of the
    coalesce key is asked to stop, and its deliveries move to this one.
    """

    job_type: str
    repository_id: UUID | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    run_after: datetime | None = None
    coalesce_key: str | None = None
    requested_by: UUID | None = None
    max_attempts: int = 5
    timeout_seconds: int | None = None
    user_id: UUID | None = None
    supersede: bool = False


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
    """The stored delivery and its job. `duplicate`: this delivery id was here before; the answer is the first one's.

    `called`: the workers were told with the commit.
    """

    delivery_no: int
    job_id: UUID | None
    status: str
    duplicate: bool
    called: bool = False


def index_coalesce_key(repository_id: UUID, ref: str) -> str:
    """The key under which index jobs of one branch coalesce."""
    return f"index:{repository_id}:{ref}"


_ENQUEUE = """
select job_id, joined from queue.enqueue(
    %(id)s, %(repository)s, %(job_type)s, %(payload)s, %(priority)s, %(run_after)s, %(coalesce_key)s,
    %(requested_by)s, %(max_attempts)s, %(timeout_seconds)s, %(supersede)s, %(user)s)"""
_AND_CALL = " left join lateral pg_notify(%(channel)s, %(job_type)s) on true"

_DELIVER = """
select delivery_no, job_id, status, duplicate from queue.deliver(
    %(repository)s, %(provider)s, %(delivery_id)s, %(event_type)s, %(delivery_payload)s, %(headers)s, %(signature)s,
    %(reason)s, %(id)s, %(job_type)s, %(payload)s, %(priority)s, %(coalesce_key)s, %(max_attempts)s,
    %(timeout_seconds)s, %(supersede)s)"""

_ENQUEUE_MANY = """
select queue.enqueue_many(
    %(ids)s::uuid[], %(repositories)s::uuid[], %(job_types)s::text[], %(payloads)s::text[]::jsonb[],
    %(priorities)s::integer[], %(run_afters)s::timestamptz[], %(max_attempts)s::integer[], %(timeouts)s::integer[],
    %(requested_by)s, %(users)s::uuid[])"""
_MISSING = """
select (select min(r::text) from unnest(%(repositories)s::uuid[]) r
        where not exists (select from public.repositories x where x.id = r)) as repository,
       (select min(k::text) from unnest(%(keys)s::uuid[]) k
        where not exists (select from public.api_keys x where x.id = k)) as key"""
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


async def enqueue(connection: Connection, job: NewJob, *, and_call: bool = False) -> Enqueued:
    """Commit one job. A coalesce key that is queued already is joined instead.

    `and_call`: with the commit, the workers are told; only now and then, see `Caller.may_go_along`.
    """
    query = _ENQUEUE + _AND_CALL if and_call else _ENQUEUE
    row = await (await connection.execute(query, _job_parameters(job))).fetchone()
    assert row is not None
    return Enqueued(row["job_id"], row["joined"])


def enqueue_with(connection: psycopg.Connection[dict[str, Any]], job: NewJob) -> Enqueued:
    """enqueue, for a handler in its child, whose connection is synchronous."""
    row = connection.execute(_ENQUEUE, _job_parameters(job)).fetchone()
    assert row is not None
    return Enqueued(row["job_id"], row["joined"])


async def deliver(connection: Connection, delivery: NewDelivery, *, and_call: bool = False) -> Delivered:
    """Commit a delivery and its job together; the same delivery twice makes one job, a failed one is enqueued again.

    `and_call`: as of `enqueue`.
    """
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
    query = _DELIVER + _AND_CALL if and_call and job else _DELIVER
    row = await (await connection.execute(query, _job_parameters(job) | parameters)).fetchone()
    assert row is not None
    return Delivered(row["delivery_no"], row["job_id"], row["status"], row["duplicate"])


async def enqueue_many(connection: Connection, jobs: Iterable[NewJob]) -> list[UUID]:
    """Commit many jobs; answers the ids of those that will do the work, in the order given.

    Jobs without a coalesce key go first, up to 1,000 a statement, and wait in the order given; each one with a key is
    looked at on its own, as `enqueue` does. Each statement commits by itself unless the caller has a transaction open.
    Raises InvalidJob or NotFound, with nothing written, when one of them cannot be stored.
    """
    given = list(jobs)
    payloads = [_checked(number, job) for number, job in enumerate(given)]
    await _check_references(connection, given)
    ids = sorted(new_job_id() for _ in given)
    for batch in _batches(given):
        await connection.execute(_ENQUEUE_MANY, _many_parameters(batch, given, payloads, ids))
    for number, job in enumerate(given):
        if job.coalesce_key is not None:
            ids[number] = (await enqueue(connection, job)).job_id
    return ids


def _batches(jobs: Sequence[NewJob]) -> Iterator[list[int]]:
    """The places of jobs without a key, in order; a statement knows one `requested_by`."""
    plain = [number for number, job in enumerate(jobs) if job.coalesce_key is None]
    for _, same in itertools.groupby(plain, key=lambda number: jobs[number].requested_by):
        rest = list(same)
        for start in range(0, len(rest), JOBS_A_STATEMENT):
            yield rest[start : start + JOBS_A_STATEMENT]


def _many_parameters(
    batch: Sequence[int], jobs: Sequence[NewJob], payloads: Sequence[str], ids: Sequence[UUID]
) -> dict[str, Any]:
    chosen = [jobs[number] for number in batch]
    return {
        "ids": [ids[number] for number in batch],
        "repositories": [job.repository_id for job in chosen],
        "job_types": [job.job_type for job in chosen],
        "payloads": [payloads[number] for number in batch],
        "priorities": [job.priority for job in chosen],
        "run_afters": [job.run_after for job in chosen],
        "max_attempts": [job.max_attempts for job in chosen],
        "timeouts": [job.timeout_seconds for job in chosen],
        "requested_by": chosen[0].requested_by,
        "users": [job.user_id for job in chosen],
    }


def _checked(number: int, job: NewJob) -> str:
    """The job's payload as JSON; raises InvalidJob for what Postgres would refuse in the middle of a batch."""

    def refuse(problem: str) -> InvalidJob:
        return InvalidJob(f"Job {number} of those given ({str(job.job_type)[:100]!r}) cannot be enqueued: {problem}.")

    if not isinstance(job.job_type, str) or not job.job_type.strip() or not job.job_type.isprintable():
        raise refuse("it needs a job type")
    for name, value, least in (
        ("priority", job.priority, -(2**31)),
        ("max_attempts", job.max_attempts, 1),
        ("timeout_seconds", 1 if job.timeout_seconds is None else job.timeout_seconds, 1),
    ):
        if type(value) is not int or not least <= value < 2**31:
            raise refuse(f"{name} must be a whole number from {least} to {2**31 - 1}")
    if job.run_after is not None and job.run_after.tzinfo is None:
        raise refuse("run_after has no time zone")
    if job.coalesce_key is not None and ("\0" in job.coalesce_key or len(job.coalesce_key.encode()) > MOST_KEY_BYTES):
        raise refuse(f"its coalesce key is longer than {MOST_KEY_BYTES} bytes, or has a NUL in it")
    if job.supersede and job.coalesce_key is None:
        raise refuse("only a job with a coalesce key supersedes another")
    try:
        payload = json.dumps(dict(job.payload), allow_nan=False, ensure_ascii=False)
        payload.encode()
    except (
        TypeError,
        ValueError,
        RecursionError,
    ) as problem:  # UnicodeEncodeError, for a lone surrogate, is a ValueError
        raise refuse(f"its payload is no JSON object ({type(problem).__name__})") from None  # the cause may print it
    if _NUL.search(payload):
        raise refuse("its payload has a NUL in it, which Postgres cannot hold")
    return payload


async def _check_references(connection: Connection, jobs: Sequence[NewJob]) -> None:
    facts = {
        "repositories": list({job.repository_id for job in jobs if job.repository_id is not None}),
        "keys": list({job.requested_by for job in jobs if job.requested_by is not None}),
    }
    row = await (await connection.execute(_MISSING, facts)).fetchone()
    assert row is not None
    if row["repository"] is not None:
        raise NotFound(f"There is no repository {row['repository']}.", hint="`worker repo list` shows them.")
    if row["key"] is not None:
        raise NotFound(f"There is no API key {row['key']}.")


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
        "supersede": job.supersede if job else False,
        "user": job.user_id if job else None,
        "channel": CHANNEL,
    }
