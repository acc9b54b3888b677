"""search_symbols, outline, list_documents and every_symbol: definitions and files."""

from uuid import uuid4

import psycopg
import pytest

from worker.catalog.search import (
    Page,
    Scope,
    check_branch,
    every_symbol,
    list_documents,
    outline,
    search_symbols,
)
from worker.errors import NotFound

EVERYWHERE = Scope(None)
ALL = Page(1000)
SHAPES = '''class Shape:
    """What has an area."""

    def area(self):
        def half():
            return 1
        return half()

    @property
    def area_twice(self):
        return 2 * self.area()


class ShapeError(Exception):
    pass


def reshape():
    pass
'''


def names(rows):
    """Qualified names, in order."""
    return [row["qualname"] for row in rows]


@pytest.mark.parametrize(
    ("query", "mode", "found"),
    [
        ("Shape", "prefix", ["Shape", "ShapeError", "Shape.area", "Shape.area_twice", "Shape.area.half"]),
        ("shape", "prefix", ["Shape", "ShapeError"]),
        ("Shape.ar", "prefix", ["Shape.area", "Shape.area_twice", "Shape.area.half"]),
        ("Shape.area.h", "prefix", ["Shape.area.half"]),
        ("Shape.area.", "prefix", ["Shape.area.half"]),
        ("Shape.area", "prefix", ["Shape.area", "Shape.area_twice", "Shape.area.half"]),
        ("Shape.AREA", "prefix", []),
        (".area", "prefix", []),
        ("Shape", "exact", ["Shape"]),
        ("Shape.area.half", "exact", ["Shape.area.half"]),
        ("Shape.AREA", "exact", []),
        ("Shape.area", "exact", ["Shape.area"]),
        ("shape", "exact", []),
        ("shpe", "fuzzy", ["Shape", "ShapeError"]),
        ("Shaep", "fuzzy", ["Shape"]),
        ("area_twcie", "fuzzy", ["Shape.area_twice", "Shape.area"]),
        ("%", "prefix", []),
        ("_rea", "prefix", []),
    ],
)
def test_what_a_query_finds(db, index_files, query, mode, found):
    """The best first: exact, then by length; case is folded where nothing fits by case."""
    index_files({"shapes.py": SHAPES})
    rows = search_symbols(db, query, EVERYWHERE, ALL, mode=mode)
    if mode == "prefix":
        assert sorted(names(rows)) == sorted(found)
        assert names(rows)[:1] == found[:1]
    else:
        assert names(rows) == found


def test_a_qualified_name_that_does_not_follow_is_found(db, index_files):
    """The path of a heading, and one that a program before this wrote whole."""
    index_files({"README.md": "# Install\n\n## Linux\n\n### Debian\n", "shapes.py": SHAPES})
    assert names(search_symbols(db, "Install > Lin", EVERYWHERE, ALL)) == [
        "Install > Linux",
        "Install > Linux > Debian",
    ]
    assert names(search_symbols(db, "Install > Linux", EVERYWHERE, ALL, mode="exact")) == ["Install > Linux"]
    whole = names(search_symbols(db, "Shape", EVERYWHERE, ALL))
    assert db.execute("update idx.symbols set qualname = 'Shape.area' where name = 'area'").rowcount == 1
    assert names(search_symbols(db, "Shape", EVERYWHERE, ALL)) == whole
    assert names(search_symbols(db, "Shape.area", EVERYWHERE, ALL, mode="exact")) == ["Shape.area"]


def test_the_best_ranks_alone_are_read_where_they_fill_the_page(db, index_files):
    """And the pages behind them still bring the rest, each once."""
    index_files({f"{n}.py": SHAPES for n in range(6)})
    whole = [(row["path"], row["qualname"]) for row in search_symbols(db, "Shape", EVERYWHERE, ALL)]
    assert {qualname for _, qualname in whole[:6]} == {"Shape"}
    for size in (1, 5, 6, 7):
        paged, after = [], None
        while rows := search_symbols(db, "Shape", EVERYWHERE, Page(size, after)):
            paged += [(row["path"], row["qualname"]) for row in rows]
            after = rows[-1]["cursor"]
        assert paged == whole


def test_code_comes_before_headings_of_the_same_name(db, index_files):
    """And own code before tests and other people's."""
    paths = ["z.py", "tests/a.py", "vendor/a.py"]
    index_files({"README.md": "# Shape\n"} | {path: f"# {path}\nclass Shape:\n    pass\n" for path in paths})
    found = [row["path"] for row in search_symbols(db, "Shape", EVERYWHERE, ALL, mode="exact")]
    assert found == [*paths, "README.md"]


def test_a_row_says_what_there_is_to_know(db, index_files):
    """Kind, lines, signature, what it is inside of, documentation where the language gives any."""
    index_files({"shapes.py": SHAPES})
    (row,) = search_symbols(db, "half", EVERYWHERE, ALL)
    assert (row["kind"], row["line"], row["end_line"], row["parent"]) == ("function", 5, 6, "Shape.area")
    assert (row["signature"], row["language"], row["branch"]) == ("def half()", "python", "main")
    db.execute("update idx.symbols set doc = 'What has an area.' where name = 'Shape'")
    (row,) = search_symbols(db, "Shape", EVERYWHERE, ALL, mode="exact")
    assert row["doc"] == "What has an area."


