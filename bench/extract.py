"""How fast files become records: Python's own standard library, beside merely reading its lines, in one process."""

import sysconfig
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from worker.indexing.extract import extract
from worker.indexing.languages import Language
from worker.indexing.preload import preload
from worker.indexing.records import Task

QUICK_FILES = 200


def run(quick: bool, args: list[str]) -> dict[str, Any]:
    """Interleaved rounds of both; medians. An argument names another folder of Python files."""
    folder = Path(args[0]) if args else Path(sysconfig.get_path("stdlib"))
    files = _files(folder, QUICK_FILES if quick else None)
    sizes = sum(path.stat().st_size for path in files)
    preload()
    seconds: dict[str, list[float]] = {"raw": [], "extract": []}
    symbols = tokens = 0
    for _ in range(3):
        seconds["raw"].append(_timed(lambda: _scan(files)))
        started = time.perf_counter()
        symbols, tokens = _extract(files)
        seconds["extract"].append(time.perf_counter() - started)
    rows = [_row(name, sizes, len(files), took) for name, took in seconds.items()]
    return {
        "rounds": rows,
        "files": len(files),
        "megabytes": round(sizes / 1e6, 2),
        "symbols": symbols,
        "tokens": tokens,
        "share_of_raw": round(median(seconds["raw"]) / median(seconds["extract"]), 4),
    }


def _files(folder: Path, most: int | None) -> list[Path]:
    installed = {"site-packages", "dist-packages", "test", "tests"}
    found = sorted(path for path in folder.rglob("*.py") if not installed & set(path.parts))
    return found[:: max(1, len(found) // most)][:most] if most else found


def _scan(files: Iterable[Path]) -> int:
    """The raw limit: every byte read, every line looked at once."""
    return sum(line.startswith((b"def ", b"class ")) for path in files for line in path.read_bytes().splitlines())


def _extract(files: Iterable[Path]) -> tuple[int, int]:
    symbols = tokens = 0
    for path in files:
        done = extract(Task(oid=b"\0" * 20, path=path.name, lang=Language.PYTHON, content=path.read_bytes()))
        symbols += len(done.symbols)
        tokens += done.tokens
    return symbols, tokens


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _row(name: str, size: int, files: int, took: list[float]) -> dict[str, Any]:
    middle = median(took)
    return {
        "what": name,
        "seconds": round(middle, 3),
        "megabytes_a_second": round(size / 1e6 / middle, 2),
        "files_a_second": round(files / middle),
    }
