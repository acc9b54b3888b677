"""Definitions and uses in C, C++, C#, Ruby and PHP: one small but rich file a language, labelled by hand."""

from pathlib import Path

import pytest

from worker.indexing.classify import Skip
from worker.indexing.extract import extract
from worker.indexing.languages import language_of
from worker.indexing.records import Extract, Task

_SAMPLES = Path(__file__).with_name("samples")

SYMBOLS = {
    "sample.c": """
        3-3 constant LIMIT
        5-5 macro SQUARE
        7-7 type price_t
        8-8 type visitor
        9-9 struct Point
        9-9 field Point.x
        9-9 field Point.y
        10-10 enum State
        10-10 constant State.OPEN
        10-10 constant State.CLOSED
        15-15 type Item
        15-15 type ItemRef
        11-15 struct item
        12-12 field item.name
        12-12 field item.codes
        13-13 field item.on_visit
        14-14 field item.next
        19-19 constant rates
        20-20 variable head
        20-20 variable spare
        25-32 function find
        34-34 function pick
        36-36 function old
        38-48 function add
        50-50 function last
    """,
    "sample.cpp": r"""
        2-34 namespace shop.core
        3-28 namespace shop.core.v1
        7-24 class shop.core.v1.Box
        9-9 constant shop.core.v1.Box.kLimit
        10-10 type shop.core.v1.Box.value_type
        11-11 enum shop.core.v1.Box.Mode
        11-11 constant shop.core.v1.Box.Mode.Read
        11-11 constant shop.core.v1.Box.Mode.Write
        12-12 method shop.core.v1.Box.Box
        14-14 method shop.core.v1.Box.~Box
        16-16 method shop.core.v1.Box.operator==
        17-17 method shop.core.v1.Box.operator bool
        18-18 method shop.core.v1.Box.As
        19-19 method shop.core.v1.Box.Swap
        20-20 struct shop.core.v1.Box.Inner
        20-20 field shop.core.v1.Box.Inner.z
        23-23 field shop.core.v1.Box.size_
        23-23 field shop.core.v1.Box.data_
        26-26 type shop.core.v1.Small
        30-30 function shop.core.hidden
        32-32 variable shop.core.names
        37-41 method shop.core.Box.At
        43-43 method shop.core.Box.~Box
        44-44 method Box.operator int
        45-45 function operator"" _eur
        46-48 struct std.hash
        47-47 method std.hash.operator()
        51-51 function c_api
    """,
    "Sample.cs": r"""
        4-4 namespace Shop.Core
        10-44 class Shop.Core.Store
        12-12 constant Shop.Core.Store.Limit
        13-13 constant Shop.Core.Store.cache
        14-14 field Shop.Core.Store.Changed
        14-14 field Shop.Core.Store.Closed
        15-15 field Shop.Core.Store.Name
        16-16 field Shop.Core.Store.this
        18-18 method Shop.Core.Store.Store
        19-19 method Shop.Core.Store.~Store
        20-20 method Shop.Core.Store.operator ==
        21-21 method Shop.Core.Store.operator int
        22-32 method Shop.Core.Store.Find
        24-24 function Shop.Core.Store.Find.Depth
        33-33 method Shop.Core.Store.Close
        34-34 type Shop.Core.Store.Handler
        36-41 method Shop.Core.Store.First
        42-42 enum Shop.Core.Store.Mode
        42-42 constant Shop.Core.Store.Mode.Read
        42-42 constant Shop.Core.Store.Mode.Write
        43-43 struct Shop.Core.Store.Point
        43-43 field Shop.Core.Store.Point.X
        43-43 field Shop.Core.Store.Point.Y
        46-46 class Shop.Core.Person
        46-46 field Shop.Core.Person.First
        46-46 field Shop.Core.Person.Age
        48-48 interface Shop.Core.IStore
        48-48 method Shop.Core.IStore.Close
        48-48 field Shop.Core.IStore.Count
    """,
    "sample.rb": r"""
        3-39 module Shop
        4-4 constant Shop.VERSION
        5-5 class Shop.Error
        6-8 struct Shop.Point
        7-7 method Shop.Point.area
        11-38 class Shop.Cart
        14-14 constant Shop.Cart.MAX
        14-14 constant Shop.Cart.MIN
        15-15 field Shop.Cart.items
        15-15 field Shop.Cart.total
        18-20 method Shop.Cart.build
        23-23 method Shop.Cart.default
        25-29 method Shop.Cart.initialize
        31-31 method Shop.Cart.<=>
        32-32 method Shop.Cart.total=
        33-33 method Shop.Cart.empty?
        34-34 method Shop.Cart.size
        35-35 method Shop.Cart.add
        36-36 method Shop.Cart.clear
        37-37 method Shop.Cart.secret
        41-41 class Shop.Cart.Line
        43-43 method Shop.open
        45-45 function top_level
    """,
    "sample.php": r"""
        3-3 namespace Shop\Models
        11-37 class Shop\Models.User
        15-15 constant Shop\Models.User.LIMIT
        15-15 constant Shop\Models.User.OTHER
        16-16 field Shop\Models.User.name
        16-16 field Shop\Models.User.age
        17-17 field Shop\Models.User.cart
        19-19 method Shop\Models.User.__construct
        19-19 field Shop\Models.User.id
        19-19 field Shop\Models.User.address
        22-34 method Shop\Models.User.make
        36-36 method Shop\Models.User.rename
        39-39 interface Shop\Models.Named
        39-39 method Shop\Models.Named.name
        40-40 trait Shop\Models.Logs
        40-40 method Shop\Models.Logs.log
        41-46 enum Shop\Models.Status
        43-43 constant Shop\Models.Status.Open
        44-44 constant Shop\Models.Status.DEFAULT
        45-45 method Shop\Models.Status.label
        48-48 namespace Shop\Helpers
        50-50 constant Shop\Helpers.VERSION
        51-51 function Shop\Helpers.helper
        51-51 method Shop\Helpers.helper.round
        52-52 function Shop\Helpers.later
    """,
}
REFERENCES = {
    "sample.c": r"""
        call SQUARE:27 add:50 log_it:45 on_visit:29 same:29
        use CLOSED:41 Item:20,24,28,34,38 LIMIT:19,31 OPEN:34 forward:17 item:8,14 price_t:19 visitor:13
    """,
    "sample.cpp": r"""
        call Close:43 RangeError:39 Register:12 cents:47 hidden:51 make_unique:38 swap:19
        use Box:13,16,19,37,43,44 Item:38 Mode:40 Money:45,46,47 Slot:40
        implementation Base:7 Lock:7
    """,
    "Sample.cs": r"""
        call Clone:30 Depth:24,31 Invoke:33 Load:31 Register:18
        use ArgumentException:26 Defaults:15 Dictionary:13 Entity:10 EventArgs:33 EventHandler:14 First:46
            Item:13,22,29,30,34,36 Limit:21,31 List:2 Repository:31 Serializable:9 Store:20,21 Task:22
        implementation Base:10 IDisposable:48 IStore:10 Named:46
    """,
    "sample.rb": r"""
        call allowed?:37 build:43 call:28 empty?:33 puts:45 reset:36 total:31
        use Base:11 Cart:41,43 Class:5 Error:37 Helpers:13 Item:27 RATE:28 Shop:41,43 StandardError:5 Struct:6
            Tax:28
        implementation Comparable:12 Enumerable:12 Log:13 Store:11
    """,
    "sample.php": r"""
        call build:33 function_exists:52 helper:52 save:29 strtolower:27 total:26 ucfirst:45 write:31
        use Address:19 Cart:17 Entity:10 Item:25 LIMIT:15 LoadError:30 Log:31 Money:51 Open:25,44 Order:26
            PHP_INT_MAX:25 Price:51 Retry:31 SaveError:30 Status:25
        implementation JsonSerializable:11 Labelled:41 Logs:13 Model:11 Named:11 Price:51 Printable:39
            SoftDeletes:13
    """,
}


