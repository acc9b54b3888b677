"""Private repositories: read with a token that nobody else gets to see, and shared with nobody."""

import base64
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from tests.fixtures.git_server import GitServer
from worker.errors import AccessDenied, GitNetworkError
from worker.git.url import RepositoryUrl, parse_repository_url
from worker.handlers.index_fetch import ask_for_tip, is_public
from worker.job import GitToken, new_job_id

TOKEN = "planted-7f3c9e21-token-of-nobody"
USER = uuid.UUID("00000000-0000-4000-8000-0000000000aa")


@pytest.fixture
def server(tmp_path: Path, git_repository) -> Iterator[GitServer]:
    """A git server whose repository `private/source.git` asks for the token."""
    git = git_repository(files={"a.py": "def secret_plan():\n    pass\n"})
    (tmp_path / "served").mkdir()
    subprocess.run(["git", "clone", "-q", "--bare", git.path, tmp_path / "served/source.git"], check=True)
    server = GitServer(tmp_path / "served")
    server.accept(TOKEN)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    server.server_close()
    thread.join()


def everything_in(database_url: str) -> str:
    """All rows of all tables of the project, as text."""
    found = []
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname in ('public', 'idx', 'queue', 'auth')"
        ).fetchall()
        for table in tables:
            rows = connection.execute(sql.SQL("select t::text from {} t").format(sql.Identifier(*table)))
            found += [row[0] for row in rows]
    return "\n".join(found)


def command_lines() -> str:
    """Of every process of this machine."""
    return "\n".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))


def test_promise_10_a_git_token_reads_one_tenants_repository_and_is_seen_nowhere(
    server, start_worker, make_repository, db, database_url, tmp_path
) -> None:
    """The operator's token: its tenant's job is done, another tenant's job on the same URL gets no token at all."""
    url = server.url(mode="private").url
    own, others = make_repository(git_url=url, user_id=USER), make_repository(git_url=url)
    for repository_id in (own, others):
        db.execute("select queue.enqueue(%s, %s, 'full_index', '{}')", (new_job_id(), repository_id))
    worker = start_worker(
        WORKER_ALLOW_PRIVATE_HOSTS="true", WORKER_USER_ID=str(USER),
        WORKER_GIT_TOKEN=TOKEN, WORKER_GIT_TOKEN_HOST=server.host,
    )  # fmt: skip
    seen, until = "", time.monotonic() + 60
    while db.execute("select from indexing_jobs where finished_at is null").fetchone() is not None:
        seen += command_lines()
        assert time.monotonic() < until
    jobs = {row["repository_id"]: row for row in db.execute("select * from indexing_jobs")}
    assert (jobs[own]["status"], jobs[own]["result"]["files"]) == ("completed", 1)
    assert (jobs[others]["status"], jobs[others]["error_class"]) == ("failed", "access_denied")
    assert {row["scope"] for row in db.execute("select distinct scope from idx.blobs")} != {0}
    encoded = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    assert any(encoded in request.get("Authorization", "") for request in server.requests)
    logs = "\n".join(
        file.read_bytes().decode(errors="replace") for file in (tmp_path / "state").rglob("*") if file.is_file()
    )
    port = worker.said("worker starts")[0]["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        metrics = answer.read().decode()
    for place in (seen, everything_in(database_url), logs, metrics, repr(worker.lines)):
        assert len(place) > 100
        assert TOKEN not in place
        assert encoded not in place


class _Context:
    """As much of a JobContext as asking for the tip needs."""

    def __init__(self, git_token: GitToken | None) -> None:
        self.git_token = git_token


def _ask(url: RepositoryUrl, token: GitToken | None) -> RepositoryUrl:
    return ask_for_tip(_Context(token), url, None)[0]  # type: ignore[arg-type]


def test_a_token_is_used_only_where_strangers_are_refused_and_only_on_its_host(server) -> None:
    """What strangers may read is read as a stranger; a token for another host is never sent."""
    assert _ask(server.url(mode="ok"), GitToken(server.host, TOKEN)).authorization is None
    assert not any("Authorization" in request for request in server.requests)
    private = server.url(mode="private")
    assert _ask(private, GitToken(server.host, TOKEN)).authorization is not None
    for token in (None, GitToken("other.example", TOKEN), GitToken(server.host, "wrong" + TOKEN)):
        with pytest.raises(AccessDenied) as refusal:
            _ask(private, token)
        assert TOKEN not in f"{refusal.value} {refusal.value.hint}"
    with pytest.raises(GitNetworkError, match="API is down"):
        _ask(private, GitToken(server.host, problem="The API is down.", passes=True))
    with pytest.raises(AccessDenied, match="no longer"):
        _ask(private, GitToken(server.host, problem="The app is no longer installed."))


def test_what_was_read_with_a_token_is_never_public() -> None:
    """The public scope is shared by all tenants: only what strangers may read gets there."""
    url = parse_repository_url("https://github.com/acme/secret")
    assert is_public(url)
    assert not is_public(url.with_token("github.com", TOKEN))
    assert not is_public(parse_repository_url("https://github.com/acme/secret", allow_private_hosts=True))
    assert TOKEN not in repr(url.with_token("github.com", TOKEN))
    for host, token in (("gitlab.com", TOKEN), ("github.com.evil.example", TOKEN), ("github.com", "a\nHost: x")):
        with pytest.raises(AccessDenied):
            url.with_token(host, token)
