"""`worker check`: each thing the program depends on, tried once, with a sentence about what came of it."""

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass

from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.state import make_ready
from worker.credentials.master_keys import load_master_keys
from worker.database.connect import connect
from worker.database.which import resolve_database
from worker.errors import NotFound, SettingsError, WorkerError
from worker.git.run import git_version
from worker.joblog.store import LogStore
from worker.joblog.stores import open_store
from worker.logging import configure
from worker.settings import Settings, load_settings, masked


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check."""

    name: str
    passed: bool
    sentence: str
    hint: str | None = None


def run_checks(*, as_json: bool) -> bool:
    """Print settings and findings; true when everything works."""
    try:
        settings = load_settings()
    except SettingsError as failure:
        if not as_json:
            raise
        print_json({"settings": None, "checks": [asdict(Finding("settings", False, str(failure), failure.hint))]})
        return False
    configure(settings, process="check")
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("Postgres", _postgres),
        ("git", _git),
        ("log store", log_store),
        ("webhook master key", _master_key),
        ("scratch folder", _scratch),
    ]
    findings = [attempt(name, lambda check=check: check(settings)) for name, check in checks]
    if as_json:
        print_json({"settings": masked(settings), "checks": [asdict(finding) for finding in findings]})
    else:
        _print(settings, findings)
    return all(finding.passed for finding in findings)


def attempt(name: str, check: Callable[[], str]) -> Finding:
    """Run one check; what it raises becomes the finding."""
    try:
        return Finding(name, True, check())
    except WorkerError as failure:
        return Finding(name, False, str(failure), failure.hint)
    except OSError as failure:
        return Finding(name, False, f"{failure.strerror or failure} ({failure.filename or 'no file'})")


def _postgres(settings: Settings) -> str:
    database = resolve_database(settings)
    try:
        with connect(database.url, name="worker check") as connection:
            started = time.perf_counter()
            row = connection.execute("select current_setting('server_version') as version").fetchone()
            milliseconds = (time.perf_counter() - started) * 1000
        make_ready(database)
    finally:
        database.close()
    version = row["version"] if row else "?"
    return f"{database.describe()} Version {version}, answers in {milliseconds:.1f} ms, schema up to date."


def _git(_: Settings) -> str:
    return git_version()


def log_store(settings: Settings) -> str:
    """Write, read, list and delete, as the worker will; an error names the step and the permission it needs."""
    store = open_store(settings)
    store.ensure_bucket()
    key = f"check/{uuid.uuid4()}"
    store.put(key, b"check\n")
    try:
        _read_and_list(store, key)
    except WorkerError:
        with contextlib.suppress(WorkerError):
            store.delete([key])
        raise
    store.delete([key])
    try:
        store.get(key)
    except NotFound:
        return f"{settings.worker_log_backend} store {settings.worker_log_bucket!r}: write, read, list and delete work."
    raise WorkerError("The log store did not delete what it was told to delete.")


def _read_and_list(store: LogStore, key: str) -> None:
    if b"".join(store.get(key)) != b"check\n" or [found for found, _ in store.list(key)] != [key]:
        raise WorkerError("The log store gave back something else than what was written.")


def _master_key(settings: Settings) -> str:
    return f"newest key id: {load_master_keys(settings).newest.id}."


def _scratch(settings: Settings) -> str:
    settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.scratch_dir).free
    if free < settings.worker_max_fetch_mb * 2**20:
        raise WorkerError(
            f"{settings.scratch_dir} has {free / 2**20:,.0f} MB free, less than WORKER_MAX_FETCH_MB.",
            hint="Free room, set WORKER_SCRATCH_DIR, or lower WORKER_MAX_FETCH_MB.",
        )
    return f"{settings.scratch_dir} has {free / 2**30:,.1f} GB free."


def _print(settings: Settings, findings: list[Finding]) -> None:
    out = looks.console()
    table = looks.table("setting", "value", title="Effective settings", keep=("setting",))
    for name, value in masked(settings).items():
        table.add_row(name, looks.text(value))
    looks.show(out, table)
    out.print()
    for finding in findings:
        sign = "[green]ok[/]    " if finding.passed else "[red]failed[/]"
        out.print(f"{sign} [bold]{finding.name}[/]: {looks.text(finding.sentence)}")
        if finding.hint:
            out.print(f"       [dim]hint:[/] {looks.text(finding.hint)}")
