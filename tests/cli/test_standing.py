"""worker status and worker top: how things stand, once or again and again."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

import pytest


@pytest.fixture
def busy(db: Any, make_job) -> uuid.UUID:
    """A worker that runs one job while two others wait; the worker's id."""
    worker = uuid.uuid4()
    db.execute(
        """insert into workers (id, hostname, pid, version, slots, job_types)
           values (%s, 'here', 7, '0', 2, '{full_index}')""",
        (worker,),
    )
    make_job(name="flask")
    db.execute("select * from queue.claim(%s, '{full_index}', 1)", (worker,))
    db.execute("""update indexing_jobs set progress = '{"phase": "extract", "done": 30, "total": 120}'
                  where status = 'in_progress'""")
    make_job(name="django")
    make_job(name="gin")
    return worker


def test_status_tells_what_is_due_and_who_waits(worker, busy) -> None:
    """By type and tenant, with ages; as JSON with the number an autoscaler goes by."""
    shown = worker("status", "--once").out
    assert "full_index  queued       2" in shown
    assert "Tenants that wait longest" in shown
    facts = worker("status", "--json").json
    assert facts["demand"] == 3
    assert [(row["job_type"], row["jobs"]) for row in facts["due"]] == [("full_index", 2)]
    assert [row["queued"] for row in facts["tenants"]] == [2]
    assert facts["slots"] == 2


def test_top_shows_what_runs_and_where(worker, busy, db) -> None:
    """The job with its phase and its worker; nothing when nothing runs."""
    shown = worker("top").out
    assert "flask" in shown
    assert "extract 25 %" in shown
    assert "here:7" in shown
    (row,) = worker("top", "--json").json
    assert row["worker_id"] == str(busy)
    db.execute("delete from indexing_jobs")
    assert worker("top").out == "Nothing runs.\n"


@pytest.mark.parametrize(("command", "wanted"), [("status", b"A second"), ("top", b"flask")])
def test_in_a_terminal_it_refreshes_until_ctrl_c(settings, busy, command: str, wanted: bytes) -> None:
    """Several pictures, rates among them, and an end in order."""
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", command, "--every", "0.5"],
        env={**settings, "TERM": "xterm", "COLUMNS": "120", "LINES": "50"},
        stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    try:
        deadline = time.monotonic() + 60
        while seen.count(wanted) < 2:
            assert time.monotonic() < deadline, re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen)[-3000:].decode()
            seen += os.read(control, 65536)
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            assert time.monotonic() < deadline
            try:
                os.read(control, 65536)
            except OSError:
                break
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)
        os.close(control)
