"""lanes, lane, pause and resume."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from tests.cli.conftest import USER
from worker.database.connect import connect
from worker.queue.wake import CHANNEL

Worker = Callable[..., Any]
MakeJob = Callable[..., UUID]


def test_lanes_for_people_and_programs(worker: Worker, make_job: MakeJob) -> None:
    """A line a tenant; nothing to show is a success."""
    ended = worker("lanes")
    assert (ended.code, ended.out) == (0, "")
    make_job()
    make_job(name="django", user_id=None, repository_id=None)
    rows = worker("lanes", "--json").json
    assert {row["user_id"]: row["waiting"] for row in rows} == {str(USER): 1, str(UUID(int=0)): 1}
    shown = worker("lanes").out
    assert str(USER) in shown
    assert "none" in shown
    assert len(worker("lanes", "--limit", "1", "--json").json) == 1


def test_a_lane_is_shown_and_changed(worker: Worker, make_job: MakeJob) -> None:
    """Without options it only shows; what cannot be is wrong usage."""
    make_job()
    assert worker("lane", str(USER)).out.splitlines()[1].split() == [str(USER), "1", "0", "1", "–", "open", "+0.0"]
    changed = worker("lane", str(USER), "--weight", "2.5", "--max-running", "4", "--json").json
    assert (changed["weight"], changed["max_running"]) == (2.5, 4)
    assert worker("lane", str(USER)[-12:], "--max-running", "0", "--json").json["max_running"] is None
    for options in (("--weight", "0"), ("--max-running", "-1")):
        assert worker("lane", str(USER), *options).code == 2
    assert worker("lane", "00000000-0000-4000-8000-00000000dead").code == 1


def test_pause_and_resume(worker: Worker, make_job: MakeJob) -> None:
    """Of a type and of a tenant; status shows them; twice is no error."""
    make_job()
    assert worker("pause", "--type", "full_index").out == "Paused: jobs of type full_index; running ones go on.\n"
    assert worker("pause", "--type", "full_index").out == "Jobs of type full_index were paused already.\n"
    assert worker("pause", "--tenant", str(USER), "--json").json == {
        "tenant": str(USER), "paused": True, "changed": True,
    }  # fmt: skip
    worker("pause", "--tenant", "none")
    status = worker("status")
    assert f"paused: type full_index, no tenant, tenant {USER}; `worker resume` lets them go on" in status.out
    held = worker("status", "--json").json["paused"]
    assert held == {"job_types": ["full_index"], "tenants": [str(UUID(int=0)), str(USER)]}
    assert worker("resume", "--tenant", str(USER)).out == f"Resumed: jobs of tenant {USER}.\n"
    assert worker("resume", "--tenant", "none").out == "Resumed: jobs without a tenant.\n"
    assert worker("resume", "--type", "full_index", "--json").json["changed"]
    assert worker("resume", "--type", "full_index").out == "Jobs of type full_index were not paused.\n"
    assert "paused" not in worker("status").out


def test_a_type_that_nobody_knows_is_remarked_upon(worker: Worker) -> None:
    """It may be of a program to come, or mistyped."""
    ended = worker("pause", "--type", "ful_index")
    assert ended.code == 0
    assert "No worker has taken jobs of type ful_index" in ended.err


def test_either_a_type_or_a_tenant(worker: Worker) -> None:
    """Wrong usage otherwise; a tenant that is not there is an error."""
    for command in ("pause", "resume"):
        assert worker(command).code == 2
        assert worker(command, "--type", "a", "--tenant", str(USER)).code == 2
        assert worker(command, "--tenant", "00000000-0000-4000-8000-00000000dead").code == 1


def test_resuming_wakes_the_workers(worker: Worker, make_job: MakeJob, database_url: str) -> None:
    """Pausing does not."""
    make_job()
    with connect(database_url, name="test listener") as listener:
        listener.execute(f"listen {CHANNEL}")

        def heard() -> list[str]:
            return [message.payload for message in listener.notifies(timeout=0.2)]

        worker("pause", "--type", "full_index")
        worker("pause", "--tenant", str(USER))
        assert heard() == []
        worker("resume", "--type", "full_index")
        worker("resume", "--tenant", str(USER))
        assert heard() == ["full_index", ""]
