"""key set, remove: a tenant's own keys for other services."""

import getpass
import sys
from enum import StrEnum
from typing import Annotated

import typer

from worker.cli.looks import print_json
from worker.cli.state import Json, open_state
from worker.credentials import user_keys
from worker.credentials.master_keys import load_master_keys
from worker.errors import WorkerError

LONGEST = 4_096


class Service(StrEnum):
    """What keys are for."""

    GITHUB = user_keys.GITHUB


Which = Annotated[Service, typer.Argument(metavar="SERVICE", help="What the key is for: github.")]


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command("set")(set_key)
    app.command("remove")(remove)


def set_key(service: Which, json: Json = False) -> None:
    """Keep a token, encrypted, that reads your private repositories; it is read from standard input.

    Example: worker key set github
    """
    with open_state() as state, state.connection() as connection:
        keys, user_id = load_master_keys(state.settings), state.user_id
        # Not an argument: those are in the process list and in the shell's history.
        secret = getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline(LONGEST)
        if len(secret.strip()) < 8:
            raise WorkerError("That is no token: it has fewer than 8 characters.")
        user_keys.set_user_key(connection, keys, user_id, service, secret.strip())
        if json:
            print_json({"service": service.value, "stored": True})
        else:
            state.out.print(f"The key for {service.value} is stored, encrypted.")


def remove(service: Which, json: Json = False) -> None:
    """Forget a stored token.

    Example: worker key remove github
    """
    with open_state() as state, state.connection() as connection:
        user_keys.remove_user_key(connection, state.user_id, service)
        if json:
            print_json({"service": service.value, "stored": False})
        else:
            state.out.print(f"The key for {service.value} is gone.")
