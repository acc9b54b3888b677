"""What is found in one small but rich file of Kotlin, Swift, Scala, Lua, Elixir, Bash, SQL, and of each markup.

Labelled by hand, the uses included; the samples hold what their grammars make difficult.
"""

from pathlib import Path

import pytest

from worker.indexing.classify import Skip
from worker.indexing.extract import extract
from worker.indexing.languages import Language, language_of
from worker.indexing.records import Extract, Task

_SAMPLES = Path(__file__).with_name("samples")

SYMBOLS = {
    "sample.kt": """
        4-4 type Handler
        5-5 constant LIMIT
        6-6 constant size
        7-7 variable counter
        10-13 interface Shape
        11-11 field Shape.sides
        12-12 method Shape.area
        16-29 class Circle
        16-16 field Circle.radius
        16-16 field Circle.name
        19-19 method Circle.area
        21-21 field Circle.PI
        22-22 method Circle.create
        24-26 field Circle.z
        27-27 field Circle.set
        28-28 field Circle.open
        31-31 class Single
        31-31 method Single.go
        31-31 function Single.go.nested
        32-36 enum Colour
        32-32 field Colour.rgb
        33-33 constant Colour.RED
        33-33 function Colour.RED.f
        34-34 constant Colour.GREEN
        35-35 method Colour.f
        37-37 class Marked
        37-37 field Marked.value
        38-40 interface Action
        39-39 method Action.run
        44-51 method List.second
        45-45 function List.second.run
        53-53 function a test with spaces
        54-54 method Shape.plus
    """,
    "sample.swift": """
        4-4 type Handler
        5-5 constant limit
        6-6 variable counter
        9-16 interface Shape
        10-10 type Shape.Output
        11-11 field Shape.sides
        12-12 method Shape.make
        13-13 method Shape.area
        14-14 method Shape.init
        15-15 method Shape.subscript
        18-31 class Circle
        19-19 field Circle.radius
        19-19 field Circle.name
        20-20 field Circle.shared
        21-21 field Circle.z
        22-22 method Circle.init
        22-22 function Circle.init.nested
        23-23 method Circle.init
        24-24 method Circle.deinit
        25-25 method Circle.area
        26-26 method Circle.==
        27-27 method Circle.subscript
        28-28 class Circle.Inner
        28-28 field Circle.Inner.x
        29-29 field Circle.computed
        30-30 field Circle.a
        30-30 field Circle.b
        32-32 struct Point
        32-32 field Point.x
        32-32 field Point.y
        33-34 enum Colour
        33-33 constant Colour.red
        33-33 constant Colour.green
        33-33 constant Colour.mix
        33-33 method Colour.f
        34-34 enum Colour.CodingKeys
        34-34 constant Colour.CodingKeys.a
        35-35 method Circle.ext
        35-35 field Circle.v
        36-36 method Array.Index.y
        37-37 class Bank
        37-37 method Bank.pay
        40-40 function +++
        41-50 function top
        48-48 function top.innerfn
        51-51 macro stringify
        53-53 function linuxOnly
        55-55 struct W
        55-55 field W.wrappedValue
    """,
    "sample.scala": """
        7-12 trait Shape
        8-8 field Shape.sides
        9-9 method Shape.area
        10-10 type Shape.Out
        11-11 field Shape.lz
        13-22 class Circle
        13-13 field Circle.radius
        13-13 field Circle.name
        14-14 method Circle.this
        15-15 field Circle.count
        16-16 method Circle.area
        17-17 method Circle.+
        18-18 field Circle.a
        18-18 field Circle.b
        19-19 field Circle.c
        19-19 field Circle.d
        20-20 method Circle.outer
        20-20 function Circle.outer.nested
        21-21 class Circle.Inner
        21-21 field Circle.Inner.X
        23-29 class Circle
        24-24 method Circle.apply
        25-25 field Circle.ord
        26-26 class Circle.Rich
        26-26 field Circle.Rich.s
        26-26 method Circle.Rich.shout
        27-27 field Circle.Pi
        28-28 type Circle.Alias
        30-30 module utils
        30-30 function utils.helper
        31-31 class Base
        32-32 class Deep
        33-33 class odd name
        34-44 class Main
        35-43 method Main.main
        40-40 method Main.main.run
        46-48 enum Color
        46-46 field Color.rgb
        47-47 constant Color.Red
        48-48 constant Color.Green
        48-48 constant Color.Blue
        49-50 constant intOrd
        50-50 method intOrd.compare
        52-52 function whisper
        53-53 type Id
        55-56 trait Show
        56-56 method Show.show
        57-60 class A
        57-57 field A.x
        58-60 method A.f
        61-61 function toplevel
        62-62 constant topval
    """,
    "sample.lua": """
        1-1 variable M
        3-3 variable LIMIT
        4-4 variable counter
        4-4 variable other
        8-8 method M.new
        8-8 function M.new.nested
        9-9 method M.method
        10-10 method M.a.b.c
        11-11 function helper
        12-12 function global_fn
        13-13 method M.assigned
        14-14 method M.sub.assigned
        15-15 function anon
        16-16 function glob
        18-18 variable t
        18-18 function t.f
        18-18 function t.g
        19-19 function run
    """,
    "sample.ex": """
        1-43 module Foo.Bar
        9-9 constant Foo.Bar.limit
        11-11 type Foo.Bar.t
        12-12 type Foo.Bar.priv
        13-13 type Foo.Bar.op
        14-14 function Foo.Bar.run
        15-15 macro Foo.Bar.mac
        18-18 function Foo.Bar.add
        19-19 function Foo.Bar.add
        20-27 function Foo.Bar.add
        28-28 function Foo.Bar.helper
        29-29 function Foo.Bar.noargs
        30-30 function Foo.Bar.+
        32-32 macro Foo.Bar.mac
        33-33 macro Foo.Bar.pm
        34-34 function Foo.Bar.is_foo
        35-35 function Foo.Bar.size
        38-40 module Foo.Bar.Inner
        39-39 function Foo.Bar.Inner.f
        42-42 function Foo.Bar.init
        44-46 module String.Chars
        45-45 function String.Chars.to_string
        47-50 interface Size
        49-49 method Size.size
        51-53 function foo bar
        55-56 function b
    """,
    "sample.sh": """
        4-4 variable LIMIT
        5-5 variable RO
        6-6 variable PATH
        7-7 variable ARR
        9-15 function greet
        13-13 function greet.nested
        16-16 function helper
        17-17 function third
        18-18 macro ll
        19-19 function cond
    """,
    "sample.sql": """
        2-2 namespace app
        3-7 struct app.accounts
        4-4 field app.accounts.id
        5-5 field app.accounts.name
        8-8 other accounts_name
        9-9 struct app.v
        10-10 struct mv
        11-11 enum app.mood
        12-12 struct comp
        12-12 field comp.a
        12-12 field comp.b
        13-13 type posint
        14-14 other s1
        16-24 function app.add
        25-25 function p1
        26-26 other tr
        27-27 other pol
        29-29 other worker
        32-32 struct Quoted Name
        32-32 field Quoted Name.Col A
        33-33 function agg
        35-35 other watch
        42-42 function tidy
        44-44 struct after_all
        44-44 field after_all.a
    """,
    "sample.md": """
        5-12 heading My Project code link
        7-12 heading My Project code link > Install
        8-11 heading My Project code link > Install > Linux
        12-12 heading My Project code link > Install > macOS
        13-29 heading Setext One
        17-26 heading Setext One > Setext Two
        27-29 heading Setext One > Install
        29-29 heading Setext One > Install > Deep
    """,
    "sample.yaml": """
        2-2 key name
        3-5 key on
        4-4 key on.push
        5-5 key on.quoted key
        6-21 key jobs
        7-15 key jobs.build
        8-8 key jobs.build.runs-on
        9-13 key jobs.build.steps
        14-15 key jobs.build.env
        15-15 key jobs.build.env.A
        16-19 key jobs.text
        20-21 key jobs.test
        22-24 key list
        25-25 key url
        26-26 key http://key
        27-28 key multi
        30-30 key cond
        32-37 key a
        33-37 key a.b
        34-37 key a.b.c
        35-37 key a.b.c.d
        36-37 key a.b.c.d.e
        39-39 key second
    """,
    "sample.toml": """
        1-1 key title
        2-2 key a.b.c
        3-12 key project
        4-4 key project.name
        5-8 key project.deps
        9-12 key project.text
        13-14 key tool.ruff.lint
        14-14 key tool.ruff.lint.quoted.key
        15-16 key bin
        19-21 key last
        20-21 key last.d
    """,
    "sample.json": """
        3-3 key name
        4-4 key scripts
        4-4 key scripts.build
        4-4 key scripts.a:b
        5-5 key list
        6-12 key deep
        7-11 key deep.er
        8-8 key deep.er.k
        9-9 key deep.er.single
        10-10 key deep.er.bare
        13-13 key last
    """,
}
REFERENCES = {
    "sample.kt": """
        call Circle:22,50 MyError:48 also:50 forEach:46 infixCall:49 lazy:7 map:46 println:46 toDouble:17 visit:18
        use Any:10,44 Bar:48 Boolean:28 Circle:22 Colour:47 Double:12,16,19 Foo:47
            Int:4,6,7,11,16,17,24,27,32,35,45,47 JvmName:1 JvmStatic:22 LIMIT:50 List:44 RED:47 Serializable:15
            Shape:6,10,54 String:16,37 Unit:4,44
        implementation Base:16,31 Closeable:10 Comparable:10 Named:16 Other:45 Runnable:45
    """,
    "sample.swift": """
        call Circle:20,42 MyHandler:46 addHandler:46 area:43 bad:44 foo:43 free:24 map:43 success:49
        use Any:18 Bar:44 Baz:45 Bool:26 Circle:26 Codable:41 Double:13,19,22,25 Eq:41 Equatable:35 Foo:9,41,45
            Hashable:10 Index:36 Int:4,6,11,14,15,21,23,27,29,32,33,35,40,41,42,55 Limit:43 MyError:41,44 NIO:18
            Result:41 Self:9,12 Sendable:48 String:19,41,51 Void:4
        implementation AnyObject:9 Base:18 CaseIterable:33 Codable:32 CodingKey:34 Comparable:9 Equatable:35
            Handler:18 Shape:18 String:33,34
    """,
    "sample.scala": """
        call Circle:36 by:25 foreach:37 map:37,38 method:41 nested:20 println:36 this:14
        use Array:35 Base:36 Circle:17,24,25,36 Colour:41 Double:9,13,16,24,31 Foo:38
            Int:8,13,14,20,28,39,41,46,49,50,53,56,57,61 Limit:39 Map:28 MyError:36 Number:7 Ordering:25,49 Red:41
            Runnable:40 Shape:7 String:13,26,28,35,51,52,56 Unit:35
        implementation AnyVal:26 App:23 B:57 Base:13 C:57 Closeable:7 Color:47 Comparable:7 Eq:55 Named:46 Shape:13
    """,
    "sample.lua": """
        call go:9 new:19 require:2 setmetatable:19
    """,
    "sample.ex": """
        call assert:52 go:22 helper:21 inspect:23 is_integer:18 map:21 now:25 t:15
        use ArgumentError:26 Bar:44 Baz:7,22,35 Conn:6 Enum:21 Foo:7 Macro:15 Qux:7,24
        implementation GenServer:5 Plug:8
    """,
    "sample.sh": """
        call cat:22 compute:16 greet:16,20 grep:14 helper:14 other:14 sub:17
    """,
    "sample.sql": """
        call add:26,35,37 count:20 other:21
        use accounts:8,9,20,26,27,30,31,34,38 events:36 old_rows:42 owners:5 people:37 tmp1:22
    """,
}
DOCS = {
    "sample.kt": {"Shape": "A shape.", "List.second": "Doubles"},
    "sample.swift": {"Shape": "A shape."},
    "sample.scala": {"Shape": "A shape.", "Show": "Shows."},
    "sample.lua": {"M.new": "Doc first line."},
    "sample.ex": {"Foo.Bar": "A module.", "Foo.Bar.add": "Adds.", "Size.size": "size"},
    "sample.sh": {"greet": "Greets."},
    "sample.sql": {"app": "Accounts.", "app.accounts": "Who may do what.", "app.add": "Adds."},
}
SIGNATURES = {
    ("sample.kt", "List.second"): "suspend fun <T> List<T>.second(block: suspend (T) -> Unit): T where T : Any",
    ("sample.kt", "Circle.area"): "override fun area(scale: Double): Double",
    ("sample.swift", "Circle"): "public final class Circle<T>: Base<T>, Shape, NIO.Handler where T: Any",
    ("sample.swift", "Shape.area"): "func area(scale: Double) -> Double",
    ("sample.scala", "Circle.+"): "def +(o: Circle): Circle",
    ("sample.lua", "M.method"): "function M:method(x)",
    ("sample.ex", "Foo.Bar.is_foo"): "defguard is_foo(x) when x > 1",
    ("sample.sh", "helper"): "function helper",
    ("sample.sql", "tr"): "create trigger tr before insert on app.accounts for each row execute function app.add()",
    ("sample.sql", "after_all.a"): "a numeric(3, 1)",
}


