"""The documentation agrees with the program and with the files it points to."""

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
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = [line for line in README.splitlines() if line.startswith("|")]


def commands(group: Any, words: tuple[str, ...] = ("worker",)) -> Iterator[str]:
    """Every command a user can type, such as `worker repo add`."""
    below = getattr(group, "commands", None)
    if below is None:
        yield " ".join(words)
        return
    for name, command in below.items():
        if not command.hidden:
            yield from commands(command, (*words, name))


def first_cells() -> list[str]:
    """What stands first in each row of README's tables."""
    return [row.split("|")[1].strip() for row in ROWS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of this project finds it."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [unquote(target.partition("#")[0]) for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.skipif(not README, reason="README.md is not written yet")
def test_readme_lists_every_command() -> None:
    """Whoever reads the table knows all commands there are, and no others."""
    named = {match[1] for cell in first_cells() if (match := re.match(r"`(worker(?: [a-z][a-z-]*)+)", cell))}
    assert named == set(commands(typer.main.get_command(app)))
