"""Storing contents: two jobs that meet, and contents that Postgres refuses."""

import threading
import uuid

import psycopg

from tests.fixtures.workers import eventually
from worker.catalog.blobs import NewBlob, store_blobs
from worker.catalog.publish import bill_blobs
from worker.database.connect import connect


def blob(number, content="x"):
    """A small blob."""
    return NewBlob(bytes([number]) * 20, 0, 0, 1, content=content)


def test_billing_and_storing_the_same_blobs_do_not_deadlock(database_url, db):
    """Both take rows in the order of their oids, however they came to their ids."""
    numbers = (0x99, 0x50, 0x11)
    ids = [next(iter(store_blobs(db, 0, 1, [blob(number)]).values())) for number in numbers]
    failures = []

    def run(act):
        try:
            with connect(database_url, name="racer") as connection:
                act(connection)
        except psycopg.Error as failure:
            failures.append(failure)

    def bill(connection):
        with connection.transaction():
            bill_blobs(connection, uuid.uuid4(), ids)

    def store(connection):
        store_blobs(connection, 0, 1, [blob(number) for number in numbers])

    racers = [threading.Thread(target=run, args=(act,)) for act in (bill, store)]
    with connect(database_url, name="holder") as holder, holder.transaction():
        holder.execute("select 1 from idx.blobs where id = %s for update", (ids[1],))
        for racer in racers:
            racer.start()
        eventually(
            lambda: db.execute("select count(*) as n from pg_locks where not granted").fetchone()["n"] >= 2,
            what="both waiting",
        )
    for racer in racers:
        racer.join()
    assert failures == []


def test_a_content_that_postgres_refuses_is_stored_as_poison_and_takes_no_other_with_it(db):
    """The batch is halved down to the one bad row."""
    blobs = [blob(number) for number in range(1, 9)]
    blobs[5] = blob(6, content="a\x00b")
    ids = store_blobs(db, 0, 1, blobs)
    assert len(ids) == 8
    rows = db.execute("select skip, content from idx.blobs order by oid").fetchall()
    assert [row["skip"] for row in rows] == [0, 0, 0, 0, 0, 9, 0, 0]
    assert rows[5]["content"] is None
