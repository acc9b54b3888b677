"""The repository a job is about, and what is indexed of one of its branches."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

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
    is_new: bool  # nothing of it is indexed


@dataclass(frozen=True, slots=True)
class Branch:
    """What is indexed of one branch: the commit (None: nothing yet), and by which parser."""

    branch_no: int
    name: str
    commit: str | None
    generation: int
    parser_version: int


_REPOSITORY = """
select id, repo_no, user_id, api_key_id, git_url, settings ->> 'branch' as branch, default_branch,
       last_indexed_commit is null as is_new
from public.repositories where id = %s"""
_BRANCH = """
select branch_no, name, commit, generation, parser_version
from public.repository_branches where repository_id = %s and name = %s"""
_NEW_BRANCH = """
insert into public.repository_branches (repository_id, branch_no, name)
select %(repository)s, coalesce(max(branch_no) + 1, 0), %(name)s
from public.repository_branches where repository_id = %(repository)s
on conflict do nothing"""
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
    row = connection.execute(_BRANCH, (repository_id, name)).fetchone()
    if row is None:
        connection.execute(_NEW_BRANCH, {"repository": repository_id, "name": name})
        row = connection.execute(_BRANCH, (repository_id, name)).fetchone()
    assert row is not None
    return Branch(**row)


def owner_scope(connection: Connection, user_id: UUID) -> int:
    """The scope whose content only this owner's repositories share."""
    connection.execute(_NEW_SCOPE, (user_id,))
    row = connection.execute(_SCOPE, (user_id,)).fetchone()
    assert row is not None
    return row["scope"]
