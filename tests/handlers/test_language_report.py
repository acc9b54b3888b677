"""The tutorial's handler does what docs/writing-a-handler.md says it does."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.fixtures.workers import eventually
from worker.database.connect import connect_async
from worker.job import FULL_INDEX, new_job_id
from worker.queue.enqueue import NewJob, enqueue

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture
def report_worker(start_worker):
    """A worker that has loaded the example as the tutorial says."""
    return start_worker(WORKER_HANDLERS="language_report", PYTHONPATH=f"{ROOT}:{EXAMPLES}")


def ended(db, job_id: UUID) -> dict[str, Any]:
    """The job's row once it has ended."""

    def row():
        return db.execute(
            "select result, error_class, error_message from indexing_jobs where id = %s and finished_at is not null",
            (job_id,),
        ).fetchone()

    return eventually(row, seconds=60, what=f"end of {job_id}")


def enqueue_from_python(url: str, job: NewJob) -> UUID:
    """What the tutorial shows for Python."""

    async def run() -> UUID:
        async with await connect_async(url, name="example") as connection:
            return (await enqueue(connection, job)).job_id

    return asyncio.run(run())


def test_the_example_reports_and_its_errors_end_as_told(
    report_worker, db, database_url, make_repository, git_repository
):
    """Enqueued from SQL and from Python; a missing index is permanent, a waiting one is waited for."""
    git = git_repository(files={"a.py": "x = 1\n", "b.py": "y = 2\n", "c.go": "package c\n"})
    repository_id = make_repository(git_url=git.url)
    too_early = enqueue_from_python(database_url, NewJob("language_report", repository_id))
    assert ended(db, too_early)["error_class"] == "not_indexed"
    with db.transaction():
        row = db.execute(
            "select job_id from queue.enqueue(gen_random_uuid(), %s, 'language_report', '{\"least_files\": 2}', 10)",
            (repository_id,),
        ).fetchone()
        db.execute("select queue.enqueue(%s, %s, %s, '{}')", (new_job_id(), repository_id, FULL_INDEX))
    assert ended(db, row["job_id"])["result"] == {
        "commit": git.head,
        "languages": [{"language": "python", "files": 2, "lines": 2}],
    }
    events = db.execute("select event_type from indexing_job_events where job_id = %s order by id", (row["job_id"],))
    assert [event["event_type"] for event in events] == [
        *("enqueue", "claim", "start", "snooze"),
        *("claim", "start", "counted", "complete"),
    ]
    wrong = enqueue_from_python(database_url, NewJob("language_report", repository_id, {"least_files": 0}))
    assert "least_files" in ended(db, wrong)["error_message"]
    assert ended(db, wrong)["error_class"] == "invalid_payload"


def test_the_tutorial_shows_the_example_as_it_is():
    """The code in the tutorial is the file that is tested."""
    code = (EXAMPLES / "language_report.py").read_text(encoding="utf-8")
    tutorial = (ROOT / "docs" / "writing-a-handler.md").read_text(encoding="utf-8")
    assert code.partition('"""\n\n')[2].strip() in tutorial
