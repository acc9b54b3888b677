"""What the receiver knows of a repository: its row, cached, and the webhook secrets that are accepted for it now."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from worker.catalog.tracking import patterns_of
from worker.credentials.master_keys import MasterKeys
from worker.errors import MasterKeyError
from worker.receiver.github import Tracked
from worker.receiver.signature import fingerprint, webhook_secret

COLUMNS = """
select id, default_branch, provider_id, settings ->> 'branch' as branch, settings -> 'branches' as branches,
       git_url, paused_reasons, settings ? 'github_installation_id' as is_read_by_app,
       webhook_key_id, webhook_secret_version,
       webhook_secret_fingerprint, webhook_previous_key_id, webhook_previous_version, webhook_previous_until,
       queue.webhook_stamp(repositories) as stamp
from public.repositories"""
READ = COLUMNS + " where id = %s"

FRESH_SECONDS = 1.0
"""An answer this young is not read again, so a flood of bad signatures costs Postgres one read a second."""


@dataclass(frozen=True, slots=True)
class Repository:
    """The facts of one row that a webhook needs."""

    id: UUID
    tracked: Tracked
    key_id: str | None = None
    version: int = 1
    fingerprint: str | None = None
    previous_key_id: str | None = None
    previous_version: int | None = None
    previous_until: datetime | None = None
    stamp: str = ""
    """Changes with the row, whatever of it changes that a delivery may be judged by."""

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Repository":
        """The facts in a row that READ returned."""
        return cls(
            id=row["id"],
            tracked=tracked_of(row),
            key_id=row["webhook_key_id"],
            version=row["webhook_secret_version"],
            fingerprint=row["webhook_secret_fingerprint"],
            previous_key_id=row["webhook_previous_key_id"],
            previous_version=row["webhook_previous_version"],
            previous_until=row["webhook_previous_until"],
            stamp=row["stamp"],
        )


def tracked_of(row: dict[str, Any]) -> Tracked:
    """What decides about events, in a row that READ returned."""
    return Tracked(
        branch=row["branch"],
        default_branch=row["default_branch"],
        provider_id=row["provider_id"],
        patterns=patterns_of(row["branches"]),
        address=row["git_url"],
        paused=tuple(row["paused_reasons"]),
        is_read_by_app=row["is_read_by_app"],
    )


def current_secret(repository: Repository, keys: MasterKeys) -> str | None:
    """The secret GitHub should use; None before one was made. Raises MasterKeyError when our key did not make it."""
    if repository.key_id is None or repository.fingerprint is None:
        return None
    secret = webhook_secret(keys.find(repository.key_id), repository.id, repository.version)
    if fingerprint(secret) != repository.fingerprint:
        raise MasterKeyError(
            f"The master key {repository.key_id!r} here is not the one that made this repository's webhook secret.",
            hint="Set the WORKER_MASTER_KEYS of the receiver everywhere, or make a new secret with "
            "`worker repo rotate`.",
        )
    return secret


def accepted_secrets(repository: Repository, keys: MasterKeys, *, now: datetime | None = None) -> list[str]:
    """The current secret and, during the grace time of a rotation, the one before; [] before one was made."""
    current = current_secret(repository, keys)
    if current is None:
        return []
    until = repository.previous_until
    if until is None or repository.previous_key_id is None or repository.previous_version is None:
        return [current]
    if until <= (now or datetime.now(UTC)):
        return [current]
    try:
        previous_key = keys.find(repository.previous_key_id)
    except MasterKeyError:  # a retired key ends the grace time early; the current secret works
        return [current]
    return [current, webhook_secret(previous_key, repository.id, repository.previous_version)]


def nobody(keys: MasterKeys) -> Repository:
    """A repository that does not exist, with a secret: deriving it is the work that a stranger's post costs."""
    secret = webhook_secret(keys.newest, UUID(int=0), 1)
    return Repository(UUID(int=0), Tracked(), key_id=keys.newest.id, fingerprint=fingerprint(secret))


class RepositoryCache:
    """Repository rows by id, trusted for a while; ids that do not exist are remembered apart and briefly."""

    def __init__(
        self,
        read: Callable[[UUID], Awaitable[Repository | None]],
        *,
        ttl: float,
        size: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._ttl, self._size, self._clock = read, ttl, size, clock
        self._known: OrderedDict[UUID, tuple[Repository, float]] = OrderedDict()
        # Apart, so that a stranger's random ids push out no real repository.
        self._unknown: OrderedDict[UUID, float] = OrderedDict()

    async def get(self, repository_id: UUID) -> Repository | None:
        """The repository, from memory where that is young enough."""
        return await self._get(repository_id, self._ttl)

    async def get_fresh(self, repository_id: UUID) -> Repository | None:
        """The repository as Postgres has it now, give or take FRESH_SECONDS."""
        return await self._get(repository_id, min(FRESH_SECONDS, self._ttl))

    def remembered(self, repository_id: UUID) -> Repository | None:
        """What was read last, however long ago: for when nothing can be read."""
        known = self._known.get(repository_id)
        return None if known is None else known[0]

    def forget(self, repository_id: UUID) -> None:
        """Read this one again next time."""
        self._known.pop(repository_id, None)
        self._unknown.pop(repository_id, None)

    async def _get(self, repository_id: UUID, longest: float) -> Repository | None:
        now = self._clock()
        known = self._known.get(repository_id)
        if known is not None and now - known[1] < longest:
            self._known.move_to_end(repository_id)
            return known[0]
        if now - self._unknown.get(repository_id, float("-inf")) < min(FRESH_SECONDS, longest):
            return None
        repository = await self._read(repository_id)
        self._remember(repository_id, repository, now)
        return repository

    def _remember(self, repository_id: UUID, repository: Repository | None, now: float) -> None:
        self.forget(repository_id)
        if repository is None:
            self._unknown[repository_id] = now
        else:
            self._known[repository_id] = (repository, now)
        for entries in (self._known, self._unknown):
            while len(entries) > self._size:
                entries.popitem(last=False)
