"""What is found in one small but rich file a language: definitions, their places and signatures, and uses."""

import hashlib
from pathlib import Path

import pytest

from worker.indexing.classify import Skip
from worker.indexing.extract import extract
from worker.indexing.languages import Language, language_of
from worker.indexing.records import Extract, Task

_SAMPLES = Path(__file__).with_name("samples")  # *.txt, so that no formatter tidies them up

SYMBOLS = {
    "sample.py": """
        5-5 variable __all__
        6-6 constant MAX_SIDES
        7-7 variable default_name
        8-8 type Pair
        11-28 class Shape
        12-12 field Shape.sides
        13-13 field Shape.NAME
        15-19 method Shape.area
        22-25 method Shape.name
        23-24 function Shape.name.inner
        27-28 class Shape.Meta
        28-28 field Shape.Meta.ordering
        32-36 function load
        39-40 class Square
        44-44 class Windows
    """,
    "sample.js": """
        3-3 constant LIMIT
        3-3 function helper
        4-4 variable counter
        5-15 class Store
        6-6 field Store.#items
        7-7 method Store.create
        8-11 method Store.constructor
        10-10 method Store.reset
        12-12 method Store.size
        13-13 method Store.#clear
        14-14 method Store.handler
        16-20 constant api
        17-17 method api.list
        18-18 method api.find
        19-19 method api.remove
        21-24 function walk
        22-22 function walk.visit
        25-25 method Store.close
        26-26 function open
    """,
    "sample.ts": """
        2-5 interface Named
        3-3 field Named.name
        4-4 method Named.rename
        6-6 type Options
        6-6 field Options.depth
        6-6 field Options.parse
        7-7 enum Colour
        7-7 constant Colour.Red
        7-7 constant Colour.Green
        8-8 function external
        9-9 constant VERSION
        10-13 module Geometry.Flat
        11-11 constant Geometry.Flat.unit
        12-12 function Geometry.Flat.area
        14-20 class Service
        15-15 field Service.cache
        16-16 method Service.constructor
        17-17 method Service.close
        18-18 method Service.get
        19-19 method Service.run
        21-21 function make
    """,
    "sample.tsx": """
        1-1 type Props
        1-1 field Props.title
        2-5 function Card
        3-3 function Card.onClick
        6-6 constant Memo
    """,
    "sample.go": """
        5-5 constant MaxItems
        8-8 constant StateNew
        9-9 constant StatePaid
        13-13 variable ErrEmpty
        14-14 variable first
        14-14 variable other
        19-19 type State
        21-21 type Alias
        23-26 interface Store
        25-25 method Store.Add
        28-33 struct Cart
        31-31 field Cart.Items
        31-31 field Cart.Gifts
        32-32 field Cart.total
        35-35 struct Stack
        35-35 field Stack.items
        37-37 method Stack.Push
        39-45 method Cart.Total
        47-51 function New
    """,
    "sample.rs": """
        4-4 constant LIMIT
        5-5 variable COUNTER
        6-6 type Result
        9-12 struct Point
        10-10 field Point.x
        11-11 field Point.y
        14-14 struct Wrapper
        16-16 struct Bits
        16-16 field Bits.int
        16-16 field Bits.float
        18-21 enum Shape
        19-19 constant Shape.Circle
        19-19 field Shape.Circle.centre
        19-19 field Shape.Circle.radius
        20-20 constant Shape.Empty
        23-28 trait Area
        24-24 constant Area.UNIT
        25-25 type Area.Output
        26-26 method Area.area
        27-27 method Area.double
        31-31 constant Point.ORIGIN
        32-35 method Point.new
        39-41 method Shape.fmt
        44-46 macro square
        48-57 module inner
        49-56 function inner.run
    """,
    "Sample.java": """
        6-41 class Sample
        7-7 constant Sample.LIMIT
        8-8 field Sample.items
        8-8 field Sample.spare
        11-14 method Sample.Sample
        17-22 method Sample.run
        20-20 method Sample.run.visit
        24-27 enum Sample.Status
        25-25 constant Sample.Status.OPEN
        25-25 constant Sample.Status.CLOSED
        26-26 method Sample.Status.next
        29-31 class Sample.Range
        29-29 field Sample.Range.low
        29-29 field Sample.Range.high
        30-30 method Sample.Range.Range
        33-36 interface Sample.Handler
        34-34 constant Sample.Handler.PRIORITY
        35-35 method Sample.Handler.handle
        38-40 interface Sample.Marked
        39-39 method Sample.Marked.value
    """,
}
REFERENCES = {
    "sample.py": """
        call LoadError:36 decorate:31 fetch:34 inner:25 property:21
        use MAX_SIDES:18 Missing:35 NAME:24 Pair:39 Shape:32,34 ValueError:35
        implementation Generic:39 Mixin:39 Protocol:11 Shape:39
    """,
    "sample.js": """
        call #clear:10 emit:14 helper:17 visit:23 walk:22
        use Base:5 Body:26 LIMIT:7 Map:6 Panel:26 Store:7,25,26
        implementation Store:5
    """,
    "sample.ts": """
        call area:12 build:21 close:19 get:18 log:18
        use Base:14 Colour:21 Map:15 Named:8 Node:6 Options:21 Promise:8,19 Red:21 Service:21 Shape:12
            Store:16 VERSION:22
        implementation Base:2 Closable:14 Named:14 Other:2 Service:14
    """,
    "sample.tsx": """
        call memo:6 track:3
        use Button:4 Card:6 Element:2 Icon:4 Primary:4 Props:2 React:6
    """,
    "sample.go": """
        call New:13 Price:42 Println:49 append:37
        use Base:48 Cart:39,47,48 Item:25,31 Items:41,49 Map:49 MaxItems:48 Stack:37 State:8,21
            StatePaid:42 Store:17
        implementation Base:29 Mutex:30 Stringer:24
    """,
    "sample.rs": """
        call collect:54 describe:40 helper:53 iter:54 map:54 square:55 write:40
        use Clone:8,30 Debug:8 Empty:40 Error:6 FnOnce:51 Formatter:39 LIMIT:55 Output:26
            Point:14,19,54 Result:6,39,49 Shape:40 Vec:54
        implementation Display:23,38
    """,
    "Sample.java": """
        call apply:19 check:30 close:18 forEach:18 log:20
        use ArrayList:8 CLOSED:26 Event:35 IOException:17 Inject:10 Item:6,18 LIMIT:13 List:8,11 Node:20
            OPEN:19 Override:16 Sample:6,13 Service:5 Status:19,26 String:39 Visitor:19
        implementation AutoCloseable:33 Base:6 Comparable:6 Runnable:6
    """,
}


