"""Repositories as people handle them: register, find, list, remove. For the command line."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from worker.catalog.tracking import is_pattern, patterns_of, tracks
from worker.errors import NotFound

Connection = psycopg.Connection[dict[str, Any]]

_REGISTER = """
insert into public.repositories (user_id, name, git_url, provider, settings)
values (%(user)s, %(name)s, %(url)s, %(provider)s,
        jsonb_strip_nulls(jsonb_build_object('branch', %(branch)s::text, 'branches', to_jsonb(%(patterns)s::text[]))))
on conflict (user_id, git_url) do update
    set settings = repositories.settings || excluded.settings, updated_at = now()
returning id, (xmax = 0) as created"""
_ENSURE_USER = "insert into auth.users (id) values (%s) on conflict do nothing"
_HAS_USER = "select 1 from auth.users where id = %s"
_HOOK = """
update public.repositories
set webhook_hook_id = %s, provider_id = coalesce(provider_id, %s), updated_at = now() where id = %s"""
_CHOOSE = """
update public.repositories set settings = settings || jsonb_build_object('branch', %s::text), updated_at = now()
where id = %s"""
_TRACKED = """
select settings ->> 'branch' as branch, default_branch, settings -> 'branches' as branches
from public.repositories where id = %s"""
_TRACK = """
update public.repositories
set settings = settings || jsonb_build_object(
        'branches', coalesce(settings -> 'branches', '[]'::jsonb) || to_jsonb(%(branch)s::text)),
    updated_at = now()
where id = %(id)s and not coalesce(settings -> 'branches', '[]'::jsonb) ? %(branch)s"""
_FORGET_BRANCH = """
update public.repositories
set settings = case when settings ->> 'branch' = %(branch)s then settings - 'branch' else settings end
        || jsonb_build_object('branches', coalesce(settings -> 'branches', '[]'::jsonb) - %(branch)s::text),
    updated_at = now()
where id = %(id)s"""
_FIND = """
select id from public.repositories
where (%(user)s::uuid is null or user_id = %(user)s)
  and (name = %(text)s or git_url = %(text)s or length(%(text)s) >= 4
       and (starts_with(id::text, lower(%(text)s)) or starts_with(reverse(id::text), reverse(lower(%(text)s)))))
order by created_at limit 2"""
_LIST = """
select s.repository_id as id, s.name, s.git_url, s.status, s.sync_state, s.last_indexed_commit, s.last_indexed_at,
       s.job_id, s.job_status, s.error_message
from public.repository_status s
where %(user)s::uuid is null or s.user_id = %(user)s
order by s.name, s.git_url"""
_SHOW = """
select r.id, r.name, r.git_url, r.provider, r.visibility, r.status, r.sync_state, r.default_branch,
       r.settings ->> 'branch' as branch,
       r.settings -> 'branches' as branches, r.last_indexed_commit, r.last_indexed_at, r.index_generation, r.size_bytes,
       r.webhook_secret_fingerprint, r.webhook_secret_version, r.webhook_hook_id, r.webhook_last_ping_at,
       r.paused_reasons, c.checked_at as last_compared_at, c.problem as last_compare_problem,
       c.missed as pushes_without_webhook, r.created_at,
       (select coalesce(sum(tokens_used), 0) from public.token_usage u where u.repository_id = r.id) as tokens_used
from public.repositories r left join public.repository_checks c on c.repository_id = r.id where r.id = %s"""
_LANGUAGES = """
select l.name as language, count(*) as files, sum(b.line_count)::bigint as lines, sum(b.symbol_count)::bigint as symbols
from idx.files f
join public.repositories r on r.repo_no = f.repo_no
join idx.blobs b on b.id = f.blob_id
join idx.languages l on l.lang = b.lang
where r.id = %s group by l.name order by files desc, l.name"""
_REMOVE = "delete from public.repositories where id = %s returning name"


def ensure_owner(connection: Connection, user_id: UUID, *, create: bool) -> None:
    """Make sure the tenant exists; only a laptop creates one, a hosted project has its own users."""
    if create:
        connection.execute(_ENSURE_USER, (user_id,))
    elif connection.execute(_HAS_USER, (user_id,)).fetchone() is None:
        raise NotFound(
            f"There is no user {user_id} in auth.users.",
            hint="Set WORKER_USER_ID to the id of one of your project's users.",
        )


def register(
    connection: Connection, *, user_id: UUID, name: str, url: str, provider: str, branches: Sequence[str] = ()
) -> tuple[UUID, bool]:
    """The repository of this owner and URL, and whether it is new.

    Branches given here are tracked from now on, instead of those before; patterns stand for many. The first one without
    a wildcard is the main branch; without such a one it is the default branch.
    """
    main = next((branch for branch in branches if not is_pattern(branch)), None)
    others = [branch for branch in branches if branch != main] if branches else None
    facts = {"user": user_id, "name": name, "url": url, "provider": provider, "branch": main, "patterns": others}
    row = connection.execute(_REGISTER, facts).fetchone()
    assert row is not None
    return row["id"], row["created"]


def remember_hook(connection: Connection, repository_id: UUID, hook_id: int, provider_id: int) -> None:
    """Keep the id of a webhook that was made for it, and GitHub's number of the repository."""
    connection.execute(_HOOK, (hook_id, provider_id, repository_id))


def choose_main(connection: Connection, repository_id: UUID, branch: str) -> None:
    """Make this the main branch, whatever the default branch is."""
    connection.execute(_CHOOSE, (branch, repository_id))


def track(connection: Connection, repository_id: UUID, branch: str) -> bool:
    """Track one more branch, beside those tracked already; answers whether it was not yet."""
    row = connection.execute(_TRACKED, (repository_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no repository {repository_id}.", hint="`worker repo list` shows them all.")
    if tracks(branch, main=[row["branch"] or row["default_branch"]], patterns=patterns_of(row["branches"])):
        return False
    return connection.execute(_TRACK, {"id": repository_id, "branch": branch}).rowcount == 1


def forget_branch(connection: Connection, repository_id: UUID, branch: str) -> None:
    """Take back what `choose_main` or `track` did: there is no such branch."""
    connection.execute(_FORGET_BRANCH, {"id": repository_id, "branch": branch})


def find(connection: Connection, text: str, user_id: UUID | None) -> UUID:
    """A repository by id (or its beginning or end), name or URL; raises NotFound unless exactly one fits."""
    rows = connection.execute(_FIND, {"user": user_id, "text": text}).fetchall()
    if len(rows) != 1:
        problem = "More than one repository fits" if rows else "There is no repository"
        raise NotFound(f"{problem} {text!r}.", hint="`worker repo list` shows them with their ids.")
    return rows[0]["id"]


def list_all(connection: Connection, user_id: UUID | None) -> list[dict[str, Any]]:
    """Every repository of an owner (None: of everybody), with its newest job."""
    return connection.execute(_LIST, {"user": user_id}).fetchall()


def show(connection: Connection, repository_id: UUID) -> dict[str, Any]:
    """Everything about one repository that a person may see; no secret is among it."""
    row = connection.execute(_SHOW, (repository_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no repository {repository_id}.", hint="`worker repo list` shows them all.")
    languages = connection.execute(_LANGUAGES, (repository_id,)).fetchall()
    return {**row, "languages": languages}


def remove(connection: Connection, repository_id: UUID) -> str:
    """Delete a repository with its jobs, deliveries and index; answers its name."""
    row = connection.execute(_REMOVE, (repository_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no repository {repository_id}.", hint="`worker repo list` shows them all.")
    return row["name"]
