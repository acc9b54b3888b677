"""README.md and docs/ say what the program is: commands, tables, verbs, metrics, tests and files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from worker.cli.app import app
from worker.metrics import REGISTRY

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path.read_text("utf-8") for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]}
MIGRATIONS = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "supabase/migrations").glob("*.sql")))
TESTS = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of the one table that has this header."""
    (table,) = re.findall(rf"^\| {re.escape(header)} \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGES[page], re.M)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]


def commands(group: Any, words: tuple[str, ...] = ("worker",)) -> Iterator[tuple[str, Any]]:
    """Every command a user can type, with its name."""
    below = getattr(group, "commands", None)
    if below is None:
        yield " ".join(words), group
        return
    for name, command in below.items():
        if not command.hidden:
            yield from commands(command, (*words, name))


def usage_of(name: str, command: Any) -> tuple[str, frozenset[str], str]:
    """A command with its arguments, its options, and the example of its help."""
    arguments = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
    options = {word for p in command.params if p.param_type_name == "option" for word in (*p.opts, *p.secondary_opts)}
    example = re.search(r"Example: (.+)", command.help)
    assert example is not None, f"{name} has no example"
    return " ".join([name, *arguments]), frozenset(options), example[1]


def test_the_table_of_commands_is_the_program() -> None:
    """Each command once, with its arguments, all its options and the example of its help."""
    listed = {
        (usage.strip("`"), frozenset(re.findall(r"`(--?[a-z-]+)`", options)), example.strip("`"))
        for usage, _, options, example in rows("README.md", "command | what it does | options | example")
    }
    assert listed == {usage_of(name, command) for name, command in commands(typer.main.get_command(app))}


def test_tests_that_are_named_exist() -> None:
    """Each promise is kept by a test of that very name."""
    for page, text in PAGES.items():
        named = set(re.findall(r"\btest_\w+\b(?!\.py|/)", text))
        assert [name for name in sorted(named) if f"def {name}(" not in TESTS] == [], page


@pytest.mark.parametrize("number", range(1, 12))
def test_each_promise_has_its_row(number: int) -> None:
    """docs/queue.md names tests for every promise, or says that it is not kept yet."""
    (row,) = [row for row in rows("queue.md", "| promise | tests") if row[0] == str(number)]
    assert "test_" in row[2] or "not kept yet" in row[2]


def test_files_that_are_named_exist() -> None:
    """A path in the text leads somewhere."""
    for page, text in PAGES.items():
        named = re.findall(r"`((?:worker|tests|supabase|scripts|docs|bench)/[\w./-]+)`", text)
        assert [name for name in named if not (ROOT / name).exists()] == [], page


def test_every_room_has_its_row() -> None:
    """docs/architecture.md says what each folder and file of worker/ owns."""
    named = {
        name for row in rows("architecture.md", "floor | room | owns") for name in re.findall(r"`([^`]+)`", row[1])
    }
    there = {f"worker/{path.parent.name}/" for path in (ROOT / "worker").glob("*/__init__.py")}
    there |= {f"worker/{path.name}" for path in (ROOT / "worker").glob("*.py") if not path.name.startswith("__")}
    assert named == there


def test_every_table_has_its_row() -> None:
    """docs/architecture.md names each table of the migrations, and no others."""
    created = set(re.findall(r"^create table ((?:public|idx)\.\w+)", MIGRATIONS, re.M))
    named = {name for row in rows("architecture.md", "table | a row is") for name in re.findall(r"`([^`]+)`", row[0])}
    assert named == created


def test_every_function_of_the_queue_is_explained() -> None:
    """docs/queue.md names each function and each table of schema queue, and no others."""
    verbs = re.findall(r"(create|drop) (?:or replace )?(?:function|table) (?:if exists )?(queue\.\w+)", MIGRATIONS)
    there = {name for name, verb in {name: verb for verb, name in verbs}.items() if verb == "create"}
    assert set(re.findall(r"`(queue\.\w+)`", PAGES["queue.md"])) == there


def test_every_metric_is_listed() -> None:
    """docs/operating.md lists each metric of the program with its labels."""
    listed = {name.strip("`"): labels for name, labels, _ in rows("operating.md", "metric | labels | what")}
    suffixes = {"counter": "_total", "info": "_info"}
    known = {
        f"{family.name}{suffixes.get(family.type, '')}": {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in REGISTRY.collect()
        if family.name.startswith("indexing_worker_")
    }
    assert {name: set(filter(None, labels.split(", "))) for name, labels in listed.items()} == known
