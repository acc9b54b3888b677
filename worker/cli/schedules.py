"""schedule add, list, remove, pause, resume."""

import dataclasses
import itertools
import json
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import typer

from worker.cli import looks
from worker.cli.looks import print_json
from worker.cli.repositories import find_repository
from worker.cli.state import Json, State, open_state
from worker.errors import InvalidPayload, WorkerError
from worker.job import FULL_INDEX, INCREMENTAL_UPDATE, VALIDATE
from worker.queue import schedule as schedules
from worker.queue.cron import CatchUp, ticks
from worker.queue.schedule import NewSchedule, Schedule

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
SHOWN_TIMES = 3


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command("add")(add)
    app.command("list")(list_schedules)
    app.command("remove")(remove)
    app.command("pause")(pause)
    app.command("resume")(resume)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as problem:
        raise typer.BadParameter(f"this is not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("a JSON object is needed, such as '{\"rebuild\": true}'")
    return value


def add(
    name: Name,
    cron: Annotated[str, typer.Option(help="Five fields: minute, hour, day of month, month, day of week.")],
    job_type: Annotated[str, typer.Option("--type", help="Job type, such as full_index.")],
    repo: Annotated[str | None, typer.Option(help="The jobs' repository.")] = None,
    timezone: Annotated[str, typer.Option(help="Time zone of the fields, such as Europe/Berlin.")] = "UTC",
    catch_up: Annotated[
        CatchUp, typer.Option(help="After an outage: drop missed runs, run once, or all.")
    ] = CatchUp.ONE,
    payload: Annotated[
        dict[str, Any] | None, typer.Option(parser=_json_object, metavar="JSON", help="The jobs' payload.")
    ] = None,
    priority: Annotated[int, typer.Option(help="The jobs' priority.", min=-1000, max=1000)] = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change the schedule of this name, if there is one.")
    ] = False,
    json: Json = False,
) -> None:
    """Let jobs come by the clock, and show the next three times.

    Example: worker schedule add nightly --cron "30 2 * * *" --type full_index --repo flask --timezone Europe/Berlin
    """
    with open_state(quiet=json) as state:
        _check_job(state, job_type, repo, payload or {})
        repository_id = find_repository(state, repo) if repo else None
        user_id = None if repository_id else state.user_id
        new = NewSchedule(
            name, cron, job_type, repository_id, user_id, payload or {}, priority, timezone, catch_up,
            # While a job of the schedule waits, the next tick joins it; to catch up all means a job each.
            coalesce_key=None if catch_up is CatchUp.ALL else f"schedule:{repository_id or user_id}:{name}",
        )  # fmt: skip
        known: UUID | None = state.ask(schedules.known, new) if replace else None
        stored = state.ask(schedules.update, known, new) if known else state.ask(schedules.add, new)
        _show(state, stored, "changed" if known else "added", json=json)


def _check_job(state: State, job_type: str, repo: str | None, payload: dict[str, Any]) -> None:
    """What would fail at every tick is said now."""
    from pydantic import ValidationError

    from worker.handlers import load_modules
    from worker.handlers.registry import find

    load_modules(state.settings.handler_modules)
    registration = find(job_type)
    if repo is None and job_type in (FULL_INDEX, INCREMENTAL_UPDATE, VALIDATE):
        raise WorkerError(f"A {job_type} job needs a repository.", hint="Name it with --repo; `worker repo list`.")
    try:
        registration.payload.model_validate(payload)
    except ValidationError as failure:
        problem = failure.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "payload"
        raise InvalidPayload(f"A {job_type} job cannot use this payload: {where}: {problem['msg']}.") from None


def _find(state: State, name: str) -> Schedule:
    return state.ask(schedules.find, name, user_id=state.visible_user)


def list_schedules(json: Json = False) -> None:
    """List schedules with their next time.

    Example: worker schedule list
    """
    with open_state(quiet=json) as state:
        found: list[Schedule] = state.ask(schedules.list_schedules, user_id=state.visible_user)
        if json:
            print_json([dataclasses.asdict(schedule) for schedule in found])
            return
        if not found:
            state.aside.print("No schedules yet: `worker schedule add NAME` makes one.")
            return
        table = looks.table("name", "cron", "type", "repository", "next", "last", keep=("cron", "type", "next", "last"))
        for row in found:
            table.add_row(
                looks.text(row.name), looks.text(row.cron), looks.text(row.job_type), looks.text(row.repository),
                "[yellow]paused[/]" if row.paused else _local(row.next_run_at, row.timezone),
                looks.ago(row.last_run_at),
            )  # fmt: skip
        looks.show(state.out, table)
        for row in found:
            if row.last_error:
                state.out.print(f"\n{looks.text(row.name)} [red]cannot fire[/]: {looks.text(row.last_error)}")


def remove(name: Name, json: Json = False) -> None:
    """Delete a schedule. The jobs it has made stay.

    Example: worker schedule remove nightly
    """
    with open_state(quiet=json) as state:
        found = _find(state, name)
        state.ask(schedules.remove, found.id)
        if json:
            print_json({"removed": found.id, "name": found.name})
        else:
            state.out.print(f"Removed {looks.text(found.name)}.")


def pause(name: Name, json: Json = False) -> None:
    """Let a schedule make no jobs until it is resumed.

    Example: worker schedule pause nightly
    """
    with open_state(quiet=json) as state:
        found = _find(state, name)
        state.ask(schedules.pause, found.id)
        if json:
            print_json({"paused": found.id, "name": found.name})
        else:
            state.out.print(f"Paused {looks.text(found.name)}; `worker schedule resume` lets it go on.")


def resume(name: Name, json: Json = False) -> None:
    """Let a paused schedule go on with its next time; what fell into the pause is not caught up.

    Example: worker schedule resume nightly
    """
    with open_state(quiet=json) as state:
        _show(state, state.ask(schedules.resume, _find(state, name).id), "goes on", json=json)


def _show(state: State, stored: Schedule, done: str, *, json: bool) -> None:
    times = [
        stored.next_run_at,
        *itertools.islice(ticks(stored.cron, stored.timezone, stored.next_run_at), SHOWN_TIMES - 1),
    ]
    if json:
        print_json({**dataclasses.asdict(stored), "next_runs": times})
        return
    whose = f" of {looks.text(stored.repository)}" if stored.repository else ""
    state.out.print(f"Schedule {looks.text(stored.name)} {done}: {looks.text(stored.job_type)}{whose}.")
    if stored.paused:
        state.out.print("It is paused; `worker schedule resume` lets it go on.")
        return
    state.out.print("Next times:")
    for time in times:
        state.out.print(f"  {_local(time, stored.timezone)}")


def _local(time: datetime, timezone: str) -> str:
    """A time as its schedule's clock shows it; as UTC's where this machine does not know the zone."""
    try:
        local = time.astimezone(ZoneInfo(timezone))
    except (KeyError, ValueError, OSError):
        local = time.astimezone(UTC)
    return f"{local:%a %Y-%m-%d %H:%M} {local.tzname()}"
