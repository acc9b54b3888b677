"""The repository a job is about, and what is indexed of one of its branches."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from worker.catalog.tracking import patterns_of, tracks
from worker.errors import PermanentError

Connection = psycopg.Connection[dict[str, Any]]
PUBLIC_SCOPE = 0


@dataclass(frozen=True, slots=True)
class Repository:
    """A row of repositories as an index job needs it. `branch` is the override in settings, if any."""

    id: UUID
    repo_no: int
    user_id: UUID
    api_key_id: UUID | None
    git_url: str
    branch: str | None
    default_branch: str | None
    visibility: str
    content_scope: int | None  # None: nothing is stored of it
    branches: Any  # the setting as it stands: patterns of further branches
    is_new: bool  # nothing of it is indexed

    @property
    def main_names(self) -> tuple[str | None, ...]:
        """What its main branch is called: search shows it, and repositories.last_indexed_commit is of it."""
        return (self.branch or self.default_branch,)


@dataclass(frozen=True, slots=True)
class Branch:
    """What is indexed of one branch: the commit (None: nothing yet), by which parser, and what its last publish counted
    (None: by a program that did not keep it).
    """

    branch_no: int
    name: str
    commit: str | None
    generation: int
    parser_version: int
    totals: dict[str, Any] | None = None


_REPOSITORY = """
select id, repo_no, user_id, api_key_id, git_url, settings ->> 'branch' as branch, default_branch,
       settings -> 'branches' as branches, visibility, content_scope,
       last_indexed_commit is null as is_new
from public.repositories where id = %s"""
_BRANCH = """
select branch_no, name, commit, generation, parser_version,
       case when totals ->> 'generation' = generation::text then totals - 'generation' end as totals
from public.repository_branches where repository_id = %s and name = %s"""
_NEW_BRANCH = """
insert into public.repository_branches (repository_id, branch_no, name)
select %(repository)s, coalesce(max(branch_no) + 1, 0), %(name)s
from public.repository_branches where repository_id = %(repository)s
on conflict do nothing"""
_NAMES = "select name from public.repository_branches where repository_id = %s"
_COMMITS = "select name, commit from public.repository_branches where repository_id = %s"
_TOUCH = """
update idx.upkeep set touched_at = now()
where blob_id in (
    select u.blob_id from idx.upkeep u
    where u.blob_id in (select f.blob_id from idx.files f where f.repo_no = %s and f.branch_no = %s)
    order by u.blob_id for no key update)"""
_REMOVE_FILES = "delete from idx.files where repo_no = %s and branch_no = %s"
_REMOVE_EDGES = "delete from idx.import_edges where repo_no = %s and branch_no = %s"
_REMOVE_BRANCH = "delete from public.repository_branches where repository_id = %s and branch_no = %s"
_SCOPE = "select scope from idx.scopes where user_id = %s"
_NEW_SCOPE = "insert into idx.scopes (user_id) values (%s) on conflict do nothing"


def load_repository(connection: Connection, repository_id: UUID | None) -> Repository:
    """The repository row; raises PermanentError when it is gone (or the job never named one)."""
    row = connection.execute(_REPOSITORY, (repository_id,)).fetchone()
    if row is None:
        raise PermanentError(f"The repository of this job is gone ({repository_id}).")
    return Repository(**row)


def load_branch(connection: Connection, repository_id: UUID, name: str) -> Branch:
    """The branch's index state; a branch seen for the first time gets its number here."""
    branch = find_branch(connection, repository_id, name)
    if branch is None:
        connection.execute(_NEW_BRANCH, {"repository": repository_id, "name": name})
        branch = find_branch(connection, repository_id, name)
    assert branch is not None
    return branch


def find_branch(connection: Connection, repository_id: UUID, name: str) -> Branch | None:
    """The branch's index state; None for one that is not known here."""
    row = connection.execute(_BRANCH, (repository_id, name)).fetchone()
    return Branch(**row) if row else None


def indexed_commits(connection: Connection, repository_id: UUID) -> dict[str, str | None]:
    """Branch → the commit that is indexed of it."""
    rows = connection.execute(_COMMITS, (repository_id,)).fetchall()
    return {row["name"]: row["commit"] for row in rows}


def remove_branch(connection: Connection, repository: Repository, branch: Branch) -> int:
    """Forget a branch with its paths, inside the caller's transaction; answers how many."""
    where = (repository.repo_no, branch.branch_no)
    connection.execute(_TOUCH, where)
    connection.execute(_REMOVE_EDGES, where)
    files = connection.execute(_REMOVE_FILES, where).rowcount
    connection.execute(_REMOVE_BRANCH, (repository.id, branch.branch_no))
    return files


def remove_untracked(
    connection: Connection, repository: Repository, *, keep: str, default_branch: str | None
) -> list[str]:
    """Forget branches that the settings no longer name, all but `keep`; answers their names."""
    main = repository.branch or default_branch
    if main is None:
        return []
    names = [row["name"] for row in connection.execute(_NAMES, (repository.id,)).fetchall()]
    patterns = patterns_of(repository.branches)
    gone = sorted(name for name in names if name != keep and not tracks(name, main=[main], patterns=patterns))
    for name in gone:
        if branch := find_branch(connection, repository.id, name):
            remove_branch(connection, repository, branch)
    return gone


def owner_scope(connection: Connection, user_id: UUID) -> int:
    """The scope whose content only this owner's repositories share."""
    row = connection.execute(_SCOPE, (user_id,)).fetchone()
    if row is None:
        connection.execute(_NEW_SCOPE, (user_id,))
        row = connection.execute(_SCOPE, (user_id,)).fetchone()
    assert row is not None
    return row["scope"]
