"""What the runtime's tests share: jobs put into the queue, and waiting for their ends."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.fixtures.load import load, stop_all
from tests.fixtures.workers import eventually
from worker.job import new_job_id

__all__ = ["load", "stop_all"]


@pytest.fixture
def put(db, make_repository) -> Callable[..., uuid.UUID]:
    """Enqueue a job of a type; its id."""

    def put(job_type: str, *, timeout: int | None = None, max_attempts: int = 5, **payload: Any) -> uuid.UUID:
        job_id = new_job_id()
        db.execute(
            "select * from queue.enqueue(%s, %s, %s, %s, p_max_attempts => %s, p_timeout_seconds => %s)",
            (job_id, make_repository(), job_type, Jsonb(payload), max_attempts, timeout),
        )
        return job_id

    return put


@pytest.fixture
def row(db) -> Callable[[uuid.UUID], dict[str, Any]]:
    """A job's row."""
    return lambda job_id: db.execute("select * from indexing_jobs where id = %s", (job_id,)).fetchone()


@pytest.fixture
def ended(row) -> Callable[..., dict[str, Any]]:
    """A job's row once it has ended."""

    def wait(job_id: uuid.UUID, seconds: float = 30) -> dict[str, Any]:
        def terminal():
            found = row(job_id)
            return found if found["status"] in ("completed", "failed", "cancelled") else None

        return eventually(terminal, seconds=seconds, what=f"end of job {job_id}")

    return wait


@pytest.fixture
def events(db) -> Callable[[uuid.UUID], list[str]]:
    """Event types of a job, oldest first."""

    def events_of(job_id: uuid.UUID) -> list[str]:
        rows = db.execute("select event_type from indexing_job_events where job_id = %s order by id", (job_id,))
        return [event["event_type"] for event in rows]

    return events_of
