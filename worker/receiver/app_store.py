"""What a delivery to the GitHub App's address does in Postgres, in one transaction each.

An installation belongs to the operator's own tenant, and to tenants of whom the operator has said so with
`worker repo add --installation`. Nobody else's repositories are linked to it, whatever address they were registered
with: an App's tokens would read for them what they may not.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from worker.job import INCREMENTAL_UPDATE
from worker.queue.enqueue import Delivered, NewDelivery, NewJob, deliver, enqueue, index_coalesce_key
from worker.receiver.batch import Batches
from worker.receiver.changes import PROCESSED, deliver_with_change, lock
from worker.receiver.github import Change, Pause
from worker.receiver.github_app import Installed, Named
from worker.receiver.repository import COLUMNS, READ, Repository
from worker.receiver.store import Store, expect
from worker.settings import LOCAL_USER_ID, Settings

Connection = psycopg.AsyncConnection[dict[str, Any]]

_MOST_TOGETHER, _READS_AT_ONCE = 64, 2
_MOST_SEEN = 10_000

# Two places of one index for each; `?` says that its condition holds, or nothing would be found by it.
_READ = (
    """
select w.n, r.* from unnest(%(installations)s::text[], %(numbers)s::bigint[], %(addresses)s::text[])
    with ordinality w (installation, number, address, n)
cross join lateral ("""
    + COLUMNS
    + """
    where settings ? 'github_installation_id' and settings ->> 'github_installation_id' = w.installation
      and (provider_id = w.number or provider_id is null and git_url = w.address)) r
order by w.n, r.id"""
)
_KNOW = "update public.repositories set provider_id = %s where id = %s and provider_id is null"
_LINK = """
with listed as (select * from unnest(%(numbers)s::bigint[], %(addresses)s::text[]) l (number, address)),
mine as (
    select r.id, l.number
    from public.repositories r
    join listed l on r.provider_id = l.number or r.provider_id is null and r.git_url = l.address
    where r.user_id = %(operator)s
       or r.user_id in (select o.user_id from public.repositories o
                        where o.settings ? 'github_installation_id'
                          and o.settings ->> 'github_installation_id' = %(installation)s)
    order by r.id for no key update of r
)
update public.repositories r
set settings = r.settings || jsonb_build_object('github_installation_id', %(installation)s::bigint),
    provider_id = coalesce(r.provider_id, m.number),
    paused_reasons = array_remove(r.paused_reasons, %(reason)s), updated_at = now()
from mine m where r.id = m.id
returning r.id, coalesce(r.settings ->> 'branch', r.default_branch) as branch"""
_PAUSE = """
update public.repositories r
set paused_reasons = array(select distinct reason from unnest(array_append(r.paused_reasons, %(reason)s::text)) reason
                           order by reason), updated_at = now()
where r.id in (select x.id from public.repositories x
               where x.settings ? 'github_installation_id'
                 and x.settings ->> 'github_installation_id' = %(installation)s
                 and (%(numbers)s::bigint[] is null or x.provider_id = any (%(numbers)s::bigint[]))
               order by x.id for no key update)
returning r.id"""
_RESUME = """
update public.repositories r
set paused_reasons = array_remove(r.paused_reasons, %(reason)s), updated_at = now()
where r.id in (select x.id from public.repositories x
               where x.settings ? 'github_installation_id'
                 and x.settings ->> 'github_installation_id' = %(installation)s
                 and %(reason)s = any (x.paused_reasons)
               order by x.id for no key update)
returning r.id, coalesce(r.settings ->> 'branch', r.default_branch) as branch"""


@dataclass(frozen=True, slots=True)
class Linking:
    """Where an App's repositories are, whose they may be, and how often a job is tried."""

    host: str
    operator: UUID | None
    max_attempts: int

    def address(self, full_name: str) -> str:
        """The URL under which a repository of this owner/name is registered here."""
        return f"{self.host}/{full_name.lower() if self.host == 'https://github.com' else full_name}"


def linking(settings: Settings) -> Linking:
    """What the settings say of the App's repositories."""
    operator = settings.worker_user_id or (LOCAL_USER_ID if settings.uses_embedded_postgres else None)
    return Linking(f"https://{settings.github_host}", operator, settings.worker_max_attempts)


