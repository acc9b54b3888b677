"""A user sees and changes only what is theirs, through any table, view or function.

The tests walk the catalogue, so a new table, view or function that is open to a stranger fails them; and one that shows
its owner nothing does too: then its rows are missing in OWNED below.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from worker.database.connect import connect
from worker.database.migrate import migrate

Connection = psycopg.Connection[dict[str, Any]]

OWNED = (
    "insert into auth.users (id) values (%(user)s)",
    "insert into public.api_keys (id, user_id, key_hash, name) values (%(key)s, %(user)s, %(key)s::text, 'laptop')",
    "insert into public.user_api_keys (user_id, service, api_key) values (%(user)s, 'github', 'v1.sealed')",
    "insert into public.usage_metrics (api_key_id, endpoint, method) values (%(key)s, '/search', 'GET')",
    """insert into public.repositories (id, user_id, name, git_url, webhook_secret_fingerprint)
       values (%(repository)s, %(user)s, 'secret', 'https://github.com/acme/secret', 'print')""",
    "insert into public.repository_checks (repository_id, due_at) values (%(repository)s, now())",
    "insert into public.repository_branches (repository_id, branch_no, name) values (%(repository)s, 1, 'main')",
    """insert into public.indexing_jobs (id, repository_id, user_id, job_type)
       values (%(job)s, %(repository)s, %(user)s, 'full_index')""",
    """insert into public.job_schedules (name, user_id, repository_id, job_type, cron, next_run_at)
       values ('nightly', %(user)s, %(repository)s, 'full_index', '0 0 * * *', now())""",
    "insert into public.indexing_job_events (job_id, event_type) values (%(job)s, 'enqueue')",
    """insert into public.webhook_deliveries (repository_id, delivery_id, job_id)
       values (%(repository)s, %(job)s::text, %(job)s)""",
    """insert into public.token_usage (repository_id, job_id, user_id, usage_type, tokens_used)
       values (%(repository)s, %(job)s, %(user)s, 'index', 7)""",
    "insert into public.workers (id, hostname, pid, version, slots) values (%(job)s, 'host', 1, '1', 1)",
    "insert into idx.scopes (user_id) values (%(user)s)",
    """insert into idx.blobs (scope, oid, lang, parser_version, size, content)
       values (1, decode(repeat('ab', 20), 'hex'), 1, 1, 20, 'def secret_function(): pass')""",
    """insert into idx.files (repo_no, branch_no, path, blob_id, mode)
       select r.repo_no, 1, 'secret.py', b.id, 33188 from public.repositories r, idx.blobs b""",
    """insert into idx.symbols (blob_id, line, end_line, kind, name, qualname)
       select id, 1, 1, 1, 'secret_function', 'secret_function' from idx.blobs""",
    "insert into idx.refs (blob_id, kind, name, lines) select id, 0, 'secret_function', '{1}' from idx.blobs",
    """insert into idx.import_edges (repo_no, branch_no, src, dst, module, line)
       select repo_no, 1, 'other.py', 'secret.py', 'secret', 1 from public.repositories""",
)

# What a stranger would try: every function of schema public that a signed-in user may call.
CALLS = {
    "search_code": "select * from public.search_code('secret_function', owner => %(user)s)",
    "search_symbols": "select * from public.search_symbols('secret_function', owner => %(user)s)",
    "find_references": "select * from public.find_references('secret_function', owner => %(user)s)",
    "find_callers": "select * from public.find_callers('secret_function', owner => %(user)s)",
    "impact": "select * from public.impact('secret.py', owner => %(user)s)",
    "outline": "select * from public.outline('secret.py', owner => %(user)s)",
    "list_documents": "select * from public.list_documents(owner => %(user)s)",
}

FORBIDDEN = (
    "insert into public.indexing_jobs (job_type, user_id) values ('full_index', %(user)s)",
    "update public.indexing_jobs set payload = '{}'",
    "delete from public.indexing_jobs",
    "update public.repositories set git_url = 'https://evil.example/x'",
    "insert into public.repositories (user_id, name, git_url) values (%(user)s, 'x', 'https://evil.example/x')",
    "select webhook_secret_fingerprint from public.repositories",
    "select key_hash from public.api_keys",
    "select api_key from public.user_api_keys",
    "update public.user_api_keys set api_key = 'v1.other'",
    "update public.api_keys set rate_limit = 1000000",
    "update public.api_keys set monthly_quota = 1000000000",
    "update public.api_keys set usage_count = 0",
    "update public.api_keys set permissions = '{}'",
    "insert into public.api_keys (user_id, key_hash, name, rate_limit) values (%(user)s, 'h', 'n', 9999)",
    "select nextval('public.lease_tokens')",
    "update public.job_schedules set cron = '* * * * *'",
    "insert into public.job_schedules (name, job_type, cron, next_run_at) values ('x', 'validate', '* * * * *', now())",
    "delete from public.job_schedules",
    "select queue.fire_schedule(gen_random_uuid(), now(), now(), now(), '{}', '{}')",
    "select queue.enqueue(gen_random_uuid(), %(repository)s, 'full_index', '{}')",
)
"""What even the owner of the rows may not do: the program alone may."""

NOBODYS = {"workers", "queue_lanes", "maintenance_tasks"}
"""Tables of the program itself, closed to every user."""


@pytest.fixture(params=["plain", "hosted"])
def database(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A migrated database: on plain Postgres, and where everything new is granted to the API roles at first."""
    if request.param == "plain":
        yield request.getfixturevalue("db")
        return
    url = request.getfixturevalue("empty_database_url")
    request.getfixturevalue("template_database")  # its migrations made the roles
    with connect(url, name="test") as connection:
        for kind in ("tables", "functions", "sequences"):
            connection.execute(
                sql.SQL("alter default privileges in schema public grant all on {} to anon, authenticated").format(
                    sql.SQL(kind)
                )
            )
        migrate(url)
        yield connection


