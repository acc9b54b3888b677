"""Contents out of one git process, in order, and no process left however the reading ends."""

import random
import re
import sys
from pathlib import Path

import psutil
import pytest

from tests.git.conftest import own_children
from worker.errors import GitError, TooLarge
from worker.git.blobs import blob_sizes, read_blobs
from worker.git.fetch import fetch_commit
from worker.git.tree import read_tree

pytestmark = pytest.mark.usefixtures("no_git_left")


def _oid(source, content: bytes) -> bytes:
    return bytes.fromhex(source.blob(content))


def test_contents_come_in_the_order_asked(source) -> None:
    """Empty, binary and repeated blobs too, each as it was stored."""
    contents = [b"", b"\0\n\xff", b"text\n", b"0" * 40 + b" missing\n", random.Random(1).randbytes(2_000_000)]
    oids = [_oid(source, content) for content in contents]
    pairs = list(zip(oids, contents, strict=True))
    asked = [*pairs, *reversed(pairs), pairs[2]]
    assert list(read_blobs(source.path, (oid for oid, _ in asked))) == asked


def test_sizes_are_told_of_the_contents_that_are_here(source) -> None:
    """Neither a missing object nor a tree has one, and neither stands in the way of the others."""
    here = [_oid(source, b"x" * size) for size in range(3)]
    tree = bytes.fromhex(source.tree())
    assert blob_sizes(source.path, [*here, b"\x12" * 20, tree]) == dict(zip(here, range(3), strict=True))
    assert blob_sizes(source.path, []) == {}


def test_many_blobs_do_not_lock_up(source) -> None:
    """More oids than one pipe holds and more content than the other: reading and writing go on at once."""
    oid = _oid(source, b"x" * 1000)
    assert sum(len(content) for _, content in read_blobs(source.path, [oid] * 10_000)) == 10_000_000


def test_no_oids_need_no_git(tmp_path: Path) -> None:
    """Nothing asked, nothing started: the repository need not even exist."""
    assert list(read_blobs(tmp_path / "none", [])) == []


def test_a_missing_object_is_named(source) -> None:
    """The error tells which object; those before it were given out."""
    oid = _oid(source, b"x")
    blobs = read_blobs(source.path, [oid, b"\x12" * 20, oid])
    assert next(blobs) == (oid, b"x")
    with pytest.raises(GitError, match="12" * 20 + " is missing"):
        next(blobs)


def test_a_content_that_is_not_what_its_id_says_is_refused(source) -> None:
    """A kept repository may hold anything by now: git itself does not look."""
    mine, others = _oid(source, b"mine"), _oid(source, b"others")
    places = [source.path / "objects" / oid.hex()[:2] / oid.hex()[2:] for oid in (mine, others)]
    places[0].chmod(0o600)
    places[0].write_bytes(places[1].read_bytes())
    with pytest.raises(GitError):
        list(read_blobs(source.path, [mine]))


def test_a_tree_is_no_blob(source) -> None:
    """A tree entry that lies about its object's kind is caught."""
    tree = source.tree(("100644", source.blob(b"x"), b"a"))
    with pytest.raises(GitError, match="is tree"):
        list(read_blobs(source.path, [bytes.fromhex(tree)]))


def test_a_reader_that_stops_early_leaves_no_git(source) -> None:
    """Closing the iterator kills git at once, in the middle of its work."""
    oid = _oid(source, b"x" * 100_000)
    blobs = read_blobs(source.path, [oid] * 5_000)
    next(blobs)
    assert [child.name() for child in own_children()] == ["git"]
    blobs.close()
    assert own_children() == []


def test_a_folder_that_is_no_repository_is_an_error(tmp_path: Path) -> None:
    """Git's own failure is told, not an empty result."""
    with pytest.raises(GitError):
        list(read_blobs(tmp_path, [b"\x12" * 20]))


def test_a_stalled_git_is_killed_but_a_slow_reader_is_not(source, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts git's time: between two blobs the reader may parse as long as it likes."""
    monkeypatch.setattr("worker.git.blobs._STALL_SECONDS", 0.3)
    oid = _oid(source, b"x" * 100_000)
    blobs = read_blobs(source.path, [oid] * 100)
    next(blobs)
    child = own_children()[0]
    with pytest.raises(psutil.TimeoutExpired):
        child.wait(timeout=1.5)  # the condition is that nothing ends it
    assert len(list(blobs)) == 99
    blobs = read_blobs(source.path, [oid] * 100)
    next(blobs)
    own_children()[0].suspend()
    with pytest.raises(GitError, match=r"longer than 0\.3 seconds"):
        list(blobs)


def test_zeros_without_end_in_a_small_pack_cost_nothing(source, git_dir: Path) -> None:
    """Row 4: git takes them in as a stream, their size is known before they are read, and reading is refused."""
    peaks = [0]

    def measure(_size: int) -> None:
        peaks.append(max((_memory(child) for child in own_children(recursive=True)), default=0))

    commit = source.commit({"zeros": bytes(120_000_000), "honest": b"x"})
    size = fetch_commit(source.url, commit, git_dir, max_bytes=2_000_000, timeout=60, on_bytes=measure)
    honest, zeros = read_tree(git_dir, commit, max_paths=10)
    assert size < 1_000_000
    assert max(peaks) < 60_000_000
    sizes = blob_sizes(git_dir, [honest.oid, zeros.oid])
    assert (sizes[honest.oid], sizes[zeros.oid]) == (1, 120_000_000)
    with pytest.raises(TooLarge):
        list(read_blobs(git_dir, [zeros.oid]))


def _memory(process: psutil.Process) -> int:
    try:  # what packs the objects on the other side is not ours to limit
        return process.memory_info().rss if "index-pack" in process.cmdline() else 0
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_reading_a_large_pack_takes_little_memory(source) -> None:
    """A job's memory is summed over its processes, mapped files included: git maps a few pieces of a pack at a time."""
    oids = [_oid(source, random.Random(number).randbytes(1_000_000)) for number in range(100)]
    names = "\n".join(oid.hex() for oid in oids).encode()
    source.git("pack-objects", "-q", "--window=0", str(source.path / "objects/pack/pack"), data=names)
    source.git("prune-packed")
    peak = 0
    for number, _ in enumerate(read_blobs(source.path, oids)):
        if number % 10 == 9:
            peak = max([peak, *map(_peak, own_children())])
    assert 0 < peak < 75_000_000


def _peak(process: psutil.Process) -> int:
    """Most bytes that were resident at once."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0
