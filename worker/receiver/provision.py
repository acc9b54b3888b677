"""Give a repository its webhook secret, show it, or make a new one. For the command line: a synchronous connection."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from worker.credentials.master_keys import MasterKeys
from worker.errors import NotFound
from worker.receiver.repository import READ, Repository, current_secret
from worker.receiver.signature import fingerprint, webhook_secret

Connection = psycopg.Connection[dict[str, Any]]

GRACE = timedelta(hours=24)
"""How long the secret before a rotation is accepted: time to paste the new one into GitHub."""

_SET_FIRST = """
update public.repositories
set webhook_key_id = %(key)s, webhook_secret_fingerprint = %(fingerprint)s, updated_at = now()
where id = %(id)s and (webhook_key_id is null or webhook_secret_fingerprint is null)"""

_ROTATE = """
update public.repositories
set webhook_previous_key_id = webhook_key_id, webhook_previous_version = webhook_secret_version,
    webhook_previous_until = case when %(grace)s > interval '0' then now() + %(grace)s end,
    webhook_key_id = %(key)s, webhook_secret_version = %(version)s, webhook_secret_fingerprint = %(fingerprint)s,
    updated_at = now()
where id = %(id)s and webhook_secret_version = %(version)s - 1"""


def provision_secret(connection: Connection, keys: MasterKeys, repository_id: UUID) -> str:
    """The repository's webhook secret, made now if it has none yet.

    Raises MasterKeyError when the key here is not the one that made it, and NotFound.
    """
    repository = _read(connection, repository_id)
    secret = current_secret(repository, keys)
    if secret is not None:
        return secret
    secret = webhook_secret(keys.newest, repository.id, repository.version)
    made = connection.execute(
        _SET_FIRST, {"id": repository.id, "key": keys.newest.id, "fingerprint": fingerprint(secret)}
    )
    # Another process was first, perhaps with another key: what the row says now counts.
    return secret if made.rowcount == 1 else provision_secret(connection, keys, repository_id)


def rotate_secret(connection: Connection, keys: MasterKeys, repository_id: UUID, *, grace: timedelta = GRACE) -> str:
    """A new secret from the newest key; the one before is accepted for the grace time (0 after a leak).

    Works also where the old secret's master key is lost. Raises NotFound.
    """
    while True:
        repository = _read(connection, repository_id)
        version = repository.version + 1
        secret = webhook_secret(keys.newest, repository.id, version)
        rotated = connection.execute(
            _ROTATE,
            {
                "id": repository.id,
                "key": keys.newest.id,
                "version": version,
                "fingerprint": fingerprint(secret),
                "grace": grace,
            },
        )
        if rotated.rowcount == 1:
            return secret


def _read(connection: Connection, repository_id: UUID) -> Repository:
    row = connection.execute(READ, (repository_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no repository {repository_id}.", hint="`worker repo list` shows them all.")
    return Repository.of(row)
