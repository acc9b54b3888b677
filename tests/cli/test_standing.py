"""worker status and worker top: how things stand, once or again and again."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

from tests.fixtures.proxy import Proxy


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


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, *words: str, **environment: str) -> None:
        self._control, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker", *words],
            env={**environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "50"},
            stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(terminal)

    def shows(self, wanted: bytes, times: int = 1) -> None:
        """Wait until it has shown this so often from now on."""
        seen, deadline = b"", time.monotonic() + 60
        while seen.count(wanted) < times:
            assert time.monotonic() < deadline, re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen)[-3000:].decode()
            seen += os.read(self._control, 65536)

    def interrupt(self) -> int:
        """Ctrl-C; its exit code."""
        self.process.send_signal(signal.SIGINT)
        while self.process.poll() is None:
            try:
                os.read(self._control, 65536)
            except OSError:
                break
        return self.process.wait(20)

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait(10)
        os.close(self._control)


@pytest.mark.parametrize(("command", "wanted"), [("status", b"A second"), ("top", b"flask")])
def test_in_a_terminal_it_refreshes_until_ctrl_c(settings, busy, command: str, wanted: bytes) -> None:
    """Several pictures, rates among them, and an end in order."""
    terminal = Terminal(command, "--every", "0.5", **settings)
    try:
        terminal.shows(wanted, times=2)
        assert terminal.interrupt() == 0
    finally:
        terminal.close()


def test_it_outlives_an_outage_of_postgres(settings, busy, database_url: str) -> None:
    """Whoever watches a restart sees it said, and the picture again afterwards, without starting anew."""
    with Proxy(database_url) as proxy:
        terminal = Terminal("status", "--every", "0.5", **{**settings, "DATABASE_URL": proxy.url})
        try:
            terminal.shows(b"A second")
            proxy.refuse()
            proxy.cut()
            terminal.shows(b"Postgres does not answer", times=2)
            proxy.accept()
            terminal.shows(b"A second")
            assert terminal.interrupt() == 0
        finally:
            terminal.close()


def test_how_long_ago_a_worker_was_seen_is_told_by_the_databases_clock(worker, busy, db, monkeypatch) -> None:
    """A laptop whose clock is wrong takes no living worker for a silent one."""
    monkeypatch.setattr("worker.cli.looks.datetime", _Tomorrow)
    shown = worker("status", "--once").out
    assert "running" in shown
    assert "silent" not in shown
    assert "d ago" not in shown
    db.execute("update workers set last_seen_at = now() - interval '5 minutes'")
    assert re.search(r"silent .* 5 min ago", worker("status", "--once").out)


class _Tomorrow(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + timedelta(days=2)
