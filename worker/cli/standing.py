"""status: how the queue, the workers and the repositories stand."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console

from worker.catalog import repositories
from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.state import Json, open_state
from worker.queue.depth import depth
from worker.queue.lanes import NO_TENANT, Paused, paused
from worker.queue.look import workers


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(status)


def status(json: Json = False) -> None:
    """Show the queue's depth, the workers and the repositories.

    Example: worker status
    """
    with open_state(quiet=json) as state:
        waiting = [row._asdict() for row in state.ask(depth)]
        held: Paused = state.ask(paused)
        known = state.ask(workers)
        with state.connection() as connection:
            registered = repositories.list_all(connection, state.visible_user)
        if json:
            print_json({"queue": waiting, "paused": held._asdict(), "workers": known, "repositories": registered})
            return
        _print_queue(state.out, waiting)
        _print_paused(state.out, held)
        state.out.print()
        _print_workers(state.out, known, state.settings.worker_lease_seconds)
        state.out.print()
        _print_repositories(state.out, registered)


def _print_queue(out: Console, waiting: list[dict[str, Any]]) -> None:
    table = looks.table("type", "status", "jobs", "oldest", title="Queue")
    for row in waiting:
        oldest = looks.duration(row["oldest_seconds"])
        table.add_row(looks.text(row["job_type"]), looks.status(row["status"]), f"{row['jobs']:,}", oldest)
    if waiting:
        looks.show(out, table)
    else:
        out.print("[bold]Queue[/]  empty")


def _print_paused(out: Console, held: Paused) -> None:
    """Only where something is: it explains why jobs wait."""
    tenants = ("no tenant" if user_id == NO_TENANT else f"tenant {user_id}" for user_id in held.tenants)
    words = [*(f"type {looks.text(job_type)}" for job_type in held.job_types), *tenants]
    if words:
        out.print(f"{looks.status('paused')}: {', '.join(words)}; `worker resume` lets them go on", soft_wrap=True)


def _print_workers(out: Console, known: list[dict[str, Any]], lease_seconds: float) -> None:
    """Those at work, and those that should be and are silent; not those that ended as they should."""
    table = looks.table("worker", "host", "pid", "state", "jobs", "seen", title="Workers", keep=("worker", "seen"))
    present = [row for row in known if row["state"] != "stopped"]
    for row in present:
        silent = (datetime.now(UTC) - row["last_seen_at"]).total_seconds() > lease_seconds
        state = "silent" if silent and row["state"] in ("running", "draining") else row["state"]
        table.add_row(
            looks.identifier(out, row["id"]), looks.text(row["hostname"]), str(row["pid"]), looks.status(state),
            f"{row['running']} of {row['slots']}", looks.ago(row["last_seen_at"]),
        )  # fmt: skip
    if present:
        looks.show(out, table)
    else:
        out.print("[bold]Workers[/]  none: start one with `worker run`")


def _print_repositories(out: Console, registered: list[dict[str, Any]]) -> None:
    counts = Counter(row["sync_state"] for row in registered)
    counted = ", ".join(f"{count:,} {looks.status(name)}" for name, count in sorted(counts.items()))
    out.print(f"[bold]Repositories[/]  {counted or 'none: add one with `worker repo add URL`'}")
