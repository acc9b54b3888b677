"""What code inside an attempt logs becomes one line each, at once, redacted, and never an exception."""

import json
import threading
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.job import JobLog
from worker.joblog.clean import clean_lines
from worker.joblog.identity import LogIdentity
from worker.joblog.lines import encode_line
from worker.joblog.log import open_job_log
from worker.joblog.spool import LONGEST_LINE, Spool
from worker.redact import MASK, Redactor

Attempt = Callable[[int], LogIdentity]
SECRET = "hunter2horse"


def _entries(spool: Spool, identity: LogIdentity) -> list[dict[str, Any]]:
    return [json.loads(line) for line in clean_lines([spool.path(identity).read_bytes()])]


def test_a_call_is_a_line_before_it_returns(spool: Spool, attempt: Attempt) -> None:
    """Nothing waits in a buffer; the line says when, how grave, what, which attempt and who."""
    with open_job_log(spool, attempt(2), Redactor(), source="worker", worker="host/1") as opened:
        log: JobLog = opened.log
        log.info("files extracted", files=3)
        begin, line = _entries(spool, attempt(2))
    assert (begin["event"], begin["attempt"], begin["worker"]) == ("attempt started", 2, "host/1")
    assert list(line) == ["at", "level", "event", "attempt", "source", "files"]
    assert line["at"].endswith("Z")
    assert len(line["at"]) == len("2026-03-04T00:00:00.000000Z")


def test_each_attempt_begins_with_one_marker(spool: Spool, attempt: Attempt) -> None:
    """Neither the child's end of the log nor a second opening repeats the marker, and no level hides it."""
    for number in (1, 2):
        for source in ("worker", "child", "worker"):
            open_job_log(spool, attempt(number), Redactor(), source=source, level="error").close()
        assert [entry["event"] for entry in _entries(spool, attempt(number))] == ["attempt started"]


def test_lines_below_the_level_are_left_out(spool: Spool, attempt: Attempt) -> None:
    """The level counts for every method."""
    with open_job_log(spool, attempt(1), Redactor(), source="child", level="warning") as opened:
        opened.log.debug("a")
        opened.log.info("b")
        opened.log.warning("c")
        opened.log.bind(x=1).error("d")
    assert [(entry["level"], entry["event"]) for entry in _entries(spool, attempt(1))] == [
        ("warning", "c"),
        ("error", "d"),
    ]


def test_promise_10_no_secret_reaches_the_spool(spool: Spool, attempt: Attempt) -> None:
    """Events, facts, names of facts, tracebacks and bound values are redacted before they touch the disk."""
    with open_job_log(spool, attempt(1), Redactor([SECRET]), source="child") as opened:
        log = opened.log.bind(url=f"https://x-access-token:{SECRET}@github.com", token="abc-def")
        log.info(f"fetch {SECRET}", **{SECRET: 1}, deep=[{"password": "abc-def"}, SECRET.encode()])
        try:
            local = SECRET
            raise ValueError(local)
        except ValueError:
            log.exception("failed")
    content = spool.path(attempt(1)).read_text()
    assert SECRET not in content
    assert "abc-def" not in content
    assert f"ValueError: {MASK}" in content


def test_a_secret_at_a_cut_does_not_survive_in_part() -> None:
    """Cutting a long text happens after redaction, and what is cut before it takes its neighbourhood along."""
    for length in (15_990, 255_990, 300_000):
        line = _line({"text": "\u00e9 x" * (length // 3) + SECRET + " after" * 3000})
        assert SECRET[:6].encode() not in line
    long_secret = "".join(f"{number:03d}-" for number in range(53))  # its mask is so short that the cut moves far ahead
    line = encode_line(
        Redactor([long_secret]), level="info", event="x", attempt=1, source="child", facts={"text": long_secret * 1300}
    )
    assert long_secret[:8].encode() not in line


facts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=12,
)
characters = st.text(st.characters(codec=None, exclude_categories=[]))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(characters, st.dictionaries(characters, facts, max_size=4))
def test_no_value_breaks_a_line(event: str, given_facts: dict[str, Any]) -> None:
    """Any text and any value become one line of ASCII JSON without control characters."""
    line = _line(given_facts, event)
    assert json.loads(line)["source"] == "child"
    assert all(0x20 <= byte < 0x7F for byte in line)
    assert len(line) <= LONGEST_LINE


def test_long_lines_are_cut_with_a_mark() -> None:
    """A long text loses its end, a line of many facts keeps their beginning; both say so."""
    text = json.loads(_line({"traceback": "x" * 50_000, "n": 1}))
    assert text["traceback"].endswith("… (34000 characters cut)")
    assert text["n"] == 1
    many = _line({f"fact{number}": '"\U0001f600' * 5_000 for number in range(100)}, "\U0001f600" * 9_000)
    assert len(many) <= LONGEST_LINE
    assert json.loads(many)["cut_bytes"] > LONGEST_LINE


def test_facts_cannot_pass_for_our_own_names() -> None:
    """A fact named like one of the line's own fields is kept beside it."""
    entry = json.loads(_line({"at": "x", "level": "y", "source": "z", "attempt": 9}))
    assert (entry["level"], entry["source"], entry["attempt"]) == ("info", "child", 1)
    assert (entry["at_"], entry["level_"], entry["source_"], entry["attempt_"]) == ("x", "y", "z", 9)


def test_threads_of_a_process_share_a_log(spool: Spool, attempt: Attempt) -> None:
    """Lines of several threads are whole, each thread's in order."""
    with open_job_log(spool, attempt(1), Redactor(), source="child") as opened:

        def write(name: int) -> None:
            for number in range(200):
                opened.log.info("line", thread=name, n=number)

        threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    entries = _entries(spool, attempt(1))
    for name in range(4):
        assert [entry["n"] for entry in entries if entry["thread"] == name] == list(range(200))


def test_a_closed_log_harms_nobody(spool: Spool, attempt: Attempt) -> None:
    """A late line is counted, not raised."""
    opened = open_job_log(spool, attempt(1), Redactor(), source="child")
    opened.close()
    opened.log.error("late")
    assert opened.lost == 1


def _line(facts: dict[str, Any], event: str = "event") -> bytes:
    return encode_line(Redactor([SECRET]), level="info", event=event, attempt=1, source="child", facts=facts)
