"""Our definitions beside universal-ctags': `definitions --repo PATH [--language NAME]`.

A definition is a path, a line (give or take one) and a name. Compared are functions, methods, classes, interfaces,
structs, enums, traits, modules, namespaces and types; no variables, fields, macros, parameters or enumerators. A name
that the other side has at that place under a kind that is not compared counts as missing, in a class of its own.
ctags is not the truth. What one side lacks is put into classes by what the syntax tree has at that place; the classes
whose name begins with "ctags:" are its mistakes by the rules of bench/_definitions/verdicts.py. Raw figures
count them all; `recall` and `precision` leave those out.
"""

import argparse
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench._definitions.ctags import PEERS, Tag, ctags, plain, tags_of_ctags
from bench._definitions.verdicts import File, why_extra, why_missing
from worker.indexing.classify import Skip
from worker.indexing.extract import extract
from worker.indexing.languages import Language, language_of
from worker.indexing.records import SymbolKind, Task

QUICK_FILES = 100
MAX_FILE_BYTES = 1 << 20
EXAMPLES = 3
SHOWN = 12

COMPARED = frozenset(
    {
        SymbolKind.FUNCTION,
        SymbolKind.METHOD,
        SymbolKind.CLASS,
        SymbolKind.INTERFACE,
        SymbolKind.MODULE,
        SymbolKind.NAMESPACE,
        SymbolKind.TYPE,
        SymbolKind.ENUM,
        SymbolKind.STRUCT,
        SymbolKind.TRAIT,
    }
)


@dataclass(slots=True)
class Tally:
    """The count of one language: definitions on both sides, and what one of them lacks, by class."""

    files: int = 0
    skipped: int = 0
    ctags: int = 0
    ours: int = 0
    both: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def note(self, side: str, reason: str, example: str) -> None:
        """One definition that one side lacks."""
        (self.missing if side == "missing" else self.extra)[reason] += 1
        if len(self.examples[side, reason]) < EXAMPLES:
            self.examples[side, reason].append(example)


def run(quick: bool, args: list[str]) -> dict[str, Any]:
    """Recall and precision a language, and the commonest classes of what one side lacks."""
    parser = argparse.ArgumentParser(prog="definitions")
    parser.add_argument("--repo", type=Path, required=True, help="a folder, a work tree or a bare git repository")
    parser.add_argument("--language", choices=[lang.name.lower() for lang in PEERS])
    parser.add_argument("--shown", type=int, default=SHOWN, help="classes listed a language")
    options = parser.parse_args(args)
    if not shutil.which("ctags"):
        parser.error("universal-ctags is not installed (Debian, Ubuntu: apt-get install universal-ctags)")
    wanted = {Language[options.language.upper()]} if options.language else set(PEERS)
    with ExitStack() as stack:
        folder = _work_tree(options.repo, stack)
        tallies = compare(folder, wanted, QUICK_FILES if quick else None)
    ranked = sorted(tallies.items())
    return {
        "repository": options.repo.resolve().name,
        "languages": [row(lang, tally) for lang, tally in ranked],
        "classes": [row for lang, tally in ranked for row in _classes(lang, tally, options.shown)],
    }


