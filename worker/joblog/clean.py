"""From raw spool bytes to whole lines: blank lines dropped, torn lines marked."""

import json
from collections.abc import Iterable, Iterator

LONGEST_REST = 1024 * 1024  # no writer makes such lines; a damaged file must not fill the memory


def clean_lines(chunks: Iterable[bytes], *, ended: bool = True) -> Iterator[bytes]:
    """Every line with its newline, each a JSON object whatever happened to the writer.

    Without `ended` the file still grows: what follows the last newline is a line in the making and is left out.
    """
    at: str | None = None
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LONGEST_REST:
            lines, rest = [*lines, rest], b""
        for line in lines:
            if line:
                at, whole = _whole(line, at)
                yield whole
    if rest and ended:
        yield _whole(rest, at)[1]


def marker(event: str, *, at: str | None, **facts: object) -> bytes:
    """A line written by whoever joins or reads a log, not by the attempt; `at` is the time of the line before it."""
    return json.dumps({"at": at, "level": "warning", "event": event, "source": "joblog", **facts}).encode() + b"\n"


def _whole(line: bytes, at: str | None) -> tuple[str | None, bytes]:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        facts = None
    if isinstance(facts, dict):
        return facts.get("at"), line + b"\n"
    return at, marker("torn line", at=at, text=line.decode("utf-8", "backslashreplace"))
