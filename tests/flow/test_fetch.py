"""What an index job costs on the network, and that it costs no file: the tree decides what is fetched."""

import random
import uuid

import pytest


def noise(dice, size):
    """Text that no pack makes much smaller."""
    return dice.randbytes(size // 2).hex() + "\n"


@pytest.mark.parametrize("files", [300, pytest.param(7_000, marks=pytest.mark.slow)])
def test_promise_9_a_push_of_ten_files_fetches_less_than_a_megabyte(indexer, git_repository, make_repository, files):
    """A worker that has nothing on its disk: the trees and ten contents of 7,000 come, and a repeated push nothing."""
    dice = random.Random(5)
    git = git_repository(files={f"pkg{n // 100}/sub{n // 10}/f{n}.txt": noise(dice, 400) for n in range(files)})
    repository_id = make_repository(git_url=git.url)
    cold = indexer.run(repository_id)
    assert cold["bytes_fetched"] > files * 200
    git.commit(files={f"pkg0/sub{n}/f{n * 10}.txt": noise(dice, 400) for n in range(10)})
    push = indexer.run(repository_id)
    assert (push["files_parsed"], push["files"]) == (10, files)
    # Per file of the repository its line in a tree, and nothing of its content.
    assert 2_000 < push["bytes_fetched"] < 5_000 + files * 60 < 1_000_000
    assert indexer.run(repository_id)["bytes_fetched"] == 0


def test_a_push_that_only_moves_files_fetches_no_content(indexer, git_repository, make_repository):
    """A stored content is never fetched again, under whatever path or branch it shows up."""
    dice = random.Random(1)
    content = noise(dice, 100_000)
    git = git_repository(files={"a.txt": content, "b.txt": "b\n"})
    repository_id = make_repository(git_url=git.url)
    indexer.run(repository_id)
    git.commit(files={"a.txt": None, "moved/a.txt": content})
    moved = indexer.run(repository_id)
    assert (moved["files_parsed"], moved["files"]) == (0, 2)
    assert moved["bytes_fetched"] < 1_000
    git.git("checkout", "-q", "-b", "other")
    git.commit(files={"c.txt": "c\n"})
    other = indexer.run(repository_id, ref="refs/heads/other")
    assert (other["files_parsed"], other["files"]) == (1, 3)
    assert other["bytes_fetched"] < 1_000


def test_a_force_push_to_unrelated_history_fetches_what_is_new_only(indexer, git_repository, make_repository):
    """Nothing is asked of the old history; what both have is in the database already."""
    dice = random.Random(2)
    files = {f"f{n}.txt": noise(dice, 20_000) for n in range(10)}
    git = git_repository(files=files)
    repository_id = make_repository(git_url=git.url)
    whole = indexer.run(repository_id)["bytes_fetched"]
    git.git("checkout", "-q", "--orphan", "fresh")
    git.commit(files=files | {"new.txt": "new\n"})
    git.git("branch", "-q", "-M", "main")
    forced = indexer.run(repository_id)
    assert forced["files_parsed"] == 1
    assert forced["bytes_fetched"] < whole / 50


@pytest.mark.parametrize("history", ["grows", "shrinks"])
def test_a_file_over_the_limit_is_a_recorded_skip_in_both_ways_of_fetching(
    indexer, git_repository, make_repository, history
):
    """A filter leaves it out of a first index; a push that brings it fetches it: the rows are the same."""
    small, giant = {"a.py": "x = 1\n"}, {"giant.txt": "x" * 1_000_001, "at.txt": "y" * 999_999 + "\n"}
    git = git_repository(files=small | giant if history == "shrinks" else small)
    repository_id = make_repository(git_url=git.url)
    indexer.run(repository_id)
    git.commit(files=giant | {"a.py": "x = 2\n"} if history == "grows" else {"a.py": "x = 2\n"})
    result = indexer.run(repository_id)
    assert (result["files"], result["skipped"]["too_large"]) == (3, 1)
    fresh = make_repository(git_url=git.url, user_id=uuid.uuid4())
    again = indexer.run(fresh)
    assert indexer.files(repository_id) == indexer.files(fresh)
    assert {key: result[key] for key in ("size_bytes", "tokens")} == {
        key: again[key] for key in ("size_bytes", "tokens")
    }


def test_a_kept_repository_makes_no_difference_but_in_bytes(indexer, git_repository, make_repository, tmp_path):
    """Edits, a force push, another branch and a spoiled folder: the rows are those of a worker that keeps nothing."""
    dice = random.Random(3)
    git = git_repository(
        files={f"d{n}/f{n}.py": f"def f{n}():\n    return '{noise(dice, 2_000)[:-1]}'\n" for n in range(30)}
    )
    kept, plain = make_repository(git_url=git.url), make_repository(git_url=git.url, user_id=uuid.uuid4())
    first = git.head
    for step in range(5):
        indexer.settings = {"worker_git_cache_dir": tmp_path / "cache"}
        with_cache = indexer.run(kept)
        indexer.settings = {}
        without = indexer.run(plain)
        assert indexer.files(kept) == indexer.files(plain)
        assert step == 0 or with_cache["bytes_fetched"] < without["bytes_fetched"] or step == 4
        if step == 2:
            git.git("reset", "-q", "--hard", first)
        if step == 3:
            for pack in (tmp_path / "cache").rglob("*.pack"):
                pack.chmod(0o600)
                pack.write_bytes(b"spoiled")
        git.commit(files={f"d{step}/f{step}.py": f"def g{step}():\n    pass\n", "d20/f20.py": f"x = {step}\n"})


def test_a_giant_that_was_left_out_once_is_not_fetched_for_another_branch(indexer, git_repository, make_repository):
    """Its size is known to be over the limit; a branch that has it too costs its trees."""
    git = git_repository(files={"giant.txt": noise(random.Random(4), 1_500_000), "a.py": "x = 1\n"})
    repository_id = make_repository(git_url=git.url)
    indexer.run(repository_id)
    git.git("checkout", "-q", "-b", "other")
    git.commit(files={"a.py": "x = 2\n"})
    other = indexer.run(repository_id, ref="refs/heads/other")
    assert (other["files"], other["skipped"]) == (2, {"too_large": 1})
    assert other["bytes_fetched"] < 2_000


def test_a_raised_limit_reads_what_was_too_large_before(indexer, git_repository, make_repository):
    """The next push looks again at what was left out; a lowered limit leaves it out again."""
    git = git_repository(files={"big.txt": "x = 1\n" * 1_000, "a.py": "x = 1\n"})
    repository_id = make_repository(git_url=git.url)
    for step, limit in enumerate((2_000, 10_000, 2_000)):
        indexer.settings = {"worker_max_file_bytes": limit}
        git.commit(files={"a.py": f"x = {step}\n"})
        result = indexer.run(repository_id)
        assert result["skipped"] == ({"too_large": 1} if limit == 2_000 else {}), limit


def test_lfs_pointers_links_and_submodules_are_recorded_without_what_they_name(
    indexer, git_repository, make_repository
):
    """Row 7: each keeps a row with its reason, and neither their bytes nor their targets are fetched."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 999999999\n"
    git = git_repository(
        files={"model.bin": pointer, "A.py": "a = 1\n", "a.py": "a = 2\n", ".github/x.yml": "on: push\n"}
    )
    (git.path / "link").symlink_to("/etc/passwd")
    git.git("add", "link")
    git.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor/module")
    git.git("commit", "-q", "-m", "strange things")
    repository_id = make_repository(git_url=git.url)
    result = indexer.run(repository_id)
    assert result["files"] == 6
    assert result["skipped"] == {"lfs_pointer": 1, "submodule": 1, "symlink": 1}
    paths = {row[0]: row for row in indexer.files(repository_id)}
    assert set(paths) == {"model.bin", "A.py", "a.py", ".github/x.yml", "link", "vendor/module"}
    assert paths["A.py"] != paths["a.py"]
    git.git("rm", "-q", "a.py")
    git.git("commit", "-q", "-m", "one less")
    again = indexer.run(repository_id)
    assert (again["files_changed"], again["files_parsed"]) == (1, 0)
