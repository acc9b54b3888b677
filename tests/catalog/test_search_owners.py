"""Two owners of the very same files: each finds the own repository alone, whatever function and arguments."""

import json
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest

CALLS = [
    "search_code('total', repository => %(repository)s, owner => %(owner)s)",
    "search_code('t.tal', regex => true, repository => %(repository)s, owner => %(owner)s)",
    "search_symbols('cart', repository => %(repository)s, owner => %(owner)s)",
    "search_symbols('crt', mode => 'fuzzy', repository => %(repository)s, owner => %(owner)s)",
    "find_references('total', repository => %(repository)s, owner => %(owner)s)",
    "find_callers('total', repository => %(repository)s, owner => %(owner)s)",
    "impact('cart.py', repository => %(repository)s, owner => %(owner)s)",
    "outline('cart.py', repository => %(repository)s, owner => %(owner)s)",
    "list_documents(repository => %(repository)s, owner => %(owner)s)",
]
SOURCE = {"cart.py": "def cart():\n    return total(1)\n"}


@pytest.fixture
def two(db, index_files):
    """The same files in the repositories of two owners, with an edge each; the contents are shared."""
    both = [index_files(SOURCE, name=name) for name in ("one", "two")]
    for made in both:
        db.execute("insert into idx.import_edges values (%s, 0, 'shop.py', 'cart.py', 'cart', 1)", (made.repo_no,))
    assert db.execute("select count(*) as n from idx.blobs").fetchone()["n"] == 1
    return both


@contextmanager
def signed_in(db, role, user):
    """As PostgREST does for a request."""
    with db.transaction(force_rollback=True):
        db.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps({"sub": str(user)}),))
        db.execute(f"set local role {role}".encode())
        yield


def repositories(db, call, repository=None, owner=None):
    """Names of the repositories that answer."""
    rows = db.execute(f"select * from public.{call}".encode(), {"repository": repository, "owner": owner}).fetchall()
    return {row["repository_name"] for row in rows}


@pytest.mark.parametrize("call", CALLS)
def test_each_owner_finds_the_own_alone(db, two, call):
    """Also when they name the other's repository, or the other as the owner; a third one finds nothing."""
    one, other = two
    with signed_in(db, "authenticated", one.owner):
        assert repositories(db, call) == {"one"}
        assert repositories(db, call, owner=other.owner) == {"one"}
        assert repositories(db, call, repository=other.id) == set()
    with signed_in(db, "authenticated", uuid4()):
        assert repositories(db, call, owner=one.owner) == set()
    with signed_in(db, "service_role", None):
        assert repositories(db, call) == {"one", "two"}
        assert repositories(db, call, owner=other.owner) == {"two"}


@pytest.mark.parametrize("call", CALLS)
def test_nobody_searches_without_signing_in(db, two, call):
    """The role anon may call none of them."""
    with signed_in(db, "anon", two[0].owner), pytest.raises(psycopg.errors.InsufficientPrivilege):
        repositories(db, call)


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize("table", ["blobs", "files", "symbols", "refs", "imports", "import_edges"])
def test_the_index_itself_is_closed(db, two, role, table):
    """The functions are the only way in."""
    with signed_in(db, role, two[0].owner), pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(f"select 1 from idx.{table}".encode())
