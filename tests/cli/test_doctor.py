"""worker doctor: a healthy installation has nothing wrong; each fault is found, and said what to do about."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ended
from tests.fixtures.proxy import Proxy
from worker.cli import doctor
from worker.database.condition import indexes_of
from worker.database.connect import connect
from worker.database.migration_files import migrations_folder
from worker.joblog.identity import LogIdentity
from worker.joblog.spool import Spool

Worker = Callable[..., Ended]
LATER = "update maintenance_tasks set next_run_at = now() + interval '1 hour'"


@pytest.fixture(autouse=True)
def kept_house(db: Any) -> None:
    """As if a worker had just seen to its tasks."""
    db.execute(LATER)


@pytest.fixture
def wrong(worker: Worker) -> Callable[[], dict[str, dict[str, Any]]]:
    """What the doctor finds wrong, by name; the exit code says whether there is any."""

    def run() -> dict[str, dict[str, Any]]:
        ended = worker("doctor", "--json")
        found = {row["name"]: row for row in ended.json["findings"] if not row["passed"]}
        assert ended.code == (1 if found else 0)
        assert all(row["hint"] for row in found.values()), found
        return found

    return run


@pytest.fixture
def register(db: Any) -> Callable[..., uuid.UUID]:
    """A worker's row, seen so many seconds ago; its id."""

    def register(seconds: float = 0, types: tuple[str, ...] = ("full_index",)) -> uuid.UUID:
        worker = uuid.uuid4()
        db.execute(
            """insert into workers (id, hostname, pid, version, slots, job_types, last_seen_at)
               values (%s, 'here', 7, '0', 2, %s, now() - make_interval(secs => %s))""",
            (worker, list(types), seconds),
        )
        return worker

    return register


def claim(db: Any, worker: uuid.UUID) -> None:
    """Let this worker claim everything, ten minutes ago."""
    db.execute("select * from queue.claim(%s, '{full_index}', 10)", (worker,))
    db.execute("update queue.running set claimed_at = now() - interval '10 minutes'")


def test_a_healthy_installation_has_nothing_wrong(worker: Worker, register, make_job) -> None:
    """Every check passes, in words, with exit code 0."""
    register()
    make_job()
    ended = worker("doctor")
    assert ended.code == 0, ended.out
    assert "wrong" not in ended.out
    assert "ok     indexes: all there." in ended.out
    assert ended.out.count("ok ") >= 14


def test_the_dead_and_what_they_hold(wrong, register, make_job, db) -> None:
    """A worker that is silent, and jobs that nobody has taken back from it."""
    dead = register()
    make_job()
    claim(db, dead)
    db.execute("update workers set last_seen_at = now() - interval '9 minutes'")
    found = wrong()
    assert set(found) == {"workers", "stuck jobs"}
    assert "here:7 (9 min). They hold 1 jobs" in found["workers"]["sentence"]
    assert "Nobody has taken back from dead workers" in found["stuck jobs"]["sentence"]


def test_a_job_past_its_time_limit(wrong, register, make_job, db) -> None:
    """Its worker lives and should have ended it."""
    job = make_job(timeout_seconds=60)
    claim(db, register())
    found = wrong()
    assert set(found) == {"stuck jobs"}
    assert f"Running past their time limit: {job}" in found["stuck jobs"]["sentence"]
    assert f"worker cancel {job}" in found["stuck jobs"]["hint"]


def test_jobs_that_no_worker_takes(wrong, register, make_job) -> None:
    """The type that waits is named."""
    register(types=("validate",))
    make_job()
    assert "full_index (1 jobs)" in wrong()["job types"]["sentence"]


def test_a_status_changed_by_hand(wrong, make_job, register, db) -> None:
    """The queue's own tables do not follow."""
    register()
    job = make_job()
    db.execute("update indexing_jobs set status = 'failed' where id = %s", (job,))
    assert "1 rows contradict" in wrong()["queue's tables"]["sentence"]


def test_maintenance_that_fails_or_rests(wrong, db) -> None:
    """What a task complained of, and that nobody has done another."""
    db.execute("update maintenance_tasks set last_error = 'no room' where name = 'prune'")
    db.execute("update maintenance_tasks set next_run_at = now() - interval '2 hours' where name = 'rescue'")
    assert wrong()["maintenance"]["sentence"] == "Not done: prune (no room), rescue (late by 2 h)."


def test_an_installation_without_schedules_is_not_late_with_them(wrong, db) -> None:
    """Workers look whether a schedule is due and write nothing where none is; one that nobody fires is told."""
    db.execute("update maintenance_tasks set next_run_at = now() - interval '9 days' where name = 'schedules'")
    assert "maintenance" not in wrong()
    db.execute(
        """insert into job_schedules (name, job_type, cron, next_run_at, paused)
           values ('resting', 'validate', '0 0 * * *', now() - interval '2 hours', true),
                  ('due', 'validate', '0 0 * * *', now() + interval '1 hour', false)"""
    )
    assert "maintenance" not in wrong()
    db.execute("update job_schedules set next_run_at = now() - interval '2 hours' where name = 'due'")
    assert wrong()["maintenance"]["sentence"] == "Not done: schedules (late by 2 h)."


