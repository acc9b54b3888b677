"""The spool keeps whole lines, whatever becomes of those who write them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.joblog.rows import leftovers
from worker.joblog.clean import clean_lines
from worker.joblog.identity import LogIdentity
from worker.joblog.spool import LONGEST_LINE, Spool

Attempt = Callable[[int], LogIdentity]

WRITER = r"""
import sys, uuid
from datetime import datetime
from pathlib import Path
from worker.joblog.identity import LogIdentity
from worker.joblog.log import open_job_log
from worker.joblog.spool import Spool
from worker.redact import Redactor
root, job, created, token, attempt, source, count, size = sys.argv[1:]
identity = LogIdentity(uuid.UUID(job), datetime.fromisoformat(created), int(token), int(attempt))
opened = open_job_log(Spool(Path(root)), identity, Redactor(), source=source, worker="w")
for number in range(int(count)):
    opened.log.info("line", n=number, pad="x" * int(size))
    print(number, flush=True)
"""


def start_writer(
    spool: Spool, identity: LogIdentity, *, source: str = "child", count: int = 10**9, size: int = 10
) -> subprocess.Popen[str]:
    """A process that logs numbered lines and prints each number once its line is written."""
    arguments = [
        identity.job_id,
        identity.created_at.isoformat(),
        identity.token,
        identity.attempt,
        source,
        count,
        size,
    ]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(spool.root), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def lines_of(spool: Spool, identity: LogIdentity) -> list[dict[str, Any]]:
    """The parsed lines of an attempt's spool."""
    return [json.loads(line) for line in clean_lines([spool.path(identity).read_bytes()])]


def test_promise_7_a_line_survives_kill_of_its_writer(spool: Spool, attempt: Attempt) -> None:
    """Every line whose call had returned when kill -9 came is in the spool, once and in order."""
    process = start_writer(spool, attempt(1))
    assert process.stdout is not None
    said = "".join(process.stdout.readline() for _ in range(500))
    process.kill()
    said += process.stdout.read()
    process.wait()
    returned = said.split("\n")[:-1]  # the number being printed at the end may be cut
    written = [entry["n"] for entry in lines_of(spool, attempt(1)) if entry["event"] == "line"]
    assert written == list(range(len(written)))
    assert len(written) >= len(returned) >= 500


def test_promise_7_two_processes_write_one_spool(spool: Spool, attempt: Attempt) -> None:
    """Worker and child append to the same file; killing one costs the other nothing and merges no lines."""
    first = start_writer(spool, attempt(1), source="worker", size=30_000)
    second = start_writer(spool, attempt(1), source="child", count=150, size=20_000)
    assert first.stdout is not None
    assert second.stdout is not None
    for _ in range(50):
        first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    second.communicate(timeout=60)
    first.communicate(timeout=60)
    entries = lines_of(spool, attempt(1))
    by_source = {
        source: [e["n"] for e in entries if e["source"] == source and e["event"] == "line"]
        for source in ("worker", "child")
    }
    assert by_source["child"] == list(range(150))
    assert by_source["worker"] == list(range(len(by_source["worker"])))
    assert len(by_source["worker"]) >= 50
    assert Counter(e["event"] for e in entries)["torn line"] <= 1


def test_a_torn_line_stands_alone(spool: Spool, attempt: Attempt) -> None:
    """A line of which only a part reached the disk is marked; its neighbours are whole."""
    writer = spool.open(attempt(1))
    assert writer.append_line(b'{"at":"2026-03-04T00:00:00.000000Z","n":1}')
    with spool.path(attempt(1)).open("ab") as file:
        file.write(b'\n{"n":2,"pa')  # what a kill in the middle of write() leaves
    assert writer.append_line(b'{"n":3}')
    with spool.path(attempt(1)).open("ab") as file:
        file.write(b'\n{"n":4')
    writer.close()
    entries = lines_of(spool, attempt(1))
    assert [entry.get("n") for entry in entries] == [1, None, 3, None]
    assert [entry["text"] for entry in entries if entry.get("event") == "torn line"] == ['{"n":2,"pa', '{"n":4']
    assert entries[1]["at"] == "2026-03-04T00:00:00.000000Z"


def test_a_line_in_the_making_is_left_out_of_a_growing_log() -> None:
    """While the file grows, what follows the last newline is not a line yet."""
    assert list(clean_lines([b'\n{"n":1}\n\n{"n"', b":2}"], ended=False)) == [b'{"n":1}\n']
    assert list(clean_lines([b'\n{"n":1}\n\n{"n"', b":2}"])) == [b'{"n":1}\n', b'{"n":2}\n']


def test_newlines_and_length_cannot_break_a_line(spool: Spool, attempt: Attempt) -> None:
    """append_line() writes one line whatever it is given."""
    writer = spool.open(attempt(1))
    writer.append_line(b"a\nb")
    writer.append_line(b"x" * (3 * LONGEST_LINE))
    writer.append_line(b"{}")
    lines = spool.path(attempt(1)).read_bytes().split()
    assert [line for line in spool.path(attempt(1)).read_bytes().split(b"\n") if line][-1] == b"{}"
    assert max(map(len, lines)) <= LONGEST_LINE
    assert len([line for line in spool.path(attempt(1)).read_bytes().split(b"\n") if line]) == 3


