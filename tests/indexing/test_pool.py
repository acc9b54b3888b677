"""The pool: every file comes out once, whatever some of them do to the processes that read them."""

import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from worker.indexing.classify import Skip
from worker.indexing.extract import extract
from worker.indexing.isolation import isolate
from worker.indexing.languages import Language
from worker.indexing.pool import BYTES_IN_FLIGHT, ExtractorPool
from worker.indexing.preload import preload
from worker.indexing.records import Extract, Task
from worker.indexing.wire import pack_extract

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module", autouse=True)
def _preloaded() -> None:
    preload()


def task(number: int, content: bytes = b"def f(x):\n    return g(x)\n", lang: Language = Language.PYTHON) -> Task:
    """A file whose oid is its number."""
    return Task(number.to_bytes(20, "big"), f"file{number}.txt", lang, content)


def numbers(extracts: list[Extract]) -> list[int]:
    """The numbers of extracted files, sorted."""
    return sorted(int.from_bytes(found.oid, "big") for found in extracts)


def wait_until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_same_as_extracting_here() -> None:
    """An extract from the pool is the one that extract() gives, content, symbols and references included."""
    source = Path(__file__).read_bytes()
    tasks = [task(number, source + b"\n# \xff %d" % number) for number in range(40)]
    with ExtractorPool(2) as pool:
        found = list(pool.extract(iter(tasks)))
    assert sorted(found, key=lambda one: one.oid) == [extract(one) for one in tasks]


def test_takes_tasks_as_room_comes_up() -> None:
    """A repository larger than memory is read: at most a bounded number of bytes is taken ahead of what came out."""
    taken = 0

    def tasks() -> Iterator[Task]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield task(number, b"# %d\n" % number * 20_000, Language.TEXT)

    most_ahead = given = 0
    with ExtractorPool(2) as pool:
        for given, _ in enumerate(pool.extract(tasks()), start=1):
            most_ahead = max(most_ahead, taken - given)
    assert given == taken == 100
    assert most_ahead * 100_000 < 2 * (BYTES_IN_FLIGHT + 100_000)


def test_large_answers_do_not_block() -> None:
    """Pipes full in both directions do not stop the pool: answers are read while tasks are written."""
    content = b"\n".join(b"def function_%d(): other_%d()" % (number, number) for number in range(5_000))
    with ExtractorPool(2) as pool:
        found = list(pool.extract(task(number, content) for number in range(10)))
    assert [len(one.symbols) for one in found] == [5_000] * 10


