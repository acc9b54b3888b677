"""Where a branch of a remote repository stands now."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from worker.errors import BranchNotFound, EmptyRepository, GitPermanentError
from worker.git.branches import is_branch_name
from worker.git.run import git, git_version
from worker.git.url import RepositoryUrl

DETACHED = "HEAD"
"""The branch of a repository whose HEAD is on none, such as a CI checkout; may be asked for by this name."""

_HEADS = "refs/heads/"
_TAGS = "refs/tags/"
_MOST_BYTES = 1_000_000
_MOST_BYTES_OF_HEADS = 8_000_000
_SPECIAL = re.compile(r"[\x00-\x20\x7f\[\\]")  # no branch has these, and git would read them as part of a pattern
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Tip:
    """The newest commit of a branch; `default_branch` is where HEAD points, or None where it is unknown."""

    branch: str
    commit: str
    default_branch: str | None


def resolve_tip(url: RepositoryUrl, branch: str | None, *, timeout: float = 30) -> Tip:
    """Ask the server for the tip of `branch`, or of what HEAD points to.

    Raises EmptyRepository, BranchNotFound, RepositoryNotFound, AccessDenied, GitNetworkError or GitTimeout.
    """
    if branch not in (None, DETACHED) and not is_branch_name(branch):
        raise BranchNotFound("That is not a name a branch can have.")
    git_version()
    wanted = [DETACHED] if branch in (None, DETACHED) else [DETACHED, _HEADS + branch, _TAGS + branch]
    with git(
        "ls-remote", "--symref", "--end-of-options", url.url, *wanted, about=url.url, seconds=timeout, url=url
    ) as run:
        printed = run.output(at_most=_MOST_BYTES)
    return _tip(url, branch, *_read(printed.decode("utf-8", "replace")))


@dataclass(frozen=True, slots=True)
class Heads:
    """Branches of a server: name → commit, the default one among them, and which that is."""

    default_branch: str | None
    commits: Mapping[str, str]


def resolve_heads(url: RepositoryUrl, names: Collection[str], *, timeout: float = 30) -> Heads:
    """Ask the server for its default branch and for branches by name or pattern (`*`, `?`); more may come than asked.

    Raises as resolve_tip does, but for BranchNotFound: a branch that is not there is left out.
    """
    git_version()
    wanted = [DETACHED, *(_HEADS + name.replace("**", "*") for name in names if not _SPECIAL.search(name))]
    with git(
        "ls-remote", "--symref", "--end-of-options", url.url, *wanted, about=url.url, seconds=timeout, url=url
    ) as run:
        printed = run.output(at_most=_MOST_BYTES_OF_HEADS)
    default_branch, refs = _read(printed.decode("utf-8", "replace"))
    if not refs:
        raise EmptyRepository(f"{url.url} has no commit on its default branch, nor on one of those wanted.")
    commits = {ref.removeprefix(_HEADS): commit for ref, commit in refs.items() if ref.startswith(_HEADS)}
    if DETACHED in refs:
        commits[default_branch or DETACHED] = refs[DETACHED]
    if not all(map(_COMMIT.fullmatch, commits.values())):
        raise GitPermanentError(f"{url.url} names its objects by SHA-256, which this program does not read.")
    return Heads(default_branch, commits)


def _read(printed: str) -> tuple[str | None, dict[str, str]]:
    """Lines of `ls-remote --symref` → the default branch, and ref → commit."""
    default_branch, refs = None, {}
    for line in printed.splitlines():
        value, _, ref = line.partition("\t")
        if not value.startswith("ref: "):
            refs[ref] = value
        elif ref == DETACHED and value.startswith(f"ref: {_HEADS}"):
            default_branch = value.removeprefix(f"ref: {_HEADS}")
    return default_branch, refs


def _tip(url: RepositoryUrl, branch: str | None, default_branch: str | None, refs: dict[str, str]) -> Tip:
    is_tag = refs.pop(_TAGS + (branch or ""), None) is not None
    if not refs and not is_tag:
        raise EmptyRepository(f"{url.url} has no commit on {branch or 'its default branch'}, nor on HEAD.")
    name = branch or default_branch or DETACHED
    commit = refs.get(DETACHED if name in (DETACHED, default_branch) else _HEADS + name) or refs.get(_HEADS + name)
    if commit is None:
        about_tag = f" {name} is a tag: put a branch on its commit, only branches are indexed." if is_tag else ""
        raise BranchNotFound(f"{url.url} has no branch {name}.{about_tag}")
    if not _COMMIT.fullmatch(commit):
        raise GitPermanentError(f"{url.url} names its objects by SHA-256, which this program does not read.")
    return Tip(name, commit, default_branch)
