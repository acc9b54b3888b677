"""jobs, job, logs, cancel, retry and status on rows as they are in the database."""

from collections.abc import Callable
from itertools import product
from typing import Any
from uuid import UUID, uuid4

Worker = Callable[..., Any]
MakeJob = Callable[..., UUID]


def test_jobs_lists_the_newest_first(worker: Worker, make_job: MakeJob) -> None:
    """With their repositories, filtered by status and repository."""
    ids = sorted(str(make_job(status="failed", error_class="git", error_message="no")) for _ in range(2))
    other = make_job(name="django")
    rows = worker("jobs", "--json").json
    assert [row["id"] for row in rows] == sorted([*ids, str(other)], reverse=True)
    assert {row["repository"] for row in rows} == {"flask", "django"}
    assert [row["id"] for row in worker("jobs", "--status", "failed", "--json").json] == ids[::-1]
    assert [row["id"] for row in worker("jobs", "--repo", "django", "--json").json] == [str(other)]
    assert len(worker("jobs", "--limit", "1", "--json").json) == 1


def test_nothing_to_list(worker: Worker) -> None:
    """An empty listing is a success and leaves stdout empty."""
    ended = worker("jobs")
    assert (ended.code, ended.out) == (0, "")
    assert "No jobs yet" in ended.err


def test_a_job_is_found_by_either_end_of_its_id(worker: Worker, make_job: MakeJob) -> None:
    """Ids of jobs made close together begin alike, so listings show the end, and commands take it."""
    first, second = UUID("019a1111-2222-7333-8444-aaaaaaaaaaaa"), UUID("019a1111-2222-7333-8444-bbbbbbbbbbbb")
    for job_id in (first, second):
        make_job(id=job_id, status="completed")
    assert worker("job", "bbbbbbbbbbbb", "--json").json["job"]["id"] == str(second)
    assert worker("job", str(first).upper(), "--json").json["job"]["id"] == str(first)
    ambiguous = worker("job", "019a1111")
    assert (ambiguous.code, ambiguous.out) == (1, "")
    assert "More than one job" in ambiguous.err


def test_a_job_that_does_not_exist(worker: Worker, make_job: MakeJob) -> None:
    """It is said on stderr with exit code 1; patterns and single letters fit no job."""
    make_job()
    for command, text in product(("job", "logs", "cancel", "retry"), ("zzzz", "%%%%", "____", "a", "")):
        ended = worker(command, text)
        assert (ended.code, ended.out) == (1, "")
        assert f"There is no job {text!r}." in ended.err


def test_jobs_of_other_tenants(worker: Worker, make_job: MakeJob, db: Any) -> None:
    """With WORKER_USER_ID set, nobody else's job is listed, shown or cancelled."""
    db.execute("insert into auth.users (id) values (%s)", (stranger := uuid4(),))
    job_id = make_job(user_id=stranger, repository_id=None)
    assert worker("jobs", "--json").json == []
    assert worker("job", str(job_id)).code == 1
    assert worker("cancel", str(job_id)).code == 1


def test_a_job_in_full(worker: Worker, make_job: MakeJob) -> None:
    """Row, deliveries, usage and events, for people and as JSON."""
    job_id = make_job(status="failed", error_class="git", error_message="The server is down.", attempt=3, errors=3)
    facts = worker("job", str(job_id), "--json").json
    assert set(facts) == {"job", "deliveries", "usage", "events"}
    shown = worker("job", str(job_id)).out
    for line in (f"id           {job_id}", "reason       The server is down. (git)", "attempts     3 (errors 3 of 5"):
        assert line in shown


def test_cancel_and_retry(worker: Worker, make_job: MakeJob) -> None:
    """A queued job is cancelled, a cancelled one queued again; each says what it did."""
    job_id = str(make_job())
    assert worker("cancel", job_id).out == "Cancelled.\n"
    assert worker("retry", job_id).out == "Queued again.\n"
    assert worker("cancel", job_id, "--json").json == {"job_id": job_id, "answer": "cancelled"}
    assert worker("retry", job_id, "--json").json == {"job_id": job_id, "runs_as": job_id}


def test_what_cannot_be_cancelled_or_retried(worker: Worker, make_job: MakeJob) -> None:
    """Finished jobs are not cancelled, and others than failed or cancelled ones not retried: exit code 1."""
    job_id = str(make_job(status="completed"))
    for command, sentence in (("cancel", "has completed already"), ("retry", "this one is completed")):
        ended = worker(command, job_id)
        assert (ended.code, ended.out) == (1, "")
        assert sentence in ended.err
    assert worker("cancel", job_id, "--json").json["answer"] == "completed"
    assert worker("retry", job_id, "--json").json["runs_as"] is None


def test_logs_of_jobs_that_never_ran(worker: Worker, make_job: MakeJob) -> None:
    """There is nothing to print, and it is said why."""
    waiting, dropped = make_job(), make_job(status="cancelled", name="django")
    ended = worker("logs", str(waiting))
    assert (ended.code, ended.out) == (0, "")
    assert "no log yet" in ended.err
    assert "It never ran" in worker("logs", str(dropped), "--follow").err


def test_status(worker: Worker, make_job: MakeJob, db: Any) -> None:
    """Queue, workers and repositories; a worker that ended as it should is not among the living."""
    make_job()
    assert "none: start one with `worker run`" in worker("status").out
    for state, seen in (("running", "now()"), ("running", "now() - interval '5 min'"), ("stopped", "now()")):
        db.execute(
            f"""insert into public.workers (id, hostname, pid, version, machine, slots, job_types, state, last_seen_at)
                values (gen_random_uuid(), 'here', 7, '1', 'x', 2, '{{}}', %s, {seen})""",
            (state,),
        )
    shown = worker("status").out
    assert "full_index  queued  1" in shown
    assert {line.split()[3] for line in shown.splitlines() if " here " in line} == {"silent", "running"}
    facts = worker("status", "--json").json
    assert facts["queue"][0]["jobs"] == 1
    assert len(facts["workers"]) == 3
