"""The tip of a branch, asked of real repositories over file:// and of a real HTTP server in all its moods."""

import socket
import subprocess
import time

import pytest

from worker.errors import (
    AccessDenied,
    BranchNotFound,
    EmptyRepository,
    Forbidden,
    GitNetworkError,
    GitPermanentError,
    GitTimeout,
    RateLimited,
    RepositoryNotFound,
    ServerBusy,
)
from worker.git.branches import is_branch_name
from worker.git.fetch import fetch_commit
from worker.git.probe import asked_to_wait
from worker.git.resolve import Tip, resolve_tip
from worker.git.url import RepositoryUrl, parse_repository_url

pytestmark = pytest.mark.usefixtures("no_git_left")


def test_the_default_branch_is_what_head_points_to(source, server) -> None:
    """Without a branch the server's HEAD decides, over file and HTTP alike."""
    tip = Tip("main", source.commit({"a": b"1"}), "main")
    assert resolve_tip(source.url, None) == tip
    assert resolve_tip(server.url(), None) == tip
    assert server.requests[0]["Git-Protocol"] == "version=2"


def test_a_named_branch_is_resolved_beside_the_default_one(source, server) -> None:
    """Only the exact branch counts: neither a tag, nor a longer name, nor one below other refs."""
    main = source.commit({"a": b"1"})
    work = source.commit({"a": b"2"}, branch="work")
    source.git("tag", "-am", "annotated", "work", main)
    for decoy in ("refs/heads/team/work", "refs/heads/refs/heads/work", "refs/remotes/refs/heads/work"):
        source.git("update-ref", decoy, main)
    for url in (source.url, server.url()):
        assert resolve_tip(url, "work") == Tip("work", work, "main")


@pytest.mark.parametrize("how", [["tag", "v1"], ["tag", "-am", "annotated", "v1"]])
def test_a_tag_is_no_branch_and_the_sentence_says_what_to_do(source, server, how: list[str]) -> None:
    """Somebody who names a tag learns that it is one, and a tag below another name is none of that name."""
    source.commit({"a": b"1"})
    source.git(*how)
    source.git("tag", "team/v2")
    for url in (source.url, server.url()):
        with pytest.raises(BranchNotFound, match=r"no branch v1\. v1 is a tag: put a branch on its commit"):
            resolve_tip(url, "v1")
        with pytest.raises(BranchNotFound, match=r"no branch v2\.$"):
            resolve_tip(url, "v2")


def test_a_renamed_default_branch_and_a_force_push_are_seen(source) -> None:
    """The answer is of now: nothing of an earlier one is remembered."""
    source.commit({"a": b"1"}, parent=source.commit({"a": b"0"}))
    source.git("branch", "-m", "main", "trunk")
    source.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    forced = source.commit({"b": b"2"}, branch="trunk")
    assert resolve_tip(source.url, None) == Tip("trunk", forced, "trunk")
    with pytest.raises(BranchNotFound, match="no branch main"):
        resolve_tip(source.url, "main")


def test_a_repository_without_commits_is_empty(source, server) -> None:
    """An unborn HEAD is no error of the network, whichever branch is asked for."""
    for url in (source.url, server.url()):
        for branch in (None, "main"):
            with pytest.raises(EmptyRepository):
                resolve_tip(url, branch)


def test_an_unborn_head_beside_other_branches(source) -> None:
    """HEAD may point to a branch nobody pushed: it is empty, the others are not."""
    work = source.commit({"a": b"1"}, branch="work")
    with pytest.raises(EmptyRepository):
        resolve_tip(source.url, None)
    assert resolve_tip(source.url, "work") == Tip("work", work, None)


def test_a_detached_head_can_be_followed(source) -> None:
    """A checkout of a CI run is on no branch; it goes by the name HEAD, in the answer and in the next question."""
    commit = source.commit({"a": b"1"})
    source.git("update-ref", "--no-deref", "HEAD", commit)
    tip = resolve_tip(source.url, None)
    assert tip == Tip("HEAD", commit, None)
    assert resolve_tip(source.url, tip.branch) == tip


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("401", AccessDenied),
        ("403", Forbidden),
        ("404", RepositoryNotFound),
        ("410", RepositoryNotFound),
        ("301", GitPermanentError),
        ("302", GitPermanentError),
        ("307", GitPermanentError),
        ("308", GitPermanentError),
        ("429", RateLimited),
        ("500", GitNetworkError),
        ("503", ServerBusy),
    ],
)
def test_an_http_status_becomes_its_error(source, server, mode: str, error: type[Exception]) -> None:
    """The class says whether a retry helps; the sentence names the URL and no more of git's text than needed."""
    source.commit({"a": b"1"})
    with pytest.raises(error) as problem:
        resolve_tip(server.url(mode=mode), "main")
    assert type(problem.value) is error
    assert f"/{mode}/source.git" in str(problem.value)


