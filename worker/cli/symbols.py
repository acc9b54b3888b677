"""symbols, outline: definitions."""

import json as json_format
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from worker.catalog.search import Page, Scope, every_symbol, search_symbols
from worker.catalog.search import outline as outline_of
from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.searching import (
    NUMBER_WIDTH,
    After,
    Branch,
    InLanguage,
    Limit,
    PathGlob,
    Repo,
    Rows,
    end,
    header,
    place,
    searched,
)
from worker.cli.state import Json, State, open_state

Mode = StrEnum("Mode", ["PREFIX", "EXACT", "FUZZY"])
FilePath = Annotated[str, typer.Argument(metavar="PATH", help="The file, from the repository's top.")]
KIND_WIDTH = 9


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(symbols)
    app.command()(outline)


def symbols(
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="How the name begins.")] = None,
    repo: Repo = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind, such as function or class.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="The whole name, or the whole qualified name.")] = False,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Names like this one; the first letter counts.")] = False,
    path: PathGlob = None,
    language: InLanguage = None,
    branch: Branch = None,
    everything: Annotated[bool, typer.Option("--all", help="Every definition of --repo, a line each.")] = False,
    limit: Limit = 20,
    after: After = None,
    json: Json = False,
) -> None:
    """Search for definitions by name. With --all, list them: as JSON lines with --json. Exit code 1: nothing found.

    Example: worker symbols Dispatch
    """
    if everything == (query is not None):
        raise typer.BadParameter("give a QUERY, or --all for every definition of a repository")
    if everything and (repo is None or exact or fuzzy or path or after):
        raise typer.BadParameter("--all needs --repo, and goes with --kind, --language, --branch and --json only")
    if exact and fuzzy:
        raise typer.BadParameter("--exact and --fuzzy exclude each other")
    with open_state(quiet=json) as state, state.connection() as connection:
        scope = searched(state, repo, branch, path=path, language=language)
        if query is None:
            print_every_symbol(state, scope, kind, as_json=json)
            return
        mode = Mode.EXACT if exact else Mode.FUZZY if fuzzy else Mode.PREFIX
        rows = search_symbols(connection, query, scope, Page(limit, after), mode=mode, kind=kind)
        if json:
            print_json(rows)
        else:
            print_symbols(state.out, rows)
        end(state, rows, query, limit=limit, quiet=json)


def outline(
    path: FilePath,
    repo: Repo = None,
    branch: Branch = None,
    limit: Annotated[int, typer.Option(help="Most rows.", min=1, max=10_000)] = 1000,
    after: After = None,
    json: Json = False,
) -> None:
    """Show the definitions of one file in order, those inside others below them. Exit code 1: there are none.

    Example: worker outline src/flask/app.py --repo flask
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        scope = searched(state, repo, branch)
        rows = outline_of(connection, path.removeprefix("./"), scope, Page(limit, after))
        if json:
            print_json(rows)
        else:
            _print_outline(state.out, rows)
        end(state, rows, path, limit=limit, quiet=json, hint=" The file has no definitions.")


def print_symbols(out: Console, rows: Rows) -> None:
    """Definitions, one a line."""
    for row in rows:
        line = Text().append(f"{row['kind']:{KIND_WIDTH}} ", style="cyan")
        line.append(looks.plain(row["qualname"]), style="bold").append("  ").append_text(place(row)).append(
            f":{row['line']}", style="green"
        )
        _print_row(out, _documented(line, row["doc"]))


def print_every_symbol(state: State, scope: Scope, kind: str | None, *, as_json: bool) -> None:
    """Every definition of a repository as it comes; as JSON, an object a line."""
    with state.connection() as connection:
        for row in every_symbol(connection, scope, kind=kind):
            if as_json:
                sys.stdout.write(json_format.dumps(row, ensure_ascii=True) + "\n")
            else:
                line = f"{row['kind']:{KIND_WIDTH}} {row['qualname']}  {row['path']}:{row['line']}"
                sys.stdout.write(looks.plain(line) + "\n")


def _print_outline(out: Console, rows: Rows) -> None:
    file = None
    for row in rows:
        if file != row["repository_id"]:
            file = row["repository_id"]
            out.print(header(row), no_wrap=True, overflow="ellipsis")
        line = Text().append(f"{row['line']:{NUMBER_WIDTH}}  ", style="green").append("  " * row["depth"])
        line.append(f"{row['kind']} ", style="cyan").append(looks.plain(row["name"]), style="bold")
        _print_row(out, _documented(line, row["doc"]))


def _documented(line: Text, doc: str | None) -> Text:
    return line.append(f"  {looks.plain(doc)}", style="dim") if doc else line


def _print_row(out: Console, line: Text) -> None:
    """In a terminal what does not fit is cut, the documentation first; elsewhere nothing is."""
    if out.is_terminal:
        out.print(line, no_wrap=True, overflow="ellipsis")
    else:
        out.print(line, soft_wrap=True)
