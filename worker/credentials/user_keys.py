"""A tenant's own keys for other services, one a service, kept encrypted."""

from typing import Any
from uuid import UUID

import psycopg

from worker.credentials.master_keys import MasterKeys
from worker.credentials.sealed import seal, unseal
from worker.errors import NotFound

Connection = psycopg.Connection[dict[str, Any]]

GITHUB = "github"
"""The service whose key reads the tenant's private repositories on github.com."""

_SET = """
insert into public.user_api_keys (user_id, service, api_key) values (%s, %s, %s)
on conflict (user_id, service) do update set api_key = excluded.api_key, updated_at = now()"""
_REMOVE = "delete from public.user_api_keys where user_id = %s and service = %s"


def set_user_key(connection: Connection, keys: MasterKeys, user_id: UUID, service: str, secret: str) -> None:
    """Keep a key, in place of the one before."""
    connection.execute(_SET, (user_id, service, seal(secret, keys, _row(user_id, service))))


def remove_user_key(connection: Connection, user_id: UUID, service: str) -> None:
    """Forget a key; raises NotFound."""
    if connection.execute(_REMOVE, (user_id, service)).rowcount == 0:
        raise NotFound(f"There is no key for {service}.")


def open_user_key(sealed: str, keys: MasterKeys, user_id: UUID, service: str) -> str:
    """The key that a row holds; raises MasterKeyError."""
    return unseal(sealed, keys, _row(user_id, service))


def _row(user_id: UUID, service: str) -> str:
    return f"user_api_keys|{user_id}|{service}"
