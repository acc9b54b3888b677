"""What the queue's tests share: calling verbs, and workers that are only rows."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from worker.database.connect import connect, connect_async
from worker.job import Job
from worker.queue import lease
from worker.queue.claim import claim
from worker.queue.enqueue import Enqueued, NewJob, enqueue, index_coalesce_key


class Queue:
    """The verbs as plain calls, each on a connection of its own, and looks at what they left."""

    def __init__(self, url: str, db: psycopg.Connection[dict[str, Any]]) -> None:
        self.url = url
        self.db = db

    def ask(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call an async verb with a connection."""

        async def asked() -> Any:
            async with await connect_async(self.url, name="test") as connection:
                return await verb(connection, *arguments, **named)

        return asyncio.run(asked())

    def worker(self, *, state: str = "running", silent_seconds: float = 0, renewing_seconds: float = 0) -> uuid.UUID:
        """Register a worker that last renewed this long ago, in a row of renewals that long."""
        worker_id = uuid.uuid4()
        with connect(self.url, name="test") as connection:
            lease.register(connection, lease.WorkerIdentity(worker_id, "test", 1, "0", None, 1, ["full_index"]))
        self.db.execute(
            "update workers set state = %s, last_seen_at = clock_timestamp() - make_interval(secs => %s),"
            " renewing_since = clock_timestamp() - make_interval(secs => %s) where id = %s",
            (state, silent_seconds, renewing_seconds, worker_id),
        )
        return worker_id

    def push(self, repository: uuid.UUID | None, *, after: str | None = None, **options: Any) -> Enqueued:
        """Enqueue an index job of the repository's main branch, as a push would."""
        key = index_coalesce_key(repository, "refs/heads/main") if repository else None
        payload = {"ref": "refs/heads/main", "after": after, **options.pop("payload", {})}
        job_type = options.pop("job_type", "full_index")
        return self.ask(enqueue, NewJob(job_type, repository, payload, coalesce_key=key, **options))

    def claim(self, worker_id: uuid.UUID, limit: int = 10) -> list[Job]:
        """Claim full_index jobs."""
        return self.ask(claim, worker_id, ["full_index"], limit)

    def row(self, job_id: uuid.UUID) -> dict[str, Any]:
        """The job's row."""
        row = self.db.execute("select * from indexing_jobs where id = %s", (job_id,)).fetchone()
        assert row is not None
        return row

    def events(self, job_id: uuid.UUID) -> list[str]:
        """The job's event types, oldest first."""
        rows = self.db.execute("select event_type from indexing_job_events where job_id = %s order by id", (job_id,))
        return [row["event_type"] for row in rows]

    def set_run_after(self, seconds: float = 0, job_id: uuid.UUID | None = None) -> None:
        """Let a queued job (all of them) be due this many seconds from now."""
        self.db.execute(
            "with due as (update indexing_jobs set run_after = clock_timestamp() + make_interval(secs => %(seconds)s)"
            "  where status = 'queued' and (%(job)s::uuid is null or id = %(job)s) returning id, run_after)"
            " update queue.waiting w set run_after = due.run_after, hold = case when %(seconds)s > 0 then 'time' end"
            " from due where w.job_id = due.id",
            {"seconds": seconds, "job": job_id},
        )
        self.db.execute("select queue.mend()")

    def set(self, job_id: uuid.UUID, **columns: Any) -> None:
        """Change columns of a job behind the queue's back."""
        for name, value in columns.items():
            self.db.execute(
                sql.SQL("update indexing_jobs set {} = %s where id = %s").format(sql.Identifier(name)),
                (value, job_id),
            )


@pytest.fixture
def queue(database_url: str, db: psycopg.Connection[dict[str, Any]]) -> Queue:
    """The queue of a fresh database."""
    return Queue(database_url, db)
