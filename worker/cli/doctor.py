"""`worker doctor`: what is wrong with a running installation, and what to do about it."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import psycopg
import typer

from worker.cli import looks
from worker.cli.checks import Finding, attempt, log_store
from worker.cli.looks import print_json
from worker.cli.state import Json
from worker.database import condition
from worker.database.connect import connect
from worker.database.migrate import pending
from worker.database.which import resolve_database
from worker.errors import DatabaseUnavailable, WorkerError
from worker.joblog.spool import Spool
from worker.logging import configure
from worker.queue import ailments
from worker.settings import Settings, load_settings

Connection = psycopg.Connection[dict[str, Any]]
SECONDS_OF_SKEW = 5.0
SECONDS_OF_A_LONG_TRANSACTION = 600.0
SHARE_OF_CONNECTIONS = 0.85
_MAY_NOT = "Postgres does not let this role look, or ended the connection; `worker check` tries it."
FIRST = 3
"""So many of a long list are named."""


class Ill(WorkerError):
    """Something is wrong; its hint says what to do."""

    code = "ill"


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(doctor)


def doctor(json: Json = False) -> None:
    """Look for what is wrong with a running installation, and say what to do; exit 1 if anything is.

    Example: worker doctor
    """
    settings = load_settings()
    configure(settings, process="doctor")
    findings = list(examine(settings))
    if json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    if not all(finding.passed for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """One finding after the other; without Postgres, or without its tables, what does not need them."""
    yield attempt("log store", lambda: log_store(settings))
    database = resolve_database(settings)
    try:
        try:
            with connect(database.url, name="worker doctor") as connection:
                yield Finding("Postgres", True, database.describe())
                yield from _examine_database(settings, database.url, connection)
        except DatabaseUnavailable as failure:
            yield Finding("Postgres", False, str(failure), failure.hint or "Check DATABASE_URL; is Postgres running?")
    finally:
        database.close()


def _examine_database(settings: Settings, url: str, connection: Connection) -> Iterator[Finding]:
    migrations = attempt("migrations", lambda: _migrations(url))
    yield migrations
    checks: list[tuple[str, Callable[[], str]]] = [
        ("clock", lambda: _clock(connection)),
        ("connections", lambda: _connections(connection)),
        ("long transactions", lambda: _transactions(connection)),
        ("notifications", lambda: _notifications(settings, url, connection)),
    ]
    if migrations.passed:
        checks += [
            ("indexes", lambda: _indexes(connection)),
            ("bloat", lambda: _bloat(connection)),
            ("workers", lambda: _workers(connection)),
            ("stuck jobs", lambda: _stuck(settings, connection)),
            ("job types", lambda: _types(connection)),
            ("queue's tables", lambda: _torn(connection)),
            ("maintenance", lambda: _maintenance(connection)),
            ("spooled logs", lambda: _spools(settings, connection)),
        ]
    for name, check in checks:
        try:
            yield attempt(name, check)
        except psycopg.Error as failure:
            yield Finding(name, False, looks.sentence(failure.diag.message_primary or str(failure)), _MAY_NOT)


# Postgres


def _migrations(url: str) -> str:
    if missing := pending(url):
        raise Ill(f"{len(missing)} missing, the first is {missing[0]}.", hint="Run `worker migrate`.")
    return "all applied."


def _clock(connection: Connection) -> str:
    skew = condition.clock_skew(connection)
    if abs(skew) > SECONDS_OF_SKEW:
        raise Ill(
            f"This machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the database's.",
            hint="Switch time synchronisation on. The queue goes by the database's clock; signed URLs and GitHub's "
            "tokens do not.",
        )
    return f"{abs(skew) * 1000:.0f} ms from the database's."


def _connections(connection: Connection) -> str:
    used, most = condition.connections_used(connection)
    if used > most * SHARE_OF_CONNECTIONS:
        raise Ill(
            f"{used:,} of {most:,} connections of the server are taken.",
            hint="Use the pooler's URL, lower DATABASE_POOL_SIZE or WORKER_SLOTS, or run fewer processes.",
        )
    return f"{used:,} of {most:,} taken."


def _transactions(connection: Connection) -> str:
    old = condition.old_transactions(connection, seconds=SECONDS_OF_A_LONG_TRANSACTION)
    if old:
        named = ", ".join(f"process {row.pid} ({row.name or 'no name'}, {looks.duration(row.seconds)})" for row in old)
        raise Ill(
            f"Open for long: {named}. Nothing that was deleted since can be cleaned away.",
            hint=f"End it where it began, or with `select pg_terminate_backend({old[0].pid})`.",
        )
    return "none."


def _notifications(settings: Settings, url: str, connection: Connection) -> str:
    """Supabase's port 6543, and any pooler in transaction mode, takes a LISTEN and never delivers."""
    if not settings.worker_listen:
        return "not used: WORKER_LISTEN is off."
    given = settings.database_listen_url
    if condition.calls_arrive(given.get_secret_value() if given else url, connection):
        return "arrive."
    if given is None:
        return "do not arrive through this pooler: workers poll. DATABASE_LISTEN_URL, direct or in session mode, helps."
    raise Ill(
        "DATABASE_LISTEN_URL leads through a pooler in transaction mode, or to another database: no notification "
        "arrives, and workers poll.",
        hint="Give it the direct URL, or the pooler's in session mode (Supabase: port 5432, not 6543).",
    )


