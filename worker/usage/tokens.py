"""token_usage: one row a job and usage type, written in the transaction that publishes the work."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from worker.job import Job

Connection = psycopg.Connection[dict[str, Any]]
INDEXING = "indexing"

_RECORD = """
insert into public.token_usage (api_key_id, repository_id, job_id, user_id, usage_type, tokens_used, metadata)
values (%s, %s, %s, %s, %s, %s, %s)"""


def record_tokens(connection: Connection, job: Job, tokens: int, *, api_key_id: UUID | None, tokenizer: str) -> None:
    """Bill a job's tokens to the owner of its repository; no row for none. A second row of a job is refused."""
    if tokens > 0:
        metadata = Jsonb({"tokenizer": tokenizer, "attempt": job.attempt})
        parameters = (api_key_id, job.repository_id, job.id, job.user_id, INDEXING, tokens, metadata)
        connection.execute(_RECORD, parameters)
