"""What no webhook told is found by asking the server: pushes, deleted branches, changes of who may read."""

import asyncio
import time

import pytest

from worker.database.connect import connect_async
from worker.errors import AccessDenied, GitNetworkError, Snooze
from worker.git.resolve import resolve_heads
from worker.git.url import parse_repository_url
from worker.handlers.payloads import ReconcilePayload
from worker.handlers.reconcile import reconcile
from worker.job import Job, new_job_id
from worker.queue.reconcile import reconcile as enqueue_due


@pytest.fixture
def compare(indexer, db):
    """Compare a repository with its server in this process; the result."""

    def run(repository_id):
        db.execute("select * from queue.enqueue(%s, %s, 'reconcile', '{}')", (new_job_id(), repository_id))
        row = db.execute("select * from queue.claim(%s, array['reconcile'], 1)", (indexer.worker_id,)).fetchone()
        job = Job(**row)
        result = reconcile(indexer.context(job), ReconcilePayload())
        db.execute("select queue.complete(%s, %s, '{}')", (job.id, job.lease_token))
        return result

    return run


def queued(db):
    """The payloads of the index jobs that wait, by branch."""
    rows = db.execute("select payload from indexing_jobs where job_type = 'incremental_update' and status = 'queued'")
    return {row["payload"]["ref"].removeprefix("refs/heads/"): row["payload"] for row in rows}


def check_of(db, repository_id):
    """Its row of repository_checks, with the pause until the next comparison."""
    return db.execute(
        "select *, extract(epoch from due_at - now())::float as pause from repository_checks where repository_id = %s",
        (repository_id,),
    ).fetchone()


def test_a_missed_push_is_found_and_indexed(indexer, compare, git_repository, make_repository, db):
    """The index job says where the branch stood and stands; what stands where it stood makes none."""
    git = git_repository(files={"a.py": "x = 1\n"})
    repository = make_repository(git_url=git.url)
    indexer.run(repository)
    before = git.head
    assert compare(repository) == {"reachable": True, "missed": []}
    assert queued(db) == {}
    git.commit({"b.py": "y = 2\n"})
    assert compare(repository)["missed"] == ["main"]
    payload = queued(db)["main"]
    assert (payload["before"], payload["after"], payload["deleted"]) == (before, git.head, False)
    row = check_of(db, repository)
    assert (row["missed"], row["failures"], row["checked_at"] is None) == (1, 0, False)
    assert 3000 < row["pause"] <= 3600


def test_further_branches_are_compared_by_pattern(indexer, compare, git_repository, make_repository, db):
    """New ones, moved ones and deleted ones; what is not tracked is left alone."""
    git = git_repository(files={"a.py": "x = 1\n"})
    repository = make_repository(git_url=git.url)
    db.execute('update repositories set settings = \'{"branches": ["dev", "release/*"]}\'')
    for branch in ("release/1", "release/old", "other", "release/1-fix/deep"):
        git.git("branch", branch)
    for branch in ("main", "release/1", "release/old"):
        indexer.run(repository, ref=f"refs/heads/{branch}")
    git.git("branch", "dev")
    git.git("branch", "-D", "release/old")
    git.git("checkout", "-q", "release/1")
    git.commit({"a.py": "x = 2\n"})
    git.git("checkout", "-q", "main")
    assert sorted(compare(repository)["missed"]) == ["dev", "release/1", "release/old"]
    assert {name: payload["deleted"] for name, payload in queued(db).items()} == {
        "dev": False,
        "release/1": False,
        "release/old": True,
    }


def test_a_commit_that_failed_is_not_tried_each_hour(indexer, compare, git_repository, make_repository, db):
    """Its failure is known; the next commit, or the next day, is tried."""
    git = git_repository(files={"a.py": "x = 1\n"})
    repository = make_repository(git_url=git.url)
    compare(repository)
    db.execute("select queue.cancel(id) from indexing_jobs where status = 'queued'")
    db.execute("update indexing_jobs set status = 'failed' where job_type = 'incremental_update'")
    assert compare(repository)["missed"] == []
    db.execute("update indexing_jobs set finished_at = now() - interval '25 hours'")
    assert compare(repository)["missed"] == ["main"]
    assert queued(db)["main"]["after"] == git.head


