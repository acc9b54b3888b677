"""search and symbols: what the index is for."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from worker.catalog import repositories
from worker.catalog.search import search_code, search_symbols
from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.repositories import find_repository
from worker.cli.state import Json, State, open_state

Query = Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")]
Repo = Annotated[str | None, typer.Option(help="Only in this repository.")]
Limit = Annotated[int, typer.Option(help="Most hits.", min=1, max=1000)]
Rows = list[dict[str, Any]]


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(search)
    app.command()(symbols)


def search(query: Query, repo: Repo = None, limit: Limit = 20, json: Json = False) -> None:
    """Search the indexed code for lines that contain the query, ignoring case. Exit code 1: nothing found.

    Example: worker search "def dispatch" --repo django
    """
    with open_state(quiet=json) as state:
        rows = find_code(state, query, repo=repo, limit=limit)
        if json:
            print_json(rows)
        else:
            print_code(state.out, rows, query)
        _end(state, rows, query, quiet=json)


def symbols(query: Query, repo: Repo = None, limit: Limit = 20, json: Json = False) -> None:
    """Search for definitions whose name begins with the query. Exit code 1: nothing found.

    Example: worker symbols Dispatch
    """
    with open_state(quiet=json) as state:
        rows = find_symbols(state, query, repo=repo, limit=limit)
        if json:
            print_json(rows)
        else:
            print_symbols(state.out, rows)
        _end(state, rows, query, quiet=json)


def find_code(state: State, query: str, *, repo: str | None, limit: int) -> Rows:
    """Lines that contain the query, each with its repository's name."""
    scope = find_repository(state, repo) if repo else None
    with state.connection() as connection:
        rows = search_code(connection, query, owner=state.visible_user, repository=scope, limit=limit)
    return _named(state, rows)


def find_symbols(state: State, query: str, *, repo: str | None, limit: int) -> Rows:
    """Definitions whose name begins with the query, each with its repository's name."""
    scope = find_repository(state, repo) if repo else None
    with state.connection() as connection:
        rows = search_symbols(connection, query, owner=state.visible_user, repository=scope, limit=limit)
    return _named(state, rows)


def print_code(out: Console, rows: Rows, query: str) -> None:
    """Hits below their file in a terminal; elsewhere one a line, with its file."""
    place = None
    for row in rows:
        here = (row["repository_id"], row["path"])
        content = Text(looks.plain(row["content"].rstrip()), style="default")
        content.highlight_words([query], style="bold red", case_sensitive=False)
        if not out.is_terminal:
            out.print(Text(f"{_file(row).plain}:{row['line']}:").append_text(content), soft_wrap=True)
            continue
        if here != place:
            place = here
            out.print(_file(row), soft_wrap=True)
        out.print(Text(f"{row['line']:6}  ", style="green").append_text(content), soft_wrap=True)


def print_symbols(out: Console, rows: Rows) -> None:
    """Definitions, one a line."""
    for row in rows:
        line = Text(f"{row['kind']:9} ", style="cyan").append(looks.plain(row["qualname"]), style="bold default")
        line.append("  ").append_text(_file(row)).append(f":{row['line']}", style="green")
        out.print(line, soft_wrap=True)


def _file(row: dict[str, Any]) -> Text:
    return Text(looks.plain(f"{row['repository']}/"), style="dim").append(looks.plain(row["path"]), style="magenta")


def _named(state: State, rows: Rows) -> Rows:
    with state.connection() as connection:
        names = {row["id"]: row["name"] for row in repositories.list_all(connection, state.visible_user)}
    return [{"repository": names.get(row["repository_id"], "?"), **row} for row in rows]


def _end(state: State, rows: Rows, query: str, *, quiet: bool) -> None:
    """As grep ends: 1 when nothing was found."""
    if not rows:
        if not quiet:
            state.aside.print(f"Nothing found for {query!r}.", markup=False)
        raise typer.Exit(1)