MILLION = 1_000_000
HOSTILE = {
    "parentheses": (Language.PYTHON, b"(" * MILLION),
    "parentheses in JavaScript": (Language.JAVASCRIPT, b"(" * MILLION),
    "braces": (Language.JAVASCRIPT, b"{" * MILLION),
    "template strings": (Language.TYPESCRIPT, b"`${" * (MILLION // 3)),
    "else if": (Language.JAVASCRIPT, b"if(a){}else " * (MILLION // 12)),
    "nested functions": (Language.GO, b"func a(){" * (MILLION // 9)),
    "generics": (Language.JAVA, b"A<" * (MILLION // 2)),
    "tags": (Language.TSX, b"<a>" * (MILLION // 3)),
    "calls": (Language.RUST, b"a();" * (MILLION // 4)),
    "braces in Kotlin": (Language.KOTLIN, b"{" * MILLION),
    "parentheses in Swift": (Language.SWIFT, b"(" * MILLION),
    "classes in Scala": (Language.SCALA, b"class A{" * (MILLION // 8)),
    "braces in Lua": (Language.LUA, b"{" * MILLION),
    "brackets in Elixir": (Language.ELIXIR, b"[" * MILLION),
    "parentheses in Bash": (Language.BASH, b"(" * MILLION),
    "statements in SQL": (Language.SQL, b"create table a (b int);\n" * (MILLION // 24)),
    "headings": (Language.MARKDOWN, b"# a\n" * (MILLION // 4)),
    "deep YAML": (Language.YAML, b"".join(b" " * depth + b"a:\n" for depth in range(1_400))),
    "one line of JSON": (Language.JSON, b"{" + b'"a":{"b":1},' * (MILLION // 12)),
    "one word": (Language.TEXT, b"a" * 900_000),
    "one name": (Language.PYTHON, b"a" * 900_000),
    "long names": (Language.PYTHON, (b"x" * 6_000 + b" = 1\n") * 150),
    "invalid UTF-8": (Language.RUST, b"fn a() {} // \xff\xfe\x80" * 10_000),
    "NUL": (Language.GO, b"package a\n\0"),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_files(name: str) -> None:
    """A hostile file costs about 2 s at most and ends with its text or a reason; its neighbours come out whole."""
    lang, content = HOSTILE[name]
    before = _processor_seconds()
    with ExtractorPool(1) as pool:
        found = list(pool.extract([task(1), task(2, content, lang), task(3)]))
    assert numbers(found) == [1, 2, 3]
    assert [len(one.symbols) for one in found if one.oid[-1] != 2] == [1, 1]
    (hostile,) = [one for one in found if one.oid[-1] == 2]
    assert (hostile.content is not None) == (name != "NUL")
    assert _processor_seconds() - before < 2.5


def _processor_seconds() -> float:
    """Processor time of all processes that ended and were waited for, so that a busy machine changes nothing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_file_that_takes_too_long_is_kept_as_text() -> None:
    """Where a file ends its process by its time, its text is read again without parsing, and the reason says so."""
    slow = b"a()\n" * 240_000
    with ExtractorPool(1, seconds_per_file=0.6) as pool:
        before = pool.pids
        found = {one.oid[-1]: one for one in pool.extract([task(1), task(2, slow), task(3)])}
        assert pool.pids != before
    assert (found[2].skip, found[2].symbols) == (Skip.NONE, ())
    assert found[2].reason == "Not parsed: it took too long; the text is searchable, its symbols are not known."
    assert found[2].content == slow.decode()
    assert found[1].reason is found[3].reason is None


def test_a_file_that_cannot_be_read_at_all_is_poison() -> None:
    """A file that ends its process even without parsing is given up, with a reason, and the others come out."""
    with ExtractorPool(1, seconds_per_file=0.05) as pool:
        words = b" ".join(b"w%d" % number for number in range(900_000))
        found = {one.oid[-1]: one for one in pool.extract([task(1), task(2, words, Language.TEXT), task(3)])}
    assert (found[2].skip, found[2].content, found[2].size) == (Skip.POISON, None, len(words))
    # By its own clock or, on a busy machine, by its parent's.
    assert found[2].reason in {
        f"Not read: it {why}, even without parsing." for why in ("took too long", "made no progress")
    }
    assert len(found[2].sha256) == 32
    assert found[1].skip is found[3].skip is Skip.NONE


@linux_only
def test_a_file_that_takes_too_much_memory() -> None:
    """A process over its memory limit dies alone; the file is kept as text."""
    with ExtractorPool(1, memory_bytes=40 << 20) as pool:
        found = {one.oid[-1]: one for one in pool.extract([task(1), task(2, b"a()\n" * 200_000), task(3)])}
    assert found[2].content is not None
    assert found[2].symbols == ()
    assert found[2].reason is not None
    assert len(found[1].symbols) == len(found[3].symbols) == 1


@pytest.mark.parametrize("nonsense", [b"Fatal Python error: Aborted", b"\0\0\0\2N.", b"\0\0\0\1?"])
def test_a_process_that_sends_nonsense_is_given_up(monkeypatch: pytest.MonkeyPatch, nonsense: bytes) -> None:
    """It parses foreign bytes in C: whatever it may come to say, only its own file suffers."""
    monkeypatch.setattr(
        "worker.indexing.extractor.pack_extract",
        lambda extract: nonsense if "bewitched" in extract.content else pack_extract(extract),
    )
    with ExtractorPool(1) as pool:
        found = {one.oid[-1]: one for one in pool.extract([task(1), task(2, b"bewitched()\n"), task(3)])}
    assert found[2].skip is Skip.POISON
    assert found[2].reason == "Not read: its process sent what is no answer, even without parsing."
    assert len(found[1].symbols) == len(found[3].symbols) == 1


@linux_only
def test_an_extractor_that_has_read_much_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What C code keeps of each file is given back now and then; no file is lost by it, and none is read twice."""
    source = b"def f(x):\n    return g(x)\n" * 400
    monkeypatch.setattr("worker.indexing.pool.WORN_AFTER_BYTES", 20 * len(source))
    seen: set[int] = set()
    with ExtractorPool(2) as pool:
        found: list[Extract] = []
        for one in pool.extract(task(number, source + b"# %d\n" % number) for number in range(1_000)):
            found.append(one)
            seen.update(pool.pids)
        assert numbers(found) == list(range(1_000))
        assert {(one.skip, one.reason) for one in found} == {(Skip.NONE, None)}
        assert len(seen) > 4
        assert len(pool.pids) == 2


def test_a_killed_process_loses_nothing() -> None:
    """kill -9 of an extractor at any moment: every file still comes out, parsed, because it was not their fault."""
    source = Path(__file__).read_bytes()
    tasks = [task(number, source) for number in range(60)]
    found: list[Extract] = []
    with ExtractorPool(2) as pool:
        for one in pool.extract(iter(tasks)):
            found.append(one)
            if len(found) in (1, 20, 40):
                os.kill(pool.pids[0], signal.SIGKILL)
    assert numbers(found) == list(range(60))
    assert {one.reason for one in found} == {None}
    assert len({one.symbols for one in found}) == 1


@linux_only
def test_a_killed_nursery_loses_nothing() -> None:
    """Even when the process that forks extractors is killed, and they with it, every file comes out."""
    tasks = [task(number, Path(__file__).read_bytes()) for number in range(40)]
    found: list[Extract] = []
    with ExtractorPool(2) as pool:
        nursery = psutil.Process(pool.pids[0]).ppid()
        for one in pool.extract(iter(tasks)):
            found.append(one)
            if len(found) == 1:
                os.kill(nursery, signal.SIGKILL)
    assert numbers(found) == list(range(40))
    assert {one.reason for one in found} == {None}


def test_a_stopped_process_is_replaced() -> None:
    """A process that makes no progress, without using its time, is killed and its files are read by another."""
    with ExtractorPool(1, seconds_per_file=0.1) as pool:
        (stopped,) = pool.pids
        os.kill(stopped, signal.SIGSTOP)
        found = list(pool.extract(task(number) for number in range(5)))
        assert pool.pids != [stopped]
    assert numbers(found) == [0, 1, 2, 3, 4]
    assert {one.reason for one in found} == {None}


def test_a_process_that_died_idle_is_replaced() -> None:
    """A process that was killed between two calls is noticed by the next."""
    with ExtractorPool(1) as pool:
        assert len(list(pool.extract([task(1)]))) == 1
        os.kill(pool.pids[0], signal.SIGKILL)
        assert numbers(list(pool.extract([task(2), task(3)]))) == [2, 3]


def test_an_abandoned_call_leaves_nothing_to_the_next() -> None:
    """Extracts that nobody took do not turn up under the next call's files."""
    with ExtractorPool(2) as pool:
        first = pool.extract(task(number) for number in range(1000))
        next(first)
        first.close()  # type: ignore[attr-defined]
        assert numbers(list(pool.extract([task(7)]))) == [7]


def test_a_failing_source_is_heard() -> None:
    """An error of the tasks' source reaches the caller, and the pool can be used again."""

    def tasks() -> Iterator[Task]:
        yield task(1)
        raise ConnectionError("git went away")

    with ExtractorPool(1) as pool:
        with pytest.raises(ConnectionError, match="git went away"):
            list(pool.extract(tasks()))
        assert numbers(list(pool.extract([task(2)]))) == [2]


@linux_only
def test_extractors_hold_nothing_of_the_caller() -> None:
    """No socket, file or pipe of the caller is open in a process that reads foreign bytes."""
    with Path(__file__).open(), ExtractorPool(2) as pool:
        list(pool.extract([task(1), task(2)]))
        for pid in pool.pids:
            targets = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
            pipes = [target for target in targets if target.startswith("pipe:")]
            assert len(set(pipes)) == len(pipes) == 2
            assert {target for target in targets if target not in pipes} == {"/dev/null"}


def test_isolation_forgets_environment_and_handlers() -> None:
    """A forked process keeps no variable, no signal handler and no core file, and leaves Ctrl-C to its caller.

    Nor does it write about its crash to a descriptor that by then is a pipe to the caller.
    """
    read, write = os.pipe()
    was_enabled = faulthandler.is_enabled()
    os.environ["WORKER_TEST_SECRET"] = "hush"
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        if (pid := os.fork()) == 0:
            if not was_enabled:
                faulthandler.enable(read)
            isolate([write])
            facts = [dict(os.environ), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL]
            facts.append(faulthandler.is_enabled())
            os.write(write, json.dumps([*facts, signal.getsignal(signal.SIGINT) == signal.SIG_IGN]).encode())
            os._exit(0)
    finally:
        del os.environ["WORKER_TEST_SECRET"]
        signal.signal(signal.SIGTERM, before)
    os.waitpid(pid, 0)
    assert json.loads(os.read(read, 10_000)) == [{}, True, False, True]
    os.close(read)
    os.close(write)


_CALLER = """
import itertools, os, psutil, sys
from worker.indexing.languages import Language
from worker.indexing.pool import ExtractorPool
from worker.indexing.records import Task
source = b"(" * 900_000 if sys.argv[1] == "busy" else b"def f(): g()"
with ExtractorPool(2) as pool:
    tasks = (Task(b"", "a.py", Language.PYTHON, source) for _ in itertools.count())
    extracts = pool.extract(tasks)
    if sys.argv[1] != "busy":
        next(extracts)
    print(*pool.pids, psutil.Process(pool.pids[0]).ppid(), flush=True)
    for _ in extracts:
        pass
"""


@pytest.mark.parametrize("state", ["busy", "idle"])
def test_everything_dies_with_the_caller(state: str) -> None:
    """kill -9 of the caller: its extractors and their nursery are gone within 2 s, in the middle of a file too."""
    with subprocess.Popen([sys.executable, "-c", _CALLER, state], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        pids = [int(word) for word in caller.stdout.readline().split()]
        assert len(pids) == 3
        assert all(psutil.pid_exists(pid) for pid in pids)
        caller.kill()
    assert wait_until(lambda: not any(_is_alive(pid) for pid in pids), 2)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_is_left_after_the_with() -> None:
    """Leaving the pool ends its processes and takes their exit statuses."""
    with ExtractorPool(2) as pool:
        pids = pool.pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
