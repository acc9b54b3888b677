"""The small numbers in schema idx mean in SQL what they mean in Python."""

from enum import IntEnum
from typing import Any

import psycopg
import pytest

from worker.indexing.classify import Skip
from worker.indexing.languages import Language
from worker.indexing.records import SymbolKind


@pytest.mark.parametrize(
    ("enum", "query"),
    [
        (Language, "select lang as number, name from idx.languages"),
        (Skip, "select skip as number, name from idx.skip_reasons"),
        (SymbolKind, "select kind as number, name from idx.symbol_kinds"),
    ],
)
def test_a_number_has_one_meaning(db: psycopg.Connection[dict[str, Any]], enum: type[IntEnum], query: str) -> None:
    """Same numbers, same names, none on one side alone."""
    stored = {row["number"]: row["name"] for row in db.execute(query.encode())}
    assert stored == {int(member): member.name.lower() for member in enum}
