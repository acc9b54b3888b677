"""find_references, find_callers and impact: what depends on a name or a file."""

from uuid import uuid4

import pytest

from worker.catalog.search import Page, Scope, find_callers, find_references, impact
from worker.errors import NotFound

EVERYWHERE = Scope(None)
ALL = Page(1000)
USES = """from shop import total


class Cart(Base):
    def sum(self):
        def twice():
            return total(self) + total(self)
        return twice() + \\
            total(self)


total(None)
"""


def test_references_with_their_lines(db, index_files):
    """Each line once, with what kind of use it is and its text; tests come last."""
    index_files({"test_cart.py": "total(1)\n", "cart.py": USES})
    rows = find_references(db, "total", EVERYWHERE, ALL)
    assert [(row["path"], row["line"], row["kind"]) for row in rows] == [
        ("cart.py", 7, "call"), ("cart.py", 9, "call"), ("cart.py", 12, "call"), ("test_cart.py", 1, "call"),
    ]  # fmt: skip
    assert rows[0]["content"] == "            return total(self) + total(self)"
    assert [row["kind"] for row in find_references(db, "Base", EVERYWHERE, ALL)] == ["implementation"]
    assert find_references(db, "Total", EVERYWHERE, ALL) == []
    (row,) = find_references(db, "total", Scope(None, path="test_*"), ALL)
    assert row["path"] == "test_cart.py"


def test_callers_are_the_smallest_definitions_around_the_calls(db, index_files):
    """One row a definition with all its lines; calls outside any definition together."""
    index_files({"cart.py": USES})
    rows = find_callers(db, "total", EVERYWHERE, ALL)
    assert [(row["qualname"], row["kind"], row["line"], row["call_lines"]) for row in rows] == [
        ("Cart.sum", "method", 5, [9]), ("Cart.sum.twice", "function", 6, [7]), (None, None, 12, [12]),
    ]  # fmt: skip
    assert rows[1]["content"].strip() == "return total(self) + total(self)"
    assert find_callers(db, "Base", EVERYWHERE, ALL) == []


@pytest.mark.parametrize("find", [find_references, find_callers])
def test_pages_together_are_the_whole(db, index_files, find):
    """Also where a file has several rows."""
    index_files({f"{n}.py": USES for n in range(5)} | {"tests/x.py": USES})
    whole = [(row["path"], row["line"]) for row in find(db, "total", EVERYWHERE, ALL)]
    paged, after = [], None
    while rows := find(db, "total", EVERYWHERE, Page(2, after)):
        paged += [(row["path"], row["line"]) for row in rows]
        after = rows[-1]["cursor"]
    assert paged == whole
    assert len(set(whole)) == 18


@pytest.mark.parametrize("find", [find_references, find_callers])
def test_no_page_is_short_where_the_cursor_stands_at_the_end_of_a_file(db, index_files, find):
    """A page opens no more files than it has rows, and the cursor's own file may have none left."""
    kinds = "def f(x: Cart):\n    return Cart()\n\n\nclass Basket(Cart):\n    pass\n"
    index_files({f"{n}.py": kinds for n in range(6)})
    whole = find(db, "Cart", EVERYWHERE, ALL)
    for number, row in enumerate(whole[:-1]):
        (following,) = find(db, "Cart", EVERYWHERE, Page(1, row["cursor"]))
        assert following["cursor"] == whole[number + 1]["cursor"]


@pytest.fixture
def graph(db, index_files):
    """a ← b ← c ← d, a ← c, and a circle d ← b; e imports what nobody has."""
    made = index_files({f"{name}.py": f"# {name}\n" for name in "abcde"})
    edges = [("b", "a", 1), ("c", "b", 2), ("c", "a", 3), ("d", "c", 4), ("b", "d", 5), ("e", None, 6), ("b", "a", 7)]
    for src, dst, line in edges:
        db.execute(
            "insert into idx.import_edges values (%s, 0, %s, %s, %s, %s)",
            (made.repo_no, f"{src}.py", f"{dst}.py" if dst else None, dst or "gone", line),
        )
    return made


def test_impact_is_the_reverse_closure_with_distances(db, graph):
    """Each file once, at its shortest distance, with an import that leads to it; circles end."""
    rows = impact(db, "a.py", EVERYWHERE, ALL)
    assert [(row["path"], row["distance"], row["via"], row["line"]) for row in rows] == [
        ("b.py", 1, "a.py", 1), ("c.py", 1, "a.py", 3), ("d.py", 2, "c.py", 4),
    ]  # fmt: skip
    assert {(row["repository"], row["branch"]) for row in rows} == {("acme", "main")}
    assert [row["path"] for row in impact(db, "a.py", EVERYWHERE, ALL, depth=1)] == ["b.py", "c.py"]
    assert [(row["path"], row["distance"]) for row in impact(db, "d.py", EVERYWHERE, ALL)] == [("b.py", 1), ("c.py", 2)]
    assert impact(db, "e.py", EVERYWHERE, ALL) == []


def test_impact_page_by_page(db, graph):
    """The cursor is a place in the order of distances."""
    found, after = [], None
    while rows := impact(db, "a.py", EVERYWHERE, Page(1, after)):
        found += [row["path"] for row in rows]
        after = rows[-1]["cursor"]
    assert found == ["b.py", "c.py", "d.py"]


def test_impact_stays_in_its_repository_and_owner(db, graph, index_files):
    """Edges of another repository with the same paths are not followed; strangers see no file at all."""
    other = index_files({"a.py": "# other\n"})
    db.execute("insert into idx.import_edges values (%s, 0, 'z.py', 'b.py', 'b', 1)", (other.repo_no,))
    assert [row["path"] for row in impact(db, "a.py", Scope(None, graph.id), ALL)] == ["b.py", "c.py", "d.py"]
    assert impact(db, "a.py", Scope(None, other.id), ALL) == []
    with pytest.raises(NotFound):
        impact(db, "a.py", Scope(uuid4()), ALL)


def test_impact_through_an_imported_folder(db, index_files):
    """A Go package is imported as a folder: a change of any file in it reaches who imports it, one below does not."""
    made = index_files({"pkg/a.go": "package pkg\n", "pkg/sub/b.go": "package sub\n", "main.go": "package main\n"})
    db.execute("insert into idx.import_edges values (%s, 0, 'main.go', 'pkg/', 'acme/pkg', 3)", (made.repo_no,))
    (row,) = impact(db, "pkg/a.go", EVERYWHERE, ALL)
    assert (row["path"], row["distance"], row["via"]) == ("main.go", 1, "pkg/")
    assert impact(db, "pkg/sub/b.go", EVERYWHERE, ALL) == []
