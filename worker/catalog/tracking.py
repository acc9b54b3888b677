"""Which branches of a repository are indexed: its main branch, and those that its settings name or match. Pure."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

_WILDCARD = re.compile(r"\*\*|\*|\?")
_MEANING = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


def tracks(branch: str, *, main: Iterable[str | None], patterns: Sequence[str]) -> bool:
    """Whether pushes to this branch are indexed. `main`: names that the main branch has, or may have by now."""
    return branch in main or any(_pattern(pattern).fullmatch(branch) for pattern in patterns)


def patterns_of(branches: Any) -> tuple[str, ...]:
    """The patterns in a repository's setting `branches`; what is no list of texts says nothing."""
    return tuple(one for one in branches if isinstance(one, str)) if isinstance(branches, list) else ()


def is_pattern(text: str) -> bool:
    """Whether this may stand for more than one branch."""
    return _WILDCARD.search(text) is not None


@lru_cache(1000)
def _pattern(text: str) -> re.Pattern[str]:
    """As in GitHub's own branch filters: `*` stops at a slash, `**` does not, `?` is one character."""
    parts, end = [], 0
    for found in _WILDCARD.finditer(text):
        parts += [re.escape(text[end : found.start()]), _MEANING[found.group()]]
        end = found.end()
    return re.compile("".join([*parts, re.escape(text[end:])]), re.DOTALL)
