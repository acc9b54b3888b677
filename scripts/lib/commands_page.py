"""docs/commands.md, made from the command line itself: each command with its options and the example of its help."""

import enum
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from worker.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "commands.md"
_HEAD = """# Commands

What `worker COMMAND --help` says, on one page. It is made from the program by `scripts/make-docs`; a test fails when it
is out of date.

Every command but `run` and `receive` takes `--json`: one JSON value on standard output (`worker logs --json` and
`worker symbols --all --json`: one a line). What is for people about the surroundings goes to standard error.

| exit code | meaning |
|---|---|
| 0 | it worked |
| 1 | it did not: an error (the sentence and a hint are on standard error), a job that did not complete, a check that \
failed, a search without a hit, nothing to cancel or to retry |
| 2 | wrong usage |
| 130 | Ctrl-C. `worker index` hands the running job of its own worker back to the queue, at no cost, and says so |

`worker run` and `worker receive` end with 0 after a signal; see [signals](operating.md#run-and-receive).
"""
_MORE = {
    "Search": "What is searched, and the same as SQL functions: [indexing.md](indexing.md#searching).",
    "Jobs": "Many at once: [operating.md](operating.md#many-jobs-at-once).",
    "Operate": "More in [operating.md](operating.md).",
}


def commands_page() -> str:
    """The page's text: a heading for each panel of `worker --help`, and below it one for each command."""
    parts = [_HEAD]
    for panel, entries in _panels().items():
        parts.append(f"\n## {panel}\n")
        if panel in _MORE:
            parts.append(f"\n{_MORE[panel]}\n")
        parts += [_entry(name, command) for name, command in entries]
    return "".join(parts)


def commands(group: Any, words: tuple[str, ...] = ("worker",)) -> Iterator[tuple[str, Any]]:
    """Every command a user can type, by its name, such as `worker repo add`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        elif not command.hidden:  # those are former names
            yield " ".join((*words, name)), command


def usage_of(name: str, command: Any) -> str:
    """A command with its arguments; those in brackets may be left out."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    return " ".join([name, *(p.metavar if p.required else f"[{p.metavar}]" for p in arguments)])


def example_of(command: Any) -> str:
    """The example in its help."""
    (found,) = re.findall(r"Example: (.+)", command.help)
    return found


def _panels() -> dict[str, list[tuple[str, Any]]]:
    root = typer.main.get_command(app)
    panels: dict[str, list[tuple[str, Any]]] = {}
    for name, command in commands(root):
        top: Any = root.commands[name.split()[1]]  # type: ignore[attr-defined]
        panels.setdefault(top.rich_help_panel, []).append((name, command))
    return panels


def _entry(name: str, command: Any) -> str:
    said = command.help.partition("Example:")[0].strip()
    arguments = "".join(_row(p.metavar, p.help) for p in command.params if p.param_type_name == "argument")
    types = typing.get_type_hints(command.callback)
    options = "".join(
        _row(_typed(p, types[p.name]), _meaning(p))
        for p in command.params
        if p.param_type_name == "option" and p.opts != ["--json"]
    )
    rows = f"\n| argument, option | meaning |\n|---|---|\n{arguments}{options}" if arguments or options else ""
    return f"\n### {usage_of(name, command)}\n\n{_escaped(said)}\n\n```\n{example_of(command)}\n```\n{rows}"


def _typed(option: Any, kind: Any) -> str:
    """An option as it is typed, with what stands for its value."""
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar or _value(kind)}"


def _value(kind: Any) -> str:
    """A word for values of this type, or the values there are."""
    kinds = [kind, *typing.get_args(kind)]
    for found in kinds:
        if isinstance(found, type) and issubclass(found, enum.Enum):
            return "|".join(str(member.value) for member in found)
    return "NUMBER" if int in kinds or float in kinds else "TEXT"


def _meaning(option: Any) -> str:
    """Its help, with its bounds and its default."""
    if option.is_flag:
        return option.help
    default = f"default {getattr(option.default, 'value', option.default)}" if option.default is not None else ""
    more = ", ".join(filter(None, [_bounds(option.min, option.max), default]))
    return f"{option.help.removesuffix('.')}; {more}." if more else option.help


def _bounds(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f"{least:,} to {most:,}"
    return f"from {least:,}" if least is not None else f"to {most:,}" if most is not None else ""


def _row(typed: str, meaning: str) -> str:
    return f"| `{typed.replace('|', chr(92) + '|')}` | {_escaped(meaning).replace('|', chr(92) + '|')} |\n"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*")
