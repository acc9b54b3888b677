"""What holds for every command: help with an example, exit codes, where output goes."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer.main

from worker.cli.app import app

Worker = Callable[..., Any]


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        elif not command.hidden:  # those are the former names of others
            yield (*words, name)


EVERY = list(commands(typer.main.get_command(app)))
LISTINGS = [("jobs",), ("repo", "list"), ("status",), ("migrate",), ("check",)]


def test_every_command_explains_itself_with_an_example(worker: Worker) -> None:
    """`-h` and `--help` work everywhere and show how the command is typed."""
    for words in EVERY:
        ended = worker(*words, "--help")
        assert ended.code == 0
        before = "DATABASE_URL=postgresql://… " if words == ("migrate",) else ""
        assert f"Example: {before}worker {' '.join(words)}" in " ".join(ended.out.split())
        assert worker(*words, "-h").out == ended.out


def test_version(worker: Worker) -> None:
    """`--version` names the distribution."""
    assert worker("--version").out.startswith("indexing-worker ")


WRONG = [
    ("nonsense",), ("cancel",), ("symbols",), ("repo", "nonsense"), ("job",), ("jobs", "--status", "late"),
    ("jobs", "--limit", "0"),
    ("jobs", "--nonsense"), ("receive", "--port", "70000"), ("run", "--slots", "0"),
]  # fmt: skip


def test_wrong_usage_exits_2(worker: Worker) -> None:
    """Scripts can tell a typing error from a failure; what is wrong is said on stderr."""
    for words in WRONG:
        ended = worker(*words)
        assert "[[" not in ended.err
        assert (ended.code, ended.out) == (2, "")
        assert "Try 'worker" in ended.err


def test_json_is_one_value_and_nothing_else(worker: Worker) -> None:
    """With --json stdout is one line of JSON, and nobody is told anything on stderr."""
    for words in LISTINGS:
        ended = worker(*words, "--json")
        assert ended.code == 0, ended.err
        assert ended.json is not None
        assert ended.err == ""


def test_remarks_go_to_stderr(worker: Worker) -> None:
    """Which database is used is no part of what was asked for."""
    for words in LISTINGS[:-1]:
        ended = worker(*words)
        assert ended.code == 0
        assert "Using the Postgres of DATABASE_URL at" in ended.err
        assert "Using the Postgres" not in ended.out


def test_output_that_is_no_terminal_is_not_folded(worker: Worker, make_job: Callable[..., Any]) -> None:
    """A job is one line with its whole id, without colours and trailing blanks, however narrow the terminal is."""
    reason = "a long reason " * 20
    job_id = make_job(status="failed", error_class="git", error_message=reason, name="x" * 90)
    _, line = worker("jobs").out.splitlines()
    assert str(job_id) in line
    assert reason.strip() in line
    assert "\x1b" not in line
    assert line == line.rstrip()


def test_foreign_text_cannot_steer_the_terminal(worker: Worker, make_job: Callable[..., Any]) -> None:
    """Escape sequences in what others wrote are shown, not obeyed."""
    job_id = make_job(status="failed", error_class="git", error_message="\x1b[2Jgone [bold]b[/]")
    assert r"\x1b[2Jgone [bold]b[/]" in worker("jobs").out
    assert r"\x1b[2Jgone [bold]b[/]" in worker("job", str(job_id)).out


def test_unmigrated_database(worker: Worker, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of the user's own is not migrated behind their back; they are told the command that does it."""
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    for words in (("jobs",), ("run",), ("receive",)):
        ended = worker(*words)
        assert (ended.code, ended.out) == (1, "")
        assert "hint: Run `worker migrate`" in ended.err
    applied = worker("migrate", "--json").json["applied"]
    assert len(applied) > 5
    assert worker("migrate").out == "Nothing to do: the schema is up to date.\n"
    assert worker("jobs").code == 0


def test_a_port_that_is_taken(worker: Worker) -> None:
    """A second worker on one machine is told the option that helps, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command, option in (("run", "--metrics-port"), ("receive", "--port")):
            ended = worker(command, option, port)
            assert (ended.code, ended.out) == (1, "")
            assert f"Port {port} of 127.0.0.1 cannot be used" in ended.err
            assert f"hint: Give another one with {option}" in ended.err
