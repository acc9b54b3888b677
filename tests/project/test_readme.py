"""README.md and docs/ say what the program is: commands, tables, verbs, metrics, tests and files."""

import re
from pathlib import Path

import pytest
import typer.main

from scripts.lib.commands_page import commands, example_of, usage_of
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


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_page_of_commands_has_each_with_all_its_options() -> None:
    """docs/commands.md explains every command a user can type, and no others."""
    parts = re.split(r"^### ", PAGES["commands.md"], flags=re.M)[1:]
    entries = {part.partition("\n")[0]: part for part in parts}
    assert sorted(entries) == sorted(usage_of(name, command) for name, command in COMMANDS.items())
    for name, command in COMMANDS.items():
        options = {
            word for p in command.params if p.param_type_name == "option" for word in (*p.opts, *p.secondary_opts)
        }
        entry = entries[usage_of(name, command)]
        assert set(re.findall(r"(?<=[` ])--?[a-z-]+(?=[`, ][^\n]* \|)", entry)) >= options - {"--json"}, name
        assert f"\n{example_of(command)}\n" in entry


def test_every_command_has_json_where_the_page_says_so() -> None:
    """Programs can read what any command prints; `run` and `receive` print nothing but their log."""
    without = {name for name, command in COMMANDS.items() if not any(p.opts == ["--json"] for p in command.params)}
    assert without == {"worker run", "worker receive"}


def test_readme_shows_commands_that_there_are() -> None:
    """The most used ones stand there as they are typed, with the examples of their help."""
    listed = rows("README.md", "command | what it does | example")
    known = {usage_of(name, command): example_of(command) for name, command in COMMANDS.items()}
    assert [(usage, example) for usage, _, example in listed if known.get(usage.strip("`")) != example.strip("`")] == []
    assert len(listed) <= 12


def test_readme_stays_short() -> None:
    """Whoever meets the project reads it to the end; what is longer has a page of its own."""
    assert len(PAGES["README.md"].splitlines()) <= 160


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
