"""The index: how fast a repository becomes searchable, what a push of ten files, a repeated push and a byte of text
cost, and how soon a search answers; beside git clone + universal-ctags, a straightforward checkout-and-parse and the
limit of the same work on the same cores, in the same run.

--repo PATH names a local repository; otherwise one is generated.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import psycopg
from rich.console import Console

from bench._queue import ours
from bench._queue.server import own_server
from bench._repository import make_repository
from bench._straightforward import straightforward
from worker.catalog.blobs import as_stored
from worker.indexing.extract import extract
from worker.indexing.languages import Language, language_of
from worker.indexing.preload import preload
from worker.indexing.records import Extract, Task

TABLES = ("blobs", "upkeep", "files", "symbols", "refs", "imports", "import_edges")
SEARCHES = 30
STRAIGHTFORWARD = "clone, parse file by file, insert row by row"
OWNER = "00000000-0000-4000-8000-000000000001"
LOCAL = {"WORKER_ALLOW_LOCAL_REPOSITORIES": "true", "WORKER_USER_ID": OWNER}
_notes = Console(stderr=True)


def run(quick: bool, args: list[str]) -> dict[str, Any]:
    """One repository, cold, pushed to and searched."""
    with tempfile.TemporaryDirectory(prefix="indexing-worker-bench-") as folder, own_server() as server:
        here = Path(folder)
        source = Path(args[args.index("--repo") + 1]) if "--repo" in args else None
        origin = _served(source or make_repository(here, files=600 if quick else 6_000), here)
        with server.database() as url, psycopg.connect(url, autocommit=True) as connection:
            connection.execute("insert into auth.users (id) values (%s)", (OWNER,))
            peers = _timed("peers", lambda: _peers(origin, here))
            files = _checked_out(here / "checkout")
            peers[STRAIGHTFORWARD] = _timed(STRAIGHTFORWARD, lambda: straightforward(url, origin, here / "plain"))
            limit = _timed("limit", lambda: _limit(url, files))
            with (
                ours.workers(url, 1, WORKER_JOB_TYPES="full_index,incremental_update", **LOCAL) as (process,),
                _watched(process.pid) as peak,
            ):
                _until_alive(connection)
                _warm_up(url, here)
                before = _spent(process.pid), _spent(_postmaster(connection))
                cold = _timed("cold", lambda: _index(url, here, origin))
                spent = {
                    "worker": _spent(process.pid) - before[0],
                    "postgres": _spent(_postmaster(connection)) - before[1],
                }
                noop, written = _noop(connection, url, here, origin)
                push = _timed("ten files", lambda: _push(url, here, origin))
            text = _number(connection, "select coalesce(sum(size), 0) from idx.blobs where content is not null")
            stored = sum(_number(connection, f"select pg_total_relation_size('idx.{table}')") for table in TABLES)
            searches, on_fresh_connections = _searches(url, connection)
    megabytes = text / 1e6
    seconds = cold["worked"]
    cores = min(2, os.cpu_count() or 1)
    return {
        "processor": [
            *({"what": name, "seconds": round(took, 2)} for name, took in spent.items()),
            {"what": "the limit's work", "seconds": round(limit * cores, 2)},
            {"what": "share of it in both", "seconds": round(limit * cores / sum(spent.values()), 3)},
        ],
        "peers": [{"what": name, "seconds": took} for name, took in peers.items()],
        "phases": [{"phase": name, "seconds": took} for name, took in cold["seconds"].items()],
        "cold": {
            "files": cold["files"],
            "mb": round(megabytes, 2),
            "seconds": round(seconds, 2),
            "mb_per_s": round(megabytes / seconds, 2),
            "limit_ratio": round(limit / seconds, 3),
            "bytes_fetched": cold["bytes_fetched"],
        },
        "push10": {
            "seconds": round(push["worked"], 3),
            "bytes_fetched": push["bytes_fetched"],
            "files_parsed": push["files_parsed"],
        },
        "noop": {"seconds": round(noop["worked"], 3), "rows_written": written, "tokens": noop["tokens_billed"]},
        "storage_per_byte": round(stored / text, 3),
        "child_rss_mb": round(peak[0] / 2**20),
        "search_ms": searches,
        "search_fresh_ms": on_fresh_connections,
    }


def _served(source: Path, here: Path) -> Path:
    """A bare copy that answers as a hosting service does: parts of a commit, and objects by id."""
    origin = here / "origin.git"
    _git("clone", "-q", "--bare", str(source.resolve()), str(origin))
    for option in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        _git("-C", str(origin), "config", option, "true")
    return origin


def _peers(origin: Path, here: Path) -> dict[str, float]:
    """What else one would do with the same repository, in seconds."""
    took: dict[str, float] = {}
    started = time.perf_counter()
    _git("clone", "-q", "--depth=1", f"file://{origin}", str(here / "checkout"))
    took["git clone --depth=1"] = round(time.perf_counter() - started, 2)
    if shutil.which("ctags") is not None:
        started = time.perf_counter()
        subprocess.run(
            ["ctags", "-R", "-f", str(here / "tags"), "--fields=+n", "."], cwd=here / "checkout", check=False
        )
        took["clone + universal-ctags, no search in contents"] = round(
            took["git clone --depth=1"] + time.perf_counter() - started, 2
        )
    return took


def _checked_out(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts]


def _limit(url: str, files: list[Path]) -> float:
    """Seconds that the unavoidable work would take on two cores if nothing else cost anything: reading and parsing each
    file once, and storing texts, symbols and references with the same indexes, each measured alone on one core.
    """
    preload()
    extracts: list[Extract] = []
    started = time.process_time()
    for path in files:
        lang = language_of(path.name)
        extracts.append(extract(Task(os.urandom(20), path.name, lang, path.read_bytes())))
    parsing = time.process_time() - started
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("blobs", "symbols", "refs"):
            connection.execute(f"create table limit_{table} (like idx.{table} including all)".encode())
        storing = _stored(connection, extracts)
        connection.execute("drop table limit_blobs, limit_symbols, limit_refs")
    _notes.print(f"[dim]limit: parsing {parsing:.2f} s, storing {storing:.2f} s of one core[/]")
    return (parsing + storing) / min(2, os.cpu_count() or 1)


def _stored(connection: psycopg.Connection[Any], extracts: list[Extract]) -> float:
    """Seconds of processor time, ours and that of the server's process behind the connection."""
    backend = psutil.Process(_number(connection, "select pg_backend_pid()"))
    started = time.process_time() + sum(backend.cpu_times()[:2])
    with connection.cursor() as cursor:
        columns = "scope, oid, lang, skip, parser_version, size, sha256, tokens, line_count, content"
        with cursor.copy(f"copy limit_blobs ({columns}) from stdin".encode()) as copy:
            for one in extracts:
                lang = int(one.lang) if one.lang is not Language.NONE else 0
                copy.write_row(
                    (0, one.oid, lang, int(one.skip), 1, one.size, one.sha256, one.tokens, one.line_count, one.content)
                )
        with cursor.copy(
            "copy limit_symbols (blob_id, line, end_line, kind, parent, name, qualname, signature, doc) from stdin"
        ) as copy:
            for number, one in enumerate(extracts):
                for symbol in one.symbols:
                    row = (symbol.line, symbol.end_line, int(symbol.kind), *symbol[3:])
                    copy.write_row((number, *as_stored(row)))
        with cursor.copy("copy limit_refs (blob_id, kind, name, lines) from stdin") as copy:
            for number, one in enumerate(extracts):
                for kind, name, lines in one.references:
                    copy.write_row((number, int(kind), name, ",".join(map(str, lines))))
    return time.process_time() + sum(backend.cpu_times()[:2]) - started