def test_indexes_that_are_missing(wrong, db) -> None:
    """Somebody dropped one; the migrations say which there should be."""
    db.execute("drop index queue.waiting_due")
    found = wrong()
    assert found["indexes"]["sentence"] == "Missing: waiting_due."
    assert "waiting_due" in indexes_of(migrations_folder())


def test_unapplied_migrations(wrong, db) -> None:
    """It says so, and leaves alone what needs the tables."""
    newest = "(select max(version) from supabase_migrations.schema_migrations)"
    db.execute(f"delete from supabase_migrations.indexing_worker_files where version = {newest}")
    db.execute(f"delete from supabase_migrations.schema_migrations where version = {newest}")
    found = wrong()
    assert set(found) == {"migrations"}
    assert found["migrations"]["hint"] == "Run `worker migrate`."


def test_a_long_transaction(wrong, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vacuum cannot clean behind it; it is named with how to end it."""
    monkeypatch.setattr(doctor, "SECONDS_OF_A_LONG_TRANSACTION", 0.05)
    with connect(database_url, name="forgotten") as other, other.transaction():
        pid = other.info.backend_pid
        other.execute("select pg_sleep(0.1)")
        found = wrong()["long transactions"]
    assert f"process {pid} (forgotten" in found["sentence"]
    assert f"pg_terminate_backend({pid})" in found["hint"]


def test_a_clock_that_is_wrong(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed URLs and GitHub's tokens go by this machine's."""
    monkeypatch.setattr(doctor.condition, "clock_skew", lambda _: -90.0)
    assert "is 90 s behind the database's" in wrong()["clock"]["sentence"]


def test_a_listening_url_through_the_wrong_pooler(
    wrong, database_url: str, pgbouncer: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In transaction mode LISTEN succeeds and nothing arrives; in session mode all is well."""
    monkeypatch.setattr(doctor.condition, "SECONDS_FOR_A_CALL", 1.5)
    monkeypatch.setenv("DATABASE_LISTEN_URL", pgbouncer(database_url, mode="transaction", pool_size=2))
    assert "in session mode" in wrong()["notifications"]["hint"]
    monkeypatch.setenv("DATABASE_LISTEN_URL", pgbouncer(database_url, mode="session"))
    assert "notifications" not in wrong()


def test_a_transaction_pooler_alone_is_no_fault(
    worker: Worker, database_url: str, pgbouncer: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers poll behind it; the doctor says what would help."""
    monkeypatch.setattr(doctor.condition, "SECONDS_FOR_A_CALL", 1.5)
    monkeypatch.setenv("DATABASE_URL", pgbouncer(database_url, mode="transaction", pool_size=2))
    rows = {row["name"]: row for row in worker("doctor", "--json").json["findings"]}
    assert rows["notifications"]["passed"]
    assert "DATABASE_LISTEN_URL" in rows["notifications"]["sentence"]


def test_a_log_that_nobody_stores(wrong, settings: dict[str, str], make_job, db) -> None:
    """A machine's spool holds an ended attempt, and no process writes it."""
    job = make_job(status="completed", log_token=5)
    created = db.execute("select created_at from indexing_jobs where id = %s", (job,)).fetchone()["created_at"]
    spool = Spool(Path(settings["WORKER_STATE_DIR"]) / "spool")
    writer = spool.open(LogIdentity(job, created, 5))
    writer.append_line(b'{"event": "left"}\n')
    assert "spooled logs" not in wrong()  # somebody still writes it
    writer.close()
    found = wrong()["spooled logs"]
    assert found["sentence"].startswith("1 logs of ended attempts")


def test_a_store_that_cannot_be_reached(wrong, settings: dict[str, str]) -> None:
    """Said first, with what the store answered."""
    folder = Path(settings["WORKER_STATE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "logs").write_text("a file where a folder should be")
    assert "log store" in wrong_names(wrong)


def wrong_names(wrong: Callable[[], dict[str, dict[str, Any]]]) -> set[str]:
    """Only the names: a failing store of files has no hint of its own."""
    try:
        return set(wrong())
    except AssertionError as found:
        return {"log store"} if "log store" in str(found) else set()


def test_without_postgres_it_says_so(worker: Worker, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and what to do; no traceback."""
    with Proxy(database_url) as proxy:
        proxy.refuse()
        monkeypatch.setenv("DATABASE_URL", proxy.url)
        ended = worker("doctor")
    assert ended.code == 1
    assert "wrong  Postgres:" in ended.out
    assert "do:" in ended.out
    assert "Traceback" not in ended.err
