"""Links between the pages lead to files that are there, and the commands they name to commands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer.main

from worker.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of this project finds it."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [unquote(target.partition("#")[0]) for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_commands_that_are_named_exist(page: Path) -> None:
    """Whoever types what a page says gets no `No such command` or `No such option`."""
    known = dict(_commands(typer.main.get_command(app)))
    text = page.read_text(encoding="utf-8")
    typed = re.findall(r"`(worker [a-z][^`\n|]*)`|^(?:\$ )?(worker [a-z][^\n#|>]*)$", text, re.M)
    wrong = [words for pair in typed for words in pair if words and not _is_usage(words, known)]
    assert [words for words in wrong if words not in NOT_COMMANDS] == []


NOT_COMMANDS = {"worker fences itself", "worker starts", "worker ended"}
"""Lines of a worker's log."""


def _is_usage(words: str, known: dict[str, Any]) -> bool:
    """Whether this is a command, or the first word of some, and knows the options that follow."""
    given = words.partition(";")[0].split()
    for length in (3, 2):
        if command := known.get(" ".join(given[:length])):
            options = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
            said = {word.partition("=")[0].rstrip(".,:") for word in given[length:] if re.match(r"--?[a-z]", word)}
            return said <= options
    return any(name.startswith(f"{' '.join(given)} ") for name in known)


def _commands(group: Any, words: tuple[str, ...] = ("worker",)) -> Iterator[tuple[str, Any]]:
    below = getattr(group, "commands", None)
    if below is None:
        yield " ".join(words), group
        return
    for name, command in below.items():
        if not command.hidden:
            yield from _commands(command, (*words, name))
