"""Which installation of the GitHub App reads a repository: said by whoever runs the worker, never by a payload."""

from typing import Any
from uuid import UUID

import psycopg

_NAME = """
update public.repositories
set settings = settings || jsonb_build_object('github_installation_id', %s::bigint), updated_at = now()
where id = %s"""


def name_installation(connection: psycopg.Connection[dict[str, Any]], repository_id: UUID, installation: int) -> None:
    """From now on the repository is read by tokens of this installation."""
    connection.execute(_NAME, (installation, repository_id))
