"""search_code where the text is nearly everywhere, or cannot be looked up: the same answer, or an honest part of it."""

import json

import psycopg
import pytest

from worker.catalog.search import Page, Scope, search_code
from worker.errors import SearchTooSlow

FILES = 700
EVERYWHERE = Scope(None)
FOLDERS = ["src/", "tests/", "vendor/", ""]
FILL = """
with made as (
    insert into idx.blobs (scope, oid, lang, parser_version, size, content)
    select 0, decode(md5(n::text) || '00000000', 'hex'), 1, 1, 300,
           'import os' || E'\\n' || case mod(n, 5)
               when 0 then 'thing = otherself' when 1 then 'def self():' when 2 then 'self.go(' || n || ')'
               when 3 then 'a = selfish' || E'\\n' || 'b = SELF' else 'x = other' end
           || E'\\n' || 'number_' || n || ' = self_' || n
           || case when n = 650 then E'\\n' || 'k = 7 - 7' else '' end
    from generate_series(1, %(files)s) n returning id, oid
), numbered as (
    select m.id, n from made m
    join generate_series(1, %(files)s) n on m.oid = decode(md5(n::text) || '00000000', 'hex')
), defined as (
    insert into idx.symbols (blob_id, line, end_line, kind, name)
    select id, 2, 2, 1, 'self' from numbered where mod(n, 5) = 1
)
insert into idx.files (repo_no, branch_no, path, blob_id, mode)
select %(repo_no)s, 0, (%(folders)s::text[])[1 + mod(n, 4)] || mod(n, 7)
       || case when mod(n, 11) = 0 then '/self_' else '/a_' end || n || '.py', id, 33188
from numbered"""


@pytest.fixture
def common(db, index_files):
    """A repository of 700 files, in all of which a text stands somehow."""
    made = index_files({"first.py": "x = 1\n"}, name="big")
    db.execute(FILL, {"files": FILES, "repo_no": made.repo_no, "folders": FOLDERS})
    return made


def places(rows):
    """(path, line) of each row."""
    return [(row["path"], row["line"]) for row in rows]


def is_common(db, text, wanted):
    """Whether a page of so many rows is read in the order of the answer."""
    asked = (text, f"***={text}", wanted)
    row = db.execute("select idx.is_common(null, null, null, null, null, 'folded', %s, %s, 'i', %s) as it", asked)
    return row.fetchone()["it"]


def test_which_way_a_text_is_looked_for(db, common):
    """In order where that reads fewer files: not for what is rare, and not for pages as long as all."""
    assert is_common(db, "self", 50)
    assert not is_common(db, "self", 1000)
    assert not is_common(db, "number_650", 5)


@pytest.mark.parametrize("modes", [{}, {"case_sensitive": True}, {"regex": True}])
def test_what_is_common_is_answered_as_what_is_rare(db, common, modes):
    """Small pages are read in the order of the answer, one large page from all that the index finds: the same rows."""
    whole = places(search_code(db, "self", EVERYWHERE, Page(1000), per_file=1, **modes))
    assert len(whole) == FILES
    for size in (13, 40):
        paged, after = [], None
        while rows := search_code(db, "self", EVERYWHERE, Page(size, after), per_file=1, **modes):
            paged += places(rows)
            after = rows[-1]["cursor"]
        assert paged == whole


def test_filters_hold_for_what_is_common(db, common):
    """Path, language, repository and owner, and nobody sees another's files."""
    everywhere = places(search_code(db, "self", EVERYWHERE, Page(1000), per_file=1))
    some = places(search_code(db, "self", Scope(None, path="src/**"), Page(5), per_file=1))
    assert some == [place for place in everywhere if place[0].startswith("src/")][:5]
    assert search_code(db, "self", Scope(None, language="go"), Page(5)) == []
    assert len(search_code(db, "self", Scope(common.owner, common.id), Page(5), per_file=1)) == 5
    assert search_code(db, "self", Scope(common.id), Page(5)) == []  # no owner has that id


def test_what_the_index_cannot_look_up_is_found_in_order(db, common):
    """A regular expression without three letters in a row; pages together are the whole."""
    whole = places(search_code(db, r"^\w+ = 7 - \d$", EVERYWHERE, Page(50), regex=True))
    assert [path.rpartition("_")[2] for path, _ in whole] == ["650.py"]
    whole = places(search_code(db, r"\w\.\w", EVERYWHERE, Page(1000), regex=True))
    assert len(whole) == FILES // 5
    paged, after = [], None
    while rows := search_code(db, r"\w\.\w", EVERYWHERE, Page(30, after), regex=True):
        paged += places(rows)
        after = rows[-1]["cursor"]
    assert paged == whole


def test_an_answer_that_is_not_the_whole_says_so(db, common):
    """When its time is over a search hands out what it has found, with a sentence, and says so to PostgREST."""
    db.execute("set idx.search_ms = '0'")
    notes = []
    rows = search_code(db, r"\w+", EVERYWHERE, Page(5), regex=True, per_file=1, on_partial=notes.append)
    assert len(rows) == 1
    (note,) = notes
    assert note.startswith("The answer is not the whole: 1 of 701 files")
    with db.transaction():
        db.execute("select from public.search_code(%s, regex => true)", (r"\w+",))
        told = db.execute(
            "select current_setting('response.status') as status, current_setting('response.headers') as headers"
        ).fetchone()
        assert told["status"] == "206"
        assert json.loads(told["headers"]) == [{"X-Search-Note": note}]
    db.execute("reset idx.search_ms")
    assert len(search_code(db, r"\w+", EVERYWHERE, Page(5), regex=True, per_file=1, on_partial=notes.append)) == 5
    assert len(notes) == 1


def test_a_search_that_found_nothing_in_its_time_says_that_it_has_not_looked_everywhere(db, common):
    """No rows would read as "it is nowhere"."""
    db.execute("set idx.search_ms = '0'")
    with pytest.raises(SearchTooSlow, match=r"Nothing found so far: 1 of 701 files"):
        search_code(db, r"\d \+ \d", EVERYWHERE, Page(5), regex=True)
    with pytest.raises(psycopg.errors.QueryCanceled):
        db.execute("select from public.search_code(%s, regex => true)", (r"\d \+ \d",))


def test_a_common_text_with_rare_whole_words_hands_out_a_full_page(db, common):
    """A text that stands inside other words nearly everywhere: whole words may still come, but not for ever."""
    db.execute("set idx.search_ms = '0'")
    notes = []
    search_code(db, "elf", EVERYWHERE, Page(5), per_file=1, on_partial=notes.append)
    assert len(notes) == 1
    db.execute("reset idx.search_ms")
    assert len(search_code(db, "elf", EVERYWHERE, Page(5), per_file=1, on_partial=notes.append)) == 5
    assert len(notes) == 1
