"""Each search uses its index on a filled database: as a signed-in user, through the functions themselves, with
statistics of the tables and without, as right after a large repository came in.
"""

import json
from uuid import uuid4

import psycopg
import pytest

from tests.fixtures.databases import fresh_database
from worker.database.connect import connect

BLOBS = 20_000
FILL = (
    """insert into idx.blobs (scope, oid, lang, parser_version, size, content)
       select 0, decode(md5(n::text) || '00000000', 'hex'), 1, 1, 300,
              'def name_' || md5(n::text) || E'():\n    return ' || md5(n::text || 'a') || '_' || md5(n::text || 'b')
              || case when mod(n, 5000) = 1 then E'\n    # the Needle in it' else '' end
       from generate_series(1, %(blobs)s) n""",
    """insert into idx.files (repo_no, branch_no, path, blob_id, mode)
       select %(repo_no)s, 0, 'src/' || mod(b.id, 100) || '/' || b.id || '.py', b.id, 33188 from idx.blobs b""",
    """insert into idx.symbols (blob_id, line, end_line, kind, parent, name, qualname)
       select b.id, 1, 2, 1, case when s < 3 then 'Q_' || encode(b.oid, 'hex') end,
              'name_' || s || encode(b.oid, 'hex'),
              case when s = 3 then 'H > name_' || s || encode(b.oid, 'hex') end
       from idx.blobs b, generate_series(1, 3) s""",
    """insert into idx.refs (blob_id, kind, name, lines)
       select b.id, 0, 'use_' || s || encode(b.oid, 'hex'), '{2}' from idx.blobs b, generate_series(1, 3) s""",
    """insert into idx.import_edges (repo_no, branch_no, src, dst, module, line)
       select %(repo_no)s, 0, 'src/' || mod(n, 100) || '/' || n || '.py',
              'src/' || mod(n / 2, 100) || '/' || n / 2 || '.py', 'm', 1
       from generate_series(2, %(blobs)s) n""",
    "insert into public.repository_branches (repository_id, branch_no, name) values (%(repository)s, 0, 'main')",
)
TABLES = ("blobs", "files", "symbols", "refs", "import_edges")
HASH = "md5('7')"
PLANS = [
    ("search_code('needle')", 4, "blobs_content_trgm", "blobs"),
    ("search_code('the Needle', case_sensitive => true)", 4, "blobs_content_trgm", "blobs"),
    ("search_code('the N[e]+dle in', regex => true)", 4, "blobs_content_trgm", "blobs"),
    ("search_symbols('name_1' || substr({0}, 1, 6))", 1, "symbols_name", "symbols"),
    ("search_symbols('H > name_3' || substr({0}, 1, 6))", 1, "symbols_qualname", "symbols"),
    ("search_symbols('Q_' || substr({0}, 1, 6))", 2, "symbols_parent", "symbols"),
    ("search_symbols('Q_' || {0} || '00000000.name_1')", 1, "symbols_parent", "symbols"),
    (
        "search_symbols('namee' || substr({0}, 1, 30), mode => 'fuzzy', max_results => 1)",
        1,
        "symbols_name",
        "symbols",
    ),
    ("search_symbols('NAME_1' || upper({0}))", 1, "symbols_name", "symbols"),
    ("search_symbols('name_1' || {0} || '00000000', mode => 'exact')", 1, "symbols_name", "symbols"),
    ("find_references('use_1' || {0} || '00000000')", 1, "refs_name", "refs"),
    ("find_callers('use_1' || {0} || '00000000')", 1, "refs_name", "refs"),
    ("impact('src/1/1.py', max_depth => 3)", 14, "import_edges_dst", "import_edges"),
    ("outline('src/7/7.py')", 3, "symbols_blob", "symbols"),
    ("list_documents(max_results => 7)", 7, "files_pkey", "files"),
]


@pytest.fixture(scope="module")
def database(server_url, template_database):
    """A database with 20,000 contents of one user; answers a connection and that user."""
    with fresh_database(server_url, template_database) as url, connect(url, name="test") as connection:
        owner, repository = uuid4(), uuid4()
        connection.execute("insert into auth.users (id) values (%s)", (owner,))
        row = connection.execute(
            """insert into public.repositories (id, user_id, name, git_url) values (%s, %s, 'big', 'u')
               returning repo_no""",
            (repository, owner),
        ).fetchone()
        assert row is not None
        for statement in FILL:
            values = {"blobs": BLOBS, "repo_no": row["repo_no"], "repository": repository}
            connection.execute(statement.encode(), values if "%(" in statement else None)
            if statement == FILL[0]:
                for table in TABLES:
                    connection.execute(f"alter table idx.{table} set (autovacuum_enabled = off)".encode())
        yield connection, owner


@pytest.fixture(scope="module", params=["without statistics", "with statistics"])
def filled(request, database):
    """The same database before and after Postgres has looked at its tables."""
    if request.param == "with statistics":
        database[0].execute("vacuum analyze")
    return database


@pytest.mark.parametrize(("call", "hits", "index", "table"), PLANS)
def test_the_index_is_used(filled, call, hits, index, table):
    """By the plans that Postgres logs of the statements inside the function, and never a look at the whole table."""
    connection, owner = filled
    said = []
    connection.add_notice_handler(lambda notice: said.append(notice.message_primary))
    try:
        connection.execute("load 'auto_explain'")
    except psycopg.errors.UndefinedFile:
        pytest.skip("this Postgres was built without auto_explain")
    with connection.transaction(force_rollback=True):
        for name, value in (("log_min_duration", "0"), ("log_nested_statements", "on"), ("log_level", "notice")):
            connection.execute("select set_config(%s, %s, true)", (f"auto_explain.{name}", value))
        connection.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps({"sub": str(owner)}),))
        connection.execute("set local role authenticated")
        rows = connection.execute(f"select * from public.{call.format(HASH)}".encode()).fetchall()
    plans = "\n".join(said)
    assert len(rows) == hits
    assert f" {index} " in plans
    assert f"Seq Scan on {table} " not in plans


@pytest.mark.parametrize(
    ("text", "is_regex", "has"),
    [
        ("needle", False, True),
        ("a_b", False, False),
        ("===", False, False),
        (r"\bneedle\b", True, True),
        (r"def (get|set)_[a-z]+", True, True),
        (r"[a-z]+\(abcd?", True, True),
        (r"abc*", True, False),
        (r"needle|x", True, False),
        (r"(needle)?x", True, False),
        (r"[needle]+", True, False),
        (r"\w+\.\w+", True, False),
        (r"\x61bcdef", True, False),
    ],
)
def test_what_the_trigram_index_certainly_looks_up(database, text, is_regex, has):
    """Three letters in a row that no quantifier, group or alternative takes away."""
    row = database[0].execute("select idx.has_trigram(%s, %s) as has", (text, is_regex)).fetchone()
    assert row["has"] is has
