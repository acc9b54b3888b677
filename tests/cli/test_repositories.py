"""repo add, list, show, remove, rotate; and search in what is not indexed."""

import re
import sys
from collections.abc import Callable
from io import StringIO
from itertools import product
from typing import Any

import pytest

Worker = Callable[..., Any]
GitRepository = Callable[..., Any]
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


def test_add_prints_what_github_wants(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Payload URL and secret, once; for a second spelling of the same repository all but the secret."""
    monkeypatch.setenv("WORKER_PUBLIC_URL", "https://hooks.example.org/")
    first = worker("repo", "add", "https://github.com/Pallets/Flask.git", "--json").json
    assert first["created"] is True
    assert first["webhook_url"] == f"https://hooks.example.org/webhooks/github/{first['id']}"
    again = worker("repo", "add", "https://github.com/pallets/flask")
    assert f"Repository {first['id']} is registered." in again.out
    assert first["webhook_secret"] not in again.out
    assert "Secret        was shown when it was made" in again.out
    assert worker("repo", "add", "https://github.com/pallets/flask", "--json").json["webhook_secret"] is None
    fresh = worker("repo", "add", "https://github.com/pallets/click").out
    for line in (
        "On GitHub: https://github.com/pallets/click/settings/hooks/new, and paste:",
        "  Payload URL   https://hooks.example.org/webhooks/github/",
        "  Content type  application/json\n",
        "  Events        Let me select individual events: Pushes, Repositories\n",
    ):
        assert line in fresh
    assert re.search("  Secret        [0-9a-f]{64}\n", fresh)


def test_several_branches_may_be_tracked(worker: Worker) -> None:
    """The first one that is no pattern is the main branch; naming others replaces those before."""
    url = "https://github.com/pallets/flask"
    worker("repo", "add", url, "--branch", "release/*", "--branch", "stable", "--branch", "dev")
    shown = worker("repo", "show", "flask", "--json").json
    assert (shown["branch"], shown["branches"]) == ("stable", ["release/*", "dev"])
    worker("repo", "add", url, "--branch", "main")
    shown = worker("repo", "show", "flask", "--json").json
    assert (shown["branch"], shown["branches"]) == ("main", [])


REFUSED = {
    "http://github.com/a/b": "use https",
    "https://127.0.0.1/a/b": "is not a public address",
    "https://localhost/a/b": "localhost",
    "git@github.com:a/b.git": "read over https only",
    "ssh://git@github.com/a/b": "over https only",
    f"https://{TOKEN}@github.com/a/b": "user or password",
    f"https://me:{TOKEN}@github.com/a/b": "user or password",
    f"https://github.com/a/b?token={TOKEN}": "query",
    "/nonexistent": "no folder of that name",
    ".": "not a git repository",
    "": "empty",
}


def test_urls_that_are_refused(worker: Worker) -> None:
    """The reason is said with exit code 1, a token in the URL is not, and nothing is registered."""
    for (url, reason), command in product(REFUSED.items(), (("repo", "add"), ("index",), ("demo",))):
        ended = worker(*command, url)
        assert (ended.code, ended.out) == (1, "")
        assert reason in " ".join(ended.err.split())
        assert TOKEN not in ended.err
    assert worker("repo", "list", "--json").json == []


def test_local_repositories_are_refused_where_they_are_not_allowed(
    worker: Worker, git_repository: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shared database a tenant must not read the server's disk."""
    monkeypatch.delenv("WORKER_ALLOW_LOCAL_REPOSITORIES")
    ended = worker("repo", "add", str(git_repository(files={"a.py": ""}).path))
    assert ended.code == 1
    assert "Only https:// URLs" in ended.err


def test_whose_repository(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without WORKER_USER_ID, or with a user that does not exist, nothing is registered."""
    monkeypatch.setenv("WORKER_USER_ID", "00000000-0000-4000-8000-000000000bad")
    assert "There is no user" in worker("repo", "add", "https://github.com/a/b").err
    monkeypatch.delenv("WORKER_USER_ID")
    ended = worker("repo", "add", "https://github.com/a/b")
    assert ended.code == 1
    assert "WORKER_USER_ID" in ended.err


def test_a_repository_is_found_by_what_people_call_it(worker: Worker, git_repository: GitRepository) -> None:
    """By name, URL in any spelling, path, path of a folder below its top, and either end of its id."""
    made = git_repository("project", files={"src/a.py": "x = 1\n"})
    repository_id = worker("repo", "add", str(made.path / "src"), "--json").json["id"]
    for text in ("project", made.url, str(made.path), str(made.path / "src"), repository_id[:8], repository_id[-12:]):
        assert worker("repo", "show", text, "--json").json["id"] == repository_id
    assert f"git url                     {made.url}" in worker("repo", "show", "project").out
    for text in ("nope", "%", ""):
        ended = worker("repo", "show", text)
        assert (ended.code, ended.out) == (1, "")
        assert f"There is no repository {text!r}." in ended.err


def test_remove_asks(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a yes, or --yes, deletes; the question is not among the output."""
    worker("repo", "add", "https://github.com/a/b")
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", StringIO(answer))
        ended = worker("repo", "remove", "b")
        assert (ended.code, ended.out) == (1, "")
        assert "Delete b (" in ended.err
    assert len(worker("repo", "list", "--json").json) == 1
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    assert worker("repo", "remove", "b").out == "Removed b.\n"
    worker("repo", "add", "https://github.com/a/b")
    assert worker("repo", "remove", "b", "--yes", "--json").json["name"] == "b"
    assert worker("repo", "list").out == ""


def test_nothing_found_exits_1_as_grep_does(worker: Worker) -> None:
    """Scripts can ask whether something is there."""
    for command, query in (("search", "nothing"), ("symbols", "Nothing")):
        ended = worker(command, query)
        assert (ended.code, ended.out) == (1, "")
        assert "Nothing found" in ended.err
        as_json = worker(command, query, "--json")
        assert (as_json.code, as_json.json) == (1, [])


def test_a_query_that_is_too_short(worker: Worker) -> None:
    """The database's own sentence, without a traceback."""
    for command, query in (("search", "ab"), ("search", ""), ("symbols", "")):
        ended = worker(command, query)
        assert (ended.code, ended.out) == (1, "")
        assert "must have" in ended.err
        assert "Traceback" not in ended.err