def compare(folder: Path, wanted: set[Language], most: int | None = None) -> dict[Language, Tally]:
    """The tally of every wanted language that has files below a folder and that ctags knows."""
    known = set(ctags("--list-languages").split())
    files: dict[Language, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        lang = language_of(path.name)
        if lang in wanted and PEERS[lang].name in known and _is_readable(path, folder):
            files[lang].append(path)
    return {lang: _tally(lang, found[:most], folder) for lang, found in files.items()}


def _is_readable(path: Path, folder: Path) -> bool:
    if ".git" in path.relative_to(folder).parts or path.is_symlink() or not path.is_file():
        return False
    return path.stat().st_size <= MAX_FILE_BYTES


def _work_tree(repo: Path, stack: ExitStack) -> Path:
    """The folder itself, or a bare repository's newest commit in a folder that goes away again."""
    if not ((repo / "HEAD").is_file() and (repo / "objects").is_dir()):
        return repo
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="definitions-")))
    archive = subprocess.run(["git", f"--git-dir={repo}", "archive", "HEAD"], capture_output=True, check=True)
    subprocess.run(["tar", "x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def _tally(lang: Language, files: list[Path], folder: Path) -> Tally:
    tally = Tally()
    compared = COMPARED | PEERS[lang].also
    theirs = tags_of_ctags(lang, files)
    for path in files:
        content = path.read_bytes()
        found = extract(Task(b"", path.name, lang, content))
        if found.skip is not Skip.NONE:
            tally.skipped += 1
            continue
        tally.files += 1
        ours = [Tag(s.line, plain(s.name, lang), s.kind.name.lower(), s.kind in compared) for s in found.symbols]
        _compare_file(tally, File(lang, str(path.relative_to(folder)), content), ours, theirs.get(path, []))
    return tally


def _compare_file(tally: Tally, file: File, ours: list[Tag], theirs: list[Tag]) -> None:
    ours, theirs = _once(ours), _once(theirs)
    left_ours, left_theirs = _by_name(ours), _by_name(theirs)
    for name, tags in left_theirs.items():
        _pair_off(tally, tags, left_ours.get(name, []))
    tally.ours += sum(tag.is_compared for tag in ours)
    tally.ctags += sum(tag.is_compared for tag in theirs)
    for tag in _compared(left_theirs):
        other = _nearby(tag, left_ours.get(tag.name, []))
        tally.note("missing", why_missing(file, tag, other), _example(file, tag))
    for tag in _compared(left_ours):
        other = _nearby(tag, left_theirs.get(tag.name, []))
        tally.note("extra", why_extra(file, tag, other), _example(file, tag))


def _pair_off(tally: Tally, theirs: list[Tag], ours: list[Tag]) -> None:
    """Remove what both sides have, nearest lines first."""
    for distance in (0, 1):
        for tag in [tag for tag in theirs if tag.is_compared]:
            twin = next((own for own in ours if own.is_compared and abs(own.line - tag.line) == distance), None)
            if twin is not None:
                theirs.remove(tag)
                ours.remove(twin)
                tally.both += 1


def _once(tags: list[Tag]) -> list[Tag]:
    """One definition a line and name: ctags names `app.init = function init() {}` twice."""
    kept: dict[tuple[int, str], Tag] = {}
    for tag in tags:
        before = kept.get((tag.line, tag.name))
        if before is None or (tag.is_compared and not before.is_compared):
            kept[tag.line, tag.name] = tag
    return list(kept.values())


def _by_name(tags: Iterable[Tag]) -> dict[str, list[Tag]]:
    named: dict[str, list[Tag]] = defaultdict(list)
    for tag in tags:
        named[tag.name].append(tag)
    return named


def _compared(left: dict[str, list[Tag]]) -> Iterator[Tag]:
    return (tag for tags in left.values() for tag in tags if tag.is_compared)


def _nearby(tag: Tag, others: list[Tag]) -> Tag | None:
    return next((other for other in others if not other.is_compared and abs(other.line - tag.line) <= 1), None)


def _example(file: File, tag: Tag) -> str:
    return f"{file.path}:{tag.line} {tag.name}: {file.line(tag.line).strip()[:80]}"


def row(lang: Language, tally: Tally) -> dict[str, Any]:
    """Counts and shares of one language; raw ones leave no mistake of ctags' out."""
    wrong = sum(count for reason, count in tally.missing.items() if reason.startswith("ctags:"))
    overlooked = sum(count for reason, count in tally.extra.items() if reason.startswith("ctags:"))
    return {
        "language": lang.name.lower(),
        "files": tally.files,
        "skipped": tally.skipped,
        "ctags": tally.ctags,
        "ours": tally.ours,
        "both": tally.both,
        "recall_raw": _share(tally.both, tally.ctags),
        "precision_raw": _share(tally.both, tally.ours),
        "recall": _share(tally.both, tally.ctags - wrong),
        "precision": _share(tally.both + overlooked, tally.ours),
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 1.0


def _classes(lang: Language, tally: Tally, most: int) -> list[dict[str, Any]]:
    return [
        {
            "language": lang.name.lower(),
            "side": side,
            "class": reason,
            "count": count,
            "examples": "\n".join(tally.examples[side, reason]),
        }
        for side, counts in (("missing", tally.missing), ("extra", tally.extra))
        for reason, count in counts.most_common(most)
    ]