def _index(url: str, here: Path, origin: Path) -> dict[str, Any]:
    """The job's result through the real command; `worked`: seconds from its claim to its end."""
    environment = os.environ | LOCAL
    environment |= {"DATABASE_URL": url, "WORKER_STATE_DIR": str(here / "cli"), "PYTHONPATH": str(ours.ROOT)}
    command = [sys.executable, "-m", "worker", "index", str(origin), "--json"]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
    result = json.loads(ended.stdout)
    assert ended.returncode == 0, result
    with psycopg.connect(url, autocommit=True) as connection:
        worked = _number(
            connection,
            "select extract(epoch from finished_at - started_at)::float8 from public.indexing_jobs"
            f" where id = '{result['job_id']}'",
        )
    return {**result, "worked": worked}


def _warm_up(url: str, here: Path) -> None:
    """A worker says that it runs while its grammars still load: a first small job waits for that, not the measured."""
    _index(url, here, _served(make_repository(here / "small", files=20), here / "small"))


def _postmaster(connection: psycopg.Connection[Any]) -> int:
    return psutil.Process(_number(connection, "select pg_backend_pid()")).ppid()


def _spent(pid: int) -> float:
    """Seconds of processor time of a process and all below it, those that have ended included."""
    root = psutil.Process(pid)
    spent = 0.0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            spent += sum(process.cpu_times()[:4])
    return spent