@pytest.mark.parametrize("problem", [GitNetworkError("down"), AccessDenied("no"), Snooze("later", seconds=90_000)])
def test_a_server_that_does_not_answer_is_asked_ever_more_rarely(compare, make_repository, db, monkeypatch, problem):
    """The pause doubles up to a day, is at least what the server asked for, and ends with the first answer."""

    def refuse(*_, **__):
        raise problem

    repository = make_repository(git_url="https://git.example.org/a/b")
    with monkeypatch.context() as patched:
        patched.setattr("worker.handlers.reconcile.ask_as_stranger_first", refuse)
        pauses = []
        for _ in range(7):
            assert compare(repository)["reachable"] is False
            pauses.append(round(check_of(db, repository)["pause"] / 3600, 1))
    assert pauses == ([25.0] * 7 if isinstance(problem, Snooze) else [1, 2, 4, 8, 16, 24, 24])[:7]
    assert check_of(db, repository)["problem"] == str(problem)


def test_an_unheard_change_of_visibility_is_found(indexer, compare, git_repository, make_repository, db, monkeypatch):
    """Contents of what strangers may no longer read leave the public pool within the interval, event or not."""
    git = git_repository(files={"a.py": "x = 1\n"})
    repository = make_repository(git_url=git.url)
    with monkeypatch.context() as patched:
        patched.setattr("worker.handlers.index.is_public", lambda _: True)
        indexer.run(repository)
    assert compare(repository)["missed"] == ["main"]  # its URL is none that strangers read
    indexer.run(repository)
    assert db.execute("select content_scope from repositories").fetchone()["content_scope"] != 0
    db.execute("delete from queue.waiting")
    assert compare(repository)["missed"] == []


def test_names_that_git_would_take_for_a_pattern_are_not_asked_for(git_repository):
    """Nothing a tenant puts into the settings changes what git is told."""
    git = git_repository(files={"a": "b"})
    url = parse_repository_url(git.url, allow_local=True)
    assert resolve_heads(url, ["[a-z]*", "--upload-pack=x", "a b", "**"]).commits == {"main": git.head}


async def _due(url, **limits):
    async with await connect_async(url, name="test") as connection:
        return await enqueue_due(connection, **{"seconds": 3600, "budget": 100} | limits)


def jobs_of(db):
    """The repositories with a comparison queued."""
    return {row["r"] for row in db.execute("select repository_id as r from indexing_jobs where job_type = 'reconcile'")}


def test_comparisons_are_spread_and_within_their_budget(database_url, make_repository, db):
    """New repositories come due over half an interval; each minute takes a few, those due longest first."""
    made = [make_repository(git_url=f"https://git.example.org/a/{n}") for n in range(20)]
    assert asyncio.run(_due(database_url)) == []
    pauses = [check_of(db, repository)["pause"] for repository in made]
    assert min(pauses) > 1790
    assert max(pauses) <= 3600
    assert max(pauses) - min(pauses) > 400
    db.execute("update repository_checks set due_at = now() - interval '1 minute'")
    db.execute(
        "update repository_checks set due_at = now() - interval '1 hour' where repository_id = any (%s)", (made[:3],)
    )
    assert len(asyncio.run(_due(database_url, budget=3))) == 3
    assert jobs_of(db) == set(made[:3])
    assert len(asyncio.run(_due(database_url))) == 17
    assert asyncio.run(_due(database_url)) == []


def test_paused_and_busy_repositories_are_not_compared(database_url, make_repository, db):
    """An archived one has nothing new; one with work waiting is asked by that work."""
    paused, busy, idle = (make_repository(git_url=f"https://git.example.org/a/{n}") for n in range(3))
    db.execute("update repositories set paused_reasons = '{archived}' where id = %s", (paused,))
    db.execute("select * from queue.enqueue(%s, %s, 'full_index', '{}')", (new_job_id(), busy))
    db.execute("insert into repository_checks (repository_id, due_at) select id, now() from repositories")
    asyncio.run(_due(database_url))
    assert jobs_of(db) == {idle}


def test_reconcile_runs_by_itself_and_a_missed_push_is_searchable(start_worker, git_repository, make_repository, db):
    """A real worker, no webhook: within the interval the index equals the tree."""
    git = git_repository(files={"a.py": "def first():\n    pass\n"})
    repository = make_repository(git_url=git.url)
    db.execute("update maintenance_tasks set every = '1 second', next_run_at = now() where name = 'reconcile'")
    start_worker(WORKER_RECONCILE_SECONDS="4")

    def wait_for(name):
        until = time.monotonic() + 60
        query = "select 1 from idx.symbols s join idx.files f on f.blob_id = s.blob_id where s.name = %s"
        while time.monotonic() < until and not db.execute(query, (name,)).fetchone():
            time.sleep(0.1)
        assert db.execute(query, (name,)).fetchone(), name

    wait_for("first")
    git.commit({"b.py": "def second():\n    pass\n"})
    wait_for("second")
    assert check_of(db, repository)["missed"] >= 1
