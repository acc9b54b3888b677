"""What universal-ctags does not know, beside other readers: `outlines --repo PATH`, PATH any folder.

Swift and Scala: the names that Pygments' lexers show behind `func`, `def`, `class` and the like, outside of comments
and strings, compared by path, line and name. Markdown: headings of markdown-it. YAML, TOML, JSON: keys of PyYAML,
tomllib and json, compared by path in the document, with what worker/indexing/markup.py leaves out on purpose left out.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from worker.indexing.classify import Skip
from worker.indexing.extract import extract
from worker.indexing.languages import Language, language_of
from worker.indexing.markup import MAX_DEPTH, MAX_KEPT
from worker.indexing.records import Symbol, SymbolKind, Task

EXAMPLES = 12
Name = tuple[int, str]
"""A line, or 0 where the other reader knows none, and a name."""

_WORDS = {
    Language.SWIFT: frozenset(
        ["func", "class", "struct", "enum", "protocol", "actor", "typealias", "associatedtype", "macro"]
    ),
    Language.SCALA: frozenset(["def", "class", "object", "trait", "enum", "type"]),
}
_KINDS = frozenset(
    {
        SymbolKind.FUNCTION,
        SymbolKind.METHOD,
        SymbolKind.CLASS,
        SymbolKind.INTERFACE,
        SymbolKind.STRUCT,
        SymbolKind.ENUM,
        SymbolKind.TRAIT,
        SymbolKind.TYPE,
        SymbolKind.MODULE,
        SymbolKind.MACRO,
    }
)
_NAME = re.compile(r"[^\W\d]\w*")
_UNTOLD = {Language.SWIFT: frozenset(["init", "deinit", "subscript"])}  # no keyword stands before these


def run(quick: bool, args: list[str]) -> dict[str, Any]:
    """Recall and precision a language, and what one side lacks."""
    root = Path(args[args.index("--repo") + 1])
    counts: dict[Language, Counter[str]] = {}
    examples: list[dict[str, str]] = []
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and language_of(path.name) in _READERS]
    for path in paths[: 100 if quick else None]:
        lang = language_of(path.name)
        count = counts.setdefault(lang, Counter())
        pair = _both(lang, path)
        if pair is None:
            count["unreadable"] += 1
            continue
        ours, theirs = pair
        count += Counter(files=1, theirs=theirs.total(), ours=ours.total(), both=(ours & theirs).total())
        counts[lang] = count
        for side, names in (("missing", theirs - ours), ("extra", ours - theirs)):
            examples += [
                {"language": lang.name.lower(), "what": side, "where": f"{path.relative_to(root)}:{line}", "name": name}
                for line, name in list(names)[:2]
            ]
    return {"examples": examples[:: max(1, len(examples) // EXAMPLES)], "languages": [*map(_row, counts.items())]}


def _row(item: tuple[Language, Counter[str]]) -> dict[str, Any]:
    lang, count = item
    return {
        "language": lang.name.lower(),
        "files": count["files"],
        "unreadable": count["unreadable"],
        "theirs": count["theirs"],
        "ours": count["ours"],
        "recall": round(count["both"] / max(1, count["theirs"]), 4),
        "precision": round(count["both"] / max(1, count["ours"]), 4),
    }


def _both(lang: Language, path: Path) -> tuple[Counter[Name], Counter[Name]] | None:
    """Ours and theirs; None where either side cannot read the file, or keeps only a part of it."""
    content = path.read_bytes()
    if len(content) > 1 << 20:
        return None
    found = extract(Task(b"", path.name, lang, content))
    if found.skip is not Skip.NONE or found.content is None or len(found.symbols) >= MAX_KEPT:
        return None
    try:
        theirs = Counter(_READERS[lang](found.content.replace("\r\n", "\n")))
    except Exception:  # whatever a foreign reader says of a file: it is no reference for it
        return None
    ours = Counter(_ours(lang, found.symbols))
    if lang is Language.TOML:  # tomllib does not tell which tables were written and which follow from others' names
        tables = {(0, name) for name in _tables(tomllib.loads(found.content))}
        ours, theirs = (Counter(name for name in side if name not in tables) for side in (ours, theirs))
    return ours, theirs


def _ours(lang: Language, symbols: tuple[Symbol, ...]) -> Iterator[Name]:
    for symbol in symbols:
        if lang is Language.MARKDOWN:
            yield symbol.line, ""
        elif symbol.kind is SymbolKind.KEY:
            yield 0, symbol.qualname
        elif symbol.kind in _KINDS and _NAME.fullmatch(symbol.name) and symbol.name not in _UNTOLD.get(lang, ()):
            yield symbol.line, symbol.name


def _lexed(lang: Language) -> Callable[[str], Iterator[Name]]:
    lexers, tokens = import_module("pygments.lexers"), import_module("pygments.token")

    def read(text: str) -> Iterator[Name]:
        line, word, before = 1, "", ""
        for kind, value in lexers.get_lexer_by_name(lang.name.lower(), stripnl=False).get_tokens(text):
            if value.strip() and kind not in tokens.Comment and kind not in tokens.String:
                for part in re.findall(r"\w+|[^\w\s]+", value):
                    name = part.strip("`")
                    if (
                        word
                        and _NAME.fullmatch(name)
                        and name not in _WORDS[lang]
                        and name not in ("var", "let", "val")
                    ):
                        yield line, name
                    word = part if part in _WORDS[lang] and before != "." else "" if part != "`" else word
                    before = part
            line += value.count("\n")

    return read


def _headings(text: str) -> Iterator[Name]:
    for token in import_module("markdown_it").MarkdownIt("commonmark").parse(text):
        if token.type == "heading_open":
            yield token.map[0] + 1, ""


def _yaml_keys(text: str) -> Iterator[Name]:
    yaml = import_module("yaml")

    def below(node: Any, parents: tuple[str, ...]) -> Iterator[Name]:
        if not isinstance(node, yaml.MappingNode) or node.flow_style or len(parents) >= MAX_DEPTH:
            return
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                path = (*parents, key.value)
                yield 0, ".".join(path)
                yield from below(value, path)

    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        yield from below(document, ())


def _keys(value: Any, parents: tuple[str, ...] = ()) -> Iterator[Name]:
    if isinstance(value, dict) and len(parents) < MAX_DEPTH:
        for key, inner in value.items():
            path = (*parents, str(key))
            yield 0, ".".join(path)
            yield from _keys(inner, path)


def _tables(value: dict[str, Any], parents: tuple[str, ...] = ()) -> Iterator[str]:
    for key, inner in value.items():
        path = (*parents, key)
        if isinstance(inner, dict):
            yield ".".join(path)
            yield from _tables(inner, path)
        elif isinstance(inner, list) and any(isinstance(one, dict) for one in inner):
            yield ".".join(path)


_READERS: dict[Language, Callable[[str], Iterator[Name]]] = {
    Language.SWIFT: _lexed(Language.SWIFT),
    Language.SCALA: _lexed(Language.SCALA),
    Language.MARKDOWN: _headings,
    Language.YAML: _yaml_keys,
    Language.TOML: lambda text: _keys(tomllib.loads(text)),
    Language.JSON: lambda text: _keys(json.loads(text)),
}
