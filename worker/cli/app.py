"""The `worker` command: its groups, and the one place where an error becomes a message and an exit code."""

import sys
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.markup import escape

from worker import __version__
from worker.cli import demo, indexing, jobs, processes, repositories, searching
from worker.errors import WorkerError

EXIT_FAILED = 1

app = typer.Typer(
    name="worker",
    help="From a git push to searchable code in your own Postgres.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
repo = typer.Typer(name="repo", help="Repositories: add, list, show, remove, rotate-secret.", no_args_is_help=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"indexing-worker {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From a git push to searchable code in your own Postgres."""


for module in (processes, indexing, jobs, searching, demo):
    module.add_commands(app)
repositories.add_commands(repo)
app.add_typer(repo)


def main() -> None:
    """Run the command that was asked for; exit 0 for success, 1 for failure, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        app()
    except WorkerError as failure:
        _complain(str(failure), failure.hint)
    except psycopg.errors.InvalidParameterValue as failure:
        _complain(str(failure.diag.message_primary), None)
    except psycopg.OperationalError as failure:
        _complain(f"Postgres: {failure}", "`worker check` tries the connection.")
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(sentence: str, hint: str | None) -> None:
    from worker.logging import redactor

    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(redactor().text(sentence))}")
    if hint:
        console.print(f"[dim]hint:[/] {escape(hint)}")
    sys.exit(EXIT_FAILED)
