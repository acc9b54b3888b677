"""A repository on this machine: from any path inside it to its top."""

import re
from pathlib import Path
from urllib.parse import unquote

from worker.errors import UnsafeUrl

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HINT = "Give the folder of a git repository, or https://host/owner/repository."


def find_repository(text: str, *, is_url: bool) -> Path:
    """The top of the work tree, or the bare repository, at a path or file:// URL; else UnsafeUrl."""
    path = _path_of_url(text) if is_url else text
    if _CONTROL.search(path):
        raise UnsafeUrl("The path has control characters.", hint=_HINT)
    try:
        place = Path(path).resolve(strict=True)
        str(place).encode()
        top = _top(place)
    except (
        OSError,
        ValueError,
        RuntimeError,
    ):  # missing, closed to us, over-long, not UTF-8, or a loop of links
        raise UnsafeUrl("There is no folder of that name that can be read.", hint=_HINT) from None
    if top is None:
        raise UnsafeUrl("That folder is not a git repository, nor inside one.", hint=_HINT)
    return top


def _path_of_url(url: str) -> str:
    path = url[len("file://") :]
    if not path.startswith("/") or "?" in path or "#" in path:
        raise UnsafeUrl("A file URL is file:///path, without host, query or fragment.", hint=_HINT)
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise UnsafeUrl("The file URL's percent signs do not spell UTF-8.", hint=_HINT) from None


def _top(place: Path) -> Path | None:
    for folder in (place, *place.parents):
        if (folder / ".git").exists():
            return folder
        if _is_git_folder(folder):
            return folder.parent if folder.name == ".git" else folder
    return None


def _is_git_folder(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()
