"""Texts made to make a query's or our own time grow with their square."""

import time

import pytest

from worker.indexing.extract import extract
from worker.indexing.languages import Language
from worker.indexing.records import Task

CASES = [
    (Language.C, b"int a", b",b", b";"),  # names that share one node
    (Language.C, b"", b"static A_B_C ", b""),  # each name's words begin with the statement's
    (Language.C, b"int x = ", b"A|", b"B;"),
    (Language.CPP, b"auto x = ", b"a<", b"b;"),
    (Language.CPP, b"class A : ", b"B,", b"C {};"),
    (Language.CSHARP, b"class A { int x = ", b"B + ", b"1; }"),
    (Language.JAVASCRIPT, b"x = ", b"A+", b"B;"),
    (Language.JAVASCRIPT, b"const a = 1", b",b=2", b";"),
    (Language.GO, b"package a\nvar x = ", b"A+", b"B\n"),
    (Language.RUBY, b"A = ", b"B + ", b"C\n"),
    (Language.RUBY, b"class A\nattr_reader ", b":a,", b":b\nend\n"),
    (Language.PHP, b"<?php $x = ", b"A . ", b"B;"),
    (Language.PHP, b"<?php class A { public ", b"$a,", b"$b; }"),
]


@pytest.mark.parametrize(("lang", "before", "piece", "after"), CASES)
def test_no_square(lang: Language, before: bytes, piece: bytes, after: bytes) -> None:
    """20,000 repetitions take seconds at most; their square takes minutes."""
    started = time.process_time()
    found = extract(Task(b"", "hostile", lang, before + piece * 20_000 + after))
    assert time.process_time() - started < 6
    assert found.content is not None
