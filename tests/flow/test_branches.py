"""Several branches of one repository, branches that go, and a main branch that is called otherwise."""

import pytest
from psycopg.types.json import Jsonb

from worker.errors import BranchNotFound, Snooze
from worker.handlers.index import index
from worker.handlers.payloads import IndexPayload

SOURCE = "def f{n}():\n    return g{n}()\n"


@pytest.fixture
def repository(git_repository, make_repository):
    """Two branches that differ in one file, both tracked."""
    git = git_repository(files={f"m{n}.py": SOURCE.format(n=n) for n in range(5)})
    git.git("checkout", "-q", "-b", "release/1")
    git.commit(files={"m0.py": SOURCE.format(n="_old")})
    git.git("checkout", "-q", "main")
    return git, make_repository(git_url=git.url, settings={"branches": ["release/*"]})


def paths(indexer, repository_id):
    """How many paths each branch holds."""
    rows = indexer.db.execute(
        """
        select b.name, count(f.path) as n from repository_branches b
        join repositories r on r.id = b.repository_id
        left join idx.files f on f.repo_no = r.repo_no and f.branch_no = b.branch_no
        where r.id = %s group by b.name""",
        (repository_id,),
    )
    return {row["name"]: row["n"] for row in rows}


def test_a_further_branch_shares_contents_and_leaves_the_main_branch_alone(indexer, repository, db):
    """It costs what differs; the repository's commit is the main branch's."""
    git, repository_id = repository
    indexer.run(repository_id)
    result = indexer.run(repository_id, ref="refs/heads/release/1")
    assert (result["files"], result["files_parsed"], result["branch"]) == (5, 1, "release/1")
    differs = db.execute("select tokens from idx.blobs where content ~ '_old'").fetchone()["tokens"]
    assert result["tokens_billed"] == differs
    row = db.execute("select last_indexed_commit, default_branch from repositories").fetchone()
    assert tuple(row.values()) == (git.head, "main")
    assert paths(indexer, repository_id) == {"main": 5, "release/1": 5}


def test_a_deleted_branch_goes_and_may_come_back_at_no_cost(indexer, repository, db):
    """Its job finds it missing: paths and edges go, contents have their grace time."""
    git, repository_id = repository
    indexer.run(repository_id)
    indexer.run(repository_id, ref="refs/heads/release/1")
    commit = git.git("rev-parse", "release/1").strip()
    git.git("branch", "-D", "release/1")
    result = indexer.run(repository_id, ref="refs/heads/release/1", before=commit, deleted=True)
    assert (result["removed"], result["files_removed"]) == (True, 5)
    assert paths(indexer, repository_id) == {"main": 5}
    assert db.execute("select status from indexing_jobs order by id desc limit 1").fetchone()["status"] == "completed"
    git.git("branch", "release/1", commit)
    result = indexer.run(repository_id, ref="refs/heads/release/1")
    assert (result["files"], result["files_parsed"], result["tokens_billed"]) == (5, 0, 0)


def test_a_branch_that_is_missing_without_a_word_goes_too(indexer, repository):
    """The delivery of its deletion was lost; any later job of it tells. A second time there is nothing to remove."""
    git, repository_id = repository
    indexer.run(repository_id, ref="refs/heads/release/1")
    git.git("branch", "-D", "release/1")
    indexer.run(repository_id, ref="refs/heads/release/1")
    assert paths(indexer, repository_id) == {}
    job = indexer.claim(repository_id, ref="refs/heads/release/1")
    with pytest.raises(BranchNotFound):
        index(indexer.context(job), IndexPayload(ref="refs/heads/release/1"))


@pytest.mark.parametrize("what", ["created", "deleted"])
def test_a_server_that_lags_behind_a_creation_or_a_deletion_is_asked_again(indexer, repository, what):
    """Neither is a branch removed that is about to come, nor one kept that is about to go."""
    git, repository_id = repository
    if what == "created":
        payload = {"ref": "refs/heads/release/2", "after": "a" * 40}
    else:
        payload = {
            "ref": "refs/heads/release/1",
            "before": git.git("rev-parse", "release/1").strip(),
            "deleted": True,
        }
    job = indexer.claim(repository_id, **payload)
    with pytest.raises(Snooze):
        index(indexer.context(job), IndexPayload.model_validate(payload))


def test_the_main_branch_keeps_its_last_state_when_it_is_missing(indexer, git_repository, make_repository):
    """Somebody deleted it, or the server is being moved: nothing is removed on that evidence."""
    git = git_repository(files={"a.py": SOURCE})
    git.git("branch", "dev")
    repository_id = make_repository(git_url=git.url, settings={"branch": "dev"})
    indexer.run(repository_id)
    git.git("branch", "-D", "dev")
    job = indexer.claim(repository_id, ref="refs/heads/dev")
    with pytest.raises(BranchNotFound):
        index(indexer.context(job), IndexPayload(ref="refs/heads/dev"))
    assert paths(indexer, repository_id) == {"dev": 1}


def test_a_branch_that_is_no_longer_tracked_goes_at_the_next_publish(indexer, repository, db):
    """Whether the settings changed or the default branch got another name."""
    git, repository_id = repository
    indexer.run(repository_id)
    indexer.run(repository_id, ref="refs/heads/release/1")
    db.execute("update repositories set settings = %s", (Jsonb({}),))
    git.git("branch", "-m", "main", "trunk")
    result = indexer.run(repository_id, ref="refs/heads/trunk")
    assert (result["branch"], result["files_parsed"]) == ("trunk", 0)
    assert paths(indexer, repository_id) == {"trunk": 5}
    assert db.execute("select default_branch from repositories").fetchone()["default_branch"] == "trunk"
