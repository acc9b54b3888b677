"""Our definitions beside universal-ctags': `definitions --repo PATH [--language NAME]`.

A definition is a path, a line (give or take one) and a name. Compared are functions, methods, classes, interfaces,
structs, enums, traits, modules, namespaces and types; no variables, fields, macros, parameters or enumerators. A name
that the other side has at that place under a kind that is not compared counts as missing, in a class of its own.
ctags is not the truth. What one side lacks is put into classes by what the syntax tree has at that place; the classes
whose name begins with "ctags:" are its mistakes by the rules of `_ctags_is_wrong` and `_ctags_overlooks`. Raw figures
count them all; `recall` and `precision` leave those out.
"""

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tree_sitter

from worker.indexing.classify import Skip
from worker.indexing.extract import extract
from worker.indexing.grammars import grammar_of
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


class Peer(NamedTuple):
    """ctags' name of a language and the letters of its kinds that are compared."""

    name: str
    kinds: str


PEERS: dict[Language, Peer] = {
    Language.PYTHON: Peer("Python", "cfm"),
    Language.JAVASCRIPT: Peer("JavaScript", "fcmgGS"),
    Language.TYPESCRIPT: Peer("TypeScript", "fcigmnGa"),
    Language.TSX: Peer("TypeScript", "fcigmnGa"),
    Language.GO: Peer("Go", "ftsina"),
    Language.RUST: Peer("Rust", "nsifgtP"),
    Language.JAVA: Peer("Java", "acgim"),
    Language.C: Peer("C", "fgstu"),
    Language.CPP: Peer("C++", "fgstucn"),
    Language.CSHARP: Peer("C#", "cgimns"),
    Language.RUBY: Peer("Ruby", "cfmS"),
    Language.PHP: Peer("PHP", "cfint"),
    Language.SCALA: Peer("Scala", "coitmTpg"),
    Language.KOTLIN: Peer("Kotlin", "icomT"),
    Language.SWIFT: Peer("Swift", "cfmspet"),
    Language.LUA: Peer("Lua", "f"),
    Language.ELIXIR: Peer("Elixir", "pmfcdeia"),
    Language.BASH: Peer("Sh", "f"),
    Language.SQL: Peer("SQL", "fptPVTsD"),
}


class Tag(NamedTuple):
    """A definition on one side: its line, its name, and the kind in that side's words."""

    line: int
    name: str
    kind: str
    is_compared: bool


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
        "languages": [_row(lang, tally) for lang, tally in ranked],
        "classes": [row for lang, tally in ranked for row in _classes(lang, tally, options.shown)],
    }


def compare(folder: Path, wanted: set[Language], most: int | None = None) -> dict[Language, Tally]:
    """The tally of every wanted language that has files below a folder and that ctags knows."""
    known = set(_ctags("--list-languages").split())
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
    theirs = _tags_of_ctags(lang, files)
    for path in files:
        content = path.read_bytes()
        found = extract(Task(b"", path.name, lang, content))
        if found.skip is not Skip.NONE:
            tally.skipped += 1
            continue
        tally.files += 1
        ours = [Tag(s.line, _plain(s.name), s.kind.name.lower(), s.kind in COMPARED) for s in found.symbols]
        _compare_file(tally, File(lang, str(path.relative_to(folder)), content), ours, theirs.get(path, []))
    return tally


class File:
    """A file with its syntax tree, parsed when first asked for."""

    def __init__(self, lang: Language, path: str, content: bytes) -> None:
        self.lang, self.path, self.content = lang, path, content
        self.lines = content.decode("utf-8", "replace").split("\n")
        self._tree: tree_sitter.Tree | None = None

    def line(self, number: int) -> str:
        """The text of a line, counted from 1."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def node(self, tag: Tag) -> tree_sitter.Node | None:
        """The leaf of the tree where a definition's name stands; None where its line does not hold the name."""
        word = re.split(r"\W+", tag.name.strip("~"))[-1] or tag.name
        row = self.lines[tag.line - 1].encode() if 0 < tag.line <= len(self.lines) else b""
        place = re.search(rb"(?<!\w)" + re.escape(word.encode()), row)
        if place is None:
            return None
        if self._tree is None:
            grammar = grammar_of(self.lang)
            assert grammar is not None
            self._tree = grammar.parser.parse(self.content)
        point = (tag.line - 1, place.start())
        return self._tree.root_node.descendant_for_point_range(point, point)


