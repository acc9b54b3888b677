"""Repositories built to hurt, through the whole index job: each ends in rows with reasons, or in one final error."""

import time
import uuid
from pathlib import Path

import psutil
import pytest

from tests.fixtures.git_server import Source
from worker.errors import EmptyRepository, GitPermanentError, TooManyPaths


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A bare repository filled by plumbing commands, served as the big hosts do it."""
    source = Source(tmp_path / "source.git")
    source.git("config", "uploadpack.allowFilter", "true")
    return source


@pytest.mark.parametrize("is_known", [False, True])
def test_a_tree_bomb_ends_the_job_at_the_limit_of_paths(indexer, source, make_repository, is_known) -> None:
    """Row 4: 10^10 paths in some kilobytes, as a first index and as a push; what was indexed before stays."""
    repository_id = make_repository(git_url=source.url.url)
    honest = source.commit({"a.py": b"x = 1\n"})
    if is_known:
        indexer.run(repository_id)
    before = indexer.files(repository_id)
    tree = source.tree(*(("100644", source.blob(b"x"), b"%d" % n) for n in range(10)))
    for _ in range(9):
        tree = source.tree(*(("40000", tree, b"%d" % n) for n in range(10)))
    source.commit_tree(tree, parent=honest)
    indexer.settings = {"worker_max_files": 5_000}
    started = time.monotonic()
    with pytest.raises(TooManyPaths, match="more than 5000 paths") as refusal:
        indexer.run(repository_id)
    assert time.monotonic() - started < 20
    assert not refusal.value.retryable
    assert indexer.files(repository_id) == before


@pytest.mark.parametrize("is_known", [False, True])
def test_zeros_without_end_are_a_recorded_skip(indexer, source, make_repository, tmp_path, is_known) -> None:
    """Row 4: 600 MB in 0.6 MB of pack cost no memory, no disk and no time, and the file beside them is indexed."""
    repository_id = make_repository(git_url=source.url.url)
    first = source.commit({"a.py": b"x = 1\n"})
    if is_known:
        indexer.run(repository_id)
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(600_000_000)
    zeros = source.git("-c", "core.bigFileThreshold=1m", "hash-object", "-w", "--no-filters", str(tmp_path / "zeros"))
    tree = source.tree(("100644", source.blob(b"def a():\n    pass\n"), b"a.py"), ("100644", zeros, b"zeros"))
    source.commit_tree(tree, parent=first)
    result = indexer.run(repository_id)
    assert (result["files"], result["skipped"]) == (2, {"too_large": 1})
    assert result["bytes_fetched"] < 1_000_000
    assert result["symbols"] == 1


def test_names_that_mean_something_to_a_file_system_are_just_rows(indexer, source, make_repository) -> None:
    """Row 7: `.git`, `..`, absolute names and names that differ by case only; nothing is ever written there."""
    blob = source.blob(b"x = 1\n")
    inner = source.tree(("100644", blob, b"config"))
    tree = source.tree(
        ("40000", inner, b".."), ("40000", inner, b".git"), ("100644", blob, b"/etc/passwd"),
        ("100644", blob, b"README"), ("100644", blob, b"readme"),
    )  # fmt: skip
    source.commit_tree(tree)
    repository_id = make_repository(git_url=source.url.url)
    assert indexer.run(repository_id)["files"] == 5
    paths = [row[0] for row in indexer.files(repository_id)]
    assert sorted(paths) == ["../config", ".git/config", "/etc/passwd", "README", "readme"]


def test_a_renamed_default_branch_is_followed(indexer, source, make_repository, db) -> None:
    """Nobody told us of the new name; what is stored already is not fetched again."""
    repository_id = make_repository(git_url=source.url.url)
    source.commit({"a.py": b"x = 1\n" * 1_000})
    indexer.run(repository_id)
    source.git("branch", "-m", "main", "trunk")
    source.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    result = indexer.run(repository_id)
    assert (result["branch"], result["files_parsed"]) == ("trunk", 0)
    row = db.execute("select default_branch from repositories where id = %s", (repository_id,)).fetchone()
    assert row["default_branch"] == "trunk"


def test_a_repository_without_a_commit_is_said_to_be_empty(indexer, source, make_repository) -> None:
    """An unborn HEAD, and one that points to a branch nobody pushed while others are there."""
    repository_id = make_repository(git_url=source.url.url)
    with pytest.raises(EmptyRepository):
        indexer.run(repository_id)
    source.commit({"a.py": b"x = 1\n"}, branch="work")
    other = make_repository(git_url=source.url.url)
    with pytest.raises(GitPermanentError):
        indexer.run(other)


def test_one_name_and_one_address_twice_are_kept_apart(indexer, git_repository, make_repository, db) -> None:
    """Row 10: two repositories of one name of one owner, and one address for two owners; each has its own index."""
    gits = [git_repository(name=name, files={"same.py": f"def in_{name}():\n    pass\n"}) for name in ("a", "b")]
    mine, other = uuid.uuid4(), uuid.uuid4()
    first = make_repository(user_id=mine, git_url=gits[0].url)
    namesake = make_repository(user_id=mine, git_url=gits[1].url)
    theirs = make_repository(user_id=other, git_url=gits[0].url)
    for repository_id in (first, namesake, theirs):
        assert indexer.run(repository_id)["files"] == 1
    found = "select repository_id, name from search_symbols('in_', owner => %s) order by name"

    def seen(owner: uuid.UUID) -> list[tuple[uuid.UUID, str]]:
        return [(row["repository_id"], row["name"]) for row in db.execute(found, (owner,)).fetchall()]

    assert seen(mine) == [(first, "in_a"), (namesake, "in_b")]
    assert seen(other) == [(theirs, "in_a")]
    db.execute("delete from repositories where id = %s", (first,))
    assert seen(mine) == [(namesake, "in_b")]
    assert seen(other) == [(theirs, "in_a")]


def test_a_failed_extract_step_leaves_no_git(indexer, source, make_repository, monkeypatch) -> None:
    """Also while somebody still holds the failure, and with it the frames of the step."""
    source.commit({f"{n}.py": b"x = %d\n" % n + b"y = 1\n" * 100_000 for n in range(40)})
    repository_id = make_repository(git_url=source.url.url)
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    def fail(*_: object) -> None:
        raise RuntimeError("no more extractors")

    monkeypatch.setattr("worker.indexing.pool.ExtractorPool._ready", fail)
    with pytest.raises(RuntimeError, match="extractors") as held:
        indexer.run(repository_id)
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert [child.name() for child in left if child.name().startswith("git")] == []
    assert held.value.__traceback__ is not None
