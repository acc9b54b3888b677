"""One commit into a bare repository: what comes, what it may cost, and what is left when it fails."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.errors import (
    AccessDenied,
    DiskFull,
    GitError,
    GitNetworkError,
    GitPermanentError,
    GitTimeout,
    TooLarge,
)
from worker.git.blobs import read_blobs
from worker.git.fetch import fetch_commit
from worker.git.resolve import resolve_tip
from worker.git.tree import read_tree
from worker.git.url import RepositoryUrl

pytestmark = pytest.mark.usefixtures("no_git_left")


def _fetch(
    url: RepositoryUrl,
    commit: str,
    git_dir: Path,
    *,
    max_bytes: int = 50_000_000,
    timeout: float = 30,
    on_bytes: Callable[[int], None] | None = None,
) -> int:
    return fetch_commit(url, commit, git_dir, max_bytes=max_bytes, timeout=timeout, on_bytes=on_bytes)


def _noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def _contents(git_dir: Path, commit: str) -> dict[str | None, bytes]:
    entries = read_tree(git_dir, commit, max_paths=100)
    return dict(
        zip(
            (entry.path for entry in entries),
            (c for _, c in read_blobs(git_dir, [e.oid for e in entries])),
            strict=True,
        )
    )


@pytest.mark.parametrize("over", ["file", "http"])
def test_a_commit_comes_whole_and_without_history(source, server, git_dir: Path, over: str) -> None:
    """Depth 1: the parent's content is not fetched, the commit's is, and the bytes are those of its pack."""
    first = source.commit({"old": _noise(100_000)})
    commit = source.commit({"a": b"one", "b": _noise(5_000, 1)}, parent=first)
    url = server.url() if over == "http" else source.url
    size = _fetch(url, commit, git_dir)
    assert 5_000 < size < 8_000
    assert _contents(git_dir, commit) == {"a": b"one", "b": _noise(5_000, 1)}
    with pytest.raises(GitError):
        read_tree(git_dir, first, max_paths=10)


def test_http_fetches_speak_protocol_version_2(source, server, git_dir: Path) -> None:
    """Version 2 servers give out any tip by its id, without listing all refs first."""
    _fetch(server.url(), source.commit({"a": b"1"}), git_dir)
    assert {request.get("Git-Protocol") for request in server.requests} == {"version=2"}


def test_the_next_commit_costs_only_what_changed(source, server, git_dir: Path) -> None:
    """A kept ref lets the server leave out what the last fetch brought, also after a force push."""
    files = {f"f{number}": _noise(20_000, number) for number in range(20)}
    first = source.commit(files)
    whole = _fetch(server.url(), first, git_dir)
    forced = source.commit(files | {"f3": b"changed"})
    part = _fetch(server.url(), forced, git_dir)
    assert part < whole / 100
    assert _contents(git_dir, forced)["f3"] == b"changed"
    assert _fetch(server.url(), forced, git_dir) == 0


def test_progress_is_told_in_bytes(source, server, git_dir: Path) -> None:
    """Who waits sees the growth; the last number is the result."""
    told: list[int] = []
    size = _fetch(server.url(), source.commit({"a": _noise(50_000)}), git_dir, on_bytes=told.append)
    assert told == sorted(told)
    assert told[-1] == size


def test_an_oversized_fetch_is_killed_while_it_runs(source, server, git_dir: Path) -> None:
    """The limit works on what has come, before the end: this server never ends."""
    commit = source.commit({"a": _noise(3_000_000)})
    started = time.monotonic()
    with pytest.raises(TooLarge, match="1000000 bytes"):
        _fetch(server.url(mode="stall"), commit, git_dir, max_bytes=1_000_000, timeout=30)
    assert time.monotonic() - started < 5
    assert list(git_dir.glob("objects/pack/*")) == []


def test_an_oversized_fetch_that_was_too_fast_to_watch_is_refused(source, git_dir: Path) -> None:
    """A fetch that ends between two looks is measured at its end."""
    with pytest.raises(TooLarge):
        _fetch(source.url, source.commit({"a": _noise(30_000)}), git_dir, max_bytes=10_000, timeout=30)


def test_a_stalled_fetch_times_out_and_the_next_one_works(source, server, git_dir: Path) -> None:
    """Nothing of a killed git, neither half packs nor locks, stands in the way of the next."""
    commit = source.commit({"a": _noise(300_000)})
    with pytest.raises(GitTimeout):
        _fetch(server.url(mode="stall"), commit, git_dir, max_bytes=10_000_000, timeout=1)
    assert list(git_dir.glob("objects/pack/*")) == []
    (git_dir / "shallow.lock").touch()  # as a git leaves it whose worker was killed with it
    assert _fetch(server.url(), commit, git_dir) > 300_000


def test_a_broken_connection_is_a_network_error(source, server, git_dir: Path) -> None:
    """A pack that ends in the middle may come whole the next time."""
    with pytest.raises(GitNetworkError):
        _fetch(server.url(mode="broken"), source.commit({"a": _noise(300_000)}), git_dir)


def test_a_commit_that_a_force_push_removed_may_be_tried_again(source, server, git_dir: Path) -> None:
    """Between resolve and fetch the branch can move: the next attempt resolves anew."""
    gone = "1234567890" * 4
    source.commit({"a": b"1"})
    for url in (source.url, server.url()):
        with pytest.raises(GitError, match="no longer gives out") as problem:
            _fetch(url, gone, git_dir)
        assert problem.value.retryable


@pytest.mark.parametrize("commit", ["--upload-pack=x", "HEAD", "main", "A" * 40, "a" * 39, "a" * 40 + "\n", ""])
def test_only_a_commit_id_is_fetched(source, git_dir: Path, commit: str) -> None:
    """Nothing else can get into the refspec."""
    with pytest.raises(GitPermanentError, match="40 hexadecimal"):
        _fetch(source.url, commit, git_dir)
    assert not git_dir.exists()


def test_a_caller_that_raises_leaves_no_git_behind(source, server, git_dir: Path) -> None:
    """A cancelled job interrupts its own callback; git must not go on without it."""

    class Cancelled(Exception):
        pass

    def interrupt(_size: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        _fetch(server.url(mode="stall"), source.commit({"a": _noise(9_000)}), git_dir, on_bytes=interrupt)


def test_hooks_and_settings_of_a_template_are_not_used(source, git_dir: Path) -> None:
    """The repository we make holds nothing that the machine's administrator did not mean for it."""
    _fetch(source.url, source.commit({"a": b"1"}), git_dir)
    assert not (git_dir / "hooks").exists()


def test_a_repository_of_another_user_is_named_as_such(source, server) -> None:
    """Git refuses to read other people's repositories; the reader learns that it is about the owner."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a repository away")
    source.commit({"a": b"1"})
    shutil.chown(source.path, 65_534)
    with pytest.raises(AccessDenied, match="another user"):
        resolve_tip(source.url, None)


def test_a_full_disk_is_named_as_such(source, tmp_path: Path) -> None:
    """A retry on another machine, or after a clean-up, may succeed."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", small]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        with pytest.raises(DiskFull):
            _fetch(source.url, source.commit({"a": _noise(900_000)}), small / "fetched.git")
    finally:
        subprocess.run(["umount", small], check=True)
