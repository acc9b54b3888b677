"""A line in a terminal: short, and unable to steer it."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.joblog.render import render


def test_a_line_shows_time_level_event_and_facts() -> None:
    """What a person looks for comes first; the attempt and the source are left out."""
    line = {"at": "2026-03-04T05:06:07.123456Z", "level": "info", "event": "fetched", "attempt": 1, "source": "child"}
    assert render(json.dumps({**line, "files": 3, "path": "a b"})) == '05:06:07.123 info    fetched files=3 path="a b"'
    assert render(json.dumps(line).encode()) == "05:06:07.123 info    fetched"


def test_an_exception_stands_below_its_line() -> None:
    """A traceback keeps its lines."""
    shown = render(json.dumps({"at": None, "level": "error", "event": "failed", "exception": "Trace\n  at x\x1b[2J"}))
    assert shown.split("\n") == [" " * 13 + "error   failed", "    Trace", "      at x\\x1b[2J"]


def test_color_marks_what_needs_attention() -> None:
    """Only warnings and worse are coloured, and only on request."""
    line = json.dumps({"level": "error", "event": "x"})
    assert render(line, color=True).startswith("\x1b[31m")
    assert "\x1b" not in render(line)


values = st.none() | st.integers() | st.text() | st.lists(st.text(), max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["at", "level", "event", "exception", "x"]) | st.text(max_size=5), values, max_size=5
    )
)
def test_nothing_in_a_line_steers_the_terminal(entry: dict[str, object]) -> None:
    """Whatever a line holds, all that is shown is printable."""
    shown = render(json.dumps(entry))
    assert all(part.isprintable() for part in shown.split("\n"))


@given(st.binary() | st.text())
def test_what_is_no_json_is_shown_too(line: bytes | str) -> None:
    """A line of a foreign form is shown as it is, escaped."""
    assert all(part.isprintable() for part in render(line).split("\n"))
