"""schedule add, list, remove, pause, resume."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

Worker = Callable[..., Any]
REPOSITORY = "https://github.com/pallets/flask"
NIGHTLY = ("schedule", "add", "nightly", "--cron", "30 2 * * *", "--type", "full_index", "--repo", "flask")


@pytest.fixture(autouse=True)
def repository(worker: Worker) -> str:
    """A repository to make jobs for."""
    return worker("repo", "add", REPOSITORY, "--json").json["id"]


def test_add_shows_the_next_three_times(worker: Worker, repository: str) -> None:
    """In the schedule's own zone for people, in UTC for programs."""
    ended = worker(*NIGHTLY, "--timezone", "Europe/Berlin")
    first, heading, *times = ended.out.splitlines()
    assert (first, heading) == ("Schedule nightly added: full_index of flask.", "Next times:")
    assert len(times) == 3
    assert all(time.endswith((" 02:30 CET", " 02:30 CEST", " 03:00 CEST")) for time in times)
    other = worker(*NIGHTLY[:2], "other", *NIGHTLY[3:], "--json").json
    assert len(other["next_runs"]) == 3
    assert other["next_runs"][0] == other["next_run_at"]
    assert (other["repository_id"], other["timezone"], other["catch_up"]) == (repository, "UTC", "one")


def test_what_a_schedule_says(worker: Worker, repository: str, db: Any) -> None:
    """Every option reaches the row; while a job of the schedule waits, a tick joins it, unless all are wanted."""
    worker(*NIGHTLY, "--payload", '{"rebuild": true}', "--priority", "-5", "--catch-up", "none")
    worker(
        "schedule", "add", "each", "--cron", "0 * * * *", "--type", "validate", "--repo", "flask", "--catch-up", "all"
    )
    nightly, each = db.execute("select * from job_schedules order by name desc").fetchall()
    assert (nightly["payload"], nightly["priority"], nightly["catch_up"]) == ({"rebuild": True}, -5, "none")
    assert nightly["coalesce_key"] == f"schedule:{repository}:nightly"
    assert (each["job_type"], each["catch_up"], each["coalesce_key"]) == ("validate", "all", None)


REFUSED = {
    ("--cron", "daily"): (1, "does not have five fields"),
    ("--cron", "0 0 31 2 *"): (1, "bad day-of-month"),
    ("--timezone", "Europe/Berln"): (1, "Did you mean Europe/Berlin?"),
    ("--type", "full_indx"): (1, "No handler is registered"),
    ("--repo", "django"): (1, "There is no repository 'django'."),
    ("--payload", '{"ref": "main"}'): (1, "cannot use this payload: ref"),
    ("--payload", "[1]"): (2, "a JSON object is needed"),
    ("--payload", "{"): (2, "this is not JSON"),
    ("--catch-up", "some"): (2, "--catch-up"),
    ("--priority", "many"): (2, "--priority"),
}


@pytest.mark.parametrize("option", REFUSED, ids=" ".join)
def test_what_is_refused(worker: Worker, db: Any, option: tuple[str, str]) -> None:
    """What would fail at every tick is said at once, and nothing is stored."""
    code, reason = REFUSED[option]
    ended = worker(*NIGHTLY, *option)
    assert (ended.code, ended.out) == (code, "")
    assert reason in " ".join(ended.err.replace("│", " ").split())
    assert "Traceback" not in ended.err
    assert db.execute("select 1 from job_schedules").fetchall() == []


def test_an_index_job_needs_a_repository(worker: Worker) -> None:
    """Other job types may do without."""
    ended = worker(*NIGHTLY[:-2])
    assert (ended.code, ended.out) == (1, "")
    assert "--repo" in ended.err


def test_a_name_twice(worker: Worker, db: Any) -> None:
    """It is refused, unless it is to be replaced; then the schedule stays the same one."""
    first = worker(*NIGHTLY, "--json").json
    assert worker(*NIGHTLY).code == 1
    again = worker(*NIGHTLY, "--cron", "0 4 * * SUN", "--replace", "--json").json
    assert (again["id"], again["cron"]) == (first["id"], "0 4 * * SUN")
    assert worker(*NIGHTLY, "--replace").out.startswith("Schedule nightly changed:")
    assert len(db.execute("select 1 from job_schedules").fetchall()) == 1


def test_list(worker: Worker, db: Any) -> None:
    """Name, expression, type, repository and times; what cannot fire says why; an empty listing is a success."""
    ended = worker("schedule", "list")
    assert (ended.code, ended.out) == (0, "")
    assert "No schedules yet" in ended.err
    worker(*NIGHTLY)
    header, row = worker("schedule", "list").out.splitlines()
    assert header.split() == ["name", "cron", "type", "repository", "next", "last"]
    assert "nightly  30 2 * * *  full_index  flask" in row
    assert " 02:30 UTC" in row
    db.execute("update job_schedules set last_error = 'no room', timezone = 'Mars/Base'")
    assert "nightly cannot fire: no room" in worker("schedule", "list").out
    (row,) = worker("schedule", "list", "--json").json
    assert (row["name"], row["repository"], row["last_run_at"]) == ("nightly", "flask", None)


def test_pause_resume_remove(worker: Worker) -> None:
    """Each says what it did; a schedule that is not there is said to be missing."""
    worker(*NIGHTLY)
    assert worker("schedule", "pause", "nightly").out.startswith("Paused nightly;")
    assert " paused " in worker("schedule", "list").out
    assert "It is paused" in worker(*NIGHTLY, "--replace").out
    assert worker("schedule", "resume", "nightly").out.startswith(
        "Schedule nightly goes on: full_index of flask.\nNext"
    )
    assert set(worker("schedule", "pause", "nightly", "--json").json) == {"paused", "name"}
    assert len(worker("schedule", "resume", "nightly", "--json").json["next_runs"]) == 3
    assert worker("schedule", "remove", "nightly").out == "Removed nightly.\n"
    for command in ("pause", "resume", "remove"):
        ended = worker("schedule", command, "nightly")
        assert (ended.code, ended.out) == (1, "")
        assert "There is no schedule 'nightly'." in ended.err
    worker(*NIGHTLY)
    assert worker("schedule", "remove", "nightly", "--json").json["name"] == "nightly"


def test_schedules_of_other_tenants(worker: Worker, db: Any) -> None:
    """With WORKER_USER_ID set, nobody else's schedule is listed, paused, replaced or removed."""
    db.execute("insert into auth.users (id) values (%s)", (stranger := uuid4(),))
    worker(*NIGHTLY)
    db.execute("update job_schedules set user_id = %s, repository_id = null", (stranger,))
    assert worker("schedule", "list", "--json").json == []
    for command in ("pause", "resume", "remove"):
        assert worker("schedule", command, "nightly").code == 1
    assert worker(*NIGHTLY, "--replace").out.startswith("Schedule nightly added:")
    assert len(db.execute("select 1 from job_schedules").fetchall()) == 2
