"""Headings and keys are bounded, and hostile input of the languages without a grammar ends soon."""

import time

import pytest

from worker.indexing.languages import Language
from worker.indexing.markup import MAX_DEPTH, MAX_KEPT, markup
from worker.indexing.sql import sql

_SIZE = 300_000
_MARKUP = [Language.MARKDOWN, Language.YAML, Language.TOML, Language.JSON]


def test_the_shallowest_keys_are_kept() -> None:
    """A large data file gives a bounded number of keys, the outer ones first, and says how many are missing."""
    text = '{"first": {' + ",".join(f'"k{number}": 1' for number in range(5_000)) + '}, "last": 1}'
    symbols, left_out = markup(Language.JSON, text)
    assert (len(symbols), left_out) == (MAX_KEPT, 5_002 - MAX_KEPT)
    assert {"first", "last"} <= {symbol.qualname for symbol in symbols}


def test_deep_keys_are_none() -> None:
    """Keys below the fifth level are no symbols and are not counted as missing."""
    text = "\n".join(f"{'  ' * depth}k{depth}:" for depth in range(900))
    symbols, left_out = markup(Language.YAML, text)
    assert [symbol.name for symbol in symbols] == [f"k{depth}" for depth in range(MAX_DEPTH)]
    assert left_out == 0


@pytest.mark.parametrize("lang", _MARKUP)
@pytest.mark.parametrize("piece", ["[", "{", "#", '"', "- ", "a:", "a.", "`", "# a\n", "a: [\n", "'''", "<!--\n"])
def test_hostile_markup_ends(lang: Language, piece: str) -> None:
    """Much of one thing costs less than a file may take."""
    before = time.process_time()
    symbols, _ = markup(lang, piece * (_SIZE // len(piece)))
    assert time.process_time() - before < 2
    assert len(symbols) <= MAX_KEPT


@pytest.mark.parametrize(
    "piece", ["(", "'", '"', "$", "$a$", "/*", "create table a(", "create ", "begin ", "a.", "from "]
)
def test_hostile_sql_ends(piece: str) -> None:
    """The same for SQL: no statement is gone through twice."""
    before = time.process_time()
    sql(piece * (_SIZE // len(piece)))
    assert time.process_time() - before < 2