FULL_DISK = r"""
import resource, signal, sys
from worker.joblog.spool import Spool
exec(open(sys.argv[1]).read())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(100):
    opened.log.info("line", n=number)
lost = opened.lost
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if sys.argv[2] == "ends":
    opened.close()
else:
    opened.log.info("room again")
print(lost)
"""


@pytest.mark.parametrize(
    ("then", "last"), [("logs on", ["room again", "lines lost"]), ("ends", ["torn line", "lines lost"])]
)
def test_a_full_disk_costs_lines_and_is_counted(
    spool: Spool, attempt: Attempt, tmp_path: Path, then: str, last: list[str]
) -> None:
    """Where no byte fits any more, logging goes on without an exception and says afterwards how much is missing."""
    one = attempt(1)
    setup = tmp_path / "setup.py"
    setup.write_text(
        "import uuid\nfrom datetime import datetime\nfrom pathlib import Path\n"
        "from worker.joblog.identity import LogIdentity\nfrom worker.joblog.log import open_job_log\n"
        "from worker.redact import Redactor\n"
        f"created = datetime.fromisoformat({one.created_at.isoformat()!r})\n"
        f"identity = LogIdentity(uuid.UUID({str(one.job_id)!r}), created, 10, 1)\n"
        f"opened = open_job_log(Spool(Path({str(spool.root)!r})), identity, Redactor(), source='worker')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(setup), then],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=60,
        check=True,
    )
    lost = int(done.stdout)
    assert 80 < lost < 100
    entries = lines_of(spool, one)
    assert [e["n"] for e in entries if e["event"] == "line"] == list(range(100 - lost))
    assert [e["event"] for e in entries][-2:] == last
    assert entries[-1]["lines"] == lost


def test_a_folder_that_cannot_be_made_costs_lines_and_no_job(tmp_path: Path, attempt: Attempt) -> None:
    """Without a spool folder every line is counted as lost; when the folder is there, logging resumes."""
    (tmp_path / "blocked").write_text("a file")
    spool = Spool(tmp_path / "blocked" / "spool")
    writer = spool.open(attempt(1))
    assert not writer.append_line(b"{}")
    assert writer.lost == 1
    (tmp_path / "blocked").unlink()
    assert writer.append_line(b"{}")
    writer.close()
    assert not writer.append_line(b"{}")


def test_a_line_never_goes_into_another_file(
    spool: Spool, attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that still logs while the log is closed: the descriptor's number may be a socket's a moment later."""
    writer, write = spool.open(attempt(1)), os.write
    foreign: list[int] = []

    def closed_meanwhile(descriptor: int, data: bytes) -> int:
        closing.start()
        closing.join(0.2)
        foreign.append(os.open(tmp_path / "foreign", os.O_WRONLY | os.O_CREAT))
        return write(descriptor, data)

    closing = threading.Thread(target=writer.close)
    monkeypatch.setattr("worker.joblog.spool.os.write", closed_meanwhile)
    assert writer.append_line(b"{}")
    closing.join()
    os.close(foreign[0])
    assert (tmp_path / "foreign").read_bytes() == b""
    assert lines_of(spool, attempt(1)) == [{}]


def test_only_the_spools_of_dead_processes_are_left_over(spool: Spool, attempt: Attempt) -> None:
    """A spool that any process still writes is nobody else's, and an heir excludes every other."""
    mine = spool.open(attempt(1))
    other = start_writer(spool, attempt(2))
    assert other.stdout is not None
    other.stdout.readline()
    spool.open(attempt(3)).close()
    assert list(leftovers(spool)) == [attempt(3)]
    other.kill()
    other.communicate()
    mine.close()
    assert list(leftovers(spool)) == [attempt(1), attempt(2), attempt(3)]
    for identity in leftovers(spool):
        with spool.claim(identity) as second:
            assert not second
    with spool.claim(attempt(9)) as absent:
        assert not absent


def test_an_heir_may_write_a_last_line(spool: Spool, attempt: Attempt) -> None:
    """Opening a writer on a spool that this process has claimed does not wait for itself."""
    spool.open(attempt(1)).close()
    began = time.monotonic()
    for identity in leftovers(spool):
        writer = spool.open(identity)
        assert writer.append_line(b"{}")
        writer.close()
    assert time.monotonic() - began < 5


def test_a_writer_does_not_fall_for_a_file_that_an_heir_deletes(
    spool: Spool, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the new, empty file is deleted before the writer holds its lock, the writer makes another."""
    import worker.joblog.spool as module

    original, times = module._locked, []

    def deleting(descriptor: int, kind: int) -> bool:
        if not times:
            spool.path(attempt(1)).unlink()
        times.append(kind)
        return original(descriptor, kind)

    monkeypatch.setattr(module, "_locked", deleting)
    assert spool.open(attempt(1)).append_line(b'{"n":1}')
    assert lines_of(spool, attempt(1)) == [{"n": 1}]


def test_side_files_without_a_spool_are_cleared(spool: Spool, attempt: Attempt) -> None:
    """A kill in the middle of remove() leaves nothing for ever."""
    spool.open(attempt(1)).close()
    spool.note_keys(attempt(1), ["a", "b"])
    spool.note_keys(attempt(1), ["b"])
    assert spool.noted_keys(attempt(1)) == ["a", "b"]
    spool.path(attempt(1)).unlink()
    assert list(leftovers(spool)) == []
    assert list(spool.root.iterdir()) == []