def read(name: str) -> Extract:
    """The extract of a sample."""
    return extract(Task(b"", name, language_of(name), (_SAMPLES / f"{name}.txt").read_bytes()))


@pytest.mark.parametrize("name", list(SYMBOLS))
def test_definitions(name: str) -> None:
    """Every definition has its kind, its qualified name and its lines; locals are none."""
    found = read(name)
    assert (found.skip, found.reason) == (Skip.NONE, None)
    lines = [f"{s.line}-{s.end_line} {s.kind.name.lower()} {s.qualname}" for s in found.symbols]
    assert lines == [line.strip() for line in SYMBOLS[name].strip().splitlines()]


@pytest.mark.parametrize("name", list(SYMBOLS))
def test_parents(name: str) -> None:
    """A qualified name is the parent's and the own name; headings are joined as a path is read."""
    joint = " > " if name == "sample.md" else "."
    for symbol in read(name).symbols:
        assert symbol.qualname == (f"{symbol.parent}{joint}{symbol.name}" if symbol.parent else symbol.name)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_references(name: str) -> None:
    """Calls, uses and what is extended, by name with their lines; the language's own words are none."""
    words: list[str] = []
    kind = None
    for reference in read(name).references:
        if reference.kind is not kind:
            kind = reference.kind
            words.append(kind.name.lower())
        words.append(f"{reference.name}:{','.join(str(line) for line in reference.lines)}")
    assert words == REFERENCES[name].split()


