"""One commit of a remote repository, whole but without its history, into a bare repository of ours."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from worker.errors import GitPermanentError, TooLarge
from worker.git.run import GitProcess, git, git_version
from worker.git.url import RepositoryUrl

_SHA = re.compile(r"[0-9a-f]{40}")
_LOOK_SECONDS = 0.1
_TELL_SECONDS = 0.25
_FETCH = ("fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no")


def fetch_commit(
    url: RepositoryUrl,
    commit: str,
    git_dir: Path,
    *,
    max_bytes: int,
    timeout: float,
    on_bytes: Callable[[int], None] | None = None,
) -> int:
    """Fetch `commit`, the tip of some branch, and return the bytes of pack that came.

    `git_dir` is created where it is missing; a further fetch into it gets only what changed, because each
    commit is kept by a ref. `on_bytes` hears of the growth about four times a second, in the caller's thread.
    Servers give out the tips of their branches by id; other commits only where they are set up to.
    Raises TooLarge past `max_bytes`, GitTimeout, DiskFull, and what the server's refusal means.
    """
    if not _SHA.fullmatch(commit):
        raise GitPermanentError("A commit is named by 40 hexadecimal digits.")
    git_version()
    git_dir = git_dir.absolute()
    _create(git_dir)
    _sweep(git_dir)
    packs = git_dir / "objects" / "pack"
    before = _size(packs)
    what = ("--end-of-options", url.url, f"{commit}:refs/kept/{commit}")
    try:
        with git(*_FETCH, *what, about=url.url, seconds=timeout, git_dir=git_dir, url=url) as process:
            _watch(process, lambda: _size(packs) - before, max_bytes, on_bytes or _tell_nobody)
    finally:
        _sweep(git_dir)
    return _size(packs) - before


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
        if size > max_bytes:
            raise TooLarge(
                f"The commit is larger than the limit of {max_bytes} bytes and was not fetched to its end.",
                hint="Raise WORKER_MAX_FETCH_MB if the repository is meant to be indexed.",
            )
        if over or time.monotonic() - told_at >= _TELL_SECONDS:
            told_at = time.monotonic()
            on_bytes(size)


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
