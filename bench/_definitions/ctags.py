"""universal-ctags: its names of languages and kinds, and what it finds."""

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from worker.indexing.languages import Language
from worker.indexing.records import SymbolKind

_NAMELESS = re.compile(r"<|(?:__anon|[Aa]nonymous[A-Za-z]*)[0-9a-f]{8,}")  # `<lambda>`


class Tag(NamedTuple):
    """A definition on one side: its line, its name, and the kind in that side's words."""

    line: int
    name: str
    kind: str
    is_compared: bool


class Peer(NamedTuple):
    """ctags' name of a language, the letters of its kinds that are compared, and kinds of ours beyond the usual."""

    name: str
    kinds: str
    also: frozenset[SymbolKind] = frozenset()


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
    Language.RUBY: Peer("Ruby", "cfmSa"),
    Language.PHP: Peer("PHP", "cfint"),
    Language.SCALA: Peer("Scala", "coitmTpg"),
    Language.KOTLIN: Peer("Kotlin", "icomT"),
    Language.SWIFT: Peer("Swift", "cfmspet"),
    Language.LUA: Peer("Lua", "f"),
    Language.ELIXIR: Peer("Elixir", "pmfcdeiatgyo", frozenset({SymbolKind.MACRO})),
    Language.BASH: Peer("Sh", "fa", frozenset({SymbolKind.MACRO})),
    Language.SQL: Peer("SQL", "fptPVTsDiUn", frozenset({SymbolKind.OTHER})),
}


def tags_of_ctags(lang: Language, files: list[Path]) -> dict[Path, list[Tag]]:
    """Every definition that ctags finds, nameless ones left out."""
    peer = PEERS[lang]
    listing = "\n".join(map(str, files))
    output = ctags(
        "--options=NONE",
        f"--language-force={peer.name}",
        "--output-format=json",
        "--fields=+nKl",
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
        if tag.get("_type") != "tag" or tag.get("language") != peer.name or _NAMELESS.match(tag["name"]):
            continue
        is_compared = letters.get(tag["kind"], "") in peer.kinds
        name = plain(tag["name"], lang)
        if lang is Language.CSHARP and tag["kind"] == "method":
            name = name.rpartition(".")[2]  # `IFace.Method`
        tags[Path(tag["path"])].append(Tag(tag["line"], name, tag["kind"], is_compared))
    return tags


def _kind_letters(language: str) -> dict[str, str]:
    rows = (line.split() for line in ctags(f"--list-kinds-full={language}").splitlines()[1:])
    return {row[1]: row[0] for row in rows if len(row) > 1}


def ctags(*arguments: str, text: str = "") -> str:
    done = subprocess.run(["ctags", *arguments], input=text.encode(), capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def plain(name: str, lang: Language) -> str:
    """A name without the spaces inside `operator ==`; the mark of a private member, and a qualifier."""
    if lang is Language.LUA:
        name = re.split(r"[.:](?=\w+$)", name)[-1].strip("[]\"'")
    elif lang is Language.SQL:
        name = name.rpartition(".")[2].strip('"`[]')
    elif lang is Language.KOTLIN:
        name = name.strip("`")
    return "".join(name.split()).lstrip("#")
