"""Vendored and generated files, as .gitattributes and their folders say: recorded, not read."""

import pytest

CODE = "def one():\n    return two()\n"
FILES = {
    ".gitattributes": "gen/* linguist-generated\nthird/** linguist-vendored\n",
    "app.py": CODE,
    "gen/made.py": CODE + "# made\n",
    "third/lib/copy.py": CODE + "# copied\n",
    "node_modules/pkg/index.js": "function installed() {}\n",
}


@pytest.fixture
def repository(git_repository, make_repository):
    """Files of each kind."""
    git = git_repository(files=FILES)
    return git, make_repository(git_url=git.url)


def test_vendored_and_generated_files_are_recorded_and_not_read(indexer, repository, db):
    """Their symbols are nobody's; the result says how many were left out and why."""
    _, repository_id = repository
    result = indexer.run(repository_id)
    assert result["skipped"] == {"generated": 1, "vendored": 2}
    assert (result["files"], result["symbols"]) == (5, 1)
    assert db.execute("select count(*) as n from idx.blobs where content is not null").fetchone()["n"] == 2


def test_new_attributes_change_files_that_nobody_touched(indexer, repository, make_repository):
    """A push of .gitattributes alone: what it takes back is read, and the index equals a fresh one."""
    git, repository_id = repository
    indexer.run(repository_id)
    for text in ("third/** linguist-vendored\nnode_modules/** -linguist-vendored\n", "*.py linguist-generated\n", None):
        git.commit(files={".gitattributes": text})
        result = indexer.run(repository_id)
        fresh = make_repository(git_url=git.url + "/.")
        indexer.run(fresh)
        assert indexer.files(repository_id) == indexer.files(fresh)
        indexer.db.execute("delete from repositories where id = %s", (fresh,))
    assert result["skipped"] == {"vendored": 1}


def test_a_push_beside_stored_attributes_fetches_them_not_again(indexer, repository):
    """What they said is stored; a push of one file fetches that file."""
    git, repository_id = repository
    indexer.run(repository_id)
    git.commit(files={"app.py": CODE + "# more\n"})
    result = indexer.run(repository_id)
    assert result["files_parsed"] == 1
    assert result["skipped"] == {"generated": 1, "vendored": 2}
