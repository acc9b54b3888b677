"""Search over what is indexed: the SQL functions of schema public, as rows.

Every row names its repository, branch and indexed commit, and has a cursor: `after` takes it to go on behind that row.
Every question is limited to QUERY_SECONDS (SearchTooSlow) and raises psycopg.errors.InvalidParameterValue, with a
sentence for a person, where an argument makes no sense.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg

from worker.errors import NotFound, SearchTooSlow

Connection = psycopg.Connection[dict[str, Any]]
Rows = list[dict[str, Any]]
QUERY_SECONDS = 10
ROWS_A_FETCH = 2_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look. `owner` None: everybody's repositories; `branch` None: the tracked one of each repository."""

    owner: UUID | None
    repository: UUID | None = None
    branch: str | None = None
    path: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of an answer: at most `limit` rows behind the row with this cursor."""

    limit: int = 50
    after: str | None = None


_CODE = """
select * from public.search_code(%s, %s, %s, %s, regex => %s, case_sensitive => %s, context => %s, max_per_file => %s,
    path_glob => %s, language => %s, branch => %s, after => %s)"""
_SYMBOLS = """
select * from public.search_symbols(%s, %s, %s, %s, mode => %s, symbol_kind => %s, path_glob => %s, language => %s,
    branch => %s, after => %s)"""
_REFERENCES = """
select * from public.find_references(%s, %s, %s, %s, path_glob => %s, language => %s, branch => %s, after => %s)"""
_CALLERS = """
select * from public.find_callers(%s, %s, %s, %s, path_glob => %s, language => %s, branch => %s, after => %s)"""
_IMPACT = "select * from public.impact(%s, %s, %s, %s, max_depth => %s, branch => %s, after => %s)"
_OUTLINE = "select * from public.outline(%s, %s, %s, %s, branch => %s, after => %s)"
_DOCUMENTS = """
select * from public.list_documents(%s, %s, %s, path_glob => %s, language => %s, branch => %s, after => %s)"""
_NOTE = "select current_setting('idx.search_note', true) as note"
_BRANCHES = """
select distinct b.name
from public.repository_branches b join public.repositories r on r.id = b.repository_id
where (%(owner)s::uuid is null or r.user_id = %(owner)s)
  and (%(repository)s::uuid is null or r.id = %(repository)s)
order by b.name"""
_HAS_FILE = """
select 1
from idx.branches_to_search(%s, %s, %s) v
join idx.files f on f.repo_no = v.repo_no and f.branch_no = v.branch_no
where f.path = %s limit 1"""
# Postgres sorts, on its disk if need be; what comes here comes in fetches.
_EVERY_SYMBOL = """
select f.path, s.line, s.end_line, k.name as kind, s.name, idx.qualname_of(s.parent, s.name, s.qualname) as qualname,
       s.parent, s.signature, s.doc, l.name as language, v.commit