def test_filters(db, index_files):
    """Kind, language and path; an unknown kind is named together with those there are."""
    index_files({"a/shapes.py": SHAPES, "b.go": "package b\n\nfunc Shape() {}\n"})
    assert names(search_symbols(db, "Shape", EVERYWHERE, ALL, kind="class")) == ["Shape", "ShapeError"]
    assert [row["path"] for row in search_symbols(db, "Shape", Scope(None, language="go"), ALL)] == ["b.go"]
    assert {row["path"] for row in search_symbols(db, "Shape", Scope(None, path="a/"), ALL)} == {"a/shapes.py"}
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="function, method"):
        search_symbols(db, "Shape", EVERYWHERE, ALL, kind="klass")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="prefix, exact or fuzzy"):
        search_symbols(db, "Shape", EVERYWHERE, ALL, mode="any")


@pytest.mark.parametrize(("query", "mode"), [("Sh", "prefix"), ("sh", "prefix"), ("shpe", "fuzzy"), ("Shape", "exact")])
def test_pages_together_are_the_whole(db, index_files, query, mode):
    """In every mode; a query whose case was folded on its first page stays so."""
    index_files({f"{n}.py": SHAPES for n in range(6)})
    whole = [(row["path"], row["qualname"]) for row in search_symbols(db, query, EVERYWHERE, ALL, mode=mode)]
    paged, after = [], None
    while rows := search_symbols(db, query, EVERYWHERE, Page(4, after), mode=mode):
        paged += [(row["path"], row["qualname"]) for row in rows]
        after = rows[-1]["cursor"]
    assert paged == whole
    assert len(whole) == len(set(whole)) >= 6


def test_an_outline_is_in_order_and_nested(db, index_files):
    """Depth by what each is inside of; a page goes on where the last one ended."""
    index_files({"src/shapes.py": SHAPES})
    rows = outline(db, "src/shapes.py", EVERYWHERE, ALL)
    assert [(row["depth"], row["name"]) for row in rows] == [
        (0, "Shape"), (1, "area"), (2, "half"), (1, "area_twice"), (0, "ShapeError"), (0, "reshape"),
    ]  # fmt: skip
    rest = outline(db, "src/shapes.py", EVERYWHERE, Page(10, rows[2]["cursor"]))
    assert [(row["depth"], row["name"]) for row in rest] == [(1, "area_twice"), (0, "ShapeError"), (0, "reshape")]


def test_a_file_that_is_not_there(db, index_files):
    """A sentence, not an empty answer; a file without definitions is one."""
    index_files({"a.txt": "text\n"})
    assert outline(db, "a.txt", EVERYWHERE, ALL) == []
    with pytest.raises(NotFound, match=r"No file 'b.txt' is indexed"):
        outline(db, "b.txt", EVERYWHERE, ALL)
    with pytest.raises(NotFound):
        outline(db, "a.txt", Scope(uuid4()), ALL)


def test_documents_are_listed_with_why_some_were_not_read(db, index_files):
    """By path, page by page."""
    index_files({"a.py": "x = 1\n", "b.bin": "\x00\x01", "c.md": "# Title\n"})
    rows = list_documents(db, EVERYWHERE, ALL)
    assert [(row["path"], row["language"], row["size"], row["skipped"]) for row in rows] == [
        ("a.py", "python", 6, None), ("b.bin", "text", 2, "binary"), ("c.md", "markdown", 8, None),
    ]  # fmt: skip
    assert {row["commit"] for row in rows} == {"0123456789abcdef0123456789abcdef01234567"}
    assert [row["path"] for row in list_documents(db, EVERYWHERE, Page(9, rows[0]["cursor"]))] == ["b.bin", "c.md"]
    assert [row["path"] for row in list_documents(db, Scope(None, path="*.md"), ALL)] == ["c.md"]


def test_every_definition_streams_in_order(db, index_files, monkeypatch):
    """In fetches of a bounded size, each definition once, of the one repository alone."""
    monkeypatch.setattr("worker.catalog.search.ROWS_A_FETCH", 4)
    made = index_files({f"{n}.py": SHAPES for n in range(5)})
    index_files({"other.py": SHAPES})
    rows = list(every_symbol(db, Scope(None, made.id)))
    assert [(row["path"], row["line"]) for row in rows] == sorted((row["path"], row["line"]) for row in rows)
    assert len(rows) == 30
    assert {row["qualname"] for row in every_symbol(db, Scope(None, made.id), kind="class")} == {"Shape", "ShapeError"}
    assert list(every_symbol(db, Scope(uuid4(), made.id))) == []


def test_a_branch_that_is_not_indexed_is_said(db, index_files):
    """With those that are."""
    made = index_files({"a.py": "x\n"})
    check_branch(db, Scope(None, made.id, "main"))
    with pytest.raises(NotFound) as failure:
        check_branch(db, Scope(None, made.id, "dev"))
    assert failure.value.hint == "Indexed: main."
