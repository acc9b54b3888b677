"""Repositories that turn private or public: where their contents are, who can come at them, and who has paid."""

import pytest

from worker.catalog import rescope
from worker.catalog.blobs import known_blobs
from worker.errors import RepositoryNotFound
from worker.handlers.index import index
from worker.handlers.payloads import IndexPayload
from worker.indexing.languages import PARSER_VERSION

COMMON = {f"m{n}.py": f"import os\n\ndef f{n}():\n    return g{n}()\n" for n in range(4)}
SECRET = {"plan.py": "def secret_plan():\n    return 42\n", "notes.md": "# plans\n"}


@pytest.fixture
def public(monkeypatch):
    """The URLs of repositories that strangers can read: a stand-in for a public host, which no test has."""
    urls = set()
    monkeypatch.setattr("worker.handlers.index.is_public", lambda url: url.url in urls)
    return urls


@pytest.fixture
def two(git_repository, make_repository, public):
    """Repositories of two owners, both public; the first one holds more."""
    gits = [git_repository(name="a", files=COMMON | SECRET), git_repository(name="b", files=COMMON)]
    public |= {git.url for git in gits}
    return gits, [make_repository(git_url=git.url) for git in gits]


def scopes(db, repository_id):
    """The scopes of the contents that a repository's paths show."""
    rows = db.execute(
        """
        select distinct b.scope from idx.files f join idx.blobs b on b.id = f.blob_id
        join repositories r on r.repo_no = f.repo_no where r.id = %s""",
        (repository_id,),
    )
    return {row["scope"] for row in rows}


def in_pool(db):
    """How many contents the public pool holds."""
    return db.execute("select count(*) as n from idx.blobs where scope = 0").fetchone()["n"]


def secret_key(db):
    """Object id and language of a content that only the first repository has."""
    row = db.execute("select oid, lang from idx.blobs where content ~ 'secret_plan'").fetchone()
    return row["oid"], row["lang"]


def test_in_the_public_pool_the_first_to_publish_pays(indexer, two, db):
    """A second owner of the same contents parses nothing, stores nothing and is billed nothing."""
    _, (first, second) = two
    paid = indexer.run(first)["tokens_billed"]
    assert paid == db.execute("select sum(tokens) as n from idx.blobs").fetchone()["n"]
    result = indexer.run(second)
    assert (result["files"], result["files_parsed"], result["tokens_billed"]) == (4, 0, 0)
    assert db.execute("select count(*) as n from token_usage").fetchone()["n"] == 1


def test_contents_of_a_repository_that_turned_private_leave_the_pool_at_its_next_job(indexer, two, public, db):
    """All branches, nothing parsed, nothing billed; the other owner keeps what is his too."""
    (git, _), (first, second) = two
    db.execute('update repositories set settings = \'{"branches": ["dev"]}\'')
    git.git("branch", "dev")
    for branch in ("main", "dev"):
        indexer.run(first, ref=f"refs/heads/{branch}")
    indexer.run(second)
    before = {branch: indexer.rows(first, branch) for branch in ("main", "dev")}
    public.remove(git.url)
    result = indexer.run(first)
    assert (result["files_parsed"], result["tokens_billed"]) == (0, 0)
    assert {branch: indexer.rows(first, branch) for branch in ("main", "dev")} == before
    assert 0 not in scopes(db, first)
    assert scopes(db, second) == {0}
    assert in_pool(db) == 4
    assert db.execute("select visibility from repositories where id = %s", (first,)).fetchone() == {
        "visibility": "private"
    }
    unpaid = db.execute("select count(*) as n from idx.upkeep u join idx.blobs b on b.id = u.blob_id "
                        "where u.billed_by is null and b.billed_by is null").fetchone()  # fmt: skip
    assert unpaid == {"n": 0}


def test_between_the_event_and_the_job_the_pool_opens_nothing_by_its_id(indexer, two, public, db):
    """Whoever knows an object id, but cannot read the content in his own repository, gets nothing."""
    (git, other), (first, second) = two
    indexer.run(first)
    key = secret_key(db)
    assert known_blobs(db, 0, [key], PARSER_VERSION) != {}
    db.execute("update repositories set visibility = 'private' where id = %s", (first,))
    assert known_blobs(db, 0, [key], PARSER_VERSION) == {}
    other.commit(files={"mine.py": SECRET["plan.py"]})
    result = indexer.run(second)
    assert (result["files"], result["files_parsed"]) == (5, 5)
    public.remove(git.url)
    indexer.run(first)
    assert scopes(db, second) == {0}
    assert in_pool(db) == 5


def test_a_repository_that_strangers_can_no_longer_find_leaves_the_pool_though_its_job_fails(
    indexer, two, db, monkeypatch
):
    """Turned private without a token for it, or deleted: the job fails, and is no reason to go on sharing."""
    _, (first, _) = two
    indexer.run(first)

    def not_found(*_):
        raise RepositoryNotFound("404")

    monkeypatch.setattr("worker.handlers.index.ask_for_tip", not_found)
    job = indexer.claim(first)
    with pytest.raises(RepositoryNotFound):
        index(indexer.context(job), IndexPayload())
    assert in_pool(db) == 0
    assert 0 not in scopes(db, first)


def test_a_repository_that_turned_public_again_shares_again(indexer, two, public, db):
    """There and back leaves what was there, and a late event does not make it private for good."""
    (git, _), (first, second) = two
    indexer.run(first)
    before = indexer.rows(first, "main")
    public.remove(git.url)
    indexer.run(first)
    public.add(git.url)
    assert indexer.run(first)["tokens_billed"] == 0
    assert (indexer.rows(first, "main"), scopes(db, first), in_pool(db)) == (before, {0}, 6)
    db.execute("update repositories set visibility = 'private' where id = %s", (first,))
    indexer.run(first)
    assert db.execute("select visibility from repositories where id = %s", (first,)).fetchone() == {
        "visibility": "public"
    }
    assert indexer.run(second)["files_parsed"] == 0


def test_a_move_that_was_cut_short_goes_on_with_the_next_attempt(indexer, two, public, db, monkeypatch):
    """Every path is readable in between, and no content is in both places for it."""
    (git, _), (first, _) = two
    indexer.run(first)
    before = indexer.rows(first, "main")
    public.remove(git.url)
    monkeypatch.setattr(rescope, "BLOBS_A_TRANSACTION", 2)
    steps = iter([None, None])

    def cut_short(job):
        monkeypatch.setattr("worker.handlers.index_run.hold", lambda *_: next(steps))
        with pytest.raises(StopIteration):
            index(indexer.context(job), IndexPayload())
        monkeypatch.undo()

    cut_short(job := indexer.claim(first))
    assert indexer.rows(first, "main") == before
    assert len(scopes(db, first)) == 2
    monkeypatch.setattr("worker.handlers.index.is_public", lambda _: False)
    index(indexer.context_again(job), IndexPayload())
    assert (indexer.rows(first, "main"), len(scopes(db, first)), in_pool(db)) == (before, 1, 0)