@pytest.fixture
def owned(database: Connection) -> dict[str, uuid.UUID]:
    """Rows of user A in every table; the ids they have."""
    ids = {name: uuid.uuid4() for name in ("user", "key", "repository", "job")}
    for statement in OWNED:
        database.execute(statement, ids)
    return ids


@contextmanager
def acting(connection: Connection, role: str, user: uuid.UUID | None) -> Iterator[Connection]:
    """As PostgREST does for a request: role and claims for one transaction, which is rolled back."""
    with connection.transaction(force_rollback=True):
        claims = Jsonb({"sub": str(user), "role": role} if user else {"role": role})
        connection.execute("select set_config('request.jwt.claims', %s::text, true)", (claims,))
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield connection


def rows_seen(connection: Connection, query: Any, values: Any = None) -> int | None:
    """How many rows a query gives; None when it is not allowed."""
    try:
        with connection.transaction():
            return connection.execute(query, values).rowcount
    except psycopg.errors.InsufficientPrivilege:
        return None


def relations(connection: Connection) -> list[str]:
    """Every table and view of schema public."""
    rows = connection.execute(
        """select relname from pg_class
           where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f') order by 1"""
    )
    return [row["relname"] for row in rows]


def one_of_each(name: str) -> sql.Composed:
    """A query of a relation that column grants allow."""
    return sql.SQL("select 1 from {}").format(sql.Identifier("public", name))


def functions(connection: Connection) -> list[dict[str, Any]]:
    """Every function of our schemas."""
    return connection.execute(
        """select p.oid, p.proname as name, p.pronamespace::regnamespace::text as schema, p.prosecdef as definer,
                  p.prorettype = 'trigger'::regtype as is_trigger, p.proconfig as settings,
                  has_function_privilege('anon', p.oid, 'execute') as anon,
                  has_function_privilege('authenticated', p.oid, 'execute') as authenticated,
                  exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                          where a.grantee = 0) as everybody
           from pg_proc p where p.pronamespace in ('public'::regnamespace, 'idx'::regnamespace, 'queue'::regnamespace)
           order by 2"""
    ).fetchall()


def test_a_stranger_sees_no_row_of_any_table_or_view(database: Connection, owned: dict[str, uuid.UUID]) -> None:
    """User B gets nothing where user A gets something."""
    for name in relations(database):
        with acting(database, "authenticated", uuid.uuid4()):
            stranger = rows_seen(database, one_of_each(name))
        with acting(database, "authenticated", owned["user"]):
            owner = rows_seen(database, one_of_each(name))
        assert not stranger, f"{name} shows {stranger} rows to a stranger"
        if name in NOBODYS:
            assert owner is None, f"{name} is open to users"
        else:
            assert owner, f"{name} shows its owner nothing: put a row of it into OWNED"


def test_a_stranger_finds_nothing_by_any_function(database: Connection, owned: dict[str, uuid.UUID]) -> None:
    """User B gets nothing, naming A as the owner too, where A gets something."""
    open_to_users = [f["name"] for f in functions(database) if f["schema"] == "public" and f["authenticated"]]
    assert {name for name in open_to_users if name != "delete_events_of_deleted_jobs"} == set(CALLS)
    for call in CALLS.values():
        with acting(database, "authenticated", uuid.uuid4()):
            assert rows_seen(database, call, owned) == 0
        with acting(database, "authenticated", None):
            assert rows_seen(database, call, owned) == 0
        with acting(database, "authenticated", owned["user"]):
            assert rows_seen(database, call, owned) == 1


def test_somebody_who_is_not_signed_in_sees_nothing(database: Connection, owned: dict[str, uuid.UUID]) -> None:
    """The role anon may read no table and call no function, whatever claims it brings."""
    with acting(database, "anon", owned["user"]):
        for name in relations(database):
            assert rows_seen(database, one_of_each(name)) is None, f"{name} is open to anon"
        for call in CALLS.values():
            assert rows_seen(database, call, owned) is None


