"""The `worker` command: its groups, and the one place where an error becomes a message and an exit code."""

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import psycopg
import typer
from rich.markup import escape

from worker import __version__
from worker.cli import (
    acting,
    demo,
    doctor,
    documents,
    draining,
    hooks,
    indexing,
    jobs,
    keys,
    lanes,
    looks,
    processes,
    relations,
    repositories,
    schedules,
    searching,
    standing,
    symbols,
)
from worker.errors import WorkerError
from worker.logging import redactor

EXIT_FAILED = 1

app = typer.Typer(
    name="worker",
    help="From a git push to searchable code in your own Postgres.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
repo = typer.Typer(name="repo", help="Repositories: add, list, show, remove, rotate, test.", no_args_is_help=True)
key = typer.Typer(name="key", help="Keys for other services: set, remove.", no_args_is_help=True)
schedule = typer.Typer(
    name="schedule", help="Jobs by the clock: add, list, remove, pause, resume.", no_args_is_help=True
)


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


_PANELS = {
    "Index": (demo, indexing),
    "Search": (searching, symbols, relations, documents),
    "Jobs": (jobs, acting),
    "Operate": (standing, doctor, draining, lanes),
    "Processes": (processes,),
}
"""What `worker --help` and docs/commands.md list together, in this order; groups are added to theirs below."""

for panel, modules in _PANELS.items():
    for module in modules:
        known = len(app.registered_commands)
        module.add_commands(app)
        for command in app.registered_commands[known:]:
            command.rich_help_panel = panel
repositories.add_commands(repo)
hooks.add_commands(repo)
keys.add_commands(key)
schedules.add_commands(schedule)
app.add_typer(repo, rich_help_panel="Index")
app.add_typer(key, rich_help_panel="Index")
app.add_typer(schedule, rich_help_panel="Jobs")


def main() -> None:
    """Run the command that was asked for; exit 0 for success, 1 for failure, 2 for wrong usage, 130 for Ctrl-C."""
    _end_in_order_on(signal.SIGTERM, signal.SIGHUP)
    try:
        app(prog_name="worker")
    except WorkerError as failure:
        _complain(str(failure), failure.hint)
    except psycopg.errors.InvalidParameterValue as failure:
        _complain(looks.sentence(failure.diag.message_primary or "a value was refused"), None)
    except psycopg.Error as failure:
        said = looks.sentence(failure.diag.message_primary or str(failure))
        _complain(f"Postgres: {said}", "`worker check` tries the connection.")


def _end_in_order_on(*numbers: signal.Signals) -> None:
    """Turn signals into an exception, so that a command stops what it started; `run` and `receive` have their own."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    for number in numbers:
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, end)


def _complain(sentence: str, hint: str | None) -> NoReturn:
    console = looks.console(stderr=True)
    console.print(f"[bold red]error:[/] {_shown(sentence)}")
    if hint:
        console.print(f"[dim]hint:[/] {_shown(hint)}")
    sys.exit(EXIT_FAILED)


def _shown(words: str) -> str:
    return "\n".join(escape(looks.plain(line)) for line in redactor().text(words).split("\n"))
