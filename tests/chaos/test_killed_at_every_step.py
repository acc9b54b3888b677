"""Promises 2 and 3: kill -9 at every step of an attempt; each job ends once, by the next worker."""

import signal
from dataclasses import dataclass

import pytest

from tests.fixtures.workers import eventually

pytestmark = pytest.mark.timeout(300)
HANDLERS = "tests.fixtures.faults"
AT_ONCE = 4
"""Workers that start together: more would only wait for the processors."""

CLAIMING = [
    "worker.runtime.worker:claim:before",
    "worker.runtime.worker:claim:during",
    "worker.runtime.worker:claim:after",
    "worker.runtime.heartbeat:lease.renew:before",
    "worker.runtime.heartbeat:lease.renew:after",
]
LIGHT = [
    "worker.runtime.inline:Inline.start:before",
    "worker.runtime.inline:Inline.start:after",
    "worker.runtime.inline:parse_payload:after",
    "worker.runtime.inline:complete_many:before",
    "worker.runtime.inline:complete_many:during",
    "worker.runtime.inline:complete_many:after",
]
TOLD = [
    "worker.runtime.joblogs:JobLogs.open:after",
    "worker.runtime.reporter:tell:after",
    "worker.runtime.endings:Endings.record:before",
    "worker.runtime.endings:finish:during",
    "worker.runtime.endings:Endings.record:after",
    "worker.runtime.joblogs:JobLogs.end:before",
    "worker.runtime.joblogs:JobLogs.end:after",
]
CHILD = [
    "worker.runtime.slots:Slots.start:before",
    "worker.runtime.slots:Slots.start:after",
    "worker.runtime.joblogs:JobLogs.begin:before",
    "worker.runtime.joblogs:JobLogs.begin:after",
    "worker.runtime.launch:Launcher.start:before",
    "worker.runtime.launch:Launcher.start:after",
    "worker.runtime.attempt:Attempt._end:before",
    "worker.runtime.attempt:Attempt._end:after",
    "worker.runtime.endings:finish:before",
    "worker.runtime.endings:finish:during",
    "worker.runtime.endings:finish:after",
    "worker.runtime.settle:seal:before",
    "worker.runtime.settle:seal:after",
]
IN_THE_CHILD = ["worker.runtime.child:_limit:after", "worker.runtime.child:find:before"]
PUBLISHING = ["begin", "written", "completed", "committed", "published"]


@dataclass(frozen=True)
class Death:
    """One job type, the step its worker dies at, and what its job is told."""

    job_type: str
    step: str
    seconds: float = 0


def deaths(kind, steps, seconds=0.0):
    """One for each step."""
    return [Death(f"{kind}_{number}", step, seconds) for number, step in enumerate(steps)]


def start_and_die(start_worker, load, death, tmp_path):
    """A worker that takes this one job and kills itself; answers what waits for that."""
    load.put([(death.job_type, {"seconds": death.seconds})])
    marker = tmp_path / f"died-{death.job_type}"
    worker = start_worker(
        WORKER_HANDLERS=HANDLERS, WORKER_JOB_TYPES=death.job_type, FAULT=death.step, FAULT_MARKER=str(marker)
    )

    def wait():
        eventually(lambda: worker.process.poll() is not None, seconds=60, what=f"death at {death.step}")
        assert worker.process.returncode == -signal.SIGKILL
        assert marker.exists()

    return wait


def stories(load):
    """Job type → attempt, errors, crashes and number of completions."""
    rows = load.ask(
        """
        select job_type, attempt, errors, crashes, status,
               (select count(*) from indexing_job_events e
                where e.job_id = j.id and e.event_type = 'complete') as completions
        from indexing_jobs j"""
    )
    return {row["job_type"]: row for row in rows}


@pytest.mark.parametrize(
    ("kind", "steps", "seconds"),
    [("light", CLAIMING, 1.5), ("light", LIGHT, 0), ("told", TOLD, 0), ("child", CHILD, 0)],
    ids=["claiming", "light", "told", "child"],
)
def test_promise_3_a_worker_killed_at_any_step_leaves_each_job_to_the_next(
    start_worker, load, stop_all, tmp_path, kind, steps, seconds
):
    """A worker a step; afterwards one more finishes everything, at the cost of one crash where a claim was open."""
    all_deaths = deaths(kind, steps, seconds)
    for first in range(0, len(all_deaths), AT_ONCE):
        for wait in [
            start_and_die(start_worker, load, death, tmp_path) for death in all_deaths[first : first + AT_ONCE]
        ]:
            wait()
    last = start_worker(WORKER_HANDLERS=HANDLERS, WORKER_SLOTS="4")
    load.settle()
    load.check(most_crashes=len(steps))
    told = stories(load)
    for death in all_deaths:
        story = told[death.job_type]
        assert story["crashes"] == story["attempt"] - 1 <= 1, (death, story)
    print({death.step: told[death.job_type]["attempt"] for death in all_deaths})
    eventually(lambda: load.ask("select * from queue.unsealed") == [], what="the sealing of all logs")
    assert list((tmp_path / "state" / "spool").glob("*.ndjson")) == []
    stop_all(last)


def test_promise_2_effects_are_there_once_wherever_the_publishing_child_or_its_worker_dies(
    start_worker, load, stop_all, tmp_path
):
    """Child or worker is killed before, inside and after the publishing transaction: one effect a job."""
    load.tell("create table effects (job_id uuid)")
    survivor = start_worker(WORKER_HANDLERS=HANDLERS, WORKER_JOB_TYPES=",".join(f"publish_{n}" for n in range(20)))
    load.put([(f"publish_{n}", {"die": step}) for n, step in enumerate(PUBLISHING)])
    load.settle()
    assert survivor.process.poll() is None
    stop_all(survivor)
    workers = []
    for number, step in enumerate(PUBLISHING, start=20):
        load.put([(f"publish_{number}", {"die": step, "victim": "worker"})])
        workers.append(start_worker(WORKER_HANDLERS=HANDLERS, WORKER_JOB_TYPES=f"publish_{number}"))
    for worker in workers:
        eventually(lambda worker=worker: worker.process.poll() is not None, seconds=60, what="death of a worker")
    last = start_worker(WORKER_HANDLERS=HANDLERS)
    eventually(lambda: last.said("listening for new jobs"), what="a worker that signals do not end any more")
    load.settle()
    load.check(most_crashes=2 * len(PUBLISHING))
    assert load.ask("select job_id from effects group by job_id having count(*) > 1") == []
    assert load.ask("select count(*) as n from effects")[0]["n"] == 2 * len(PUBLISHING)
    print({name: story["attempt"] for name, story in stories(load).items()})
    stop_all(last)


def test_promise_3_a_child_killed_before_its_handler_costs_one_crash(start_worker, load, stop_all, tmp_path):
    """The child dies in its first steps: its own worker runs the next attempt."""
    workers = []
    for death in deaths("child", IN_THE_CHILD):
        load.put([(death.job_type, {})])
        workers.append(
            start_worker(
                WORKER_HANDLERS=HANDLERS,
                WORKER_JOB_TYPES=death.job_type,
                FAULT=death.step,
                FAULT_MARKER=str(tmp_path / f"died-{death.job_type}"),
            )
        )
    load.settle()
    load.check(most_crashes=len(IN_THE_CHILD))
    assert {story["crashes"] for story in stories(load).values()} == {1}
    stop_all(*workers)
