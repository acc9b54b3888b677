"""search: lines of code; and what all commands that search have in common."""

from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.text import Text

from worker.catalog.search import Page, Scope, check_branch, search_code
from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.repositories import find_repository
from worker.cli.state import Json, State, open_state

Repo = Annotated[str | None, typer.Option(help="Only in this repository.")]
Branch = Annotated[str | None, typer.Option(help="This branch; default: the tracked one of each repository.")]
PathGlob = Annotated[
    str | None, typer.Option("--path", metavar="GLOB", help="Only in these files, such as 'src/**/*.py' or '*.md'.")
]
InLanguage = Annotated[str | None, typer.Option("--language", help="Only in files of this language.")]
Limit = Annotated[int, typer.Option(help="Most rows.", min=1, max=1000)]
After = Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on behind the row with this cursor.")]
Rows = list[dict[str, Any]]
NUMBER_WIDTH = 6


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(search)


def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, at least 3 characters.")],
    regex: Annotated[bool, typer.Option("--regex", help="TEXT is a regular expression of Postgres.")] = False,
    case: Annotated[bool, typer.Option("--case", help="Upper and lower case differ.")] = False,
    path: PathGlob = None,
    language: InLanguage = None,
    repo: Repo = None,
    branch: Branch = None,
    context: Annotated[int, typer.Option(help="Lines to show around each hit.", min=0, max=20)] = 0,
    per_file: Annotated[int, typer.Option(help="Most hits of one file.", min=1, max=1000)] = 5,
    limit: Limit = 20,
    after: After = None,
    json: Json = False,
) -> None:
    """Search the indexed code for lines with this text. Exit code 1: nothing found.

    Example: worker search "def dispatch" --repo django
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        scope = searched(state, repo, branch, path=path, language=language)
        notes: list[str] = []
        modes = {"regex": regex, "case_sensitive": case, "context": context, "per_file": per_file}
        rows = search_code(connection, text, scope, Page(limit, after), **modes, on_partial=notes.append)
        if json:
            print_json(rows)
        else:
            print_code(state.out, rows, text, case=case or regex)
        for note in notes:
            state.aside.print(note, style="yellow", markup=False, soft_wrap=True)
        end(state, rows, text, limit=limit, quiet=json)


def searched(state: State, repo: str | None, branch: str | None, **filters: str | None) -> Scope:
    """The scope that a command's options mean; raises NotFound for an unknown repository or branch."""
    scope = Scope(state.visible_user, find_repository(state, repo) if repo else None, branch, **filters)
    with state.connection() as connection:
        check_branch(connection, scope)
    return scope


def end(state: State, rows: Rows, asked: str, *, limit: int, quiet: bool, hint: str = "") -> None:
    """As grep ends: 1 when nothing was found. What there may be besides is said to people alone."""
    if not rows:
        if not quiet:
            state.aside.print(f"Nothing found for {asked!r}.{hint}", markup=False)
        raise typer.Exit(1)
    if len(rows) == limit and not quiet:
        state.aside.print(
            f"There may be more: --limit, or --after {rows[-1]['cursor']}", style="dim", markup=False, soft_wrap=True
        )


def print_code(out: Console, rows: Rows, text: str, *, case: bool = False) -> None:
    """Hits below their file in a terminal; elsewhere one a line, with its file, as grep does."""
    if not out.is_terminal:
        for row in rows:
            _print_as_grep(out, row)
        return
    files: dict[tuple[UUID, str], Rows] = {}
    for row in rows:
        files.setdefault((row["repository_id"], row["path"]), []).append(row)
    for number, hits in enumerate(files.values()):
        if number:
            out.print()
        out.print(header(hits[0]), no_wrap=True, overflow="ellipsis")
        _print_hits(out, sorted(hits, key=lambda hit: hit["line"]), text, case=case)


def header(row: dict[str, Any]) -> Text:
    """The line above what was found in a file: where it is, and of which commit."""
    return place(row).append(f"  {looks.plain(row['branch'])} {(row['commit'] or '–')[:10]}", style="dim")


def place(row: dict[str, Any]) -> Text:
    """A file with its repository."""
    repository, path = looks.plain(row["repository"]), looks.plain(row["path"])
    return Text().append(f"{repository}/", style="dim").append(path, style="magenta")


def code_line(number: int, content: str, style: str = "default") -> Text:
    """A numbered line of code."""
    line = Text().append(f"{number:{NUMBER_WIDTH}}  ", style="green" if style == "default" else style)
    return line.append(looks.plain(content.rstrip()), style=style)


def _around(row: dict[str, Any]) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """The numbered lines before and behind a hit."""
    before, behind = row["lines_before"], row["lines_after"]
    return list(enumerate(before, row["line"] - len(before))), list(enumerate(behind, row["line"] + 1))


def _print_as_grep(out: Console, row: dict[str, Any]) -> None:
    file = place(row).plain
    before, behind = _around(row)
    for mark, lines in (("-", before), (":", [(row["line"], row["content"])]), ("-", behind)):
        for number, content in lines:
            out.print(f"{file}{mark}{number}{mark}{looks.plain(content.rstrip())}", soft_wrap=True, markup=False)
    if before or behind:
        out.print("--")


def _print_hits(out: Console, hits: Rows, text: str, *, case: bool) -> None:
    """The lines of one file in their order, each once, with a mark where some are left out."""
    lines = {
        number: code_line(number, content, style="dim")
        for hit in hits
        for some in _around(hit)
        for number, content in some
    }
    has_context = bool(lines)
    lines |= {hit["line"]: _highlighted(hit, text, case=case) for hit in hits}
    last = min(lines)
    for number in sorted(lines):
        if has_context and number > last + 1:
            out.print(Text("⋮".rjust(NUMBER_WIDTH), style="dim"))
        out.print(lines[number], no_wrap=True, overflow="ellipsis")
        last = number
    left_out = hits[0]["matching_lines"] - len(hits)
    if left_out > 0:
        out.print(Text(f"{'':{NUMBER_WIDTH}}  {left_out:,} more in this file", style="dim italic"))


def _highlighted(hit: dict[str, Any], text: str, *, case: bool) -> Text:
    """The match that Postgres found, and the text wherever else it stands in the line."""
    line = code_line(hit["line"], hit["content"])
    line.highlight_words([text], style="bold red", case_sensitive=case)
    if hit["match_start"] is not None and hit["content"].isprintable():  # else characters have moved
        start = NUMBER_WIDTH + 2 + hit["match_start"] - 1
        line.stylize("bold red", start, start + hit["match_length"])
    return line
