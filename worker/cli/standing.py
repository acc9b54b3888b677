"""status and top: how the queue, the workers and the repositories stand, and what runs."""

import time
from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Console

from worker.catalog import repositories
from worker.cli import live, looks
from worker.cli.looks import print_json
from worker.cli.state import Json, State, open_state
from worker.queue.depth import Gauges, gauges
from worker.queue.lanes import NO_TENANT, Paused, paused
from worker.queue.look import workers
from worker.queue.top import running_jobs

Once = Annotated[bool, typer.Option("--once", help="Show it once; also where the output is no terminal.")]
Every = Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5, max=3600)]


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    for command in (status, top):
        app.command()(command)


def status(once: Once = False, every: Every = 2, json: Json = False) -> None:
    """Show the queue, the workers and the repositories; in a terminal again and again, with rates.

    Example: worker status --once
    """
    with open_state(quiet=json) as state:
        if json:
            _print_status_json(state)
        elif once or not state.out.is_terminal:
            _print_status(state, None)
        else:
            before: list[Sample] = []

            def draw() -> None:
                before[:] = [_print_status(state, before[0] if before else None)]

            live.refresh(state.out, draw, every=every)


def top(
    once: Once = False,
    every: Every = 2,
    limit: Annotated[int, typer.Option(help="How many, the longest first.", min=1, max=10_000)] = 40,
    json: Json = False,
) -> None:
    """Show the running jobs, those that have run longest first; in a terminal again and again.

    Example: worker top
    """
    with open_state(quiet=json) as state:
        if json:
            print_json(state.ask(running_jobs, user_id=state.visible_user, limit=limit))
        elif once or not state.out.is_terminal:
            _print_running(state, limit)
        else:
            live.refresh(state.out, lambda: _print_running(state, limit), every=every)


Sample = tuple[float, Gauges]
"""A moment of this process's clock, and what the queue was then."""


def _print_status_json(state: State) -> None:
    now: Gauges = state.ask(gauges, window=0)
    held: Paused = state.ask(paused)
    with state.connection() as connection:
        registered = repositories.list_all(connection, state.visible_user)
    print_json({
        "queue": [row._asdict() for row in now.depth],
        "due": [{"job_type": name, "jobs": jobs, "overdue_seconds": seconds} for name, jobs, seconds in now.due],
        "demand": now.demand,
        "tenants": [{"tenant": who, "oldest_seconds": age, "queued": jobs} for who, age, jobs in now.tenants],
        "paused": held._asdict(),
        "workers": state.ask(workers),
        "slots": now.slots,
        "repositories": registered,
    })  # fmt: skip


def _print_status(state: State, before: Sample | None) -> Sample:
    # Counted anew for one picture; a refreshing one takes what somebody else has counted just now.
    now: Gauges = state.ask(gauges, window=0 if before is None else 0.5)
    sample = (time.monotonic() - now.age_seconds, now)
    with state.connection() as connection:
        registered = repositories.list_all(connection, state.visible_user)
    _print_queue(state.out, now)
    _print_paused(state.out, state.ask(paused))
    if before is not None:
        _print_rates(state.out, before, sample)
    _print_tenants(state.out, now)
    state.out.print()
    _print_workers(state.out, state.ask(workers), state.settings.worker_lease_seconds)
    state.out.print()
    _print_repositories(state.out, registered)
    return sample


def _print_queue(out: Console, now: Gauges) -> None:
    table = looks.table("type", "status", "jobs", "oldest", "due", "overdue", title="Queue")
    due = {job_type: (jobs, seconds) for job_type, jobs, seconds in now.due}
    for row in now.depth:
        jobs, seconds = due.get(row.job_type, (0, 0.0)) if row.status == "queued" else (0, 0.0)
        table.add_row(
            looks.text(row.job_type), looks.status(row.status), f"{row.jobs:,}", looks.duration(row.oldest_seconds),
            f"{jobs:,}" if jobs else "", looks.duration(seconds) if jobs else "",
        )  # fmt: skip
    if now.depth:
        looks.show(out, table)
    else:
        out.print("[bold]Queue[/]  empty")


