"""universal-ctags: its names of languages and kinds, and what it finds."""

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from worker.indexing.languages import Language

_NAMELESS = re.compile(r"(?:__anon|[Aa]nonymous[A-Za-z]*)[0-9a-f]{8,}")


class Tag(NamedTuple):
    """A definition on one side: its line, its name, and the kind in that side's words."""

    line: int
    name: str
    kind: str
    is_compared: bool


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
    Language.RUBY: Peer("Ruby", "cfmSa"),
    Language.PHP: Peer("PHP", "cfint"),
    Language.SCALA: Peer("Scala", "coitmTpg"),
    Language.KOTLIN: Peer("Kotlin", "icomT"),
    Language.SWIFT: Peer("Swift", "cfmspet"),
    Language.LUA: Peer("Lua", "f"),
    Language.ELIXIR: Peer("Elixir", "pmfcdeia"),
    Language.BASH: Peer("Sh", "f"),
    Language.SQL: Peer("SQL", "fptPVTsD"),
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
        name = plain(tag["name"])
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


def plain(name: str) -> str:
    """A name without the spaces inside `operator ==` and the mark of a private member."""
    return "".join(name.split()).lstrip("#")
