"""Front ends read through PostgREST itself: a user's JWT, checked by a JWKS, shows their own rows and no others."""

import json
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.indexes import Indexed
from tests.fixtures.postgrest import PostgREST, SigningKey
from worker.job import new_job_id

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools/node_modules"
SOURCE = {"cart.py": "def cart():\n    return total(1)\n", "shop.py": "from cart import cart\n"}
ENTRANCES = ("/repository_status", "/indexing_jobs", "/documents", "/rpc/search_code?query=total")

# What hosted projects have before PostgREST: a gateway that takes the first part of the path away.
RUN_THE_EXAMPLE = """
import { readFileSync, writeFileSync } from 'node:fs'
import typescript from 'typescript'

globalThis.WebSocket ??= class {}
const asked = globalThis.fetch
globalThis.fetch = (input, init) => asked(String(input).replace('/rest/v1/', '/'), init)
const { URL_OF_IT: url, TOKEN: token, EXAMPLE: example, REPOSITORY: repository, JOB: job } = process.env
const source = readFileSync(example, 'utf-8')
  .replace('https://<project>.supabase.co', url).replace('<publishable key>', token)
const options = { compilerOptions: { module: 'esnext', target: 'es2022' } }
writeFileSync('search.mjs', typescript.transpileModule(source, options).outputText)
const search = await import(process.cwd() + '/search.mjs')
const lines = []
for await (const line of search.lines('cart', repository)) lines.push(`${line.path}:${line.line}`)
console.log(JSON.stringify({
  lines, symbols: await search.symbols('cart'),
  repositories: await search.repositories(), ended: await search.ended(job),
}))
process.exit(0)
"""


@pytest.fixture
def two(db: Any, index_files: Callable[..., Indexed]) -> list[Indexed]:
    """The same files in the repositories of two users, each with a job that has ended."""
    both = [index_files(SOURCE, name=name) for name in ("mine", "theirs")]
    for made in both:
        db.execute(
            """insert into public.indexing_jobs (id, repository_id, user_id, job_type, status, finished_at)
               values (%s, %s, %s, 'full_index', 'completed', now())""",
            (new_job_id(), made.id, made.owner),
        )
    return both


def test_a_user_reads_their_own_rows_through_views_and_functions(postgrest: PostgREST, two: list[Indexed]) -> None:
    """Whatever they ask for, and whomever they name; nothing of the other's comes."""
    mine, theirs = two
    rows = postgrest.rows
    assert [row["name"] for row in rows("/repository_status", mine.owner)] == ["mine"]
    assert [row["path"] for row in rows(f"/documents?select=path&repository_id=eq.{mine.id}", mine.owner)] == [*SOURCE]
    assert rows(f"/documents?repository_id=eq.{theirs.id}", mine.owner) == []
    assert len(rows("/indexing_jobs?select=id,status,progress&order=created_at.desc", mine.owner)) == 1
    found = rows("/rpc/search_symbols", mine.owner, query="cart", max_results=20)
    assert [(row["repository_name"], row["path"], row["line"]) for row in found] == [("mine", "cart.py", 1)]
    named = rows("/rpc/search_code", mine.owner, query="total", owner=str(theirs.owner))
    assert {row["repository_name"] for row in named} == {"mine"}
    assert rows("/rpc/search_code", mine.owner, query="total", repository=str(theirs.id)) == []
    assert rows("/rpc/find_callers", mine.owner, name="total")[0]["path"] == "cart.py"


def test_pages_follow_each_other_by_the_cursor(postgrest: PostgREST, two: list[Indexed]) -> None:
    """Row by row, until nothing is left."""
    mine, _ = two

    def one(after: str | None) -> list[dict[str, Any]]:
        return postgrest.rows("/rpc/search_code", mine.owner, query="cart", max_results=1, after=after)

    whole = [row["cursor"] for row in postgrest.rows("/rpc/search_code", mine.owner, query="cart")]
    paged: list[str] = []
    while page := one(paged[-1] if paged else None):
        paged += [row["cursor"] for row in page]
    assert paged == whole
    assert len(whole) == 2