def _print_paused(out: Console, held: Paused) -> None:
    """Only where something is: it explains why jobs wait."""
    tenants = ("no tenant" if user_id == NO_TENANT else f"tenant {user_id}" for user_id in held.tenants)
    words = [*(f"type {looks.text(job_type)}" for job_type in held.job_types), *tenants]
    if words:
        out.print(f"{looks.status('paused')}: {', '.join(words)}; `worker resume` lets them go on", soft_wrap=True)


def _print_rates(out: Console, before: Sample, now: Sample) -> None:
    seconds = now[0] - before[0]
    if seconds <= 0:
        return
    started = now[1].claims - before[1].claims
    ended = started - (_jobs(now[1], "in_progress") - _jobs(before[1], "in_progress"))
    came = started + _jobs(now[1], "queued") - _jobs(before[1], "queued")
    rates = ", ".join(
        f"{max(count, 0) / seconds:,.1f} {what}"
        for count, what in ((came, "came"), (started, "started"), (ended, "ended"))
    )
    out.print(f"[bold]A second[/]  {rates}")


def _jobs(found: Gauges, status: str) -> int:
    return sum(row.jobs for row in found.depth if row.status == status)


def _print_tenants(out: Console, now: Gauges) -> None:
    if not now.tenants:
        return
    table = looks.table("tenant", "queued", "oldest", title="Tenants that wait longest", keep=("tenant",))
    for tenant, seconds, jobs in now.tenants:
        name = "none" if tenant == str(NO_TENANT) else looks.identifier(out, tenant)
        table.add_row(name, f"{jobs:,}", looks.duration(seconds))
    out.print()
    looks.show(out, table)


def _print_workers(out: Console, known: list[dict[str, Any]], lease_seconds: float) -> None:
    """Those at work, and those that should be and are silent; not those that ended as they should."""
    table = looks.table("worker", "host", "pid", "state", "jobs", "seen", title="Workers", keep=("worker", "seen"))
    present = [row for row in known if row["state"] != "stopped"]
    for row in present:
        silent = row["seconds_since_seen"] > lease_seconds
        state = "silent" if silent and row["state"] in ("running", "draining") else row["state"]
        table.add_row(
            looks.identifier(out, row["id"]), looks.text(row["hostname"]), str(row["pid"]), looks.status(state),
            f"{row['running']} of {row['slots']}", f"{looks.duration(row['seconds_since_seen'])} ago",
        )  # fmt: skip
    if present:
        looks.show(out, table)
    else:
        out.print("[bold]Workers[/]  none: start one with `worker run`")


def _print_repositories(out: Console, registered: list[dict[str, Any]]) -> None:
    counts = Counter(row["sync_state"] for row in registered)
    counted = ", ".join(f"{count:,} {looks.status(name)}" for name, count in sorted(counts.items()))
    out.print(f"[bold]Repositories[/]  {counted or 'none: add one with `worker repo add URL`'}")


def _print_running(state: State, limit: int) -> None:
    jobs = state.ask(running_jobs, user_id=state.visible_user, limit=limit)
    table = looks.table("job", "type", "repository", "attempt", "for", "of", "doing", "worker", keep=("job", "for"))
    usual = state.settings.worker_timeout_seconds
    for job in jobs:
        doing = "cancel asked for" if job["cancelled"] else _doing(job["progress"] or {})
        table.add_row(
            looks.identifier(state.out, job["id"]), looks.text(job["job_type"]), looks.text(job["repository"]),
            str(job["attempt"]), looks.duration(job["seconds"]), looks.duration(job["timeout_seconds"] or usual),
            doing, looks.text(f"{job['hostname']}:{job['pid']}" if job["hostname"] else "gone"),
        )  # fmt: skip
    if jobs:
        looks.show(state.out, table)
    else:
        state.out.print("Nothing runs.")


def _doing(progress: dict[str, Any]) -> str:
    phase = looks.text(progress.get("phase"))
    done, total = progress.get("done"), progress.get("total")
    if done and total:
        return f"{phase} {100 * done / total:.0f} %"
    return phase