def _indexes(connection: Connection) -> str:
    found = condition.indexes(connection)
    if found.missing:
        raise Ill(
            f"Missing: {_first(found.missing)}.",
            hint="Somebody dropped them: run their `create index` of supabase/migrations/ again, with `concurrently`.",
        )
    if found.invalid:
        raise Ill(f"Not usable: {_first(found.invalid)}.", hint=f"Run `reindex index concurrently {found.invalid[0]}`.")
    return "all there."


def _bloat(connection: Connection) -> str:
    found = condition.bloated(connection)
    if found:
        named = ", ".join(f"{row.name} ({row.dead:,} dead rows, {row.live:,} living)" for row in found[:FIRST])
        raise Ill(
            f"Vacuum does not keep up: {named}.",
            hint=f"End long transactions, then run `vacuum (analyze) {found[0].name}`.",
        )
    return "none."


# The queue


def _workers(connection: Connection) -> str:
    silent = ailments.silent_workers(connection)
    if silent:
        named = ", ".join(
            f"{row['hostname']}:{row['pid']} ({looks.duration(row['seconds'])})" for row in silent[:FIRST]
        )
        held = sum(row["jobs"] for row in silent)
        after = f"They hold {held:,} jobs, which a living worker takes back." if held else "They hold no jobs."
        raise Ill(
            f"Not seen for a minute: {named}. {after}",
            hint="Look for their end on their machines: out of memory, a kill. Start `worker run` if none is left.",
        )
    return "none is missing."


def _stuck(settings: Settings, connection: Connection) -> str:
    if ownerless := ailments.ownerless_jobs(connection, lease_seconds=settings.worker_lease_seconds):
        raise Ill(
            f"Nobody has taken back from dead workers: {_jobs(ownerless)}.",
            hint="Any worker that has run for a lease does so: start one, or look for `rescue` in the workers' logs.",
        )
    overlong = ailments.overlong_jobs(connection, timeout_seconds=settings.worker_timeout_seconds)
    if overlong:
        raise Ill(
            f"Running past their time limit: {_jobs(overlong)}.",
            hint=f"`worker cancel {overlong[0].id}`; if that does not end it, `worker drain` its worker.",
        )
    return "none."


def _types(connection: Connection) -> str:
    lost = ailments.types_without_worker(connection)
    if lost:
        named = ", ".join(f"{name} ({jobs:,} jobs)" for name, jobs in list(lost.items())[:FIRST])
        raise Ill(
            f"Jobs wait that no living worker takes: {named}.",
            hint="Start a worker that does: WORKER_HANDLERS names modules with more types, WORKER_JOB_TYPES limits.",
        )
    return "each that waits has a worker."


def _torn(connection: Connection) -> str:
    if torn := ailments.torn_jobs(connection):
        raise Ill(
            f"{torn:,} rows contradict their jobs: somebody changed a job's status by hand.",
            hint="Use `worker cancel` and `worker retry`. docs/queue.md says which tables belong together.",
        )
    return "agree with the jobs."


def _maintenance(connection: Connection) -> str:
    bad = ailments.bad_tasks(connection)
    if bad:
        named = ", ".join(
            f"{row['name']} ({row['last_error'] or 'late by ' + looks.duration(row['late'])})" for row in bad
        )
        raise Ill(f"Not done: {named}.", hint="Workers do it: start one, or read what its log says of the task.")
    return "up to date."


def _spools(settings: Settings, connection: Connection) -> str:
    spool = Spool(settings.state_dir / "spool")
    left = 0
    for identity in spool.identities():
        with spool.claim(identity) as ours:
            left += bool(ours and not ailments.is_attempt_running(connection, identity.job_id, identity.token))
    if left:
        raise Ill(
            f"{left:,} logs of ended attempts lie in {settings.state_dir / 'spool'} and nobody writes them.",
            hint="A worker that starts on this machine with this WORKER_STATE_DIR stores them.",
        )
    return "none is left over."


def _jobs(jobs: list[ailments.Long]) -> str:
    return _first([f"{job.id} ({job.job_type}, {looks.duration(job.seconds)})" for job in jobs])


def _first(names: list[str]) -> str:
    more = f" and {len(names) - FIRST:,} more" if len(names) > FIRST else ""
    return ", ".join(names[:FIRST]) + more


def _print(findings: list[Finding]) -> None:
    out = looks.console()
    for finding in findings:
        sign = "[green]ok[/]    " if finding.passed else "[red]wrong[/] "
        out.print(f"{sign} [bold]{finding.name}[/]: {looks.text(finding.sentence)}", soft_wrap=True)
        if finding.hint and not finding.passed:
            out.print(f"       [dim]do:[/] {looks.text(finding.hint)}", soft_wrap=True)
