"""search_code: what is found, in which order, page by page, and what is refused."""

import hashlib
import time
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.fixtures.indexes import COMMIT
from worker.catalog.search import Page, Scope, search_code
from worker.errors import SearchTooSlow

EVERYWHERE = Scope(None)
ALL = Page(1000)


def places(rows):
    """(path, line) of each row."""
    return [(row["path"], row["line"]) for row in rows]


def test_a_row_says_where_and_of_which_commit(db, index_files):
    """Repository, branch, commit and language are in every row, with the place of the match in the line."""
    made = index_files({"a.py": "import os\n\n\ndef run(Config):\n    pass\n"}, name="tools")
    (row,) = search_code(db, "config", EVERYWHERE, ALL)
    assert row["repository_id"] == made.id
    assert (row["repository"], row["branch"], row["commit"], row["language"]) == ("tools", "main", COMMIT, "python")
    assert (row["path"], row["line"], row["content"]) == ("a.py", 4, "def run(Config):")
    assert row["content"][row["match_start"] - 1 :][: row["match_length"]] == "Config"


@pytest.mark.parametrize(
    ("query", "modes", "lines"),
    [
        ("value", {}, [1, 2, 4]),
        ("Value", {"case_sensitive": True}, [2]),
        ("a.b", {}, [3]),
        ("100%", {}, [4]),
        ("x_y", {}, [5]),
        ("back\\slash", {}, [6]),
        (r"^value\b", {"regex": True}, [1]),
        (r"VALUE$", {"regex": True}, [2, 4]),
        (r"\bvalue\b.1", {"regex": True}, [1]),
        (r"k\\s", {"regex": True}, [6]),
        (r"VALUE$", {"regex": True, "case_sensitive": True}, []),
        (r"[ab]\.b|x_y", {"regex": True}, [3, 5]),
        (r"1 .*a\.b", {"regex": True}, []),
    ],
)
def test_what_a_query_finds(db, index_files, query, modes, lines):
    """Text is taken literally unless it is said to be a regular expression, in which ^ and $ mean lines."""
    index_files({"a.txt": "value 1\nmy Value\na.b axb\n100% value\nx_y xzy\nback\\slash\n"})
    assert sorted(row["line"] for row in search_code(db, query, EVERYWHERE, ALL, **modes)) == lines


@pytest.mark.parametrize(
    ("query", "modes", "sentence"),
    [
        ("ab", {}, "3 to 500"),
        ("x" * 501, {}, "3 to 500"),
        ("two\nlines", {}, "one line"),
        ("(abc", {"regex": True}, "not valid: parentheses"),
        ("(?i)abc", {"regex": True}, "must not begin with options"),
        ("***=abc", {"regex": True}, "must not begin with options"),
    ],
)
def test_what_is_refused(db, query, modes, sentence):
    """With a sentence that says why."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=sentence):
        search_code(db, query, EVERYWHERE, ALL, **modes)


@pytest.mark.parametrize("scope", [Scope(None, language="pyton"), Scope(None, path="")])
def test_filters_that_make_no_sense_are_refused(db, scope):
    """An unknown language is named together with those there are."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"python, javascript|path filter"):
        search_code(db, "abc", scope, ALL)


def test_a_hostile_regular_expression_is_stopped(db, index_files, monkeypatch):
    """Back-references can take for ever: the time limit ends them, whatever they would still find."""
    monkeypatch.setattr("worker.catalog.search.QUERY_SECONDS", 1)
    index_files({"a.txt": "".join(hashlib.md5(bytes([n])).hexdigest() for n in range(60)) + "x\n"})
    started = time.monotonic()
    with pytest.raises(SearchTooSlow):
        search_code(db, r"^(.+)(.+)(.+)\3\2\1\3\2\1x$", EVERYWHERE, ALL, regex=True)
    assert time.monotonic() - started < 10
    assert db.execute("show statement_timeout").fetchone()["statement_timeout"] == "0"


PATHS = ["a.py", "src/a.py", "src/lib/deep/b.py", "src/lib/c.txt", "lib/src/d.py", "src.py", "odd/[x]+(y).py"]


