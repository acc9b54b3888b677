"""The numbers stored in Postgres and the names in the code are the same."""

import re
from enum import IntEnum
from pathlib import Path

import pytest

from worker.indexing.classify import Skip
from worker.indexing.languages import Language
from worker.indexing.records import SymbolKind

_MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"


@pytest.mark.parametrize(
    ("table", "enum"), [("languages", Language), ("skip_reasons", Skip), ("symbol_kinds", SymbolKind)]
)
def test_enums_equal_their_tables(table: str, enum: type[IntEnum]) -> None:
    """A number means the same in a row and in the code."""
    sql = "\n".join(path.read_text() for path in sorted(_MIGRATIONS.glob("*.sql")))
    inserts = re.findall(rf"insert into idx\.{table} values\s*(.*?);", sql, re.DOTALL)
    rows = {int(number): name for text in inserts for number, name in re.findall(r"\((-?\d+), '(\w+)'\)", text)}
    assert rows == {int(member): member.name.lower() for member in enum}
