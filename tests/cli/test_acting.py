"""cancel and retry of many jobs, and of those that wait for their time."""

import io
import json
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from worker.database.connect import connect
from worker.queue.wake import CHANNEL

Worker = Callable[..., Any]
MakeJob = Callable[..., UUID]


class Terminal(io.StringIO):
    """A person at the keyboard who types this."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def statuses(db: Any) -> dict[str, int]:
    """How many jobs have which status."""
    rows = db.execute("select status, count(*) as n from indexing_jobs group by status").fetchall()
    return {row["status"]: row["n"] for row in rows}


@pytest.fixture
def failed(make_job: MakeJob) -> list[UUID]:
    """Three failed jobs: two of one type and error, one of another; and a completed one."""
    make_job(status="completed")
    return [
        make_job(status="failed", error_class="git", job_type="a"),
        make_job(status="failed", error_class="git", job_type="a", name="django"),
        make_job(status="failed", error_class="timed_out", job_type="b"),
    ]


def test_many_are_counted_asked_for_and_retried(
    worker: Worker, failed: list[UUID], db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a terminal, the question says how many; no is no."""
    ended = worker("retry", "--all", "--dry-run")
    assert (ended.code, ended.out) == (0, "3 failed jobs fit.\n")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    ended = worker("retry", "--all", "--error-class", "git")
    assert (ended.code, ended.out) == (1, "")
    assert "Retry 2 failed jobs? [y/N]" in ended.err
    assert "Nothing was done." in ended.err
    assert statuses(db) == {"failed": 3, "completed": 1}
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert worker("retry", "--all", "--error-class", "git").out == "Queued again: 2.\n"
    assert statuses(db) == {"failed": 1, "queued": 2, "completed": 1}


def test_nobody_can_be_asked(worker: Worker, failed: list[UUID], db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal nothing happens until --yes says so; nothing that fits is a success."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    ended = worker("retry", "--all", "--json")
    assert (ended.code, ended.out) == (1, "")
    assert "Nobody can be asked here" in ended.err
    assert statuses(db)["failed"] == 3
    assert worker("retry", "--all", "--yes", "--json", "--limit", "2").json == {
        "matched": 2, "done": 2, "skipped": 0, "failed": [],
    }  # fmt: skip
    assert worker("retry", "--all", "--yes", "--type", "nothing").out == "0 failed jobs fit.\n"


def test_choices_of_many(worker: Worker, failed: list[UUID], make_job: MakeJob, db: Any) -> None:
    """By type, repository, status and age; of one tenant only."""

    def matched(*options: str) -> int:
        return worker(*options, "--dry-run", "--json").json["matched"]

    make_job(status="cancelled")
    db.execute("insert into auth.users (id) values ('00000000-0000-4000-8000-0000000000ff')")
    make_job(status="failed", user_id="00000000-0000-4000-8000-0000000000ff", repository_id=None)
    assert matched("retry", "--all", "--type", "a") == 2
    assert matched("retry", "--all", "--repo", "django") == 1
    assert matched("retry", "--all", "--status", "cancelled") == 1
    assert matched("retry", "--all", "--older-than", "1h") == 0
    assert matched("retry", "--all", "--newer-than", "1h") == 3
    assert matched("cancel", "--all") == 0
    make_job()
    assert matched("cancel", "--all", "--newer-than", "90m", "--older-than", "0s") == 1
    assert worker("cancel", "--all", "-y").out == "Cancelled: 1.\n"
    assert matched("cancel", "--all", "--status", "in_progress") == 0


def test_wrong_usage(worker: Worker, failed: list[UUID], db: Any) -> None:
    """A choice without --all, --all with a job, nothing at all, a span that is none: 2, and nothing happens."""
    for options in (
        (), ("--yes",), ("--type", "a"), (str(failed[0]), "--error-class", "git"), ("--all", str(failed[0])),
        ("--all", "--older-than", "soon"), ("--all", "--status", "completed"),
    ):  # fmt: skip
        for command in ("retry", "cancel"):
            assert worker(command, *options).code == 2
    assert statuses(db)["failed"] == 3


def test_one_that_is_refused_is_named(worker: Worker, failed: list[UUID], db: Any) -> None:
    """The others are done, and the command ends with 1."""
    db.execute("create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$")
    db.execute(
        "create trigger refuse before update on indexing_jobs for each row when (old.job_type = 'b')"
        " execute function refuse()"
    )
    ended = worker("retry", "--all", "--yes")
    assert (ended.code, ended.out) == (1, "Queued again: 2.\n")
    assert f"{failed[2]}: not this one" in ended.err
    ended = worker("retry", "--all", "--yes", "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["failed"] == [{"job_id": str(failed[2]), "reason": "not this one"}]


def test_a_job_that_waits_for_its_time_runs_now(worker: Worker, make_job: MakeJob, db: Any) -> None:
    """retry of a queued job lets it be due, and says so; one that waits for no time cannot be retried."""
    job_id = str(make_job(run_after="2999-01-01", error_class="git", error_message="down"))
    assert worker("retry", job_id).out == "It waited for its time; it is due now.\n"
    assert db.execute("select hold from queue.waiting").fetchone() == {"hold": None}
    ended = worker("retry", job_id)
    assert (ended.code, ended.out) == (1, "")
    assert "this one is queued" in ended.err
    db.execute("update queue.waiting set hold = 'time', run_after = '2999-01-01'")
    assert worker("retry", job_id, "--json").json == {"job_id": job_id, "runs_as": job_id, "waited": True}


def test_the_workers_are_woken(worker: Worker, make_job: MakeJob, database_url: str) -> None:
    """By a retry, by a cancel that may let another job run, and by many at once; not by a look."""
    job_id = str(make_job())
    with connect(database_url, name="test listener") as listener:
        listener.execute(f"listen {CHANNEL}")

        def heard() -> list[str]:
            return [message.payload for message in listener.notifies(timeout=0.2)]

        worker("jobs")
        assert heard() == []
        worker("cancel", job_id)
        assert heard() == [""]
        worker("retry", job_id)
        assert heard() == ["full_index"]
        worker("cancel", "--all", "--yes")
        assert heard() == [""]
