"""Who pays, how often, and that it adds up; docs/indexing.md states the rules."""

import uuid

import psycopg
import pytest

from worker.job import new_job_id
from worker.usage.tokens import record_tokens

SOURCE = "def f{n}():\n    return g{n}()\n"


@pytest.fixture
def bills(db):
    """All bills by job, oldest first."""
    return lambda: [row["tokens_used"] for row in db.execute("select tokens_used from token_usage order by id")]


def test_a_fork_of_the_same_owner_pays_for_what_differs(indexer, git_repository, make_repository, db, bills):
    """Whichever of the two is indexed first, and however often."""
    owner = uuid.uuid4()
    files = {f"m{n}.py": SOURCE.format(n=n) for n in range(4)}
    origin = git_repository(name="origin", files=files)
    fork = git_repository(name="fork", files={**files, "m0.py": SOURCE.format(n="_fork")})
    ids = [make_repository(git_url=git.url, user_id=owner) for git in (origin, fork)]
    results = [indexer.run(repository_id) for repository_id in (*ids, *ids)]
    assert [result["files_parsed"] for result in results] == [4, 1, 0, 0]
    stored = db.execute("select sum(tokens) as n from idx.blobs").fetchone()["n"]
    assert sum(bills()) == stored == results[0]["tokens"] + results[1]["tokens_billed"]
    assert len(bills()) == 2


def test_a_rebuild_is_paid_for_by_nobody(indexer, git_repository, make_repository, bills):
    """Doing it again is the program's own doubt, not the tenant's work."""
    git = git_repository(files={"a.py": SOURCE})
    repository_id = make_repository(git_url=git.url)
    indexer.run(repository_id)
    assert indexer.run(repository_id, rebuild=True)["tokens_billed"] == 0
    assert len(bills()) == 1


def test_a_file_left_out_costs_nothing_and_a_copy_of_a_file_costs_nothing_more(
    indexer, git_repository, make_repository, bills
):
    """Tokens are those of what can be searched, once a content."""
    git = git_repository(files={"a.py": SOURCE, "copy.py": SOURCE, "image.bin": b"\x00", "yarn.lock": "# lock\n"})
    result = indexer.run(make_repository(git_url=git.url))
    assert result["tokens"] == 2 * result["tokens_billed"]
    assert bills() == [result["tokens_billed"]]


def test_a_job_is_billed_once_and_may_be_billed_more_than_an_integer_holds(indexer, make_repository, db, bills):
    """The second row of a job is refused, so that a publish that ran twice would fail rather than bill twice."""
    job = indexer.claim(make_repository())
    record_tokens(db, job, 3_000_000_000, api_key_id=None, tokenizer="o200k_base")
    with pytest.raises(psycopg.errors.UniqueViolation):
        record_tokens(db, job, 1, api_key_id=None, tokenizer="o200k_base")
    assert bills() == [3_000_000_000]


def test_the_same_delivery_twice_is_one_job_and_one_bill(indexer, git_repository, make_repository, db, bills):
    """And a push that says what is indexed already is a job that bills nothing."""
    git = git_repository(files={"a.py": SOURCE})
    repository_id = make_repository(git_url=git.url)
    jobs = {
        db.execute(
            "select job_id from queue.deliver(%s, 'github', 'd1', 'push', '{}', '{}', null, null, %s, "
            "'incremental_update', p_coalesce_key => 'k')",
            (repository_id, new_job_id()),
        ).fetchone()["job_id"]
        for _ in range(2)
    }
    assert len(jobs) == 1
    db.execute("select queue.cancel(%s)", (jobs.pop(),))
    indexer.run(repository_id)
    indexer.run(repository_id, after=git.head)
    assert len(bills()) == 1
