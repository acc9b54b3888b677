"""Kept cursors: the same answers as new ones, and rows that cannot be read do not stand in front of others."""

import asyncio
import json
import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from worker.database.connect import connect_async
from worker.database.kept import kept_cursor, read_json


@dataclass(frozen=True, slots=True)
class Row:
    """One of each sort of column."""

    id: uuid.UUID
    value: Any


def test_a_kept_cursor_answers_again_and_again_also_after_an_error(database_url: str):
    """One a connection and kind of row."""

    async def ask() -> None:
        async with await connect_async(database_url, name="test") as connection:
            cursor = kept_cursor(connection, Row)
            for number in range(3):
                name = uuid.uuid4()
                await cursor.execute("select %s, jsonb_build_object('n', %s::int)", (name, number))
                assert await cursor.fetchall() == [Row(name, {"n": number})]
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await cursor.execute("select %s, 1 / %s::int", (name, 0))
            assert kept_cursor(connection, Row) is cursor
        async with await connect_async(database_url, name="test") as connection:
            assert kept_cursor(connection, Row) is not cursor

    asyncio.run(ask())


@pytest.mark.parametrize(
    "value", [{}, {"a": [1, 2.5, None, True, "ü😀\n"]}, 123456789012345678901234567890, [[[]]], "x" * 100_000]
)
def test_json_is_read_as_by_the_standard_library(value):
    """Text and bytes."""
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("unreadable", "why"), [("[" * 100_000 + "]" * 100_000, "recursion"), ("9" * 5_000, "4300 digits")]
)
def test_json_that_python_does_not_take_is_an_object_that_says_so(database_url: str, unreadable, why):
    """Postgres does; and the rows beside it are read."""
    assert list(read_json(unreadable)) == ["unreadable"]
    assert why in read_json(unreadable)["unreadable"]
    nested = read_json("[" * 500 + "]" * 500)
    assert json.dumps(nested) == "[" * 500 + "]" * 500
