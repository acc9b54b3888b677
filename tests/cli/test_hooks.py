"""repo add with a token, rotate, test: webhooks set up and changed, over GitHub's API and a real receiver."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.fixtures.github_api import TOKEN, GitHub, Hook

Worker = Callable[..., Any]
Database = psycopg.Connection[dict[str, Any]]
URL = "https://github.com/acme/repo"


@pytest.fixture
def receiver(start: Callable[..., Any], settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A receiver as a process; WORKER_PUBLIC_URL is its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start("receive", "--port", str(port), CACHE_TTL_SECONDS="1")
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    monkeypatch.setenv("WORKER_PUBLIC_URL", url)
    return url


@pytest.fixture
def github(github_api: GitHub, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """GitHub's API as the commands' settings name it; its repositories are on github.com."""
    monkeypatch.setenv("WORKER_GITHUB_API_URL", github_api.url)
    monkeypatch.setenv("WORKER_GITHUB_HOOK_TOKEN", TOKEN)
    # The API of a GitHub of one's own is on its host; this one's repositories are elsewhere.
    monkeypatch.setattr("worker.settings.Settings.github_host", property(lambda _: "github.com"))
    return github_api


def _wait_for_ping(github: GitHub) -> None:
    until = time.monotonic() + 10
    while not github.pings and time.monotonic() < until:
        time.sleep(0.05)


def test_with_a_token_the_webhook_is_made_and_githubs_ping_is_taken(
    worker: Worker, github: GitHub, receiver: str, db: Database
) -> None:
    """The secret goes to GitHub alone; its first signed ping comes through, and is remembered."""
    ended = worker("repo", "add", URL, "--json")
    added = ended.json
    (hook,) = github.hooks
    assert (added["hook_id"], added["webhook_secret"]) == (hook.id, None)
    assert (hook.events, hook.active) == (["push", "repository"], True)
    assert hook.config["url"] == f"{receiver}/webhooks/github/{added['id']}"
    assert (hook.config["content_type"], hook.config["insecure_ssl"]) == ("json", "0")
    assert hook.config["secret"] not in ended.out + ended.err
    _wait_for_ping(github)
    assert github.pings == [200]
    row = db.execute("select webhook_hook_id, provider_id, webhook_last_ping_at from repositories").fetchone()
    assert row is not None
    assert (row["webhook_hook_id"], row["provider_id"]) == (hook.id, github.number)
    assert row["webhook_last_ping_at"] is not None
    assert worker("repo", "test", "repo").code == 0


def test_a_webhook_that_is_there_is_brought_in_order_not_made_twice(
    worker: Worker, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also behind the first page of a hundred."""
    monkeypatch.setenv("WORKER_PUBLIC_URL", "http://127.0.0.1:1")
    github.hooks += [Hook(n, {"url": f"https://example.org/{n}"}, ["push"]) for n in range(120)]
    first = worker("repo", "add", URL, "--json").json
    github.hooks[-1].events, github.hooks[-1].active = ["star"], False
    again = worker("repo", "add", URL)
    assert f"(webhook {first['hook_id']})" in again.out
    assert (len(github.hooks), github.hooks[-1].events, github.hooks[-1].active) == (121, ["push", "repository"], True)


@pytest.mark.parametrize(("status", "word"), [(401, "expired"), (403, "admin:repo_hook"), (422, "20 webhooks")])
def test_what_github_refuses_is_said_with_what_to_do(
    worker: Worker, github: GitHub, monkeypatch: pytest.MonkeyPatch, status: int, word: str
) -> None:
    """In GitHub's words and ours, never with the token."""
    monkeypatch.setenv("WORKER_PUBLIC_URL", "https://hooks.example.org")
    github.status = status
    ended = worker("repo", "add", URL)
    assert ended.code == 1
    assert "Server says no" in " ".join(ended.err.split())
    assert word in " ".join(ended.err.split())
    assert TOKEN not in ended.err
    by_hand = worker("repo", "add", URL, "--no-hook")
    assert by_hand.code == 0


