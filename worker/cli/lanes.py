"""lanes, lane, pause, resume: how tenants share the workers, and what is held back."""

from typing import Annotated

import typer
from rich.console import Console

from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.state import Json, State, open_state
from worker.queue import lanes as queue
from worker.queue.lanes import NO_TENANT, Lane

JobType = Annotated[str | None, typer.Option("--type", help="Job type, such as full_index.")]
Tenant = Annotated[
    str | None, typer.Option(metavar="USER_ID", help="Tenant: its id, or `none` for jobs without a tenant.")
]


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    for command in (lanes, lane, pause, resume):
        app.command()(command)


def lanes(
    limit: Annotated[int, typer.Option(help="How many, most waiting jobs first.", min=1, max=100_000)] = 50,
    json: Json = False,
) -> None:
    """List the tenants that have jobs in the queue or settings of their own, with their share.

    Example: worker lanes
    """
    with open_state(quiet=json) as state:
        found: list[Lane] = state.ask(queue.list_lanes, limit=limit)
        if json:
            print_json([row._asdict() for row in found])
        elif found:
            _print_lanes(state.out, found)
        else:
            state.aside.print("No tenant has a job in the queue.")


def lane(
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="Tenant: its id, or `none`.")],
    weight: Annotated[
        float | None, typer.Option(help="Share of the workers, beside the others' 1.", min=0.01, max=1000)
    ] = None,
    max_running: Annotated[int | None, typer.Option(help="Most jobs at once; 0: no limit.", min=0, max=100_000)] = None,
    json: Json = False,
) -> None:
    """Show a tenant's share and limit, or change them.

    Example: worker lane 0191 --weight 2 --max-running 4
    """
    with open_state(quiet=json) as state:
        tenant = state.ask(queue.find_tenant, user_id)
        if weight is not None or max_running is not None:
            state.ask(queue.set_lane, tenant, weight=weight, max_running=max_running)
            state.announce()
        found: Lane = state.ask(queue.get_lane, tenant)
        if json:
            print_json(found._asdict())
        else:
            _print_lanes(state.out, [found])


def _print_lanes(out: Console, found: list[Lane]) -> None:
    table = looks.table("tenant", "waiting", "running", "weight", "at most", "state", "lag", keep=("tenant", "state"))
    for row in found:
        table.add_row(
            "none" if row.user_id == NO_TENANT else looks.identifier(out, row.user_id),
            f"{row.waiting:,}", f"{row.running:,}", f"{row.weight:g}",
            "–" if row.max_running is None else f"{row.max_running:,}",
            looks.status("paused" if row.paused else "open"), f"{row.lag:+,.1f}",
        )  # fmt: skip
    looks.show(out, table)


def pause(job_type: JobType = None, tenant: Tenant = None, json: Json = False) -> None:
    """Let no worker claim jobs of a type or of a tenant; those that run go on.

    Example: worker pause --type full_index
    """
    _set_paused(job_type, tenant, paused=True, as_json=json)


def resume(job_type: JobType = None, tenant: Tenant = None, json: Json = False) -> None:
    """Let workers claim jobs of a paused type or tenant again.

    Example: worker resume --type full_index
    """
    _set_paused(job_type, tenant, paused=False, as_json=json)


def _set_paused(job_type: str | None, tenant: str | None, *, paused: bool, as_json: bool) -> None:
    if (job_type is None) == (tenant is None):
        raise typer.BadParameter("give either --type or --tenant")
    with open_state(quiet=as_json) as state:
        before: queue.Paused = state.ask(queue.paused)
        if job_type is not None:
            changed = (job_type in before.job_types) != paused
            _pause_type(state, job_type, paused=paused)
            words, facts = f"jobs of type {looks.text(job_type)}", {"job_type": job_type}
        else:
            user_id = state.ask(queue.find_tenant, tenant)
            changed = (user_id in before.tenants) != paused
            state.ask(queue.set_lane, user_id, paused=paused)
            words = "jobs without a tenant" if user_id == NO_TENANT else f"jobs of tenant {user_id}"
            facts = {"tenant": user_id}
        if not paused:
            state.announce(job_type or "")
        if as_json:
            print_json({**facts, "paused": paused, "changed": changed})
        else:
            state.out.print(_said(words, paused=paused, changed=changed), soft_wrap=True)


def _pause_type(state: State, job_type: str, *, paused: bool) -> None:
    state.ask(queue.pause_type, job_type, paused)
    if paused and not state.ask(queue.is_known_type, job_type):
        remark = f"No worker has taken jobs of type {looks.text(job_type)} lately, and none waits."
        state.aside.print(remark, style="dim")


def _said(words: str, *, paused: bool, changed: bool) -> str:
    if not changed:
        return f"{words[:1].upper()}{words[1:]} {'were paused already' if paused else 'were not paused'}."
    return f"Paused: {words}; running ones go on." if paused else f"Resumed: {words}."
