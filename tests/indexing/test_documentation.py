"""The first line of a definition's documentation, language by language."""

import pytest

from worker.indexing.extract import extract
from worker.indexing.languages import language_of
from worker.indexing.records import Task

CASES = [
    ("a.py", 'class A:\n    """First line.\n\n    More."""\n', "A", "First line."),
    ("a.py", "def f():\n    '''\n    On the next line.\n    '''\n", "f", "On the next line."),
    ("a.py", 'async def f(x):\n    # note\n    r"""Raw \\d."""\n', "f", "Raw \\d."),
    ("a.py", '# A comment is no docstring.\ndef f():\n    return "no"\n', "f", None),
    ("a.js", "/**\n * Adds.\n * @param x no\n */\nexport default function f(x) {}\n", "f", "Adds."),
    ("a.js", "/** @type {number} */\nconst a = 1\n", "a", None),
    ("a.js", "// eslint-disable-next-line\nconst a = 1\n", "a", None),
    ("a.js", "// Doubles.\nconst f = async (x) => 2 * x\n", "f", "Doubles."),
    ("a.ts", "class A {\n  /** Its {@link Foo}. */\n  @Input()\n  x = 1\n}\n", "x", "Its Foo."),
    ("a.go", "package a\n// F does.\n//go:noinline\nfunc F() {}\n", "F", "F does."),
    ("a.go", "package a\ntype (\n\t// B is.\n\tB struct{}\n)\n", "B", "B is."),
    ("a.rs", "/// Reads `Vec<T>`.\n///\n/// More.\n#[derive(Debug)]\npub struct A;\n", "A", "Reads `Vec<T>`."),
    ("A.java", "/**\n * <p>A thing.\n */\n@Deprecated\npublic class A { int x; }\n", "A", "A thing."),
    ("A.java", "class A {\n  /** {@inheritDoc} */\n  void m() {}\n}\n", "m", None),
    ("a.c", "/* Finds it. */\nstatic int\nfind(void) { return 1; }\n", "find", "Finds it."),
    ("a.c", "#define X 1\nint f(void) { return X; }\n", "f", None),
    ("a.cpp", "/** @brief Gets. */\ntemplate <class T>\nMY_EXPORT T get() { return 1; }\n", "get", "Gets."),
    ("a.cpp", "struct S { //!< after\n  int x;\n};\n", "x", None),
    ("a.cs", '/// <summary>\n/// A <see cref="Box"/>.\n/// </summary>\n[Serializable]\nclass A { }\n', "A", "A Box."),
    ("a.rb", "# typed: true\n\n# A cart.\n# More.\nclass Cart\nend\n", "Cart", "A cart."),
    ("a.rb", '# :nodoc:\ndef f; "text"; end\n', "f", None),
    ("a.php", "<?php\n/**\n * A model.\n */\n#[Entity]\nclass A {}\n", "A", "A model."),
    ("a.go", "package a\n// One.\n\nfunc f() {}\n", "f", None),
    ("a.go", "package a\n//----------\n// Two.\nfunc f() {}\n", "f", "Two."),
]


@pytest.mark.parametrize(("path", "source", "name", "doc"), CASES)
def test_documentation(path: str, source: str, name: str, doc: str | None) -> None:
    """The first line that says something, without the comment's marks; an empty line separates, attributes do not."""
    found = extract(Task(b"", path, language_of(path), source.encode()))
    assert [symbol.doc for symbol in found.symbols if symbol.name == name] == [doc]


def test_a_long_line_is_cut() -> None:
    """At most 200 characters are kept."""
    found = extract(Task(b"", "a.py", language_of("a.py"), b'def f():\n    """' + b"word " * 100 + b'"""\n'))
    assert len(found.symbols[0].doc or "") == 200
