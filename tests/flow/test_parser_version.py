"""A newer parser: what an older one has read is read again, in the background, and paid for by nobody."""

import asyncio

from worker.database.connect import connect_async
from worker.handlers.index import index
from worker.handlers.payloads import IndexPayload
from worker.indexing.languages import PARSER_VERSION
from worker.job import Job, new_job_id
from worker.queue.refresh import JOBS_AT_ONCE, refresh

SOURCE = "def f{n}():\n    return g{n}()\n"


def run_refresh(url):
    """One look; the jobs it enqueued."""

    async def run():
        async with await connect_async(url, name="refresh") as connection:
            return await refresh(connection, parser_version=PARSER_VERSION, max_attempts=5)

    return asyncio.run(run())


def grow_old(db):
    """As if an older parser had read everything, and less of it."""
    db.execute("update idx.blobs set parser_version = 0")
    db.execute("update repository_branches set parser_version = 0")
    db.execute("delete from idx.symbols")


def test_a_branch_that_an_older_parser_read_is_read_again_at_no_cost(
    indexer, git_repository, make_repository, db, database_url
):
    """The sweep's job stands behind everything else of its tenant; what it finds replaces what was there."""
    git = git_repository(files={f"m{n}.py": SOURCE.format(n=n) for n in range(3)})
    repository_id = make_repository(git_url=git.url)
    indexer.run(repository_id)
    before = indexer.rows(repository_id, "main")
    assert run_refresh(database_url) == []
    grow_old(db)
    assert len(run_refresh(database_url)) == 1
    assert run_refresh(database_url) == []
    assert db.execute("select max(priority) < 0 as low from indexing_jobs where status = 'queued'").fetchone()["low"]
    row = db.execute("select * from queue.claim(%s, array['incremental_update'], 1)", (indexer.worker_id,)).fetchone()
    context = indexer.context(job := Job(**row))
    index(context, IndexPayload.model_validate(job.payload))
    assert (context.result["files_parsed"], context.result["tokens_billed"]) == (3, 0)
    assert indexer.rows(repository_id, "main") == before
    assert run_refresh(database_url) == []


def test_a_push_reads_the_whole_branch_again_with_the_newer_parser(indexer, git_repository, make_repository, db):
    """Only what is new is paid for."""
    git = git_repository(files={f"m{n}.py": SOURCE.format(n=n) for n in range(3)})
    repository_id = make_repository(git_url=git.url)
    indexer.run(repository_id)
    grow_old(db)
    git.commit(files={"new.py": SOURCE.format(n=9)})
    result = indexer.run(repository_id)
    new = db.execute("select tokens from idx.blobs where content ~ 'f9'").fetchone()["tokens"]
    assert (result["files_parsed"], result["tokens_billed"], result["symbols"]) == (4, new, 4)


def test_the_sweep_is_bounded_and_leaves_what_fails_alone_for_a_day(make_repository, db, database_url):
    """Thousands of branches come in turn; one that cannot be read is not tried every minute."""
    for _ in range(JOBS_AT_ONCE + 3):
        db.execute(
            "insert into repository_branches (repository_id, branch_no, name, commit) values (%s, 0, 'main', %s)",
            (make_repository(), "a" * 40),
        )
    first = run_refresh(database_url)
    assert len(first) == JOBS_AT_ONCE
    assert run_refresh(database_url) == []
    for job_id in first:
        db.execute("select queue.cancel(%s)", (job_id,))
    second = run_refresh(database_url)
    assert len(second) == 3
    assert not set(first) & set(second)
    db.execute("update indexing_jobs set created_at = now() - interval '2 days'")
    assert len(run_refresh(database_url)) == JOBS_AT_ONCE - 3


def test_a_branch_whose_push_is_waiting_is_left_to_it(make_repository, db, database_url):
    """The push's job reads it anew; joining it would only begin its waiting again."""
    repository_id = make_repository()
    db.execute(
        "insert into repository_branches (repository_id, branch_no, name, commit) values (%s, 0, 'main', %s)",
        (repository_id, "a" * 40),
    )
    db.execute("select queue.enqueue(%s, %s, 'incremental_update', '{}')", (new_job_id(), repository_id))
    assert run_refresh(database_url) == []
