"""documents: the files of the index."""

import typer

from worker.catalog.search import Page, list_documents
from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.searching import After, Branch, InLanguage, Limit, PathGlob, Repo, end, searched
from worker.cli.state import Json, open_state


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(documents)


def documents(
    repo: Repo = None,
    path: PathGlob = None,
    language: InLanguage = None,
    branch: Branch = None,
    limit: Limit = 200,
    after: After = None,
    json: Json = False,
) -> None:
    """List the indexed files with language and size, and why some were not read. Exit code 1: there are none.

    Example: worker documents --repo flask --path 'src/**'
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        scope = searched(state, repo, branch, path=path, language=language)
        rows = list_documents(connection, scope, Page(limit, after))
        if json:
            print_json(rows)
        elif rows:
            table = looks.table("file", "language", "size", "lines", "not read", keep=("language", "size", "lines"))
            for row in rows:
                why = looks.text((row["skipped"] or "").replace("_", " ")) if row["skipped"] else ""
                file = looks.text(f"{row['repository']}/{row['path']}")
                table.add_row(file, row["language"], looks.size(row["size"]), f"{row['lines']:,}", why)
            looks.show(state.out, table)
        end(state, rows, path or repo or "documents", limit=limit, quiet=json)