@pytest.mark.parametrize(
    ("mode", "headers", "seconds"),
    [
        ("429", {"Retry-After": "17"}, 17),
        ("403", {"Retry-After": "90"}, 90),
        ("503", {"Retry-After": "5"}, 5),
        ("429", {"Retry-After": "999999"}, 3600),
        ("429", {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 1),
        ("403", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, 1),
        ("429", {"Retry-After": "soon"}, 60),
        ("429", {}, 60),
    ],
)
def test_a_server_that_asks_to_wait_is_obeyed(source, server, mode: str, headers: dict[str, str], seconds: int) -> None:
    """The job is put off for that long, at no cost, and the question is put to the same URL once more only."""
    source.commit({"a": b"1"})
    server.headers = headers
    with pytest.raises(RateLimited) as problem:
        resolve_tip(server.url(mode=mode), "main")
    assert problem.value.seconds == seconds
    assert len(server.requests) <= 2
    assert {request["path"] for request in server.requests} == {f"/{mode}/source.git/info/refs?service=git-upload-pack"}


def test_a_403_without_a_time_is_final(source, server) -> None:
    """GitHub says 403 of a spent limit too, but then it says when to come back."""
    source.commit({"a": b"1"})
    server.headers = {"X-RateLimit-Remaining": "12", "X-RateLimit-Reset": "99999999999"}
    with pytest.raises(Forbidden) as problem:
        resolve_tip(server.url(mode="403"), "main")
    assert not problem.value.retryable


def test_a_fetch_that_is_turned_away_waits_too(source, server, git_dir) -> None:
    """Between the question and the fetch a limit may be spent."""
    commit = source.commit({"a": b"1"})
    server.headers = {"Retry-After": "30"}
    with pytest.raises(RateLimited) as problem:
        fetch_commit(server.url(mode="429"), commit, git_dir, max_bytes=10_000, timeout=30)
    assert problem.value.seconds == 30


def test_who_is_asked_to_wait_asks_the_judged_address_alone(source, server, monkeypatch) -> None:
    """Row 3 holds for the second question: a name that points inside by then is not asked, and git's words count."""
    source.commit({"a": b"1"})
    server.headers = {"Retry-After": "30"}
    inside = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.server_address[1]))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: inside)
    url = f"http://pinned.invalid:{server.server_address[1]}/429/source.git"
    for private, asked, seconds in ((True, 1, 30), (False, 0, 60)):
        server.requests.clear()
        named = RepositoryUrl(url, "http", "pinned.invalid", server.server_address[1], "s", private)
        refusal = asked_to_wait(named, RateLimited("Too often."))
        assert isinstance(refusal, RateLimited)
        assert (len(server.requests), refusal.seconds) == (asked, seconds)


def test_a_redirect_is_never_followed(source, server) -> None:
    """A public server could redirect git to a private one."""
    source.commit({"a": b"1"})
    with pytest.raises(GitPermanentError, match="redirects"):
        resolve_tip(server.url(mode="301"), None)
    assert [request["path"].split("/")[1] for request in server.requests] == ["301"]


def test_an_unknown_repository_is_not_found(server, tmp_path) -> None:
    """A real server's 404, and a folder that stopped being a repository."""
    with pytest.raises(RepositoryNotFound):
        resolve_tip(server.url("other.git"), None)
    with pytest.raises(RepositoryNotFound):
        resolve_tip(RepositoryUrl(tmp_path.as_uri(), "file", None, None, "x"), None)


def test_a_silent_server_is_a_timeout(server) -> None:
    """A server that accepts and says nothing costs the limit and no more, and leaves no process."""
    started = time.monotonic()
    with pytest.raises(GitTimeout, match=r"longer than 0\.5 seconds"):
        resolve_tip(server.url(mode="hang"), None, timeout=0.5)
    assert time.monotonic() - started < 3


def test_a_closed_port_is_a_network_error() -> None:
    """Nobody listens: a retry may help."""
    url = parse_repository_url("http://127.0.0.1:1/a", allow_private_hosts=True)
    with pytest.raises(GitNetworkError, match="could not be reached"):
        resolve_tip(url, None)


def test_sha256_repositories_are_refused_in_words(tmp_path) -> None:
    """Their object names do not fit our columns; better a sentence now than a broken index later."""
    work = tmp_path / "sha256"
    subprocess.run(["git", "init", "-q", "--object-format=sha256", work], check=True)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", work, *who, "commit", "-qm", "x", "--allow-empty"], check=True)
    with pytest.raises(GitPermanentError, match="SHA-256"):
        resolve_tip(parse_repository_url(str(work), allow_local=True), None)


OPTIONS = ["--upload-pack=touch /tmp/x", "-u", "--exec=x", "--", "-"]
NO_BRANCHES = [*OPTIONS, "", "a b", "a..b", "a:b", "a^", "a~1", "*", "a?", "[a", "a\\b", "a\nb", "a\0", "/a", "a/"]
NO_BRANCHES += ["a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "@{1}", "@", "\udc80", "a" * 300]


@pytest.mark.parametrize("branch", NO_BRANCHES)
def test_what_cannot_be_a_branch_never_reaches_git(source, branch: str) -> None:
    """Options, patterns, revisions and refspecs are not branch names."""
    source.commit({"a": b"1"})
    with pytest.raises(BranchNotFound):
        resolve_tip(source.url, branch)


@pytest.mark.parametrize("branch", ["a", "a/b", "v1.0", "feature/ü-1", "a@b", "a-", "locks", "refs/heads/x", "{a}"])
def test_what_git_allows_is_a_branch_name(source, branch: str) -> None:
    """Our rules refuse no branch that git itself would create."""
    source.git("check-ref-format", "--branch", branch)
    assert is_branch_name(branch)
    commit = source.commit({"a": b"1"}, branch=branch)
    assert resolve_tip(source.url, branch).commit == commit