def _compare_file(tally: Tally, file: File, ours: list[Tag], theirs: list[Tag]) -> None:
    ours, theirs = _once(ours), _once(theirs)
    left_ours, left_theirs = _by_name(ours), _by_name(theirs)
    for name, tags in left_theirs.items():
        _pair_off(tally, tags, left_ours.get(name, []))
    tally.ours += sum(tag.is_compared for tag in ours)
    tally.ctags += sum(tag.is_compared for tag in theirs)
    for tag in _compared(left_theirs):
        other = _nearby(tag, left_ours.get(tag.name, []))
        tally.note("missing", _why_missing(file, tag, other), _example(file, tag))
    for tag in _compared(left_ours):
        other = _nearby(tag, left_theirs.get(tag.name, []))
        tally.note("extra", _why_extra(file, tag, other), _example(file, tag))


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


def _why_missing(file: File, tag: Tag, other: Tag | None) -> str:
    """The class of a definition of ctags' that we lack."""
    node = file.node(tag)
    wrong = _ctags_is_wrong(file, tag, node)
    if wrong is not None:
        return f"ctags: {wrong}"
    if other is not None:
        return f"ctags says {tag.kind}, we {other.kind}"
    return f"{tag.kind} in {_context(node)}"


def _why_extra(file: File, tag: Tag, other: Tag | None) -> str:
    """The class of a definition of ours that ctags lacks."""
    overlooked = _ctags_overlooks(file, tag)
    if overlooked is not None:
        return f"ctags: {overlooked}"
    if other is not None:
        return f"we say {tag.kind}, ctags {other.kind}"
    return f"{tag.kind} in {_context(file.node(tag))}"


def _ctags_is_wrong(file: File, tag: Tag, node: tree_sitter.Node | None) -> str | None:
    """A rule by which what ctags reports is no definition of that name; None where there is none."""
    if node is None:
        return "the name is not on that line"
    kinds = {ancestor.type for ancestor in _ancestors(node)}
    if any("comment" in kind for kind in kinds):
        return "inside a comment"
    if "string" in node.type or node.type in ("string_content", "template_string", "heredoc_body"):
        return "inside a string"
    return None


def _ctags_overlooks(file: File, tag: Tag) -> str | None:
    """A rule, on the text of the line alone, by which a definition that ctags lacks is one; None: there is none."""
    return None


def _context(node: tree_sitter.Node | None) -> str:
    """The nearest nodes around a name, from the outside in."""
    if node is None:
        return "nothing"
    around = [ancestor.type for ancestor in _ancestors(node)][:3]
    return " > ".join(reversed(around))


def _ancestors(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    current: tree_sitter.Node | None = node
    while current is not None:
        yield current
        current = current.parent


def _example(file: File, tag: Tag) -> str:
    return f"{file.path}:{tag.line} {tag.name}: {file.line(tag.line).strip()[:80]}"


def _tags_of_ctags(lang: Language, files: list[Path]) -> dict[Path, list[Tag]]:
    """Every definition that ctags finds, nameless ones left out."""
    peer = PEERS[lang]
    listing = "\n".join(map(str, files))
    output = _ctags(
        "--options=NONE",
        f"--language-force={peer.name}",
        "--output-format=json",
        "--fields=+nK",
        "--kinds-all=*",
        "--sort=no",
        "-f-",
        "-L-",
        text=listing,
    )
    letters = _kind_letters(peer.name)
    tags: dict[Path, list[Tag]] = defaultdict(list)
    for line in output.splitlines():
        tag = json.loads(line)
        if tag.get("_type") != "tag" or tag["name"].startswith(("__anon", "anonymous", "Anonymous")):
            continue
        is_compared = letters.get(tag["kind"], "") in peer.kinds
        tags[Path(tag["path"])].append(Tag(tag["line"], _plain(tag["name"]), tag["kind"], is_compared))
    return tags


def _kind_letters(language: str) -> dict[str, str]:
    rows = (line.split() for line in _ctags(f"--list-kinds-full={language}").splitlines()[1:])
    return {row[1]: row[0] for row in rows if len(row) > 1}


def _ctags(*arguments: str, text: str = "") -> str:
    done = subprocess.run(["ctags", *arguments], input=text.encode(), capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def _plain(name: str) -> str:
    """A name without the spaces inside `operator ==`."""
    return "".join(name.split())


def _row(lang: Language, tally: Tally) -> dict[str, Any]:
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