@pytest.mark.parametrize("name", list(DOCS))
def test_documentation(name: str) -> None:
    """The first line of a comment, of Elixir's attributes, of SQL's `comment on`."""
    assert {symbol.qualname: symbol.doc for symbol in read(name).symbols if symbol.doc} == DOCS[name]


@pytest.mark.parametrize(("name", "qualname"), list(SIGNATURES))
def test_signatures(name: str, qualname: str) -> None:
    """A signature ends before the body."""
    found = [symbol.signature for symbol in read(name).symbols if symbol.qualname == qualname]
    assert found == [SIGNATURES[name, qualname]]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"#!/usr/bin/env bash\ngreet() { :; }\n", ["greet"]),
        (b"#! /bin/sh -e\ngreet() { :; }\n", ["greet"]),
        (b"#!/usr/bin/env -S python3.11 -u\ndef greet(): pass\n", ["greet"]),
        (b"#!/usr/local/bin/ruby\ndef greet; end\n", ["greet"]),
        (b"#!/usr/bin/env perl\nsub greet {}\n", []),
        (b"greet() { :; }\n", []),
        (b"\n#!/bin/sh\ngreet() { :; }\n", []),
    ],
)
def test_scripts_without_an_extension(content: bytes, names: list[str]) -> None:
    """The first line tells what a script is written in; the file stays text in its row."""
    found = extract(Task(b"", "bin/greet", language_of("bin/greet"), content))
    assert (found.lang, [symbol.name for symbol in found.symbols]) == (Language.TEXT, names)


@pytest.mark.parametrize(
    "content",
    [
        b"class A {\n  val open: Int = 1\n  fun f() = use { open(it) }\n  fun g() {}\n}\n",
        b"class A {\n  fun f(in1: In) {\n    in1.close()\n  }\n  fun g() {}\n}\n",
        b"class A {\n  var x = 1\n    @Synchronized set(value) { field = value }\n  fun g() {}\n}\n",
        b"class A {\n  context(log: Log)\n  fun f() {}\n  fun g() {}\n}\n",
        b"class A {\n  fun f(x: Any) = when (x) {\n    is B if x.ok() -> 1\n    else -> 2\n  }\n  fun g() {}\n}\n",
        b"class A\n  @Needs(3)\n  internal constructor() : B {\n  fun g() {}\n}\n",
        b"class A {\n  companion object {\n    const val X = 1\n  }\n  inner class B { val x = 1 }\n  fun g() {}\n}\n",
    ],
)
def test_kotlin_that_its_grammar_cannot_read(content: bytes) -> None:
    """What the grammar stumbles over costs nothing of the class around it."""
    found = extract(Task(b"", "a.kt", Language.KOTLIN, content))
    assert {"A", "A.g"} <= {symbol.qualname for symbol in found.symbols}
