"""references, callers, impact: what depends on a name or a file."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from worker.catalog import search
from worker.catalog.search import Page
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
    code_line,
    end,
    header,
    place,
    searched,
)
from worker.cli.state import Json, open_state
from worker.cli.symbols import FilePath

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name as it stands in the code, without what it is in.")]


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(references)
    app.command()(callers)
    app.command()(impact)


def references(
    name: Name,
    repo: Repo = None,
    path: PathGlob = None,
    language: InLanguage = None,
    branch: Branch = None,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
) -> None:
    """Show where a name is used: called, used as a class, type or constant, or extended. Exit code 1: nowhere.

    Example: worker references redact --repo worker
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        scope = searched(state, repo, branch, path=path, language=language)
        rows = search.find_references(connection, name, scope, Page(limit, after))
        if json:
            print_json(rows)
        else:
            _print_references(state.out, rows)
        end(state, rows, name, limit=limit, quiet=json, hint=_last_part(name))


def callers(
    name: Name,
    repo: Repo = None,
    path: PathGlob = None,
    language: InLanguage = None,
    branch: Branch = None,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
) -> None:
    """Show which definitions call a name, and in which lines. Exit code 1: none.

    Example: worker callers dispatch_request --repo flask
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        scope = searched(state, repo, branch, path=path, language=language)
        rows = search.find_callers(connection, name, scope, Page(limit, after))
        if json:
            print_json(rows)
        else:
            _print_callers(state.out, rows)
        end(state, rows, name, limit=limit, quiet=json, hint=_last_part(name))


def impact(
    path: FilePath,
    repo: Repo = None,
    depth: Annotated[int, typer.Option(help="How many imports away at most.", min=1, max=100)] = 5,
    branch: Branch = None,
    limit: Limit = 200,
    after: After = None,
    json: Json = False,
) -> None:
    """Show which files a change of this one may reach, through imports, nearest first. Exit code 1: none.

    Example: worker impact src/flask/globals.py --repo flask
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        scope = searched(state, repo, branch)
        rows = search.impact(connection, path.removeprefix("./"), scope, Page(limit, after), depth=depth)
        if json:
            print_json(rows)
        else:
            _print_impact(state.out, rows)
        end(state, rows, path, limit=limit, quiet=json, hint=" No indexed file imports it.")


def _last_part(name: str) -> str:
    last = name.replace("::", ".").rpartition(".")[2]
    return f" Uses are known by the last part of a name: try {last!r}." if last not in ("", name) else ""


def _print_references(out: Console, rows: Rows) -> None:
    """Below their file in a terminal; elsewhere one a line, as grep prints them."""
    file = None
    for row in rows:
        content = looks.plain(row["content"].strip())
        if not out.is_terminal:
            out.print(f"{place(row).plain}:{row['line']}:{row['kind']}: {content}", soft_wrap=True, markup=False)
            continue
        file = _print_header(out, row, file)
        line = code_line(row["line"], row["content"]).append(
            "" if row["kind"] == "call" else f"  {row['kind']}", "cyan"
        )
        out.print(line, no_wrap=True, overflow="ellipsis")


def _print_callers(out: Console, rows: Rows) -> None:
    file = None
    for row in rows:
        caller = f"{row['kind']} {looks.plain(row['qualname'])}" if row["kind"] else "outside any definition"
        lines = ", ".join(map(str, row["call_lines"]))
        if not out.is_terminal:
            out.print(f"{place(row).plain}:{row['line']}: {caller} ({lines})", soft_wrap=True, markup=False)
            continue
        file = _print_header(out, row, file)
        line = (
            Text()
            .append(f"{row['line']:{NUMBER_WIDTH}}  ", style="green")
            .append(caller, style="bold" if row["kind"] else "dim")
        )
        out.print(line.append(f"  calls in {lines}", style="dim"), no_wrap=True, overflow="ellipsis")
        out.print(code_line(row["call_lines"][0], row["content"], style="dim"), no_wrap=True, overflow="ellipsis")


def _print_impact(out: Console, rows: Rows) -> None:
    for row in rows:
        line = Text().append(f"{row['distance']:3}  ", style="green").append_text(place(row))
        line.append(f"  imports {looks.plain(row['via'])} in line {row['line']}", style="dim")
        out.print(line, soft_wrap=True)


def _print_header(out: Console, row: dict[str, Any], last: Any) -> Any:
    """Print the file's header where another file begins; answers what tells this file."""
    file = (row["repository_id"], row["path"])
    if file != last:
        if last is not None:
            out.print()
        out.print(header(row), no_wrap=True, overflow="ellipsis")
    return file
