"""What the index held is all there when it was made compact, and programs before that still write to it."""

import shutil

import psycopg
import pytest

from worker.database.connect import connect
from worker.database.migrate import migrate
from worker.database.migration_files import migrations_folder

COMPACT = "20261121002200"
FILL = (
    """insert into idx.blobs (scope, oid, lang, parser_version, size, content)
       select 0, decode(lpad(to_hex(n), 40, '0'), 'hex'), 1, 1, 9, 'x' from generate_series(1, 500) n""",
    """insert into idx.symbols (blob_id, line, end_line, kind, parent, name, qualname, signature, doc)
       select b.id, s, s + 1, 1, p.up, 'name_' || s, coalesce(p.up || p.joint, '') || 'name_' || s, 'def', p.up
       from idx.blobs b, generate_series(1, 3) s,
            (values (null, ''), ('Outer', '.'), ('Outer.Inner', '.'), ('Install', ' > '), ('', '.')) p (up, joint)""",
    """insert into idx.refs (blob_id, kind, name, lines)
       select b.id, mod(n, 3), 'used_' || n, array(select generate_series(n, 5 * n, n))
       from idx.blobs b, generate_series(1, 4) n""",
)
OLD_SYMBOLS = """
select blob_id, line, end_line, kind, parent, name, qualname, signature, doc from idx.symbols order by 1, 2, 7, 5"""
NEW_SYMBOLS = """
select blob_id, line, end_line, kind, parent, name, idx.qualname_of(parent, name, qualname) as qualname, signature, doc
from idx.symbols order by 1, 2, 7, 5"""
OLD_REFS = "select blob_id, kind, name, lines from idx.refs order by 1, 2, 3"
NEW_REFS = "select blob_id, kind, name, idx.lines_of(lines) as lines from idx.refs order by 1, 2, 3"
ROOM = "select pg_total_relation_size('idx.symbols') + pg_total_relation_size('idx.refs') as bytes"


@pytest.fixture
def old(empty_database_url, tmp_path):
    """URL of a database as it was before, with an index in it, and a connection."""
    for file in sorted(migrations_folder().glob("*.sql")):
        if file.name < COMPACT:
            shutil.copy(file, tmp_path)
    migrate(empty_database_url, folder=tmp_path)
    with connect(empty_database_url, name="test") as db:
        for statement in FILL:
            db.execute(statement.encode())
        yield empty_database_url, db


def test_nothing_is_lost_when_an_index_is_made_compact(old):
    """Every definition and reference reads as before; only qualified names that do not follow are kept; less room."""
    url, db = old
    symbols, refs = db.execute(OLD_SYMBOLS).fetchall(), db.execute(OLD_REFS).fetchall()
    before = db.execute(ROOM).fetchone()["bytes"]
    migrate(url)
    assert db.execute(NEW_SYMBOLS).fetchall() == symbols
    assert db.execute(NEW_REFS).fetchall() == refs
    kept = db.execute("select distinct parent from idx.symbols where qualname is not null").fetchall()
    assert [row["parent"] for row in kept] == ["Install"]
    assert db.execute(ROOM).fetchone()["bytes"] < before


def test_a_compact_index_still_goes_with_its_contents(old):
    """Its keys are there and checked: a content that is deleted takes its definitions and references along."""
    url, db = old
    migrate(url)
    not_valid = "select conname from pg_constraint where connamespace = 'idx'::regnamespace and not convalidated"
    assert db.execute(not_valid).fetchall() == []
    count = "select (select count(*) from idx.symbols) as symbols, (select count(*) from idx.refs) as refs"
    before = db.execute(count).fetchone()
    db.execute("delete from idx.blobs where id <= (select min(id) + 249 from idx.blobs)")
    assert db.execute(count).fetchone() == {name: rows // 2 for name, rows in before.items()}


def test_a_program_of_before_goes_on_writing(old):
    """Whole qualified names and lines in braces, which are read as the compact ones are."""
    url, db = old
    migrate(url)
    blob = db.execute("select min(id) as id from idx.blobs").fetchone()["id"]
    db.execute("truncate idx.symbols, idx.refs")
    columns = "blob_id, line, end_line, kind, parent, name, qualname, signature, doc"
    with db.cursor() as cursor, cursor.copy(f"copy idx.symbols ({columns}) from stdin") as copy:
        copy.write_row((blob, 1, 2, 1, "Outer", "inner", "Outer.inner", None, None))
    with db.cursor() as cursor, cursor.copy("copy idx.refs (blob_id, kind, name, lines) from stdin") as copy:
        copy.write_row((blob, 0, "used", "{3,14}"))
    assert db.execute(NEW_SYMBOLS).fetchone()["qualname"] == "Outer.inner"
    assert db.execute(NEW_REFS).fetchone()["lines"] == [3, 14]


def test_a_table_in_use_makes_it_give_up_whole(old):
    """A job that is just storing keeps its table, and nothing of the new one stays behind."""
    url, db = old
    db.execute((migrations_folder() / f"{COMPACT}_quick_search.sql").read_bytes())
    compact = (migrations_folder() / "20261121002210_compact_symbols.sql").read_bytes()
    db.execute("set lock_timeout = '200ms'")
    with connect(url, name="holder") as holder, holder.transaction():
        holder.execute("lock table idx.symbols in row exclusive mode")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            db.execute(compact)
    assert db.execute("select to_regclass('idx.compact_symbols') as it").fetchone()["it"] is None
    db.execute(compact)
    assert db.execute("select count(*) as n from idx.symbols where qualname is null").fetchone()["n"] == 6_000