def test_without_a_public_address_no_webhook_is_made(worker: Worker, github: GitHub, db: Database) -> None:
    """GitHub would be told to deliver to this machine's own loopback."""
    ended = worker("repo", "add", URL)
    assert (ended.code, github.asked) == (1, [])
    assert "WORKER_PUBLIC_URL" in ended.err
    assert db.execute("select count(*) as n from repositories").fetchone() == {"n": 0}


def test_rotate_tells_github_and_prints_nothing(worker: Worker, github: GitHub, receiver: str) -> None:
    """With a token nobody pastes anything, and nothing is refused in between."""
    worker("repo", "add", URL)
    before = github.hooks[0].config["secret"]
    ended = worker("repo", "rotate", "repo", "--now")
    after = github.hooks[0].config["secret"]
    assert before != after
    assert after not in ended.out
    _wait_for_ping(github)
    github.pings.clear()
    github.ping(github.hooks[0])
    assert github.pings == [200]


def test_a_secret_that_github_did_not_take_is_printed(
    worker: Worker, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one may have ended: the new one must not be lost."""
    monkeypatch.setenv("WORKER_PUBLIC_URL", "http://127.0.0.1:1")
    worker("repo", "add", URL)
    github.status = 500
    ended = worker("repo", "rotate", "repo", "--json")
    assert ended.code == 0
    assert len(ended.json["webhook_secret"]) == 64
    assert "500" in ended.err


def test_rotate_prints_the_new_secret_once(worker: Worker) -> None:
    """Each rotation makes another secret; the command's name before still works."""
    first = worker("repo", "add", URL, "--json").json["webhook_secret"]
    second = worker("repo", "rotate", "repo", "--now", "--json").json["webhook_secret"]
    third = worker("repo", "rotate-secret", "repo", "--json").json["webhook_secret"]
    assert len({first, second, third}) == 3
    assert worker("repo", "rotate").code == 2
    assert worker("repo", "rotate", "repo", "--key", "k1").code == 2


def test_a_master_key_is_retired_step_by_step(worker: Worker, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """New key in front, all repositories of the old one rotated, old one removed: nothing is refused at any step."""
    old, new = "k1=0123456789abcdef0123456789abcdef", "k2=fedcba9876543210fedcba9876543210"
    for name in ("a", "b"):
        worker("repo", "add", f"https://github.com/acme/{name}")
    monkeypatch.setenv("WORKER_MASTER_KEYS", f"{new},{old}")
    worker("repo", "add", "https://github.com/acme/c")
    rotated = worker("repo", "rotate", "--key", "k1", "--json").json
    assert [one["name"] for one in rotated] == ["a", "b"]
    rows = db.execute("select webhook_key_id, webhook_previous_key_id from repositories order by name").fetchall()
    assert [tuple(row.values()) for row in rows] == [("k2", "k1"), ("k2", "k1"), ("k2", None)]
    monkeypatch.setenv("WORKER_MASTER_KEYS", new)
    assert worker("repo", "add", "https://github.com/acme/d").code == 0
    assert worker("repo", "rotate", "--key", "k1", "--json").json == []


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("k1=ffffffffffffffffffffffffffffffff", "is another than the one of that id before"),
        ("k9=0123456789abcdef0123456789abcdef", "'k1' is not configured here"),
        ("k1=short", "at least 32"),
        ("", "WORKER_MASTER_KEYS is not set"),
    ],
)
def test_a_missing_or_wrong_master_key_stops_the_receiver_and_repo_add(
    worker: Worker, db: Database, monkeypatch: pytest.MonkeyPatch, keys: str, reason: str
) -> None:
    """It says what to do; no repository is registered with a secret that the right receiver would refuse."""
    worker("repo", "add", URL)
    monkeypatch.setenv("WORKER_MASTER_KEYS", keys)
    for command in (("receive", "--port", "0"), ("repo", "add", "https://github.com/acme/other")):
        ended = worker(*command)
        assert (ended.code, ended.out) == (1, "")
        assert reason in " ".join(ended.err.split())
        assert "hint:" in ended.err
        assert "ffffffff" not in ended.err
    assert db.execute("select count(*) as n from repositories").fetchone() == {"n": 1}