from idx.branches_to_search(%(owner)s, %(repository)s, %(branch)s) v
join idx.files f on f.repo_no = v.repo_no and f.branch_no = v.branch_no and f.skip = 0
join idx.blobs b on b.id = f.blob_id
join idx.languages l on l.lang = b.lang
join idx.symbols s on s.blob_id = f.blob_id
join idx.symbol_kinds k on k.kind = s.kind
where (%(kind)s::smallint is null or s.kind = %(kind)s) and (%(language)s::smallint is null or b.lang = %(language)s)
order by f.path, s.line, s.end_line desc, idx.qualname_of(s.parent, s.name, s.qualname) collate "C"
"""


def search_code(
    connection: Connection,
    query: str,
    scope: Scope,
    page: Page,
    *,
    regex: bool = False,
    case_sensitive: bool = False,
    context: int = 0,
    per_file: int = 10,
    on_partial: Callable[[str], None] | None = None,
) -> Rows:
    """Lines that contain the query or match it as a regular expression, with `context` lines around each.

    `on_partial` hears a sentence where the answer is not the whole: what is common, or cannot be looked up, is read
    from the files until the page is full or half of the time is gone. SearchTooSlow where nothing was found by then.
    """
    modes = (regex, case_sensitive, context, per_file)
    return _ask(connection, _CODE, query, *_first(scope, page), *modes, *_last(scope, page), on_partial=on_partial)


def search_symbols(
    connection: Connection, query: str, scope: Scope, page: Page, *, mode: str = "prefix", kind: str | None = None
) -> Rows:
    """Definitions whose name fits the query; `mode` is prefix, exact or fuzzy."""
    return _ask(connection, _SYMBOLS, query, *_first(scope, page), mode, kind, *_last(scope, page))


def find_references(connection: Connection, name: str, scope: Scope, page: Page) -> Rows:
    """Lines that use this name."""
    return _ask(connection, _REFERENCES, name, *_first(scope, page), *_last(scope, page))


def find_callers(connection: Connection, name: str, scope: Scope, page: Page) -> Rows:
    """Definitions that call this name, each with the lines of its calls."""
    return _ask(connection, _CALLERS, name, *_first(scope, page), *_last(scope, page))


def impact(connection: Connection, path: str, scope: Scope, page: Page, *, depth: int = 5) -> Rows:
    """Files that import this one, those that import them, and so on, nearest first. Raises NotFound without it."""
    rows = _ask(connection, _IMPACT, path, *_first(scope, page), depth, scope.branch, page.after)
    return rows or _of_a_file(connection, path, scope)


def outline(connection: Connection, path: str, scope: Scope, page: Page) -> Rows:
    """The definitions of one file in order, each with its depth. Raises NotFound where there is no such file."""
    rows = _ask(connection, _OUTLINE, path, *_first(scope, page), scope.branch, page.after)
    return rows or _of_a_file(connection, path, scope)


def list_documents(connection: Connection, scope: Scope, page: Page) -> Rows:
    """Files by path, without their content."""
    return _ask(connection, _DOCUMENTS, *_first(scope, page), *_last(scope, page))


def every_symbol(connection: Connection, scope: Scope, *, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """All definitions of a repository by path and line, as they come: nothing is held but one fetch of rows."""
    numbers = connection.execute(
        "select idx.symbol_kind_number(%s) as kind, idx.language_number(%s) as language", (kind, scope.language)
    ).fetchone()
    assert numbers is not None
    wanted = {"owner": scope.owner, "repository": scope.repository, "branch": scope.branch, **numbers}
    with connection.transaction(), connection.cursor(name=f"symbols_{uuid4().hex}") as cursor:
        cursor.itersize = ROWS_A_FETCH
        cursor.execute(_EVERY_SYMBOL, wanted)
        yield from cursor


def check_branch(connection: Connection, scope: Scope) -> None:
    """Raise NotFound where a branch is named that is indexed nowhere in this scope."""
    if scope.branch is None:
        return
    rows = connection.execute(_BRANCHES, {"owner": scope.owner, "repository": scope.repository})
    names = [row["name"] for row in rows]
    if scope.branch not in names:
        known = f"Indexed: {', '.join(names)}." if names else "Nothing is indexed there yet."
        raise NotFound(f"No branch {scope.branch!r} is indexed.", hint=known)


def _first(scope: Scope, page: Page) -> tuple[UUID | None, int, UUID | None]:
    return scope.repository, page.limit, scope.owner


def _last(scope: Scope, page: Page) -> tuple[str | None, ...]:
    return scope.path, scope.language, scope.branch, page.after


def _ask(
    connection: Connection, query: LiteralString, *values: object, on_partial: Callable[[str], None] | None = None
) -> Rows:
    try:
        with connection.transaction():
            # The functions' own limit cannot stop the statement that calls them.
            connection.execute("select set_config('statement_timeout', %s, true)", (f"{QUERY_SECONDS}s",))
            rows = connection.execute(query, values).fetchall()
            note = connection.execute(_NOTE).fetchone() if on_partial else None
    except psycopg.errors.QueryCanceled as canceled:
        # The function gives up by itself with a detail; Postgres' own time limit has none.
        said = canceled.diag.message_detail
        raise SearchTooSlow(said or f"The search did not end within {QUERY_SECONDS} seconds.") from None
    if on_partial and note and note["note"]:
        on_partial(note["note"])
    return [_shown(row) for row in rows]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The row under the names that people use: repository, branch and language say what they are by themselves."""
    names = {"repository_name": "repository", "branch_name": "branch", "language_name": "language"}
    return {names.get(name, name): value for name, value in row.items()}


def _of_a_file(connection: Connection, path: str, scope: Scope) -> Rows:
    if connection.execute(_HAS_FILE, (scope.owner, scope.repository, scope.branch, path)).fetchone() is None:
        raise NotFound(
            f"No file {path!r} is indexed.",
            hint="Give its path from the repository's top; `worker documents` lists them.",
        )
    return []
