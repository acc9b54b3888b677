"""docs/configuration.md, made from worker/settings.py: each setting with its default, its bounds and its meaning."""

import re
from pathlib import Path
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
_SETTINGS = ROOT / "worker" / "settings.py"
_NO_USE_BY_DESIGN = {"supabase_anon_key"}
_HEAD = """# Configuration

Every setting of every process. This page is made from `worker/settings.py` by `scripts/make-docs`; a test fails when it
is out of date.

Settings come from the environment, or from `.env` in the current folder; the environment wins, and an empty variable
counts as not set. All wrong values are reported at once, by the name to set. `worker check` prints what is in effect,
secrets masked.

- **secret**: masked wherever settings are printed, redacted in every log, and handed to no process that reads
  foreign bytes.
- **–** as default: not set.
- `PG_BIN` may name a folder with other PostgreSQL programs for the embedded server.
"""
_TABLE = "| name | default | allowed | meaning |\n|---|---|---|---|\n"


def configuration_page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for title, names in _sections():
        rows = "".join(_row(name, Settings.model_fields[name]) for name in names)
        parts.append(f"\n## {title}\n\n{_TABLE}{rows}")
    if idle := idle_settings():
        parts.append(f"\n## Without effect yet\n\nKnown, checked, and read by nothing so far: {_listed(idle)}.\n")
    return "".join(parts)


def idle_settings() -> list[str]:
    """Settings that the program nowhere reads, in their order; one that only redaction needs is not among them."""
    program = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "worker").rglob("*.py")))
    return [
        name
        for name in Settings.model_fields
        if name not in _NO_USE_BY_DESIGN and not re.search(rf"\.{name}\b", program)
    ]


def _sections() -> list[tuple[str, list[str]]]:
    """The comments that head the groups in settings.py, each with the fields below it."""
    found: list[tuple[str, list[str]]] = []
    for line in _SETTINGS.read_text("utf-8").splitlines():
        if heading := re.match(r"    # (\w[\w ]*?)(?: \(.*)?$", line):
            found.append((heading[1], []))
        elif (field := re.match(r"    (\w+): ", line)) and field[1] in Settings.model_fields and found:
            found[-1][1].append(field[1])
    return [(title, names) for title, names in found if names]


def _row(name: str, field: FieldInfo) -> str:
    cells = [f"`{name.upper()}`", _default(field.default), _allowed(field), _escaped(field.description or "")]
    return f"| {' | '.join(cells)} |\n"


def _default(value: Any) -> str:
    if value in (None, ""):
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _allowed(field: FieldInfo) -> str:
    """Bounds and kind, in words."""
    if _is_secret(field.annotation):
        return "secret"
    if bounds := _bounds(field.metadata):
        return bounds
    choices = [value for value in get_args(field.annotation) if isinstance(value, str)]
    if choices:
        return ", ".join(f"`{value}`" for value in choices)
    return "`true`, `false`" if bool in (field.annotation, *get_args(field.annotation)) else ""


def _is_secret(annotation: Any) -> bool:
    return SecretStr in (annotation, *get_args(annotation))


def _bounds(metadata: list[Any]) -> str:
    words: list[str] = []
    for bound in metadata:
        match bound:
            case Ge(ge=least):
                words.append(f"from {least:,}")
            case Gt(gt=least):
                words.append(f"above {least:,}")
            case Le(le=most):
                words.append(f"to {most:,}")
            case Lt(lt=most):
                words.append(f"below {most:,}")
            case MinLen(min_length=least):
                words.append(f"at least {least} characters")
            case MaxLen(max_length=most):
                words.append(f"at most {most} characters")
            case _:
                continue
    return " ".join(words).replace("characters at most", "and at most")


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name.upper()}`" for name in names)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
