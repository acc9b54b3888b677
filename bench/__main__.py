"""Run one benchmark by its name: a table for people, then one JSON line for programs."""

import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WRONG_USAGE = 2


def main(arguments: list[str]) -> int:
    """`NAME [--quick] [its own arguments]`; answers the exit code."""
    known = benchmarks()
    name, *rest = arguments or [""]
    if name not in known:
        print(f"usage: scripts/bench NAME [--quick] [arguments]; NAME is one of: {', '.join(known)}", file=sys.stderr)
        return WRONG_USAGE
    own = [argument for argument in rest if argument != "--quick"]
    module = importlib.import_module(f"bench.{name}")
    result: dict[str, Any] = module.run("--quick" in rest, own)
    show(Console(), name, result)
    everything = {"bench": name, **machine(), **result}
    # Where a benchmark names the figures of its last line, it has no others.
    print(json.dumps({figure: everything[figure] for figure in getattr(module, "LINE", everything)}))
    return 0


def benchmarks() -> list[str]:
    """Names of the files beside this one that hold a benchmark."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.system().lower()}


def show(console: Console, name: str, result: dict[str, Any]) -> None:
    """Lists of rows become tables of their own; all other values share one."""
    lists = {key: value for key, value in result.items() if isinstance(value, list)}
    for key, rows in lists.items():
        console.print(_table(key, list(rows[0]) if rows else [], [list(row.values()) for row in rows]))
    facts = [[key, value] for key, value in result.items() if key not in lists]
    console.print(_table(name, ["figure", "value"], facts))


def _table(title: str, columns: list[str], rows: list[list[Any]]) -> Table:
    table = Table(title=title.replace("_", " "), title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    return table


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