def test_a_lost_master_key_is_left_behind(worker: Worker, receiver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that the error names makes new secrets from the key there is; then everything starts."""
    worker("repo", "add", URL)
    monkeypatch.setenv("WORKER_MASTER_KEYS", "k2=fedcba9876543210fedcba9876543210")
    assert worker("repo", "add", URL).code == 1
    assert worker("repo", "rotate", "--key", "k1", "--now").code == 0
    assert worker("repo", "add", URL).code == 0


def test_a_ping_through_the_public_url_says_what_is_wrong(
    worker: Worker, receiver: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right, another secret there, nobody there, no receiver there: each in a sentence; it leaves no trace."""
    worker("repo", "add", URL)
    told = worker("repo", "test", "repo")
    assert told.code == 0
    assert "took the ping in" in told.out
    assert worker("repo", "test", "repo", "--json").json["status"] == 200
    row = db.execute("select webhook_last_ping_at, webhook_hook_id from repositories").fetchone()
    assert row == {"webhook_last_ping_at": None, "webhook_hook_id": None}
    monkeypatch.setenv("WORKER_PUBLIC_URL", f"{receiver}/somewhere")
    assert "answers 404: no receiver" in " ".join(worker("repo", "test", "repo").err.split())
    monkeypatch.setenv("WORKER_PUBLIC_URL", "http://127.0.0.1:1")
    ended = worker("repo", "test", "repo")
    assert (ended.code, "nobody answers (ConnectError)" in " ".join(ended.err.split())) == (1, True)
    assert worker("repo", "test", "repo", "--json").json["passed"] is False
    monkeypatch.setenv("WORKER_PUBLIC_URL", receiver)
    # The receiver there knows k1 alone; a secret made from a key that it does not have is refused.
    monkeypatch.setenv("WORKER_MASTER_KEYS", "k2=fedcba9876543210fedcba9876543210")
    worker("repo", "rotate", "repo", "--now")
    assert "answers 401: the receiver there has another secret" in " ".join(worker("repo", "test", "repo").err.split())


def test_secrets_are_shown_to_one_of_many_who_add_at_once(start: Callable[..., Any]) -> None:
    """Shown once means once, also for processes that meet."""
    with ThreadPoolExecutor(3) as pool:
        outs = list(pool.map(lambda _: start("repo", "add", URL, "--json").communicate()[0], range(3)))
    assert sum('"webhook_secret":null' in out.replace(" ", "") for out in outs) == 2


def test_indexing_a_branch_adds_it_to_those_tracked(
    worker: Worker, git_repository: Callable[..., Any], db: Database
) -> None:
    """The main branch stays what it was; of a new repository it becomes the main one."""
    made = git_repository("project", files={"a.py": "x = 1\n"})
    worker("repo", "add", str(made.path), "--branch", "main", "--branch", "release/*")
    worker("index", str(made.path), "--branch", "dev", "--detach")
    worker("index", str(made.path), "--branch", "release/1", "--detach")
    worker("index", str(made.path), "--branch", "dev", "--detach")
    shown = worker("repo", "show", "project", "--json").json
    assert (shown["branch"], shown["branches"]) == ("main", ["release/*", "dev"])
    refs = [
        row["ref"] for row in db.execute("select payload ->> 'ref' as ref from indexing_jobs order by id").fetchall()
    ]
    assert refs == ["refs/heads/dev", "refs/heads/release/1"]
    other = git_repository("other", files={"a.py": "x = 1\n"})
    worker("index", str(other.path), "--branch", "trunk", "--detach")
    shown = worker("repo", "show", "other", "--json").json
    assert (shown["branch"], shown["branches"]) == ("trunk", None)
