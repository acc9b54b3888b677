"""What every command starts from: settings, the database ready to use, the tenant, and where its output goes."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import psycopg
import typer
from rich.console import Console

from worker.cli import looks
from worker.database.connect import connect, connect_async
from worker.database.migrate import migrate, pending
from worker.database.which import Database, resolve_database
from worker.errors import DatabaseUnavailable, MigrationError, SettingsError
from worker.logging import configure
from worker.queue.wake import call
from worker.settings import LOCAL_USER_ID, Settings, load_settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


@dataclass(frozen=True, slots=True)
class State:
    """A command's surroundings: `out` for what was asked for, `aside` (stderr) for remarks about it."""

    settings: Settings
    database: Database
    out: Console
    aside: Console

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """A connection for plain calls."""
        with connect(self.database.url, name="worker cli") as connection:
            yield connection

    def ask(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a verb of the queue with a connection of its own."""

        async def asked() -> Any:
            async with await connect_async(self.database.url, name="worker cli") as connection:
                return await verb(connection, *arguments, **named)

        return asyncio.run(asked())

    def announce(self, job_type: str = "") -> None:
        """Wake the workers, for a type or any, after something was committed; a lost call costs them a poll's time."""
        with contextlib.suppress(psycopg.Error, OSError, DatabaseUnavailable):
            self.ask(call, job_type)

    @property
    def user_id(self) -> UUID:
        """The tenant this command acts for; raises SettingsError where none can be assumed."""
        if self.settings.worker_user_id is not None:
            return self.settings.worker_user_id
        if self.database.embedded:
            return LOCAL_USER_ID
        raise SettingsError(
            "WORKER_USER_ID is not set, so it is not clear whose repositories these are.",
            hint="Set it to the id of one of your project's users (auth.users).",
        )

    @property
    def visible_user(self) -> UUID | None:
        """Whose rows commands show and act on: one tenant's, or everybody's where no tenant is set."""
        if self.settings.worker_user_id is None and self.database.embedded:
            return LOCAL_USER_ID
        return self.settings.worker_user_id


@contextmanager
def open_state(*, process: str = "cli", quiet: bool = True, migrated: bool = True, **overrides: Any) -> Iterator[State]:
    """Read the settings, make the database ready, and close everything again. `quiet`: do not say which database."""
    settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
    configure(settings, process=process)
    database = resolve_database(settings)
    try:
        state = State(settings, database, looks.console(), looks.console(stderr=True))
        if not quiet:
            state.aside.print(database.describe(), style="dim")
        if migrated:
            make_ready(database)
        yield state
    finally:
        database.close()


def make_ready(database: Database) -> None:
    """The embedded database is migrated without asking; another one must have been, by `worker migrate`."""
    if database.embedded:
        migrate(database.url)
    elif missing := pending(database.url):
        raise MigrationError(
            f"The database lacks {len(missing)} migration(s), the first is {missing[0]}.",
            hint="Run `worker migrate` (on Fly: the release command does).",
        )