def read(name: str) -> Extract:
    """The extract of a sample."""
    return extract(Task(b"", name, language_of(name), (_SAMPLES / f"{name}.txt").read_bytes()))


@pytest.mark.parametrize("name", list(SYMBOLS))
def test_definitions(name: str) -> None:
    """Every definition has its kind, its dotted name and its lines; prototypes, locals and closures are none."""
    found = read(name)
    assert (found.skip, found.reason) == (Skip.NONE, None)
    lines = [f"{s.line}-{s.end_line} {s.kind.name.lower()} {s.qualname}" for s in found.symbols]
    assert lines == [line.strip() for line in SYMBOLS[name].strip().splitlines()]
    for symbol in found.symbols:
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
        ("sample.c", "find", "static Item * find(const char *name, int depth)"),
        ("sample.c", "Item", "} Item, *ItemRef"),
        ("sample.cpp", "shop.core.v1.Box.operator bool", "explicit operator bool() const"),
        ("sample.cpp", "std.hash", "struct std::hash<Money>"),
        ("Sample.cs", "Shop.Core.Store.Find", "public async Task<Item?> Find<K>(K key, params Item[] rest)"),
        ("sample.rb", "Shop.Cart.build", "def build(*args)"),
        ("sample.php", r"Shop\Models.User.make", "public static function &make(array $data): static"),
    ],
)
def test_signatures(name: str, qualname: str, signature: str) -> None:
    """A signature is the definition up to its body, on one line."""
    assert [symbol.signature for symbol in read(name).symbols if symbol.qualname == qualname] == [signature]
