"""The straightforward way to the same search, as a peer: clone everything, parse file by file in one process with the
tags query that each grammar ships, insert a row for every file, definition and use, search by the same kinds of index.
"""

import subprocess
import time
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import tree_sitter

from worker.indexing.languages import Language, language_of

MAX_FILE_BYTES = 1_000_000

_GRAMMARS = {
    Language.PYTHON: ("tree_sitter_python", "language"),
    Language.JAVASCRIPT: ("tree_sitter_javascript", "language"),
    Language.TYPESCRIPT: ("tree_sitter_typescript", "language_typescript"),
    Language.TSX: ("tree_sitter_typescript", "language_tsx"),
    Language.GO: ("tree_sitter_go", "language"),
    Language.RUST: ("tree_sitter_rust", "language"),
    Language.JAVA: ("tree_sitter_java", "language"),
    Language.C: ("tree_sitter_c", "language"),
    Language.CPP: ("tree_sitter_cpp", "language"),
    Language.RUBY: ("tree_sitter_ruby", "language"),
    Language.PHP: ("tree_sitter_php", "language_php"),
}
_TABLES = """
create table plain_files (id serial primary key, path text not null, content text not null);
create table plain_names (file_id int not null references plain_files, kind text not null, name text not null,
                          line int not null);
create index on plain_files using gin (content extensions.gin_trgm_ops);
create index on plain_names (name);
create index on plain_names (file_id)"""
_Name = tuple[str, str, int]


def straightforward(url: str, origin: Path, checkout: Path) -> float:
    """Seconds from the clone's start to the commit, all of it done again whenever anything is pushed."""
    started = time.perf_counter()
    subprocess.run(["git", "clone", "-q", f"file://{origin}", str(checkout)], check=True)
    with psycopg.connect(url) as connection:
        connection.execute(_TABLES)
        for path in sorted(checkout.rglob("*")):
            if path.is_file() and not path.is_symlink() and ".git" not in path.relative_to(checkout).parts:
                _index(connection, path.relative_to(checkout), path)
    took = round(time.perf_counter() - started, 2)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop table plain_names, plain_files")
    return took


def _index(connection: psycopg.Connection[Any], name: Path, path: Path) -> None:
    if path.stat().st_size > MAX_FILE_BYTES:
        return
    content = path.read_bytes()
    if b"\0" in content:
        return
    text = content.decode("utf-8", "replace")
    row = connection.execute(
        "insert into plain_files (path, content) values (%s, %s) returning id", (str(name), text)
    ).fetchone()
    assert row is not None
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into plain_names (file_id, kind, name, line) values (%s, %s, %s, %s)",
            [(row[0], *found) for found in _names(language_of(path.name), content)],
        )


def _names(language: Language, content: bytes) -> list[_Name]:
    parser, query = _grammar(language)
    if parser is None or query is None:
        return []
    names: list[_Name] = []
    for _, captures in tree_sitter.QueryCursor(query).matches(parser.parse(content).root_node):
        kinds = [capture for capture in captures if "." in capture]
        for node in captures.get("name", ())[:1]:
            text = content[node.start_byte : node.end_byte].decode("utf-8", "replace")
            names += [(kind, text[:500], node.start_point.row + 1) for kind in kinds[:1]]
    return names


@cache
def _grammar(language: Language) -> tuple[tree_sitter.Parser | None, tree_sitter.Query | None]:
    if language not in _GRAMMARS:
        return None, None
    package, function = _GRAMMARS[language]
    module = import_module(package)
    grammar = tree_sitter.Language(getattr(module, function)())
    tags: str | None = getattr(module, "TAGS_QUERY", None)
    return tree_sitter.Parser(grammar), tree_sitter.Query(grammar, tags) if tags else None
