"""What is not read, and why: every file left out keeps a row with one of these reasons.

A content is stored once for all paths that hold it in one language. So what a path alone says is decided by its entry,
and what is decided by content may depend on nothing else but the language: a file that is renamed must not be read
otherwise than one that had its name from the start.
"""

import re
from enum import IntEnum

from worker.indexing.attributes import NO_ATTRIBUTES, Attribute, Attributes
from worker.indexing.languages import Language, language_of


class Skip(IntEnum):
    """The rows of idx.skip_reasons."""

    NONE = 0
    BINARY = 1
    TOO_LARGE = 2
    LFS_POINTER = 3
    SUBMODULE = 4
    SYMLINK = 5
    GENERATED = 6
    MINIFIED = 7
    VENDORED = 8
    POISON = 9
    BAD_PATH = 10


_MODE_SYMLINK = 0o120000
_MODE_SUBMODULE = 0o160000

_INSTALLED = frozenset({"node_modules", "bower_components"})

_LFS = b"version https://git-lfs.github.com/spec/"
_HEAD_BYTES = 8_000
# Control characters that no text has; tab, line feeds, backspace, form feed and escape do occur.
_CONTROL = bytes(set(range(0x20)) - set(b"\t\n\r\f\b\x1b\x1a")) + b"\x7f"
_MAX_CONTROL_SHARE = 0.05
_BINARY_STARTS = (b"%PDF-", b"\xff\xfe", b"\xfe\xff", b"!<arch>\n", b"GIF8")

# Average bytes a line that nobody writes; what holds data must be large as well.
_CODE = (Language.JAVASCRIPT, Language.CSS)
_DATA = (Language.TYPESCRIPT, Language.TSX, Language.HTML, Language.JSON)
_MINIFIED_NAME = re.compile(r"[.-]min\.(?:js|mjs|cjs|css)$", re.IGNORECASE)
_LOCK_FILES = frozenset(
    """
    package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock deno.lock composer.lock poetry.lock uv.lock
    pdm.lock Pipfile.lock Gemfile.lock Cargo.lock go.sum flake.lock mix.lock pubspec.lock Podfile.lock
    """.split()  # noqa: SIM905
)
_COMMENT = re.compile(rb"^[ \t]*(?://|#|/\*|\*|--|;|<!--|%|\"\"\"|REM )[^\n]*", re.MULTILINE)
_GENERATED = re.compile(
    rb"""(?<![\w`"'.])@generated\b(?![`"'])
    | \bcode\ generated\b.{0,200}\bdo\ not\ edit
    | \b(?:auto-?\ ?generated|generated\ (?:by|from|with|using|code|file))\b.{0,300}\bdo\ not\ (?:edit|modify|change)
    | \bdo\ not\ (?:edit|modify|change)\b.{0,300}\b(?:auto-?\ ?generated|generated\ (?:by|from|with|using|code|file))\b
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_MARKER_BYTES = 2_000


def classify_entry(
    path: str, mode: int, size: int | None, *, max_file_bytes: int, attributes: Attributes = NO_ATTRIBUTES
) -> Skip:
    """Why a path of a tree is not read at all, whatever its content; `size` None: not known yet.

    What .gitattributes calls vendored or generated is not read, as on GitHub; nor are installed packages that were
    committed, unless it says that they are not vendored.
    """
    if mode == _MODE_SUBMODULE:
        return Skip.SUBMODULE
    if mode == _MODE_SYMLINK:
        return Skip.SYMLINK
    name = path.rpartition("/")[2]
    if name in _LOCK_FILES or (name.endswith(".map") and name.count(".") > 1):
        return Skip.GENERATED
    if _MINIFIED_NAME.search(name):
        return Skip.MINIFIED
    vendored = attributes.of(path, Attribute.VENDORED)
    if vendored or (vendored is None and not _INSTALLED.isdisjoint(path.split("/")[:-1])):
        return Skip.VENDORED
    if attributes.of(path, Attribute.GENERATED):
        return Skip.GENERATED
    if size is not None and size > max_file_bytes:
        return Skip.TOO_LARGE
    return Skip.NONE


def classify_content(path: str, content: bytes) -> Skip:
    """Why a content is not indexed. UTF-16 is binary, as it is for git: its NULs cannot be stored as text."""
    if content.startswith(_LFS):
        return Skip.LFS_POINTER
    if _is_binary(content):
        return Skip.BINARY
    language = language_of(path)
    if _is_generated(language, content):
        return Skip.GENERATED
    if _is_minified(language, content):
        return Skip.MINIFIED
    return Skip.NONE


def _is_binary(content: bytes) -> bool:
    if b"\0" in content or content.startswith(_BINARY_STARTS):
        return True
    head = content[:_HEAD_BYTES]
    control = len(head) - len(head.translate(None, _CONTROL))
    return control > len(head) * _MAX_CONTROL_SHARE


def _is_generated(language: Language, content: bytes) -> bool:
    """Files whose first comments say so; a heading of Markdown looks like a comment and is none."""
    if language is Language.MARKDOWN:
        return False
    head = b"\n".join(_COMMENT.findall(content[:_MARKER_BYTES]))
    return _GENERATED.search(head) is not None


def _is_minified(language: Language, content: bytes) -> bool:
    """Lines far longer than anybody writes."""
    if len(content) < 1_000:
        return False
    average = len(content) / (content.count(b"\n") + 1)
    return (language in _CODE and average > 250) or (language in _DATA and average > 1_000 and len(content) > 50_000)
