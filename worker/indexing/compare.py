"""Compare a commit's tree with what is stored: pure, and the only judge of what changed."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Version:
    """What a path holds: content, file mode, language number, because a name decides how bytes are parsed, and the
    number of the reason why the path is not read, if any.
    """

    oid: bytes
    mode: int
    lang: int
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """Paths to write with their new version, paths to remove, and how many stay as they are."""

    write: dict[str, Version]
    remove: list[str]
    unchanged: int


def compare(tree: Mapping[str, Version], stored: Mapping[str, Version]) -> Changes:
    """What turns `stored` into `tree`. A changed parser is not seen here: the caller compares with nothing stored."""
    write = {path: version for path, version in tree.items() if stored.get(path) != version}
    remove = [path for path in stored if path not in tree]
    return Changes(write, remove, len(tree) - len(write))
