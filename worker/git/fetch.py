"""One commit of a remote repository, without its history, into a bare repository of ours: whole, or in two steps."""

import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from worker.errors import GitPermanentError, TooLarge
from worker.git.run import GitProcess, git, git_version
from worker.git.url import RepositoryUrl

_SHA = re.compile(r"[0-9a-f]{40}")
_LOOK_SECONDS = 0.1
_TELL_SECONDS = 0.25
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no")
_NO_COMMON_COMMITS = ("-c", "fetch.negotiationAlgorithm=noop")  # else git tells the server all it has, for nothing
NO_CONTENTS = "blob:none"
"""The filter that brings a commit with its trees, and no file's content."""


def fetch_commit(
    url: RepositoryUrl,
    commit: str,
    git_dir: Path,
    *,
    max_bytes: int,
    timeout: float,
    leave_out: str | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> int:
    """Fetch `commit`, the tip of some branch, and return the bytes of pack that came.

    `leave_out` is a filter of git, such as NO_CONTENTS; a server that knows none sends all. `git_dir` is created
    where it is missing; a further fetch into it gets only what changed, because each commit is kept by a ref.
    `on_bytes` hears of the growth about four times a second, and at the end, in the caller's thread.
    Servers give out the tips of their branches by id; other commits only where they are set up to.
    Raises TooLarge past `max_bytes`, GitTimeout, DiskFull, and what the server's refusal means.
    """
    if not _SHA.fullmatch(commit):
        raise GitPermanentError("A commit is named by 40 hexadecimal digits.")
    filtered = (f"--filter={leave_out}",) if leave_out else ()
    command = (*_FETCH, "--depth=1", *filtered, "--end-of-options", url.url, f"{commit}:refs/kept/{commit}")
    return _fetch(url, command, b"", git_dir, max_bytes, timeout, on_bytes)


def fetch_blobs(
    url: RepositoryUrl,
    oids: Iterable[bytes],
    git_dir: Path,
    *,
    max_bytes: int,
    timeout: float,
    on_bytes: Callable[[int], None] | None = None,
) -> int:
    """Fetch these contents at once, whatever their sizes, and return the bytes of pack that came.

    Raises what `fetch_commit` raises; FetchRefused where the server gives out no objects by their id.
    """
    wanted = b"".join(oid.hex().encode() + b"\n" for oid in oids)
    command = (*_NO_COMMON_COMMITS, *_FETCH, f"--filter={NO_CONTENTS}", "--stdin", "--end-of-options", url.url)
    return _fetch(url, command, wanted, git_dir, max_bytes, timeout, on_bytes)


def _fetch(
    url: RepositoryUrl,
    command: tuple[str, ...],
    wanted: bytes,
    git_dir: Path,
    max_bytes: int,
    timeout: float,
    on_bytes: Callable[[int], None] | None,
) -> int:
    git_version()
    git_dir = git_dir.absolute()
    _create(git_dir)
    _sweep(git_dir)
    packs = git_dir / "objects" / "pack"
    before = _size(packs)
    try:
        with git(*command, about=url.url, seconds=timeout, git_dir=git_dir, url=url, feed=bool(wanted)) as process:
            if wanted:
                process.tell(wanted)
            _watch(process, lambda: _size(packs) - before, max_bytes, on_bytes or _tell_nobody)
    finally:
        _sweep(git_dir)
        _forget_promises(git_dir)
    return _size(packs) - before


def _forget_promises(git_dir: Path) -> None:
    """A filtered fetch notes its server as one that has promised the rest: git would ask it for every object it misses.

    Without the note a missing object is just missing, and no other git process ever wants to talk to anybody.
    """
    (git_dir / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")


def _create(git_dir: Path) -> None:
    if (git_dir / "HEAD").exists():
        return
    with git(
        "init",
        "--quiet",
        "--bare",
        "--template=",
        "--object-format=sha1",
        about="the scratch folder",
        seconds=30,
        git_dir=git_dir,
    ):
        pass


def _watch(process: GitProcess, grown: Callable[[], int], max_bytes: int, on_bytes: Callable[[int], None]) -> None:
    """Follow the growth until git ends; raise TooLarge, which kills git, as soon as it is seen."""
    told_at, over = 0.0, False
    while not over:
        over = process.ended(_LOOK_SECONDS)
        size = grown()
        if over or size > max_bytes or time.monotonic() - told_at >= _TELL_SECONDS:
            told_at = time.monotonic()
            on_bytes(size)
        if size > max_bytes:
            raise TooLarge(
                f"The commit is larger than the limit of {max_bytes} bytes and was not fetched to its end.",
                hint="Raise WORKER_MAX_FETCH_MB if the repository is meant to be indexed.",
            )


def _tell_nobody(_size: int) -> None:
    pass


def _size(packs: Path) -> int:
    """Bytes of the packs, those that are still coming in included."""
    total = 0
    for file in packs.glob("*"):
        if file.suffix == ".pack" or file.name.startswith("tmp_pack"):
            with suppress(FileNotFoundError):  # renamed meanwhile
                total += file.stat().st_size
    return total


def _sweep(git_dir: Path) -> None:
    """Remove what a killed git, or a killed worker's git, leaves: half packs, and locks that stop a fetch."""
    for pattern in ("objects/pack/tmp_*", "*.lock", "refs/kept/*.lock"):
        for file in git_dir.glob(pattern):
            file.unlink(missing_ok=True)
