"""Every path of a commit, honest or not: attack rows 4, 6 and 7."""

import time
import tracemalloc
from pathlib import Path

import pytest

from worker.errors import GitError, TooLarge
from worker.git.blobs import read_blobs
from worker.git.fetch import fetch_commit
from worker.git.tree import TreeEntry, read_tree

pytestmark = pytest.mark.usefixtures("no_git_left")


def _read(source, commit: str, max_paths: int = 1000) -> list[TreeEntry]:
    return read_tree(source.path, commit, max_paths=max_paths)


def test_files_links_and_submodules_are_listed(source) -> None:
    """Each entry has git's mode and the object's 20 bytes; a submodule's are a commit's, and nobody goes there."""
    text, link = source.blob(b"hello"), source.blob(b"/etc/passwd")
    below = source.tree(("100755", text, b"run.sh"))
    sub = "1" * 40
    tree = source.tree(
        ("120000", link, b"link"),
        ("160000", sub, b"module"),
        ("100644", text, "ü.txt".encode()),
        ("40000", below, b"z"),
    )
    assert _read(source, source.commit_tree(tree)) == [
        TreeEntry("link", b"link", 0o120000, bytes.fromhex(link)),
        TreeEntry("module", b"module", 0o160000, bytes.fromhex(sub)),
        TreeEntry("ü.txt", "ü.txt".encode(), 0o100644, bytes.fromhex(text)),
        TreeEntry("z/run.sh", b"z/run.sh", 0o100755, bytes.fromhex(text)),
    ]


def test_a_fetched_submodule_and_link_are_recorded_and_not_followed(source, server, git_dir: Path) -> None:
    """Row 7: what a submodule or link points to is neither fetched nor read."""
    tree = source.tree(("120000", source.blob(b"/etc/passwd"), b"link"), ("160000", "1" * 40, b"module"))
    commit = source.commit_tree(tree)
    fetch_commit(server.url(), commit, git_dir, max_bytes=10**6, timeout=30)
    entries = read_tree(git_dir, commit, max_paths=10)
    assert [entry.path for entry in entries] == ["link", "module"]
    assert dict(read_blobs(git_dir, [entries[0].oid])) == {entries[0].oid: b"/etc/passwd"}


def test_paths_that_no_database_takes_are_kept_as_bytes(source) -> None:
    """Row 6: newline, escape, invalid UTF-8 and C1 controls give no text; the raw name tells the user what it was."""
    oid = source.blob(b"x")
    bad = [b"\x80", b"a\nb", b"a\x1b[2J", b"c\xff", b"d\x7f", "e\x85".encode()]
    good = ["-rf", "--upload-pack=x", "a b", "\u202eabc", "😀", "quo\"te'"]
    names = sorted([*bad, *(name.encode() for name in good)])
    entries = _read(source, source.commit_tree(source.tree(*(("100644", oid, name) for name in names))))
    assert {entry.raw_path: entry.path for entry in entries} == {
        **dict.fromkeys(bad),
        **{name.encode(): name for name in good},
    }


def test_names_that_mean_something_to_a_file_system_are_just_names(source) -> None:
    """Row 7: `.git`, `..` and absolute names in a tree are listed as they are; nothing is ever written there."""
    oid = source.blob(b"x")
    inner = source.tree(("100644", oid, b"config"))
    tree = source.tree(("40000", inner, b".."), ("40000", inner, b".git"), ("100644", oid, b"/etc/passwd"))
    paths = [entry.path for entry in _read(source, source.commit_tree(tree))]
    assert paths == ["../config", ".git/config", "/etc/passwd"]


def test_case_collisions_are_two_paths_and_a_repeated_path_is_one(source) -> None:
    """Row 7: paths differ by bytes; a tree that names one path twice cannot break a unique key."""
    first, second = source.blob(b"1"), source.blob(b"2")
    inner = source.tree(("100644", second, b"b"))
    tree = source.tree(
        ("100644", first, b"A"),
        ("100644", first, b"a"),
        ("100644", second, b"a"),
        ("40000", inner, b"x"),
        ("100644", first, b"x/b"),
    )
    entries = _read(source, source.commit_tree(tree))
    assert [entry.path for entry in entries] == ["A", "a", None, "x/b", None]
    assert [entry.raw_path for entry in entries] == [b"A", b"a", b"a", b"x/b", b"x/b"]


def test_an_empty_tree_has_no_entries(source) -> None:
    """A repository may lose all its files."""
    assert _read(source, source.commit({})) == []


def test_a_tree_bomb_ends_at_the_limit_of_paths(source, server, git_dir: Path) -> None:
    """Row 4: 10^10 paths in a few kilobytes cost about a second and little memory, and git is gone."""
    tree = source.tree(*(("100644", source.blob(b"x"), b"%d" % n) for n in range(10)))
    for _ in range(9):
        tree = source.tree(*(("40000", tree, b"%d" % n) for n in range(10)))
    commit = source.commit_tree(tree)
    fetch_commit(server.url(), commit, git_dir, max_bytes=100_000, timeout=30)
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(TooLarge, match="more than 20000 paths"):
        read_tree(git_dir, commit, max_paths=20_000)
    assert time.monotonic() - started < 3
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_tree_of_endless_names_is_refused(source) -> None:
    """Row 4: few paths may still be long ones; their bytes are bounded too."""
    tree = source.tree(("100644", source.blob(b"x"), b"f" * 500))
    for _ in range(300):
        tree = source.tree(("40000", tree, b"d" * 500))
    with pytest.raises(TooLarge, match="too long"):
        _read(source, source.commit_tree(tree))


def test_the_limit_itself_is_allowed(source) -> None:
    """Exactly `max_paths` paths are fine; one more is not."""
    commit = source.commit({str(number): b"x" for number in range(5)})
    assert len(_read(source, commit, max_paths=5)) == 5
    with pytest.raises(TooLarge):
        _read(source, commit, max_paths=4)


def test_a_missing_commit_or_tree_is_an_error(source) -> None:
    """Half a repository is never taken for a smaller one."""
    with pytest.raises(GitError):
        _read(source, "1" * 40)
    missing = source.tree(("40000", "2" * 40, b"gone"))
    with pytest.raises(GitError, match="2" * 40):
        _read(source, source.commit_tree(missing))


def test_an_option_is_not_a_commit(source) -> None:
    """Row 1: whatever is asked for stays behind --end-of-options."""
    source.commit({"a": b"1"})
    with pytest.raises(GitError):
        _read(source, "--abbrev=4")
