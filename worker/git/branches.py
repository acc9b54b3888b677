"""Which names git allows for a branch (the rules of `git check-ref-format --branch`)."""

import re

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|\.$|/$|^[-./]")


def is_branch_name(name: str) -> bool:
    """Whether a repository can have a branch of that name."""
    if not name or name in ("@", "HEAD") or len(name) > 255:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not _FORBIDDEN.search(name)