def _noop(connection: psycopg.Connection[Any], url: str, here: Path, origin: Path) -> tuple[dict[str, Any], int]:
    """The median of three repeated pushes, and the rows they wrote into the index."""
    before = _number(connection, "select pg_current_xact_id()::text::bigint")
    results = sorted((_index(url, here, origin) for _ in range(3)), key=lambda result: result["worked"])
    written = sum(
        _number(connection, f"select count(*) from idx.{table} where xmin::text::bigint >= {before}")
        for table in TABLES
    )
    return results[1], written


def _push(url: str, here: Path, origin: Path) -> dict[str, Any]:
    """Ten edited files: the median of three pushes."""
    checkout = here / "checkout"
    code = [path for path in _checked_out(checkout) if language_of(path.name) > Language.TEXT]
    results: list[dict[str, Any]] = []
    for number in range(3):
        for path in code[number :: max(1, len(code) // 10)][:10]:
            path.write_bytes(path.read_bytes() + f"\n# edited {number}\n".encode())
        _git("-C", str(checkout), "-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-qam", "ten files")
        _git("-C", str(checkout), "push", "-q", "origin", "HEAD")
        results.append(_index(url, here, origin))
    return sorted(results, key=lambda result: result["worked"])[1]


def _searches(url: str, connection: psycopg.Connection[Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Medians in milliseconds, of names that are there: as over a pool, one connection for all calls of a function, and
    each call on a connection of its own, which has yet to read the catalog and to plan.
    """
    names = [
        row[0]
        for row in connection.execute(
            "select name from idx.symbols where length(name) > 5 group by name order by md5(name) limit %s", (SEARCHES,)
        )
    ]
    paths = connection.execute(
        "select r.id, f.path from idx.files f join public.repositories r on r.repo_no = f.repo_no"
        " where exists (select from idx.import_edges e where e.dst = f.path) order by md5(f.path) limit %s",
        (SEARCHES,),
    ).fetchall()
    queries: dict[str, Callable[[], list[tuple[Any, ...]]]] = {
        "symbols": lambda: [("select * from public.search_symbols(%s)", (name,)) for name in names],
        "references": lambda: [("select * from public.find_references(%s)", (name,)) for name in names],
        "code": lambda: [("select * from public.search_code(%s)", (name[:12],)) for name in names],
        "impact": lambda: [("select * from public.impact(%s, %s)", (path, repository)) for repository, path in paths],
    }
    pooled: dict[str, float] = {}
    fresh: dict[str, float] = {}
    for name, asked in queries.items():
        calls = asked()
        pooled[name] = _median([_asked(connection, *call) for call in calls])
        alone: list[float] = []
        for call in calls[:10]:
            with psycopg.connect(url, autocommit=True) as one:
                alone.append(_asked(one, *call))
        fresh[name] = _median(alone)
    return pooled, fresh


def _asked(connection: psycopg.Connection[Any], query: str, arguments: tuple[Any, ...]) -> float:
    started = time.perf_counter()
    connection.execute(query.encode(), arguments).fetchall()
    return (time.perf_counter() - started) * 1000


def _median(took: list[float]) -> float:
    return round(median(took), 2) if took else 0.0


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """The largest resident size, in bytes, of any process below this one."""
    peak, ended = [0], threading.Event()

    def look() -> None:
        parent = psutil.Process(pid)
        while not ended.wait(0.1):
            with contextlib.suppress(psutil.Error):
                for child in parent.children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        peak[0] = max(peak[0], child.memory_info().rss)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _until_alive(connection: psycopg.Connection[Any]) -> None:
    deadline = time.monotonic() + 60
    while not _number(connection, "select count(*) from public.workers where state = 'running'"):
        assert time.monotonic() < deadline, "the worker does not start"
        time.sleep(0.1)


def _number(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return float(row[0]) if not isinstance(row[0], int) else row[0]


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, stdout=subprocess.DEVNULL)


def _timed(what: str, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = work()
    _notes.print(f"[dim]{what}: {time.perf_counter() - started:.1f} s[/]")
    return result