def test_only_a_token_of_the_projects_key_opens_it(postgrest: PostgREST, two: list[Indexed]) -> None:
    """Without one, with an old one, with another's signature, or as nobody: no row; the service role sees all."""
    mine, _ = two
    key, forged = postgrest.key, SigningKey()
    closed = {
        "no token": None,
        "an old one": key.token(mine.owner, seconds=-60),
        "another's signature": forged.token(mine.owner),
        "a forged service role": forged.token(None, role="service_role"),
    }
    for path in ENTRANCES:
        assert {name: postgrest.ask("GET", path, token).status_code for name, token in closed.items()} == dict.fromkeys(
            closed, 401
        )
        assert postgrest.rows(path, uuid.uuid4()) == []
        assert len(postgrest.rows(path, mine.owner)) > 0
        everybody = postgrest.ask("GET", path, key.token(None, role="service_role")).json()
        assert len(everybody) == 2 * len(postgrest.rows(path, mine.owner))


def test_a_user_writes_nothing_but_their_keys(postgrest: PostgREST, two: list[Indexed]) -> None:
    """Nor does anybody reach the queue's verbs or the index behind the views."""
    mine, theirs = two
    token = postgrest.key.token(mine.owner)

    def status(method: str, path: str, **options: Any) -> int:
        return postgrest.ask(method, path, token, **options).status_code

    assert status("PATCH", f"/indexing_jobs?repository_id=eq.{mine.id}", json={"status": "queued"}) == 403
    assert status("DELETE", f"/repositories?id=eq.{mine.id}") == 403
    assert status("POST", "/webhook_deliveries", json={"repository_id": str(mine.id), "delivery_id": "x"}) == 403
    assert status("POST", "/rpc/enqueue", json={}) == 404
    assert status("GET", "/blobs", headers={"Accept-Profile": "idx"}) == 406
    key = {"key_hash": "h", "name": "laptop"}
    assert status("POST", "/api_keys", json={**key, "user_id": str(theirs.owner)}) == 403
    assert status("POST", "/api_keys", json={**key, "user_id": str(mine.owner), "rate_limit": 9_999}) == 403
    assert status("POST", "/api_keys", json={**key, "user_id": str(mine.owner)}) == 201
    assert [row["name"] for row in postgrest.rows("/api_keys?select=name", mine.owner)] == ["laptop"]
    assert status("GET", "/api_keys?select=key_hash") == 403


@pytest.mark.skipif(
    shutil.which("node") is None or not (TOOLS / "@supabase/supabase-js").exists(),
    reason="no supabase-js: scripts/setup-test-tools installs it with npm",
)
def test_the_example_runs_as_it_stands_there(postgrest: PostgREST, two: list[Indexed], db: Any, tmp_path: Path) -> None:
    """docs/examples/search.ts, with address and key filled in: supabase-js, PostgREST and ours fit together."""
    mine, _ = two
    (job,) = db.execute("select id from public.indexing_jobs where user_id = %s", (mine.owner,)).fetchall()
    (tmp_path / "node_modules").symlink_to(TOOLS)
    (tmp_path / "run.mjs").write_text(RUN_THE_EXAMPLE)
    done = subprocess.run(
        [str(shutil.which("node")), "run.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        env={
            "URL_OF_IT": postgrest.url, "TOKEN": postgrest.key.token(mine.owner), "REPOSITORY": str(mine.id),
            "JOB": str(job["id"]), "EXAMPLE": str(ROOT / "docs/examples/search.ts"),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(row["repository_name"], row["path"]) for row in told["symbols"]] == [("mine", "cart.py")]
    assert sorted(told["lines"]) == ["cart.py:1", "shop.py:1"]
    assert told["repositories"] == ["mine: pending, at no commit yet"]
    assert told["ended"] == {"status": "completed", "error_message": None}
