"""Search over what is indexed: the SQL functions of schema public, as rows."""

from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.Connection[dict[str, Any]]

_SYMBOLS = "select * from public.search_symbols(%s, %s, %s, %s)"
_CODE = "select * from public.search_code(%s, %s, %s, %s)"


def search_symbols(
    connection: Connection, query: str, *, owner: UUID | None, repository: UUID | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """Definitions whose name begins with the query. Raises psycopg.errors.InvalidParameterValue for a bad one."""
    return connection.execute(_SYMBOLS, (query, repository, limit, owner)).fetchall()


def search_code(
    connection: Connection, query: str, *, owner: UUID | None, repository: UUID | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """Lines that contain the query, ignoring case. Raises psycopg.errors.InvalidParameterValue for a bad one."""
    return connection.execute(_CODE, (query, repository, limit, owner)).fetchall()
