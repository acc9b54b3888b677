"""Storing contents: two jobs that meet, and contents that Postgres refuses."""

import threading
import uuid
from dataclasses import replace

import psycopg
import pytest

from tests.fixtures.workers import eventually
from worker.catalog.blobs import NewBlob, known_blobs, store_blobs
from worker.catalog.branches import load_branch, load_repository
from worker.catalog.publish import PublishedFile, bill_blobs, pin, write_paths
from worker.database.connect import connect


def blob(number, content="x"):
    """A small blob."""
    return NewBlob(bytes([number]) * 20, 0, 0, 1, content=content)


def act_at_once(database_url, db, acts, held):
    """Run these on connections of their own while a row of idx.upkeep is held; the errors, after it was let go."""
    failures = []

    def run(act):
        try:
            with connect(database_url, name="racer") as connection, connection.transaction():
                act(connection)
        except psycopg.Error as failure:
            failures.append(failure)

    racers = [threading.Thread(target=run, args=(act,)) for act in acts]
    with connect(database_url, name="holder") as holder, holder.transaction():
        holder.execute("select 1 from idx.upkeep where blob_id = %s for update", (held,))
        for racer in racers:
            racer.start()
        eventually(
            lambda: db.execute("select count(*) as n from pg_locks where not granted").fetchone()["n"] >= len(acts) - 1,
            what="them waiting",
        )
    for racer in racers:
        racer.join()
    return failures


def test_publishing_the_same_new_blobs_twice_at_once_does_not_deadlock(database_url, db, make_repository):
    """Two repositories of one scope show contents that nobody has paid for: both publish, and one of them pays."""
    blobs = [replace(blob(number), tokens=number) for number in (0x99, 0x50, 0x11)]
    ids = [next(iter(store_blobs(db, 0, 1, [one]).values())) for one in blobs]
    billed = []

    def publisher():
        repository = load_repository(db, make_repository())
        branch = load_branch(db, repository.id, "main")
        paths = {f"{name}": PublishedFile(blob_id, 0o100644, 0) for name, blob_id in enumerate(ids)}

        def publish(connection):
            pin(connection, 0, ids)
            write_paths(connection, repository, branch, write=paths, remove=[])
            billed.append(bill_blobs(connection, uuid.uuid4(), ids))

        return publish

    assert act_at_once(database_url, db, [publisher(), publisher(), publisher()], ids[1]) == []
    assert sorted(billed) == [0, 0, 0x99 + 0x50 + 0x11]


def test_billing_and_reusing_the_same_blobs_do_not_deadlock(database_url, db):
    """Whoever marks blobs takes them in the same order."""
    ids = [next(iter(store_blobs(db, 0, 1, [blob(number)]).values())) for number in (0x99, 0x50, 0x11)]
    db.execute("update idx.upkeep set touched_at = now() - interval '2 hours'")
    keys = [(bytes([number]) * 20, 0) for number in (0x11, 0x50, 0x99)]
    acts = [
        lambda connection: bill_blobs(connection, uuid.uuid4(), ids),
        lambda connection: known_blobs(connection, 0, keys, 1),
    ]
    assert act_at_once(database_url, db, acts, ids[1]) == []


def test_what_changes_about_a_blob_does_not_touch_its_content(db):
    """Paying for a blob and reusing it leave its row alone: its trigrams would be computed again."""
    ids = store_blobs(db, 0, 1, [blob(1)])
    db.execute("update idx.upkeep set touched_at = now() - interval '2 hours'")
    before = db.execute("select xmin::text, ctid::text from idx.blobs").fetchone()
    bill_blobs(db, uuid.uuid4(), list(ids.values()))
    known_blobs(db, 0, ids, 1)
    assert db.execute("select xmin::text, ctid::text from idx.blobs").fetchone() == before
    assert db.execute("select touched_at > now() - interval '1 minute' as fresh from idx.upkeep").fetchone()["fresh"]


def test_a_content_that_postgres_refuses_is_stored_as_poison_and_takes_no_other_with_it(db):
    """The batch is halved down to the one bad row."""
    blobs = [blob(number) for number in range(1, 9)]
    blobs[5] = blob(6, content="a\x00b")
    ids = store_blobs(db, 0, 1, blobs)
    assert len(ids) == 8
    rows = db.execute("select skip, content from idx.blobs order by oid").fetchall()
    assert [row["skip"] for row in rows] == [0, 0, 0, 0, 0, 9, 0, 0]
    assert rows[5]["content"] is None


BAD_NAMES = {"too long": "n" * 513, "a NUL": "a\x00b", "half a surrogate pair": "a\ud800b"}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_a_record_that_postgres_refuses_costs_only_itself(db, name):
    """The file keeps its text, its other symbols, references and imports, and says that something is missing."""
    symbols = [(n, n, 1, None, f"f{n}", f"f{n}", None, None) for n in range(40)]
    bad = replace(
        blob(2),
        symbols=[*symbols[:17], (99, 99, 1, None, name, "x", None, None), *symbols[17:]],
        references=[(0, "g", [1]), (0, name, [2])],
        imports=[(1, "os", ["path"]), (2, "sys", [name]), (3, "re", [])],
    )
    store_blobs(db, 0, 1, [blob(1), bad, blob(3)])
    rows = db.execute("select skip, content, note, symbol_count, ref_count from idx.blobs order by oid").fetchall()
    assert [(row["skip"], row["content"]) for row in rows] == [(0, "x")] * 3
    assert [row["note"] is None for row in rows] == [True, False, True]
    imports = db.execute("select count(*) as n from idx.imports").fetchone()["n"]
    assert (rows[1]["symbol_count"], rows[1]["ref_count"]) == (40, 1)
    assert imports == (3 if name == BAD_NAMES["too long"] else 2)  # names of an import may be long


def test_an_error_of_the_database_itself_is_no_poison(db):
    """A language that the tables do not know means that a migration is missing: the job fails, no file is blamed."""
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        store_blobs(db, 0, 1, [blob(1), replace(blob(2), lang=999)])
    assert db.execute("select count(*) as n from idx.blobs").fetchone()["n"] == 0
