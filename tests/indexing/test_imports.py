"""Imports as each language writes them."""

import pytest

from worker.indexing.extract import extract
from worker.indexing.imports import MAX_IMPORTS
from worker.indexing.languages import Language
from worker.indexing.records import Task

NONE: tuple[str, ...] = ()
CASES: dict[Language, tuple[str, list[tuple[int, str, tuple[str, ...]]]]] = {
    Language.PYTHON: (
        "import a.b, c as d\nfrom . import x\nfrom ..p.q import (r as s, t)\nfrom m import *\n"
        "def f():\n    from late import y\nfrom __future__ import annotations\nx = 'import no'\n",
        [(1, "a.b", NONE), (1, "c", NONE), (2, ".", ("x",)), (3, "..p.q", ("r", "t")), (4, "m", ("*",)),
         (6, "late", ("y",))],
    ),
    Language.TYPESCRIPT: (
        "import d, {a as b, c} from './x';\nimport * as n from 'n';\nimport 's';\nexport {q} from './q';\n"
        "export * from './r';\nconst z = require('z');\nimport('dyn');\nimport fs = require('fs');\n"
        "import type {T} from './t';\nexport const no = call('./no');\nimport(`${x}`);\n",
        [(1, "./x", ("default", "a", "c")), (2, "n", ("*",)), (3, "s", NONE), (4, "./q", ("q",)), (5, "./r", ("*",)),
         (6, "z", NONE), (7, "dyn", NONE), (8, "fs", NONE), (9, "./t", ("T",))],
    ),
    Language.GO: (
        'package m\nimport "one"\nimport (\n\t"fmt"\n\tx "a/b"\n\t. "c"\n\t_ `raw`\n)\n',
        [(2, "one", NONE), (4, "fmt", NONE), (5, "a/b", NONE), (6, "c", NONE), (7, "raw", NONE)],
    ),
    Language.RUST: (
        "use a::{b::{c, x as y}, d as e, self};\npub use crate::x::*;\nmod foo;\n"
        "mod bar { use super::z; }\nuse std::io;\n",
        [(1, "a", NONE), (1, "a::b::c", NONE), (1, "a::b::x", NONE), (1, "a::d", NONE), (2, "crate::x", ("*",)),
         (3, "self::foo", NONE), (4, "super::z", NONE), (5, "std::io", NONE)],
    ),
    Language.JAVA: (
        "package p.q;\nimport a.b.C;\nimport static a.b.C.m;\nimport a.b.*;\n",
        [(2, "a.b.C", NONE), (3, "a.b.C.m", NONE), (4, "a.b", ("*",))],
    ),
    Language.C: (
        '#include "a/b.h"\n#  include <vector>\n#define INCLUDE "no.h"\n',
        [(1, '"a/b.h"', NONE), (2, "<vector>", NONE)],
    ),
    Language.CSHARP: (
        "using A.B;\nusing static C.D;\nusing X = Y.Z;\nglobal using G;\n",
        [(1, "A.B", NONE), (2, "C.D", NONE), (3, "Y.Z", NONE), (4, "G", NONE)],
    ),
    Language.PHP: (
        "<?php\nuse A\\B;\nuse A\\{C, D as E};\nrequire 'x.php';\ninclude_once __DIR__ . '/y.php';\nrequire $no;\n",
        [(2, "A\\B", NONE), (3, "A\\C", NONE), (3, "A\\D", NONE), (4, '"x.php"', NONE), (5, '"y.php"', NONE)],
    ),
    Language.RUBY: (
        "require 'a'\nrequire_relative 'b/c'\nputs 'no'\n", [(1, "a", NONE), (2, "./b/c", NONE)],
    ),
    Language.KOTLIN: (
        "package p\nimport a.b.C\nimport a.b.*\nimport a.b.C as D\n",
        [(2, "a.b.C", NONE), (3, "a.b", ("*",)), (4, "a.b.C", NONE)],
    ),
    Language.SCALA: (
        "package p\nimport a.b.{C, D => E}\nimport a.b._\nimport x.Y, z.W\n",
        [(2, "a.b.C", NONE), (2, "a.b.D", NONE), (3, "a.b", ("*",)), (4, "x.Y", NONE), (4, "z.W", NONE)],
    ),
    Language.SWIFT: ("import Foundation\nimport class A.B\n", [(1, "Foundation", NONE), (2, "A.B", NONE)]),
    Language.LUA: (
        "local a = require('a.b')\nlocal c = require \"c\"\nprint('no')\n", [(1, "a.b", NONE), (2, "c", NONE)],
    ),
    Language.ELIXIR: (
        "defmodule M do\n  alias A.B\n  import C\n  use D.E, x: 1\n  alias A.{X, Y}\nend\n",
        [(2, "A.B", NONE), (3, "C", NONE), (4, "D.E", NONE), (5, "A.X", NONE), (5, "A.Y", NONE)],
    ),
    Language.BASH: ("source ./a.sh\n. b.sh\necho no.sh\n", [(1, "./a.sh", NONE), (2, "b.sh", NONE)]),
}  # fmt: skip


@pytest.mark.parametrize("lang", CASES, ids=lambda lang: lang.name.lower())
def test_imports_are_what_the_language_says(lang):
    """Every form of an import, and what only looks like one."""
    source, expected = CASES[lang]
    found = extract(Task(b"", "x", lang, source.encode())).imports
    assert [tuple(one) for one in found] == expected


def test_imports_are_bounded():
    """A module of 2 kB is left out, and so is what comes after the first five thousand."""
    lines = [f"import m{number}" for number in range(MAX_IMPORTS + 10)]
    source = "\n".join(["import " + "x" * 2_000, *lines]).encode()
    found = extract(Task(b"", "x.py", Language.PYTHON, source)).imports
    assert len(found) == MAX_IMPORTS
    assert found[0] == (2, "m0", ())


def test_the_braces_of_a_use_may_nest_without_end():
    """Neither recursion nor time gets out of hand."""
    source = "use " + "a::{" * 3_000 + "b" + "}" * 3_000 + ";\n"
    found = extract(Task(b"", "x.rs", Language.RUST, source.encode())).imports
    assert len(found) <= 1
