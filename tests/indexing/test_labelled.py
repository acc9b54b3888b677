"""Samples that were labelled by hand: what a reader of the language calls a definition or a use, line by line.

A label stands in a comment at its line's end: `@ kind qualname, kind qualname` for definitions, and
`> c:name u:name i:name` for what is called, used as a type or constant, and extended or implemented there. A file is
compared in what it has labels of. Labels say what is true, not what is found: what is not found costs recall.
"""

import re
from pathlib import Path

import pytest

from worker.indexing.extract import extract
from worker.indexing.languages import Language, language_of
from worker.indexing.records import Extract, ReferenceKind, Task

_FOLDER = Path(__file__).with_name("labelled")
_DEFINED = re.compile(r"(?://|#|--)@ (.+)$")
_USED = re.compile(r"(?://|#|--)> (.+)$")
_USES = {"c": ReferenceKind.CALL, "u": ReferenceKind.USE, "i": ReferenceKind.IMPLEMENTATION}
Label = tuple[int, str, str]


def _files(lang: Language) -> list[Path]:
    return [path for path in sorted(_FOLDER.iterdir()) if language_of(path.stem) is lang]


def _extract(path: Path) -> Extract:
    return extract(Task(b"", path.stem, language_of(path.stem), path.read_bytes()))


def _labels(path: Path, mark: re.Pattern[str], separator: str) -> set[Label]:
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    found = [
        (number, label)
        for number, line in lines
        for match in [mark.search(line)]
        if match
        for label in match[1].split(separator)
    ]
    return {(number, *_parted(label)) for number, label in found}


def _parted(label: str) -> tuple[str, str]:
    kind, _, name = label.partition(" ") if " " in label else label.partition(":")
    return kind, name


def _definitions(path: Path) -> set[Label]:
    return {(symbol.line, symbol.kind.name.lower(), symbol.qualname) for symbol in _extract(path).symbols}


def _references(path: Path) -> set[Label]:
    letters = {kind: letter for letter, kind in _USES.items()}
    return {(line, letters[one.kind], one.name) for one in _extract(path).references for line in one.lines}


@pytest.mark.parametrize(("lang", "recall", "precision"), [(Language.SWIFT, 1.0, 1.0), (Language.SCALA, 1.0, 0.994)])
def test_definitions(lang: Language, recall: float, precision: float) -> None:
    """Of more than 100 definitions in three files all are found, and nearly all that is found is one."""
    files = _files(lang)
    assert len(files) >= 3
    labels = {(path.name, *label) for path in files for label in _labels(path, _DEFINED, ", ")}
    found = {(path.name, *label) for path in files for label in _definitions(path)}
    assert len(labels) > 100
    assert len(labels & found) / len(labels) >= recall, sorted(labels - found)
    assert len(labels & found) / len(found) >= precision, sorted(found - labels)


@pytest.mark.parametrize(
    ("lang", "recall", "precision"),
    [
        (Language.PYTHON, 1.0, 1.0),
        (Language.TYPESCRIPT, 1.0, 1.0),
        (Language.GO, 0.971, 0.985),
        (Language.JAVA, 1.0, 1.0),
        (Language.RUST, 1.0, 0.990),
        (Language.C, 0.969, 1.0),
    ],
)
def test_references(lang: Language, recall: float, precision: float) -> None:
    """Of at least 50 uses a language as many are found as docs/indexing.md states, and as few wrong ones."""
    files = _files(lang)
    labels = {(path.name, *label) for path in files for label in _labels(path, _USED, " ")}
    found = {(path.name, *label) for path in files for label in _references(path)}
    assert len(labels) >= 50
    assert len(labels & found) / len(labels) >= recall, sorted(labels - found)
    assert len(labels & found) / len(found) >= precision, sorted(found - labels)