def test_the_service_role_reads_and_writes_everything(database: Connection, owned: dict[str, uuid.UUID]) -> None:
    """The program may also run as Supabase's service role."""
    with acting(database, "service_role", None):
        for name in relations(database):
            assert rows_seen(database, one_of_each(name)), f"{name} shows the service nothing"
        for call in CALLS.values():
            assert rows_seen(database, call, owned) == 1
        database.execute("delete from public.repositories")
        database.execute("delete from idx.blobs")


def test_every_table_has_row_security(database: Connection) -> None:
    """Row-level security is on for each table of schema public, also for one nobody was granted."""
    rows = database.execute(
        """select relname from pg_class where relnamespace = 'public'::regnamespace
           and relkind in ('r', 'p') and not relrowsecurity"""
    ).fetchall()
    assert rows == []


def test_every_view_looks_with_the_eyes_of_its_reader(database: Connection) -> None:
    """A view without security_invoker would bypass row security; two filter by themselves, behind a barrier."""
    rows = database.execute(
        """select relname, reloptions from pg_class where relnamespace = 'public'::regnamespace and relkind = 'v'"""
    )
    for row in rows:
        own_filter = row["relname"] in ("documents", "queue_depth")
        barrier = "security_barrier=true" if own_filter else "security_invoker=true"
        assert barrier in (row["reloptions"] or []), row["relname"]


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_index_and_queue_are_closed_to_the_api(database: Connection, role: str) -> None:
    """Neither the schemas nor anything in them is granted to the API roles."""
    rows = database.execute(
        """select n.nspname from pg_namespace n where nspname in ('idx', 'queue', 'supabase_migrations')
           and has_schema_privilege(%(role)s, n.oid, 'usage, create')
           union all
           select c.oid::regclass::text from pg_class c
           where relnamespace in ('idx'::regnamespace, 'queue'::regnamespace) and relkind in ('r', 'p', 'v', 'm')
           and (has_table_privilege(%(role)s, c.oid, 'select, insert, update, delete, truncate')
                or has_any_column_privilege(%(role)s, c.oid, 'select, insert, update'))""",
        {"role": role},
    ).fetchall()
    assert rows == []
    assert [f["name"] for f in functions(database) if f["schema"] != "public" and f[role]] == []


def test_functions_with_their_owners_rights_cannot_be_led_astray(database: Connection) -> None:
    """Each has a fixed search_path; no function of ours is executable by everybody, and anon calls none."""
    for function in functions(database):
        assert not function["everybody"], f"{function['name']} is executable by PUBLIC"
        assert not function["anon"] or function["is_trigger"], f"{function['name']} is executable by anon"
        if function["definer"]:
            assert any(setting.startswith("search_path=") for setting in function["settings"] or []), function["name"]


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_users_write_nothing_but_their_keys(database: Connection, role: str) -> None:
    """No table but those of their keys takes a write of any kind from a user."""
    rows = database.execute(
        """select relname from pg_class c
           where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm')
           and (has_table_privilege(%(role)s, c.oid, 'insert, update, delete, truncate')
                or has_any_column_privilege(%(role)s, c.oid, 'insert, update'))""",
        {"role": role},
    ).fetchall()
    assert {row["relname"] for row in rows} <= ({"api_keys", "user_api_keys"} if role == "authenticated" else set())


def test_an_owner_cannot_do_what_the_program_alone_may(database: Connection, owned: dict[str, uuid.UUID]) -> None:
    """No clone URL, payload, limit or secret is in a user's hands, not even with their own rows."""
    for statement in FORBIDDEN:
        with acting(database, "authenticated", owned["user"]):
            assert rows_seen(database, statement.encode(), owned) is None, statement


def test_keys_are_handled_by_their_owner_alone(database: Connection, owned: dict[str, uuid.UUID]) -> None:
    """The owner creates, renames and revokes; a stranger changes nothing and creates nothing in another's name."""
    create = "insert into public.api_keys (user_id, key_hash, name) values (%s, %s, 'new')"
    with acting(database, "authenticated", owned["user"]):
        database.execute(create, (owned["user"], "hash"))
        assert database.execute("update public.api_keys set name = 'other'").rowcount == 2
        assert database.execute("delete from public.api_keys").rowcount == 2
    with acting(database, "authenticated", uuid.uuid4()):
        assert database.execute("update public.api_keys set name = 'taken'").rowcount == 0
        assert database.execute("delete from public.api_keys").rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.execute(create, (owned["user"], "hash"))


def test_a_deleted_user_leaves_nothing_behind(database: Connection, owned: dict[str, uuid.UUID]) -> None:
    """Repositories, keys, jobs, their events and deliveries go with their user; jobs' events by a trigger."""
    database.execute("delete from auth.users where id = %(user)s", owned)
    for name in (
        "repositories", "indexing_jobs", "indexing_job_events", "webhook_deliveries", "api_keys", "job_schedules",
    ):  # fmt: skip
        assert rows_seen(database, one_of_each(name)) == 0, name