def read(name: str) -> Extract:
    """The extract of a sample."""
    return extract(Task(b"", name, language_of(name), (_SAMPLES / f"{name}.txt").read_bytes()))


@pytest.mark.parametrize("name", list(SYMBOLS))
def test_definitions(name: str) -> None:
    """Every definition has its kind, its dotted name and its lines; locals are none."""
    found = read(name)
    assert (found.skip, found.reason) == (Skip.NONE, None)
    lines = [f"{s.line}-{s.end_line} {s.kind.name.lower()} {s.qualname}" for s in found.symbols]
    assert lines == [line.strip() for line in SYMBOLS[name].strip().splitlines()]


@pytest.mark.parametrize("name", list(SYMBOLS))
def test_parents(name: str) -> None:
    """A qualified name is the parent's and the own name."""
    for symbol in read(name).symbols:
        assert symbol.qualname == (f"{symbol.parent}.{symbol.name}" if symbol.parent else symbol.name)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_references(name: str) -> None:
    """Calls, uses and what is extended, by name with their lines; a definition's own name is no use of it."""
    words: list[str] = []
    kind = None
    for reference in read(name).references:
        if reference.kind is not kind:
            kind = reference.kind
            words.append(kind.name.lower())
        words.append(f"{reference.name}:{','.join(str(line) for line in reference.lines)}")
    assert words == REFERENCES[name].split()