@dataclass(frozen=True, slots=True)
class Meant:
    """What a delivery means for one repository: how it is stored, with its job, and what changes in the row."""

    repository: Repository
    delivery: NewDelivery
    change: Change | None


class Linked:
    """The repositories that installations read, as Postgres has them now: those asked for at the same time together."""

    def __init__(self, store: Store, linking: Linking) -> None:
        self._store, self._linking = store, linking
        self._reads = Batches(self._read, most=_MOST_TOGETHER, at_once=_READS_AT_ONCE)
        self._seen: OrderedDict[tuple[int, int], None] = OrderedDict()

    async def find(self, installation: int, named: Named) -> list[Repository]:
        """Each repository here that the installation reads under this number. Raises DatabaseUnavailable."""
        found = await self._reads.put((installation, named))
        self._seen.pop((installation, named.number), None)
        if found:
            self._seen[installation, named.number] = None
            if len(self._seen) > _MOST_SEEN:
                self._seen.popitem(last=False)
        return found

    def has_seen(self, installation: int, number: int | None) -> bool:
        """Whether it read some repository (of this number) when it was asked for last: while nothing can be read."""
        if number is not None:
            return (installation, number) in self._seen
        return any(each == installation for each, _ in self._seen)

    async def _read(self, wanted: Sequence[tuple[int, Named]]) -> Sequence[list[Repository]]:
        found: list[list[Repository]] = [[] for _ in wanted]
        for row in await self._store.ask(_READ, self._facts(wanted)):
            found[row["n"] - 1].append(Repository.of(row))
        return found

    def _facts(self, wanted: Sequence[tuple[int, Named]]) -> dict[str, Any]:
        return {
            "installations": [str(installation) for installation, _ in wanted],
            "numbers": [named.number for _, named in wanted],
            "addresses": [self._linking.address(named.full_name) for _, named in wanted],
        }


async def deliver_in_turn(connection: Connection, meant: Sequence[Meant], number: int) -> list[Delivered]:
    """Commit what a delivery means for each repository, with what it changes there; the rows keep GitHub's number.

    Raises RepositoryChanged and NotFound when a row is no longer the one that was judged; then nothing is committed.
    """
    done: list[Delivered] = []
    for one in meant:
        await lock(connection, one.repository.id)
        await expect(await connection.execute(READ, (one.repository.id,)), one.repository)
        if one.repository.tracked.provider_id is None:
            await connection.execute(_KNOW, (number, one.repository.id))
        done.append(await deliver_with_change(connection, one.delivery, one.change))
    return done


async def change_installation(
    connection: Connection, linking: Linking, delivery: NewDelivery, installed: Installed
) -> tuple[Delivered, int, int]:
    """Link, pause and resume repositories; answers the delivery, and how many got a job and how many were paused."""
    delivered = await deliver(connection, delivery)
    if delivered.duplicate:
        return delivered, 0, 0
    reason, installation = Pause.INSTALLATION.value, str(installed.installation)
    readable: list[dict[str, Any]] = []
    paused = 0
    if installed.read:
        facts = {
            "installation": installation,
            "numbers": [one.number for one in installed.read],
            "addresses": [linking.address(one.full_name) for one in installed.read],
            "operator": linking.operator,
            "reason": reason,
        }
        readable += await (await connection.execute(_LINK, facts)).fetchall()
    if installed.all_paused or installed.unread:
        numbers = None if installed.all_paused else list(installed.unread)
        facts = {"installation": installation, "numbers": numbers, "reason": reason}
        paused = len(await (await connection.execute(_PAUSE, facts)).fetchall())
    if installed.all_paused is False:
        facts = {"installation": installation, "reason": reason}
        readable += await (await connection.execute(_RESUME, facts)).fetchall()
    for row in readable:
        ref = f"refs/heads/{row['branch']}" if row["branch"] else None
        job = NewJob(
            INCREMENTAL_UPDATE,
            row["id"],
            {"ref": ref, "rebuild": False},
            coalesce_key=index_coalesce_key(row["id"], ref or "tracked"),
            max_attempts=linking.max_attempts,
        )
        await enqueue(connection, job)
    await connection.execute(PROCESSED, (delivered.delivery_no,))
    return delivered, len(readable), paused