@pytest.mark.parametrize(
    ("glob", "fits"),
    [
        ("*.py", ["a.py", "src/a.py", "src/lib/deep/b.py", "lib/src/d.py", "src.py", "odd/[x]+(y).py"]),
        ("src/**/*.py", ["src/a.py", "src/lib/deep/b.py"]),
        ("src/*.py", ["src/a.py"]),
        ("src", ["src/a.py", "src/lib/deep/b.py", "src/lib/c.txt", "lib/src/d.py"]),
        ("/src", ["src/a.py", "src/lib/deep/b.py", "src/lib/c.txt"]),
        ("src/", ["src/a.py", "src/lib/deep/b.py", "src/lib/c.txt", "lib/src/d.py"]),
        ("src/**", ["src/a.py", "src/lib/deep/b.py", "src/lib/c.txt"]),
        ("**/deep/*", ["src/lib/deep/b.py"]),
        ("?.py", ["a.py", "src/a.py", "src/lib/deep/b.py", "lib/src/d.py"]),
        ("[x]+(y).py", ["odd/[x]+(y).py"]),
        (".*", []),
    ],
)
def test_which_paths_a_filter_fits(db, glob, fits):
    """As in .gitignore: without a slash at any depth, with one from the top, a folder with all below it."""
    row = db.execute(
        "select array_agg(p order by n) as paths from unnest(%s::text[]) with ordinality a (p, n)"
        " where p ~ idx.glob_regex(%s)",
        (PATHS, glob),
    ).fetchone()
    assert (row["paths"] or []) == fits


def test_files_are_ranked_by_the_stated_rules(db, index_files):
    """Own code before tests before vendored code; of these definitions, then file names, whole words, the rest."""
    index_files({
        "a_part.py": "xs = parse_all\n",
        "b_word.py": "# parse it\n",
        "c_parse.py": "xs = parse_all\n",
        "z_definition.py": "def parse():\n    pass\n",
        "tests/test_it.py": "def parse():\n    pass\n\n",
        "src/vendor/parse.py": "def parse():\n    pass\n\n\n",
    })  # fmt: skip
    found = [row["path"] for row in search_code(db, "parse", EVERYWHERE, ALL)]
    assert found == [
        "z_definition.py", "c_parse.py", "b_word.py", "a_part.py", "tests/test_it.py", "src/vendor/parse.py",
    ]  # fmt: skip


def test_lines_of_a_file_are_ranked_bounded_and_counted(db, index_files):
    """Definitions, whole words, the rest; what is left out of a file is counted."""
    index_files({"a.py": "parser = 1\nuse(parse)\n\n\ndef parse():\n    reparse()\n"})
    rows = search_code(db, "parse", EVERYWHERE, ALL, per_file=3)
    assert [(row["line"], row["is_definition"]) for row in rows] == [(5, True), (2, False), (1, False)]
    assert {row["matching_lines"] for row in rows} == {4}


def test_context_and_long_lines(db, index_files):
    """Lines around a hit end where the file does; of a long line the part with the match is shown."""
    long = "x = '" + "é" * 900 + "needle" + "y" * 900 + "'"
    index_files({"a.py": f"one\ntwo\r\n{long}\nfour\n"})
    (row,) = search_code(db, "needle", EVERYWHERE, ALL, context=2)
    assert (row["lines_before"], row["lines_after"]) == (["one", "two"], ["four", ""])
    assert len(row["content"]) == 400
    assert row["content"][row["match_start"] - 1 :][: row["match_length"]] == "needle"
    (row,) = search_code(db, "one", EVERYWHERE, ALL, context=1)
    assert (row["lines_before"], row["lines_after"]) == ([], ["two"])


def test_pages_together_are_the_whole(db, index_files):
    """Whatever the page's size, inside files too."""
    index_files({f"d{n % 3}/{n}.py": "needle = 1\nneedles = 2\nneedle = 3\n" * (n % 3 + 1) for n in range(20)})
    whole = places(search_code(db, "needle", EVERYWHERE, ALL, per_file=5))
    assert len(whole) == len(set(whole)) > 60
    for size in (1, 7, 50):
        paged, after = [], None
        while rows := search_code(db, "needle", EVERYWHERE, Page(size, after), per_file=5):
            paged += places(rows)
            after = rows[-1]["cursor"]
        assert paged == whole


def test_pages_across_all_ranks_are_the_whole(db, index_files):
    """A page looks for whole words only in the ranks that it reaches: the order must not show it."""
    texts = ["def parse():\n    pass\n", "parse(it)\n", "reparse(it)\n", "parse_all\nparse\n"]
    folders = ["", "src/", "tests/", "vendor/x/"]
    names = ["a.py", "parse.py", "z.py"]
    files = {f"{f}{n}/{name}": t + f"# {n}\n" for f in folders for n, t in enumerate(texts) for name in names}
    index_files(files)
    whole = places(search_code(db, "parse", EVERYWHERE, ALL))
    assert len({path for path, _ in whole}) == len(files)
    for size in (1, 5, 13):
        paged, after = [], None
        while rows := search_code(db, "parse", EVERYWHERE, Page(size, after)):
            paged += places(rows)
            after = rows[-1]["cursor"]
        assert paged == whole


