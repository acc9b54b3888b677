"""Give a repository its webhook secret, show it, or make a new one. For the command line: a synchronous connection."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from worker.credentials.master_keys import MasterKeys
from worker.errors import MasterKeyError, NotFound
from worker.receiver.repository import READ, Repository, current_secret
from worker.receiver.signature import fingerprint, webhook_secret

Connection = psycopg.Connection[dict[str, Any]]

GRACE = timedelta(hours=24)
"""How long the secret before a rotation is accepted: time to paste the new one into GitHub."""

_SET_FIRST = """
update public.repositories
set webhook_key_id = %(key)s, webhook_secret_fingerprint = %(fingerprint)s, updated_at = now()
where id = %(id)s and (webhook_key_id is null or webhook_secret_fingerprint is null)"""

_SAMPLES_A_KEY = 100
_SAMPLES = """
select k.webhook_key_id, k.repositories, s.id, s.webhook_secret_version, s.webhook_secret_fingerprint
from (
    select webhook_key_id, count(*) as repositories from public.repositories
    where webhook_secret_fingerprint is not null and webhook_key_id is not null group by 1
) k
cross join lateral (
    select r.id, r.webhook_secret_version, r.webhook_secret_fingerprint from public.repositories r
    where r.webhook_key_id = k.webhook_key_id and r.webhook_secret_fingerprint is not null
    order by r.updated_at desc limit %(most)s
) s
order by k.webhook_key_id"""

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
    secret = find_secret(connection, keys, repository_id) or make_secret(connection, keys, repository_id)
    # Another process was first, perhaps with another key: what the row says now counts.
    return secret if secret is not None else provision_secret(connection, keys, repository_id)


def find_secret(connection: Connection, keys: MasterKeys, repository_id: UUID) -> str | None:
    """The repository's webhook secret; None before one was made. Raises MasterKeyError and NotFound."""
    return current_secret(_read(connection, repository_id), keys)


def make_secret(connection: Connection, keys: MasterKeys, repository_id: UUID) -> str | None:
    """The repository's first webhook secret; None when it has one already. Raises NotFound."""
    repository = _read(connection, repository_id)
    secret = webhook_secret(keys.newest, repository.id, repository.version)
    facts = {"id": repository.id, "key": keys.newest.id, "fingerprint": fingerprint(secret)}
    return secret if connection.execute(_SET_FIRST, facts).rowcount == 1 else None


def check_master_keys(connection: Connection, keys: MasterKeys) -> None:
    """Raise MasterKeyError unless the keys here are those that this database's webhook secrets were made from."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(_SAMPLES, {"most": _SAMPLES_A_KEY}).fetchall():
        by_key.setdefault(row["webhook_key_id"], []).append(row)
    for key_id, rows in by_key.items():
        how_many = f"{rows[0]['repositories']} of this database's webhook secrets were made from it"
        lost = f"if it is lost, `worker repo rotate --key {key_id} --now` makes new secrets from the newest key here."
        if key_id not in {key.id for key in keys.keys}:
            raise MasterKeyError(
                f"The master key {key_id!r} is not configured here, and {how_many}.",
                hint=f"Add it to WORKER_MASTER_KEYS; {lost}",
            )
        master = keys.find(key_id)
        if not any(
            fingerprint(webhook_secret(master, row["id"], row["webhook_secret_version"]))
            == row["webhook_secret_fingerprint"]
            for row in rows
        ):
            raise MasterKeyError(
                f"The master key {key_id!r} here is another than the one of that id before: {how_many}.",
                hint=f"Set the right one in WORKER_MASTER_KEYS; {lost}",
            )


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
