"""C, C++ and C# as they are parsed: macros and halves of pairs overwritten, every place as it was."""

import time

import pytest

from worker.indexing.extract import extract
from worker.indexing.languages import Language, language_of
from worker.indexing.preprocessor import readable
from worker.indexing.records import Task

OPENING = b'#ifdef __cplusplus\nextern "C" {\n#endif\nint f(void) { return 1; }\n#ifdef __cplusplus\n}\n#endif\n'
CASES = [
    ("a.h", OPENING, ["f"]),
    (
        "a.c",
        b"#if A\nint f(int a) {\n#else\nint f(void) {\n#endif\n  return 1;\n}\nint g(void) { return 1; }\n",
        ["f", "g"],
    ),
    ("a.c", b"#if 0\nint no(void) {\n#else\nint yes(void) {\n#endif\n  return 1;\n}\n", ["yes"]),
    (
        "a.c",
        b"int f(void) {\n#if A\n  if (a) {\n#endif\n    x();\n#if A\n  }\n#endif\n}\nint g(void) { }\n",
        ["f", "g"],
    ),
    ("a.c", b"#if A\nint f(void) { return '{'; }\n#else\nint g(void) { return 1; }\n#endif\n", ["f", "g"]),
    ("a.h", b"class MY_API Box : public Base {\n  int get() { return 1; }\n};\n", ["Box", "get"]),
    ("a.h", b"class Box {\n  void lock() EXCLUSIVE_LOCK(mu_) { }\n  void next() { }\n};\n", ["Box", "lock", "next"]),
    ("a.cpp", b"LIB_NAMESPACE_BEGIN\nnamespace detail\n{\nvoid f() {}\n}\nLIB_NAMESPACE_END\n", ["detail", "f"]),
    ("a.c", b"HANDLE\nopen_it(int a)\n{\n  return a;\n}\n", ["open_it"]),
    ("a.c", b"enum state {\n  OPEN,\n  CLOSED\n};\n", ["state", "OPEN", "CLOSED"]),
    ("a.cs", b"class A\n#if B\n : B\n#else\n : C\n#endif\n{\n  void M() { }\n}\n", ["A", "M"]),
    ("a.cs", b"class A {\n#if B\n  void M() { }\n#else\n  void N() { }\n#endif\n}\n", ["A", "M", "N"]),
]


@pytest.mark.parametrize(("path", "source", "names"), CASES)
def test_definitions_around_macros_and_directives(path: str, source: bytes, names: list[str]) -> None:
    """What only a preprocessor understands costs no definition; of two halves the first that can be true is read."""
    found = extract(Task(b"", path, language_of(path), source))
    assert [symbol.name for symbol in found.symbols] == names


@pytest.mark.parametrize(("path", "source"), [case[:2] for case in CASES])
def test_every_place_stays(path: str, source: bytes) -> None:
    """The text to parse is as long, and its lines are where they were."""
    text = readable(language_of(path), source)
    assert len(text) == len(source)
    assert [len(line) for line in text.split(b"\n")] == [len(line) for line in source.split(b"\n")]


@pytest.mark.parametrize(
    "piece",
    [
        b") AAAA(x)",
        b"AAAA(",
        b"class AAAA ",
        b"/*",
        b'"\\"',
        b"#if\n",
        b"#if {\n",
        b"#else\n",
        b")  ",
        b"AAAA\n",
        b"'",
        b"A_API ",
        b"static ",
        b"#if 0\n'{",
        b"class A::",
        b"FOO(a)\n",
    ],
)
def test_no_text_is_gone_over_twice(piece: bytes) -> None:
    """Half a megabyte of any piece takes less than a second, far from the minutes of a square."""
    source = piece * (500_000 // len(piece))
    started = time.process_time()
    readable(Language.CPP, source)
    readable(Language.CSHARP, source)
    assert time.process_time() - started < 3


def test_cases_between_directives_of_swift() -> None:
    """A `case` of a switch inside `#if` does not lose the rest of its class; both branches are read."""
    lines = ["class A {", " func f() { switch x {", "#if os(iOS)", " case B.c: g()"]
    lines += ["#elseif os(macOS)", " case D.e: h()", "#endif", " default: return } }", " func last() {}", "}"]
    found = extract(Task(b"", "a.swift", Language.SWIFT, "\n".join(lines).encode()))
    assert [(symbol.line, symbol.qualname) for symbol in found.symbols] == [(1, "A"), (2, "A.f"), (9, "A.last")]
    assert {reference.name for reference in found.references} >= {"g", "h"}