def test_files_that_fit_across_lines_alone_do_not_fill_the_page(db, index_files):
    """A regular expression may fit a content and none of its lines; what fits a line behind them is found."""
    index_files({f"a{n}.py": f"needle\nthread {n}\n" for n in range(9)} | {"z.py": "needle thread\n"})
    assert places(search_code(db, r"needle\sthread", EVERYWHERE, Page(1), regex=True)) == [("z.py", 1)]


def test_a_publish_between_pages_repeats_and_loses_nothing(db, index_files):
    """What stayed as it was is seen once, although files before and behind the cursor came and went."""
    made = index_files({f"m{n}.py": "needle\n" for n in range(9)})
    first = search_code(db, "needle", EVERYWHERE, Page(4))
    index_files({"a.py": "needle\n", "m1.py": None, "m3.py": None, "m7.py": None, "z.py": "needle\n"}, into=made)
    rest = search_code(db, "needle", EVERYWHERE, Page(100, first[-1]["cursor"]))
    assert [path for path, _ in places(rest)] == ["m4.py", "m5.py", "m6.py", "m8.py", "z.py"]


@pytest.mark.parametrize("cursor", ["", "x", "!!", "WyJzeW1ib2xzIl0", "bnVsbA", "MQ"])
def test_a_cursor_that_is_none_of_ours_is_refused(db, cursor):
    """Also one of another question, and one that holds something else."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="after must be the cursor"):
        search_code(db, "abc", EVERYWHERE, Page(10, cursor))


def test_the_tracked_branch_alone_is_searched(db, index_files):
    """Else every line would come once a branch; another branch is searched when it is named."""
    made = index_files({"a.py": "needle\n"}, default_branch="main")
    index_files({"a.py": "needle\nneedle\n"}, into=made, branch="dev")
    assert [row["branch"] for row in search_code(db, "needle", EVERYWHERE, ALL)] == ["main"]
    assert [row["branch"] for row in search_code(db, "needle", Scope(None, branch="dev"), ALL)] == ["dev", "dev"]
    assert search_code(db, "needle", Scope(None, branch="other"), ALL) == []
    db.execute("update public.repositories set settings = %s", (Jsonb({"branch": "dev"}),))
    assert [row["branch"] for row in search_code(db, "needle", EVERYWHERE, ALL)] == ["dev", "dev"]
    db.execute("update public.repositories set settings = %s", (Jsonb({"branch": "not indexed yet"}),))
    assert [row["branch"] for row in search_code(db, "needle", EVERYWHERE, ALL)] == ["main"]


def test_filters(db, index_files):
    """Repository, owner, path and language narrow alone and together."""
    mine = index_files({"a.py": "needle\n", "b/a.go": "// needle\n", "c.txt": "needle\n"}, name="one")
    index_files({"a.py": "needle\n"}, name="two")

    def found(**more):
        return [
            f"{row['repository']}/{row['path']}"
            for row in search_code(db, "needle", Scope(more.pop("owner", None), **more), ALL)
        ]

    assert found() == ["one/a.py", "two/a.py", "one/b/a.go", "one/c.txt"]
    assert found(repository=mine.id) == ["one/a.py", "one/b/a.go", "one/c.txt"]
    assert found(owner=mine.owner, path="*.py") == ["one/a.py"]
    assert found(language="Go") == ["one/b/a.go"]
    assert found(owner=uuid4()) == []


def test_programs_before_this_one_still_search(db, index_files):
    """Four arguments by place, and by name; the columns they read are there."""
    made = index_files({"a.py": "def needle():\n    pass\n"})
    for call in (
        "select repository_id, path, line, content, commit from public.search_code(%s, %s, %s, %s)",
        "select repository_id, path, line, end_line, kind, name, qualname, signature, commit"
        " from public.search_symbols(%s, %s, %s, %s)",
    ):
        assert db.execute(call.encode(), ("needle", made.id, 50, None)).rowcount == 1
    named = "select * from public.search_code(query => 'needle', repository => %s, max_results => 5, owner => null)"
    assert db.execute(named, (made.id,)).rowcount == 1
