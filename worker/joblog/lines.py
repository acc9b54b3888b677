"""One log line: facts in, one redacted line of plain ASCII JSON out, whatever the facts are."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from worker.joblog.spool import LONGEST_LINE
from worker.redact import Redactor

LONGEST_TEXT = 16_000
LONGEST_EVENT = 2_000
_MUCH = 256_000  # more than this of one string is not even redacted, only cut off
_MARGIN = 8_000
_OWN = ("at", "level", "event", "attempt", "source")


def encode_line(
    redactor: Redactor, *, level: str, event: Any, attempt: int, source: str, facts: Mapping[str, Any]
) -> bytes:
    """The line, without its newline and at most LONGEST_LINE bytes long. Our own names win over facts named alike."""
    head = {"at": _now(), "level": level, "event": _text(redactor, event), "attempt": attempt, "source": source}
    named = {f"{name}_" if name in _OWN else name: _bounded(redactor, fact) for name, fact in facts.items()}
    clean = redactor.value(named)
    line = _dump({**head, **_shortened(clean)})
    if len(line) <= LONGEST_LINE:
        return line
    # Escapes and framing cost up to six bytes a character, and the excerpt is escaped a second time.
    return _dump({**head, "cut_bytes": len(line), "facts_begin": _dump(clean)[: LONGEST_LINE // 8].decode()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _text(redactor: Redactor, event: Any) -> str:
    return _short(str(redactor.value(_bounded(redactor, event))), LONGEST_EVENT)


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _bounded(redactor: Redactor, value: Any) -> Any:
    """A huge string loses its far end before redaction, which would cost seconds, and then what lies at the cut."""
    if not isinstance(value, (str, bytes, bytearray)) or len(value) <= _MUCH:
        return value
    begin = value[:_MUCH]
    text = redactor.text(begin if isinstance(begin, str) else bytes(begin).decode("utf-8", "backslashreplace"))
    return f"{text[: max(0, len(text) - _MARGIN)]}… ({len(value)} long)"


def _shortened(value: Any) -> Any:
    """The redacted value with long strings cut: never before, since a cut secret is no longer recognised."""
    if isinstance(value, str):
        return _short(value, LONGEST_TEXT)
    if isinstance(value, dict):
        return {_short(name, 200): _shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return value


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest} characters cut)"
