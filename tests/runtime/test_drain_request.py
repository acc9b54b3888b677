"""`worker drain`: workers end in order because somebody asked through the database, wherever they run."""

from tests.fixtures.workers import eventually


def test_a_worker_drains_when_the_database_says_so(start_worker, put, ended, row, db) -> None:
    """It claims no more, ends what it runs, and exits with 0; another one goes on."""
    worker = start_worker(state="asked")
    running = put("sleep", seconds=2)
    eventually(lambda: row(running)["status"] == "in_progress", what="the job's start")
    mine = db.execute("select id from workers").fetchone()["id"]
    db.execute("update workers set drain_requested_at = now() where id = %s", (mine,))
    eventually(lambda: worker.said("draining"), what="the drain")
    late = put("nothing")
    assert worker.wait(30) == 0
    assert ended(running)["status"] == "completed"
    assert row(running)["attempt"] == 1
    assert row(late)["status"] == "queued"
    assert db.execute("select state from workers where id = %s", (mine,)).fetchone()["state"] == "stopped"
    start_worker(state="other")
    assert ended(late)["status"] == "completed"
