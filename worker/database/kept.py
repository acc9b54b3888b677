"""Cursors that are kept: one that sends the same statement again and again knows how to send and to read it."""

import json
from typing import Any, TypeVar

import psycopg
from psycopg.rows import args_row
from psycopg.types.json import set_json_loads
from pydantic_core import from_json

from worker.database.patience import AsyncConnection

Row = TypeVar("Row")


def kept_cursor(connection: AsyncConnection, row: type[Row]) -> psycopg.AsyncCursor[Row]:
    """The binary cursor of this connection for rows of this kind, which are made from their columns in order."""
    if row not in connection.kept_cursors:
        cursor = connection.kept_cursors[row] = connection.cursor(binary=True, row_factory=args_row(row))
        set_json_loads(read_json, cursor)
    return connection.kept_cursors[row]


def read_json(data: str | bytes) -> Any:
    """As json.loads, several times as fast.

    What Postgres takes and Python does not (nested too deeply, a number of thousands of digits) comes as an object that
    says so: a row that cannot be read would keep those beside it from being read as well.
    """
    try:
        return from_json(data)
    except ValueError:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as failure:
            return {"unreadable": str(failure)}
