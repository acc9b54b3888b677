"""The collector takes what nobody uses, and nothing that a job is about to publish."""

import asyncio
import itertools
import queue
import threading
from datetime import timedelta

import psycopg
import pytest

from worker.catalog.blobs import NewBlob, known_blobs, store_blobs
from worker.catalog.branches import load_branch, load_repository
from worker.catalog.collect import DELETE, LOCK, LOOK, Collected, collect
from worker.catalog.publish import PublishedFile, pin, write_paths
from worker.database.connect import connect, connect_async
from worker.errors import ContentGone

GRACE = timedelta(days=7)
KEY = (b"k" * 20, 1)
SYMBOL = (1, 1, 1, None, "f", "f", None, None)
BLOB = NewBlob(*KEY, 0, 5, content="x = 1", symbols=[SYMBOL], references=[(0, "g", [1])], imports=[(1, "m", ["n"])])


def run_collector(url):
    """One pass."""

    async def run():
        async with await connect_async(url, name="collector") as connection:
            return await collect(connection, grace=GRACE)

    return asyncio.run(run())


def age(db, days):
    """Let all contents have been used last so many days ago."""
    db.execute("update idx.upkeep set touched_at = now() - make_interval(days => %s)", (days,))


def stored(db, *tables):
    """How many rows these tables of schema idx hold."""
    return [db.execute(f"select count(*) as n from idx.{table}").fetchone()["n"] for table in tables]


def show(connection, repository_id, blob_id):
    """Let a path of the repository's branch main hold this blob, as a publish does."""
    repository = load_repository(connection, repository_id)
    branch = load_branch(connection, repository.id, "main")
    write_paths(connection, repository, branch, write={"a.py": PublishedFile(blob_id, 0o100644, 0)}, remove=[])


def test_an_unused_content_goes_after_the_grace_time_with_all_that_was_read_out_of_it(database_url, db):
    """Not a day before."""
    store_blobs(db, 0, 1, [BLOB])
    age(db, 6)
    assert run_collector(database_url) == Collected(0, 0)
    age(db, 8)
    assert run_collector(database_url) == Collected(1, 5)
    assert stored(db, "blobs", "symbols", "refs", "imports", "upkeep") == [0, 0, 0, 0, 0]


def test_a_content_that_a_path_shows_stays_however_old(database_url, db, make_repository):
    """Use is what counts; without its repository it is unused."""
    repository_id = make_repository()
    show(db, repository_id, store_blobs(db, 0, 1, [BLOB])[KEY])
    age(db, 400)
    assert run_collector(database_url).blobs == 0
    db.execute("delete from repositories where id = %s", (repository_id,))
    assert run_collector(database_url).blobs == 1


def test_the_grace_time_begins_when_the_last_path_goes(database_url, db, make_repository):
    """A content that was shown for a year and is removed by a push may come back for a week at no cost."""
    repository_id = make_repository()
    show(db, repository_id, store_blobs(db, 0, 1, [BLOB])[KEY])
    db.execute("update repository_branches set commit = %s", ("a" * 40,))
    age(db, 400)
    repository = load_repository(db, repository_id)
    write_paths(db, repository, load_branch(db, repository_id, "main"), write={}, remove=["a.py"])
    assert run_collector(database_url).blobs == 0


def test_a_pass_goes_through_more_than_one_window(database_url, db, monkeypatch):
    """Every content is looked at, in small transactions."""
    monkeypatch.setattr("worker.catalog.collect.BLOBS_A_LOOK", 3)
    monkeypatch.setattr("worker.catalog.collect.BLOBS_A_TRANSACTION", 2)
    store_blobs(db, 0, 1, [NewBlob(bytes([n]) * 20, 0, 0, 1) for n in range(10)])
    age(db, 8)
    assert run_collector(database_url) == Collected(10, 10)


class Actor:
    """Takes its steps one by one, when told to, on a connection of its own."""

    def __init__(self, url, steps):
        self.error = None
        self._orders = queue.Queue()
        self._done = queue.Queue()
        self._thread = threading.Thread(target=self._run, args=(url, steps))
        self._thread.start()

    def _run(self, url, steps):
        with connect(url, name="actor") as connection:
            for step in steps:
                self._orders.get()
                if self.error is None:
                    try:
                        step(connection)
                    except (psycopg.Error, ContentGone) as failure:
                        self.error = failure
                        connection.execute("rollback")
                self._done.put(None)

    def step(self, is_blocked):
        """Take the next step; answers when it is done, or waits for a lock."""
        self._orders.put(None)
        while True:
            try:
                self._done.get(timeout=0.02)
                return
            except queue.Empty:
                if is_blocked():
                    return

    def join(self):
        """Wait for the last step."""
        self._thread.join(30)


def collector_steps(found):
    """What collect() does, statement by statement."""
    return [
        lambda c: found.update(
            c.execute(LOOK, {"after": 0, "window": 100, "grace": GRACE}).fetchone() or {"unused": []}
        ),
        lambda c: (
            c.execute("begin"),
            found.update(held=[row["id"] for row in c.execute(LOCK, (found["unused"],)).fetchall()]),
        ),
        lambda c: c.execute(DELETE, {"ids": found["held"], "grace": GRACE}),
        lambda c: c.execute("commit"),
    ]


def publisher_steps(repository_id, blob_id, *, looks):
    """What an index job does that reuses a content; without `looks` it has looked long before."""
    first = [lambda c: known_blobs(c, 0, [KEY], 1)] if looks else []
    return [
        *first,
        lambda c: (c.execute("begin"), pin(c, 0, {blob_id})),
        lambda c: show(c, repository_id, blob_id),
        lambda c: c.execute("commit"),
    ]


@pytest.mark.parametrize("looks", [True, False])
def test_collector_and_publish_at_every_interleaving(database_url, db, make_repository, looks):
    """Either the content is published whole, or it is gone and nothing is published: nothing else, and no deadlock."""
    outcomes = set()
    count = 4 + 3 + looks
    for turns in itertools.combinations(range(count), 4):
        db.execute("delete from idx.files")
        db.execute("delete from idx.blobs")
        repository_id = make_repository()
        blob_id = store_blobs(db, 0, 1, [BLOB])[KEY]
        age(db, 8)
        collector = Actor(database_url, collector_steps({}))
        publisher = Actor(database_url, publisher_steps(repository_id, blob_id, looks=looks))

        def is_blocked():
            return db.execute("select exists (select from pg_locks where not granted) as yes").fetchone()["yes"]

        for turn in range(count):
            (collector if turn in turns else publisher).step(is_blocked)
        collector.join()
        publisher.join()
        assert collector.error is None, turns
        if publisher.error is None:
            assert stored(db, "files", "blobs", "symbols", "refs", "imports") == [1, 1, 1, 1, 1], turns
        else:
            assert isinstance(publisher.error, ContentGone), turns
            assert stored(db, "files", "blobs", "symbols", "refs", "imports") == [0, 0, 0, 0, 0], turns
        outcomes.add(publisher.error is None)
    assert outcomes == {True, False}