@pytest.mark.parametrize(
    ("name", "qualname", "signature"),
    [
        ("sample.py", "Shape.area", "def area( self, scale: float = 1.0 ) -> float"),
        ("sample.py", "load", 'async def load(path: "os.PathLike", shape: Shape | None = None) -> list[Shape]'),
        ("sample.js", "Store", "export default class Store extends Base.Store"),
        ("sample.ts", "Service", "export abstract class Service<T> extends Base.Service implements Named<T>, Closable"),
        ("sample.ts", "make", "export const make = <T,>(options: Options): Service<T>"),
        ("sample.go", "Stack.Push", "func (s *Stack[T]) Push(item T)"),
        ("sample.rs", "inner.run", "pub(crate) async fn run<F>(task: F) -> crate::Result<()> where F: FnOnce()"),
        ("Sample.java", "Sample.LIMIT", "public static final int LIMIT = 10"),
    ],
)
def test_signatures(name: str, qualname: str, signature: str) -> None:
    """A signature is the definition up to its body, comments left out, on one line."""
    assert [symbol.signature for symbol in read(name).symbols if symbol.qualname == qualname] == [signature]


def test_text_facts() -> None:
    """Size, lines, digest and tokens of a text; invalid UTF-8 becomes replacement characters."""
    found = extract(Task(b"oid", "a.txt", language_of("a.txt"), b"one\ntwo \xff"))
    assert (found.oid, found.size, found.line_count, found.tokens) == (b"oid", 9, 2, 4)
    assert found.content == "one\ntwo \N{REPLACEMENT CHARACTER}"
    assert found.sha256 == hashlib.sha256(b"one\ntwo \xff").digest()


@pytest.mark.parametrize(("content", "lines"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2)])
def test_lines(content: bytes, lines: int) -> None:
    """A last line without a line feed counts, an empty file has none."""
    assert extract(Task(b"", "a", language_of("a"), content)).line_count == lines


def test_skipped_content() -> None:
    """A file that is not read keeps its size and digest, and nothing of its content."""
    found = extract(Task(b"", "a.py", language_of("a.py"), b"x = 1\0"))
    assert (found.skip, found.size, found.content, found.tokens, found.symbols) == (Skip.BINARY, 6, None, 0, ())
    assert len(found.sha256) == 32


def test_long_names_are_left_out_and_counted() -> None:
    """A name that no index takes is left out, its neighbours are kept, and the reason says so."""
    content = b"def " + b"x" * 513 + b"(): pass\ndef ok(): " + b"y" * 600 + b"()\n"
    found = extract(Task(b"", "a.py", language_of("a.py"), content))
    assert [symbol.name for symbol in found.symbols] == ["ok"]
    assert found.references == ()
    assert found.reason == "Too many or too long to keep: 1 definitions and 1 used names were left out."


def test_deep_nesting_keeps_qualified_names_short() -> None:
    """Classes nested without end are cut where their qualified name would pass 1024 bytes."""
    content = b"".join(b" " * depth + b"class A" + b"a" * 50 + b":\n" for depth in range(100)) + b" " * 100 + b"pass\n"
    found = extract(Task(b"", "a.py", language_of("a.py"), content))
    assert 10 < len(found.symbols) < 100
    assert max(len(symbol.qualname) for symbol in found.symbols) <= 1024
    assert found.reason is not None


def test_a_broken_file_gives_what_is_whole() -> None:
    """A syntax error costs only what it touches."""
    found = extract(
        Task(
            b"", "a.py", language_of("a.py"), b"def f(x):\n    return x +\n\nclass Good:\n    def method(self): pass\n"
        )
    )
    assert "Good" in {symbol.name for symbol in found.symbols}


@pytest.mark.parametrize("depth", [100, 249, 250, 251, 499, 500, 501, 1_000, 5_000])
def test_nothing_nested_deeply_is_lost(depth: int) -> None:
    """A call inside a call inside a call, two levels of the syntax tree each: every one is found, at any depth."""
    calls = [f"f{number}" for number in range(depth)]
    content = "x = " + "(".join([*calls, "1"]) + ")" * depth
    found = extract(Task(b"", "deep.py", Language.PYTHON, content.encode()))
    assert found.reason is None
    assert {reference.name for reference in found.references} == set(calls)


def test_what_is_nested_too_deeply_to_be_named_is_counted() -> None:
    """Of 3,000 functions inside each other all are found; those whose qualified name is too long are left out."""
    content = "".join(f"function f{number}() {{\n" for number in range(3_000)) + "}" * 3_000
    found = extract(Task(b"", "deep.js", Language.JAVASCRIPT, content.encode()))
    assert len(found.symbols) > 200
    assert found.reason is not None
    assert f"{3_000 - len(found.symbols)} definitions" in found.reason
