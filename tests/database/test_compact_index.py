"""What the index held before it was stored compactly is all there afterwards, and programs before that still write it."""

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
       select b.id, s, s + 1, 1, p.parent, 'name_' || s, coalesce(p.parent || p.joint, '') || 'name_' || s, 'def', p.parent
       from idx.blobs b, generate_series(1, 3) s,
            (values (null, ''), ('Outer', '.'), ('Outer.Inner', '.'), ('Install', ' > '), ('', '.')) p (parent, joint)""",
    """insert into idx.refs (blob_id, kind, name, lines)
       select b.id, mod(n, 3), 'used_' || n, array(select generate_series(n, 5 * n, n))
       from idx.blobs b, generate_series(1, 4) n""",
)
OLD_SYMBOLS = "select blob_id, line, end_line, kind, parent, name, qualname, signature, doc from idx.symbols order by 1, 2, 7, 5"
NEW_SYMBOLS = """
select blob_id, line, end_line, kind, parent, name, idx.qualname_of(parent, name, qualname) as qualname, signature, doc
from idx.symbols order by 1, 2, 7, 5"""
OLD_REFS = "select blob_id, kind, name, lines from idx.refs order by 1, 2, 3"
NEW_REFS = "select blob_id, kind, name, idx.lines_of(lines) as lines from idx.refs order by 1, 2, 3"


@pytest.fixture
def filled(empty_database_url, tmp_path):
    """URL of a database as it was before, with an index in it."""
    for file in sorted(migrations_folder().glob("*.sql")):
        if file.name < COMPACT:
            shutil.copy(file, tmp_path)
    migrate(empty_database_url, folder=tmp_path)
    with connect(empty_database_url, name="test") as db:
        for statement in FILL:
            db.execute(statement.encode())
    return empty_database_url


def test_nothing_is_lost_when_an_index_is_made_compact(filled):
    """Every definition and reference reads as before; only qualified names that do not follow are kept; less room."""
    room = "select pg_total_relation_size('idx.symbols') + pg_total_relation_size('idx.refs') as bytes"
    with connect(filled, name="test") as db:
        symbols, refs = db.execute(OLD_SYMBOLS).fetchall(), db.execute(OLD_REFS).fetchall()
        before = db.execute(room).fetchone()["bytes"]
    migrate(filled)
    with connect(filled, name="test") as db:
        assert db.execute(NEW_SYMBOLS.encode()).fetchall() == symbols
        assert db.execute(NEW_REFS).fetchall() == refs
        kept = db.execute("select distinct parent from idx.symbols where qualname is not null").fetchall()
        assert [row["parent"] for row in kept] == ["Install"]
        assert db.execute(room).fetchone()["bytes"] < before
        not_valid = "select conname from pg_constraint where connamespace = 'idx'::regnamespace and not convalidated"
        assert db.execute(not_valid).fetchall() == []
        db.execute("delete from idx.blobs where id <= (select min(id) + 249 from idx.blobs)")
        for table, rows in (("symbols", len(symbols)), ("refs", len(refs))):
            assert db.execute(f"select count(*) as n from idx.{table}".encode()).fetchone()["n"] == rows // 2


def test_a_program_of_before_goes_on_writing(filled):
    """Whole qualified names and lines in braces, which are read as the compact ones are."""
    migrate(filled)
    with connect(filled, name="test") as db:
        blob = db.execute("select min(id) as id from idx.blobs").fetchone()["id"]
        db.execute("delete from idx.symbols")
        db.execute("delete from idx.refs")
        columns = "blob_id, line, end_line, kind, parent, name, qualname, signature, doc"
        with db.cursor() as cursor, cursor.copy(f"copy idx.symbols ({columns}) from stdin".encode()) as copy:
            copy.write_row((blob, 1, 2, 1, "Outer", "inner", "Outer.inner", None, None))
        with db.cursor() as cursor, cursor.copy("copy idx.refs (blob_id, kind, name, lines) from stdin") as copy:
            copy.write_row((blob, 0, "used", "{3,14}"))
        assert db.execute(NEW_SYMBOLS.encode()).fetchone()["qualname"] == "Outer.inner"
        assert db.execute(NEW_REFS).fetchone()["lines"] == [3, 14]


def test_a_table_in_use_makes_the_migration_wait_and_give_up_whole(filled):
    """A job that is just storing keeps its table, and nothing of the new one stays behind."""
    with connect(filled, name="holder") as holder, connect(filled, name="test") as db:
        with holder.transaction():
            holder.execute("lock table idx.symbols in row exclusive mode")
            with connect(filled, name="migrator") as migrator, pytest.raises(psycopg.errors.LockNotAvailable):
                migrator.execute("set lock_timeout = '200ms'")
                migrator.execute((migrations_folder() / "20261121002200_quick_search.sql").read_bytes())
                migrator.execute((migrations_folder() / "20261121002210_compact_symbols.sql").read_bytes())
        assert db.execute("select to_regclass('idx.compact_symbols') as it").fetchone()["it"] is None
        assert db.execute("select count(*) as n from idx.symbols where qualname is null").fetchone()["n"] == 0
