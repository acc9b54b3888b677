"""The folder of kept repositories: bounded, safe between processes, and never believed."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.errors import GitError, GitNetworkError
from worker.git.cache import MOST_PACKS, kept_repository, sweep
from worker.git.download import Download, FetchLimits

pytestmark = pytest.mark.usefixtures("no_git_left")

LIMITS = FetchLimits(bytes=50_000_000, seconds=30, file_bytes=1_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder; not there yet."""
    return tmp_path / "cache"


def use(root: Path | None, key: str, size: int = 0, *, max_bytes: int = 10**9) -> Path:
    """Use a repository once, and leave so many bytes in it."""
    with kept_repository(root, key, max_bytes=max_bytes, otherwise=Path("/otherwise")) as place:
        if size:
            place.mkdir(exist_ok=True)
            (place / "objects").write_bytes(bytes(size))
        return place


def test_one_key_has_one_place_and_another_key_another(root: Path) -> None:
    """What belongs to one scope is in nobody else's reach; without a folder nothing is kept."""
    assert use(root, "1 https://a", 10) == use(root, "1 https://a") != use(root, "2 https://a")
    assert use(None, "1 https://a") == Path("/otherwise")
    assert root.stat().st_mode & 0o777 == 0o700
    assert "a" not in {path.stem for path in root.iterdir()}


def test_a_repository_that_another_process_uses_is_done_without(root: Path) -> None:
    """Nobody waits; a process that was killed holds nothing."""
    place = use(root, "a", 10)
    held = f"import fcntl, os, sys; fd = os.open({str(place.with_suffix('.lock'))!r}, os.O_RDWR); "
    held += "fcntl.flock(fd, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdin is not None
    assert other.stdout.readline() == b"held\n"
    assert use(root, "a") == Path("/otherwise")
    sweep(root, 0)
    assert place.exists()
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
    assert use(root, "a") == place


def test_the_least_recently_used_go_first_when_the_bound_is_reached(root: Path) -> None:
    """Use is what counts, not age; one that alone is over the bound does not stay either."""
    places = {name: use(root, name, 1_000) for name in "abc"}
    for age, name in enumerate("abc"):
        os.utime(places[name].with_suffix(".lock"), (1_000 + age, 1_000 + age))
    use(root, "a")
    use(root, "d", 1_000, max_bytes=2_500)
    assert {name for name, place in places.items() if place.exists()} == {"a"}
    giant = use(root, "giant", 5_000, max_bytes=2_500)
    assert not giant.exists()


def test_a_folder_that_cannot_be_used_is_done_without(tmp_path: Path) -> None:
    """A cache on a disk that is gone costs bytes, and no job."""
    (tmp_path / "file").write_text("")
    assert use(tmp_path / "file" / "cache", "a") == Path("/otherwise")


def test_a_failure_throws_away_what_may_have_caused_it(root: Path) -> None:
    """The network is not the repository's fault; anything else may be."""
    place = use(root, "a", 10)
    for failure, stays in ((GitNetworkError("x"), True), (RuntimeError("x"), True), (GitError("x"), False)):
        with (
            pytest.raises(type(failure)),
            kept_repository(root, "a", max_bytes=10**9, otherwise=Path("/otherwise")),
        ):
            raise failure
        assert place.exists() is stays


def test_a_repository_of_very_many_packs_is_begun_anew(root: Path) -> None:
    """Each fetch adds one, and git looks into all of them."""
    place = use(root, "a", 0)
    (place / "objects/pack").mkdir(parents=True)
    for number in range(MOST_PACKS + 1):
        (place / f"objects/pack/{number}.pack").touch()
    assert use(root, "a") == place
    assert not place.exists()


def _bring(source, root: Path, commit: str) -> tuple[int, dict[bytes, int]]:
    with kept_repository(root, "k", max_bytes=10**9, otherwise=Path("/otherwise")) as git_dir:
        download = Download(source.url, commit, git_dir, LIMITS)
        download.bring_trees()
        oids = [entry.oid for entry in download.entries(max_paths=1000)]
        return download.fetched, download.bring_contents(oids)


def _spoil(place: Path, how: str) -> None:
    packs = sorted(place.glob("objects/pack/*.pack"))
    match how:
        case "half a pack":
            for pack in packs:
                pack.chmod(0o600)
                pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])
        case "no packs":
            for file in place.glob("objects/pack/*"):
                file.unlink()
        case "no HEAD":
            (place / "HEAD").unlink()
        case "a file":
            for file in place.rglob("*"):
                if file.is_file():
                    file.chmod(0o600)
                    file.write_bytes(b"\0garbage")


@pytest.mark.parametrize("how", ["half a pack", "no packs", "no HEAD", "a file"])
def test_a_spoiled_repository_is_fetched_afresh(source, root: Path, how: str) -> None:
    """Whatever happened to the folder, the job gets the right contents in the same attempt."""
    source.git("config", "uploadpack.allowFilter", "true")
    files = {f"f{n}": os.urandom(2_000) for n in range(20)}
    first = source.commit(files)
    _bring(source, root, first)
    _spoil(next(root.glob("*.git")), how)
    for commit in (first, source.commit(files | {"new": b"1"}, parent=first)):
        assert sorted(_bring(source, root, commit)[1].values())[-1] == 2_000


def test_a_kept_repository_saves_the_trees_that_stay_the_same(source, root: Path) -> None:
    """The next commit costs its own tree and what is new; a commit that is here costs nothing."""
    source.git("config", "uploadpack.allowFilter", "true")
    files = {f"f{n}": os.urandom(2_000) for n in range(50)}
    first = source.commit(files)
    assert len(_bring(source, root, first)[1]) == 50
    assert _bring(source, root, first)[0] < 100  # an empty pack
    fetched, sizes = _bring(source, root, source.commit(files | {"new": b"1"}, parent=first))
    assert fetched < 3_000
    assert len(sizes) == 51


def test_a_whole_commit_is_never_built_on_a_kept_one(source, root: Path, tmp_path: Path) -> None:
    """The server would leave out contents of a commit whose trees alone are here; they would be taken for too large."""
    source.git("config", "uploadpack.allowFilter", "true")
    commit = source.commit({"a": b"x" * 100})
    git_dir = tmp_path / "kept.git"
    Download(source.url, commit, git_dir, LIMITS).bring_trees()
    again = Download(source.url, commit, git_dir, LIMITS)
    again.bring_whole()
    oids = [entry.oid for entry in again.entries(max_paths=10)]
    assert again.bring_contents(oids) == {oids[0]: 100}


def test_the_lock_is_not_inherited_by_git(source, root: Path) -> None:
    """A git that outlives its worker holds no lock."""
    place = use(root, "a", 10)
    with kept_repository(root, "a", max_bytes=10**9, otherwise=Path("/otherwise")):
        sleeper = subprocess.Popen(["sleep", "60"])
    try:
        lock = os.open(place.with_suffix(".lock"), os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(lock)
    finally:
        sleeper.kill()
        sleeper.wait()
