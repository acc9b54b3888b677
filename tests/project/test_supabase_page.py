"""docs/supabase.md: its SQL runs as it stands there, and its numbers are the program's."""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from worker.settings import LOCAL_USER_ID, Settings

PAGE = (Path(__file__).parents[2] / "docs/supabase.md").read_text("utf-8")
SQL = re.findall(r"```sql\n(.*?)```", PAGE, re.S)
OF_SUPABASE = 20
"""Connections that are left to Supabase's own services."""


def test_what_postgrest_does_runs_as_it_stands_there(db: psycopg.Connection[dict[str, Any]], make_repository) -> None:
    """The role and the claims narrow everything to the signed-in user, and nothing is refused."""
    mine = make_repository(user_id=LOCAL_USER_ID, name="mine")
    make_repository(name="somebody else's")
    db.execute(
        "insert into public.indexing_jobs (repository_id, user_id, job_type) "
        "select id, user_id, 'validate' from public.repositories"
    )
    answers = []
    for statement in filter(None, (line.strip() for line in SQL[0].split(";\n"))):
        cursor = db.execute(statement.encode())
        answers.append((statement, cursor.fetchall() if cursor.description else []))
    rows = {words: found for statement, found in answers for words in re.findall(r"from public\.(\w+)", statement)}
    assert [row["name"] for row in rows["repository_status"]] == ["mine"]
    assert len(rows["indexing_jobs"]) == 1
    assert rows["search_code"] == rows["search_symbols"] == []
    assert db.execute("select count(*) as n from public.repositories where id <> %s", (mine,)).fetchone() == {"n": 1}


def test_the_table_for_realtime_can_be_published(db: psycopg.Connection[dict[str, Any]]) -> None:
    """The statement fits the schema, where there is such a publication."""
    db.execute("create publication supabase_realtime")
    db.execute(SQL[1].encode())
    assert db.execute("select tablename from pg_publication_tables").fetchall() == [{"tablename": "indexing_jobs"}]


def test_the_budget_of_connections_is_the_programs() -> None:
    """Workers and receivers by compute size, from what each process needs with the defaults."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    worker, receiver = settings.connections_needed, settings.database_pool_size + 2
    assert f"`WORKER_SLOTS` = {worker} with the defaults" in PAGE
    assert f"`DATABASE_POOL_SIZE` + 2 = {receiver}." in PAGE
    rows = re.findall(r"^\| (Micro|Small|Medium|Large) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", PAGE, re.M)
    assert len(rows) == 4
    for _, connections, clients, pooled, direct in rows:
        assert int(pooled) == (int(clients) - 2 * receiver) // worker
        assert int(direct) == (int(connections) - OF_SUPABASE - 2 * receiver) // worker


@pytest.mark.parametrize("name", ["indexing_jobs", "repository_status", "documents"])
def test_what_the_page_reads_is_exposed(db: psycopg.Connection[dict[str, Any]], name: str) -> None:
    """PostgREST shows what the role `authenticated` may select."""
    row = db.execute(f"select has_table_privilege('authenticated', 'public.{name}', 'select') as may").fetchone()  # type: ignore[arg-type]
    assert row == {"may": True}
