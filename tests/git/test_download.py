"""Two steps instead of one: the trees, then what is missing; and what happens where a server does not play along."""

import random
from pathlib import Path

import pytest

from worker.errors import FetchRefused, TooLarge
from worker.git.blobs import read_blobs
from worker.git.download import Download, FetchLimits
from worker.git.tree import read_tree

pytestmark = pytest.mark.usefixtures("no_git_left")

LIMITS = FetchLimits(bytes=50_000_000, seconds=30, file_bytes=30_000)


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no pack makes smaller."""
    return random.Random(seed).randbytes(size)


@pytest.fixture
def filtering(source):
    """The source as the big hosts serve it: contents may be left out."""
    source.git("config", "uploadpack.allowFilter", "true")
    return source


def _oids(download: Download, commit: str) -> dict[str | None, bytes]:
    return {entry.path: entry.oid for entry in read_tree(download.git_dir, commit, max_paths=1000)}


@pytest.mark.parametrize("over", ["file", "http"])
def test_trees_come_first_and_then_only_the_contents_asked_for(filtering, server, git_dir: Path, over: str) -> None:
    """A hundred files of 2 kB, two of them wanted: the bytes of two come, and are told to the last one."""
    commit = filtering.commit({f"f{n}": noise(2_000, n) for n in range(100)})
    told: list[int] = []
    url = server.url() if over == "http" else filtering.url
    download = Download(url, commit, git_dir, LIMITS, told.append)
    download.bring_trees()
    oids = _oids(download, commit)
    wanted = [oids["f3"], oids["f77"]]
    assert len(oids) == 100
    assert download.bring_contents(wanted) == dict.fromkeys(wanted, 2_000)
    assert dict(read_blobs(git_dir, wanted)) == {oids["f3"]: noise(2_000, 3), oids["f77"]: noise(2_000, 77)}
    packs = sum(pack.stat().st_size for pack in git_dir.glob("objects/pack/*.pack"))
    assert 4_000 < download.fetched == packs == told[-1] < 12_000
    assert told == sorted(told)


def test_contents_that_are_here_are_not_fetched_again(filtering, git_dir: Path) -> None:
    """Asking twice costs once; asking for nothing costs nothing."""
    commit = filtering.commit({"a": noise(2_000)})
    download = Download(filtering.url, commit, git_dir, LIMITS)
    download.bring_trees()
    wanted = list(_oids(download, commit).values())
    download.bring_contents(wanted)
    before = download.fetched
    assert download.bring_contents(wanted) == {wanted[0]: 2_000}
    assert download.bring_contents([]) == {}
    assert download.fetched == before


def test_a_whole_commit_leaves_out_what_is_over_the_limit_of_a_file(filtering, git_dir: Path) -> None:
    """The limit itself comes, one byte more does not, and is not asked for by its id either."""
    commit = filtering.commit({"at": noise(30_000, 1), "over": noise(30_001, 2), "small": b"x"})
    download = Download(filtering.url, commit, git_dir, LIMITS)
    download.bring_whole()
    oids = _oids(download, commit)
    assert download.bring_contents(oids.values()) == {oids["at"]: 30_000, oids["small"]: 1}
    assert download.fetched < 32_000


def test_a_giant_among_the_wanted_contents_is_given_up_early(filtering, server, git_dir: Path) -> None:
    """No size is known before: more bytes than honest contents may have together are the sign, and a filter helps."""
    commit = filtering.commit({"a": b"x", "b": noise(600, 1), "giant": noise(3_000_000, 2)})
    download = Download(server.url(), commit, git_dir, LIMITS)
    download.bring_trees()
    oids = _oids(download, commit)
    assert download.bring_contents(oids.values()) == {oids["a"]: 1, oids["b"]: 600}
    assert _oids(download, commit) == oids
    assert download.fetched > sum(pack.stat().st_size for pack in git_dir.glob("objects/pack/*.pack"))


def test_zeros_without_end_are_measured_and_not_read(filtering, git_dir: Path) -> None:
    """Row 4: 600 MB of zeros in 0.6 MB of pack come in as a stream; their size is known before anybody reads them."""
    zeros = filtering.path.parent / "zeros"
    with zeros.open("wb") as file:
        file.truncate(600_000_000)
    oid = filtering.git("-c", "core.bigFileThreshold=1m", "hash-object", "-w", "--no-filters", str(zeros))
    commit = filtering.commit_tree(filtering.tree(("100644", oid, b"zeros")))
    limits = FetchLimits(bytes=5_000_000, seconds=60, file_bytes=1_000_000)
    download = Download(filtering.url, commit, git_dir, limits)
    download.bring_trees()
    assert download.bring_contents([bytes.fromhex(oid)]) == {bytes.fromhex(oid): 600_000_000}
    assert download.fetched < 1_000_000


def test_a_server_that_leaves_nothing_out_sends_all_at_once(source, server, git_dir: Path) -> None:
    """Without uploadpack.allowFilter the first step brings everything, and the second one nothing."""
    commit = source.commit({"a": noise(2_000, 1), "b": noise(2_000, 2)})
    download = Download(server.url(), commit, git_dir, LIMITS)
    download.bring_trees()
    before = download.fetched
    assert len(download.bring_contents(_oids(download, commit).values())) == 2
    assert 4_000 < download.fetched == before


@pytest.mark.parametrize("refusal", ["not our ref", "filter"])
def test_a_server_that_refuses_single_contents_is_asked_for_the_whole_commit(
    filtering, git_dir: Path, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    """Some servers give out branch tips only, some no filter: the present way of fetching still works there."""
    commit = filtering.commit({"a": noise(2_000, 1), "b": noise(2_000, 2)})

    def refuse(*_arguments: object, **_named: object) -> int:
        raise FetchRefused(refusal)

    download = Download(filtering.url, commit, git_dir, LIMITS)
    download.bring_trees()
    monkeypatch.setattr("worker.git.download.fetch_blobs", refuse)
    oids = _oids(download, commit)
    assert download.bring_contents([oids["a"]]) == {oids["a"]: 2_000}
    assert len(list(read_blobs(git_dir, oids.values()))) == 2


def test_an_old_server_is_told_apart_by_what_it_says(filtering, server, git_dir: Path) -> None:
    """Version 0 of the protocol without allowAnySHA1InWant: git itself refuses, and the whole commit comes instead."""
    filtering.git("config", "uploadpack.allowFilter", "true")
    commit = filtering.commit({"a": noise(2_000, 1)})
    download = Download(server.url(mode="v0"), commit, git_dir, LIMITS)
    download.bring_trees()
    oids = _oids(download, commit)
    assert download.bring_contents(oids.values()) == {oids["a"]: 2_000}
    assert download.is_whole


def test_the_limit_of_bytes_holds_for_both_steps_together(filtering, git_dir: Path) -> None:
    """What the first step left of it is what the second one has."""
    files = {f"f{n}": noise(20_000, n) for n in range(20)}
    commit = filtering.commit(files)
    download = Download(filtering.url, commit, git_dir, FetchLimits(bytes=100_000, seconds=30, file_bytes=30_000))
    download.bring_trees()
    with pytest.raises(TooLarge, match="not fetched to its end"):
        download.bring_contents(_oids(download, commit).values())
