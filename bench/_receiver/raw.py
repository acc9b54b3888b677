"""The raw limit: as many connections as the sender has, each of which commits the rows of one delivery after another.

One statement and one commit a delivery: the delivery, its job, the job's place in the queue and its event. No HTTP, no
signature, no redelivery looked for, nothing coalesced.

`python -m bench._receiver.raw URL CONNECTIONS DELIVERIES` prints deliveries a second.
"""

import asyncio
import json
import sys
import time

import psycopg
import uvloop

from worker.database.connect import arguments
from worker.job import new_job_id

_INSERT = """
with repository as materialized (
    select id, user_id from public.repositories order by repo_no offset %(offset)s limit 1
), delivery as (
    insert into public.webhook_deliveries (repository_id, delivery_id, event_type, payload, headers, signature, status)
    select id, %(delivery)s, 'push', %(payload)s, %(headers)s, %(signature)s, 'received' from repository
), job as (
    insert into public.indexing_jobs (id, repository_id, user_id, job_type, payload)
    select %(id)s, id, user_id, 'incremental_update', %(payload)s from repository
), event as (
    insert into public.indexing_job_events (job_id, event_type, context)
    values (%(id)s, 'enqueue', '{"job_type": "incremental_update", "priority": 0}')
)
insert into queue.waiting (job_id, user_id, job_type, rank, repository_id, run_after, queued_at)
select %(id)s, user_id, 'incremental_update', queue.rank(0, now()), id, now(), now() from repository"""
_HINTS = {"added": ["src/new.py"], "modified": ["README.md", "src/a.py"], "removed": []}
_PAYLOAD = json.dumps({"ref": "refs/heads/main", "after": "a" * 40, "before": "b" * 40, "hints": _HINTS})
_HEADERS = '{"user-agent": "GitHub-Hookshot/bench", "content-type": "application/json", "x-github-event": "push"}'


async def drive(url: str, connections: int, deliveries: int) -> float:
    """Deliveries a second."""
    opened = [await psycopg.AsyncConnection.connect(url, **arguments("bench raw", 5)) for _ in range(connections)]
    numbers = iter(range(deliveries))

    async def insert(connection: psycopg.AsyncConnection) -> None:
        for number in numbers:
            facts = {"offset": number % 50, "delivery": f"raw-{number}", "id": new_job_id(), "signature": "0" * 71}
            await connection.execute(_INSERT, facts | {"payload": _PAYLOAD, "headers": _HEADERS})

    started = time.perf_counter()
    await asyncio.gather(*map(insert, opened))
    seconds = time.perf_counter() - started
    for connection in opened:
        await connection.close()
    return deliveries / seconds


if __name__ == "__main__":
    print(uvloop.run(drive(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
