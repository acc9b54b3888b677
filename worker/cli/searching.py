"""search and symbols: what the index is for."""

from typing import Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape
from rich.text import Text

from worker.catalog import repositories
from worker.catalog.search import search_code, search_symbols
from worker.cli.state import Json, State, open_state, print_json

Query = Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")]
Repo = Annotated[str | None, typer.Option(help="Only in this repository.")]
Limit = Annotated[int, typer.Option(help="Most hits.", min=1, max=1000)]


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(search)
    app.command()(symbols)


def search(query: Query, repo: Repo = None, limit: Limit = 20, json: Json = False) -> None:
    """Search the indexed code for lines that contain the query, ignoring case.

    Example: worker search "def dispatch" --repo django
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        scope = _scope(state, connection, repo)
        rows = search_code(connection, query, owner=state.visible_user, repository=scope, limit=limit)
        if json:
            print_json(rows)
        else:
            print_code(state, rows, query)
        if not rows:
            raise typer.Exit(1)


def symbols(query: Query, repo: Repo = None, limit: Limit = 20, json: Json = False) -> None:
    """Search for definitions whose name begins with the query.

    Example: worker symbols Dispatch
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        scope = _scope(state, connection, repo)
        rows = search_symbols(connection, query, owner=state.visible_user, repository=scope, limit=limit)
        if json:
            print_json(rows)
        else:
            print_symbols(state, rows)
        if not rows:
            raise typer.Exit(1)


def print_code(state: State, rows: list[dict[str, Any]], query: str) -> None:
    """Hits grouped by file, the query highlighted."""
    path = None
    for row in rows:
        if row["path"] != path:
            path = row["path"]
            state.out.print(f"[bold magenta]{escape(path)}[/] [dim]{row['commit'][:10]}[/]")
        line = Text(f"{row['line']:6}  ", style="green")
        found = Text(row["content"].rstrip(), style="default")
        found.highlight_words([query], style="bold red", case_sensitive=False)
        state.out.print(line + found, soft_wrap=True)
    if not rows:
        state.out.print("Nothing found.")


def print_symbols(state: State, rows: list[dict[str, Any]]) -> None:
    """Definitions, one a line."""
    for row in rows:
        place = f"[magenta]{escape(row['path'])}[/]:[green]{row['line']}[/]"
        line = f"[cyan]{row['kind']:9}[/] [bold]{escape(row['qualname'])}[/]  {place}"
        state.out.print(line, soft_wrap=True)
    if not rows:
        state.out.print("Nothing found.")


def _scope(state: State, connection: Any, repo: str | None) -> UUID | None:
    return repositories.find(connection, repo, state.visible_user) if repo else None
