"""run, receive, migrate, check: the processes of a deployment and what prepares them."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import Annotated

import typer
import uvloop

from worker import ports, tracing
from worker.cli.looks import print_json
from worker.cli.state import Json, State, make_ready, open_state
from worker.errors import DatabaseUnavailable
from worker.logging import get_logger
from worker.settings import Settings

SECONDS_BETWEEN_TRIES = 1.0


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    for command in (run, receive, migrate, check):
        app.command(no_args_is_help=False)(command)


def run(
    slots: Annotated[int | None, typer.Option(help="Jobs at once; default WORKER_SLOTS.", min=1)] = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when the queue has nothing to do.")] = False,
    metrics_port: Annotated[
        int | None, typer.Option(help="Health and metrics; 0: any free port.", min=0, max=65535)
    ] = None,
) -> None:
    """Claim and run jobs until a signal ends it: the first drains, the second stops at once.

    Example: worker run --slots 4
    """
    from worker.runtime.worker import run_worker

    given = {"worker_slots": slots, "worker_metrics_port": metrics_port}
    with open_state(process="worker", quiet=False, migrated=False, **given) as state:
        _must_be_free(state.settings.worker_http_host, state.settings.worker_metrics_port, ports.FOR_METRICS)
        _wait_until_ready(state)
        with _traced(state.settings, "worker"):
            uvloop.run(run_worker(state.settings, state.database.url, until_idle=until_idle))


def receive(
    port: Annotated[
        int | None, typer.Option(help="Port; default WORKER_RECEIVER_PORT, 0: any free one.", min=0, max=65535)
    ] = None,
) -> None:
    """Receive GitHub webhooks at POST /webhooks/github/{repository_id} until a signal ends it.

    Example: worker receive --port 8080
    """
    from worker.receiver.serve import serve

    with open_state(process="receiver", quiet=False, migrated=False, worker_receiver_port=port) as state:
        _must_be_free(state.settings.worker_http_host, state.settings.worker_receiver_port, ports.FOR_RECEIVING)
        _must_be_able_to_receive(state)
        with _traced(state.settings, "receiver"):
            serve(state.settings, state.database.url)


def _wait_until_ready(state: State) -> None:
    """A worker that starts in an outage waits, as one that runs does: nobody has to start it again."""
    pauses = itertools.chain([0], itertools.repeat(SECONDS_BETWEEN_TRIES))
    for pause in pauses:
        time.sleep(pause)
        try:
            make_ready(state.database)
        except DatabaseUnavailable as failure:
            if not failure.is_outage:
                raise
            if not pause:
                get_logger().warning("waiting for Postgres", reason=str(failure), hint=failure.hint)
        else:
            return


def _must_be_able_to_receive(state: State) -> None:
    """One that would refuse every delivery does not start. While Postgres is away nobody can tell: then it does."""
    from worker.credentials.master_keys import load_master_keys
    from worker.receiver.provision import check_master_keys

    keys = load_master_keys(state.settings)
    try:
        make_ready(state.database)
        with state.connection() as connection:
            check_master_keys(connection, keys)
    except DatabaseUnavailable as failure:
        if not failure.is_outage:
            raise
        get_logger().warning("starting without Postgres: no delivery is taken until it is back", reason=str(failure))


@contextlib.contextmanager
def _traced(settings: Settings, process: str) -> Iterator[None]:
    tracing.configure(settings, process=process)
    try:
        yield
    finally:
        tracing.end()


def _must_be_free(host: str, port: int, named: str) -> None:
    """Say so before anything else is done; whoever takes it meanwhile is told by the server itself."""
    ports.listen_on(host, port, named=named).close()


def migrate(json: Json = False) -> None:
    """Bring the database's schema up to date; safe to run at any time, by any number of processes.

    Example: DATABASE_URL=postgresql://… worker migrate
    """
    from worker.database.migrate import migrate as apply

    with open_state(quiet=json, migrated=False) as state:
        applied = apply(state.database.url)
    if json:
        print_json({"applied": applied})
    elif applied:
        for name in applied:
            state.out.print(f"applied {name}")
    else:
        state.out.print("Nothing to do: the schema is up to date.")


def check(json: Json = False) -> None:
    """Print the effective settings (secrets masked) and try Postgres, git and the log store. Fails if one fails.

    Example: worker check
    """
    from worker.cli.checks import run_checks

    if not run_checks(as_json=json):
        raise typer.Exit(1)
