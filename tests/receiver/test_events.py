"""What each of GitHub's events means: pure decisions, one row an event."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.receiver import samples
from tests.receiver.samples import NEW, OLD
from worker.receiver.github import Change, Decision, Kind, Pause, Tracked, decide, parse_body

HERE = Tracked(
    default_branch="main", provider_id=186853002, patterns=("release/*",), address="https://github.com/acme/repo"
)
MAIN = {"ref": "refs/heads/main", "rebuild": False}


def tracked(**changes: Any) -> Tracked:
    """The repository of the samples, as it is registered here."""
    fields = {name: getattr(HERE, name) for name in HERE.__slots__}
    return Tracked(**fields | changes)


ROWS: list[tuple[str, str, dict[str, Any], Tracked, Kind, str | None]] = [
    # name, event, payload, row, what to do, a word of the reason
    ("tracked branch", "push", samples.push(), HERE, Kind.INDEX, None),
    ("tracked by pattern", "push", samples.push("refs/heads/release/2"), HERE, Kind.INDEX, None),
    ("other branch", "push", samples.push("refs/heads/feature"), HERE, Kind.IGNORE, "feature"),
    ("tag", "push", samples.push("refs/tags/v1"), HERE, Kind.IGNORE, "tag"),
    ("tag deleted", "push", samples.branch_deleted("refs/tags/v1"), HERE, Kind.IGNORE, "tag"),
    ("main branch deleted", "push", samples.branch_deleted(), HERE, Kind.IGNORE, "deleted"),
    ("further branch deleted", "push", samples.branch_deleted("refs/heads/release/2"), HERE, Kind.INDEX, None),
    ("empty push", "push", samples.push(after=OLD, commits=[]), HERE, Kind.IGNORE, "where it was"),
    ("branch created", "create", samples.create(), HERE, Kind.IGNORE, "push"),
    ("tag created", "create", samples.create("v1", "tag"), HERE, Kind.IGNORE, "push"),
    ("branch deleted event", "delete", samples.delete(), HERE, Kind.IGNORE, "push"),
    ("renamed", "repository", samples.renamed(), HERE, Kind.INDEX, None),
    ("transferred", "repository", samples.transferred(), HERE, Kind.INDEX, None),
    ("archived", "repository", samples.repository_event("archived", archived=True), HERE, Kind.UPDATE, "Archived"),
    ("unarchived", "repository", samples.repository_event("unarchived"), HERE, Kind.INDEX, None),
    ("privatized", "repository", samples.repository_event("privatized", private=True), HERE, Kind.INDEX, None),
    ("publicized", "repository", samples.repository_event("publicized"), HERE, Kind.INDEX, None),
    ("public", "public", samples.public(), HERE, Kind.INDEX, None),
    ("deleted", "repository", samples.repository_event("deleted"), HERE, Kind.UPDATE, "Deleted"),
    ("edited default branch", "repository", samples.default_branch_edited(), HERE, Kind.INDEX, None),
    (
        "edited default branch, another is tracked",
        "repository",
        samples.default_branch_edited(),
        tracked(branch="dev"),
        Kind.IGNORE,
        "dev",
    ),
    (
        "edited description",
        "repository",
        samples.repository_event("edited") | {"changes": {"description": {"from": ""}}},
        HERE,
        Kind.IGNORE,
        "Nothing",
    ),
    ("created", "repository", samples.repository_event("created"), HERE, Kind.IGNORE, "created"),
    ("no action", "repository", {"repository": samples.repository()}, HERE, Kind.IGNORE, "changed"),
    ("ping", "ping", samples.ping(), HERE, Kind.PING, None),
    ("installation", "installation", samples.installation(), HERE, Kind.IGNORE, "App"),
    ("its repositories", "installation_repositories", samples.installation_repositories(), HERE, Kind.IGNORE, "App"),
    ("unknown event", "star", {"action": "created", "repository": samples.repository()}, HERE, Kind.IGNORE, "star"),
    ("not installed", "push", samples.push(), tracked(paused=(Pause.INSTALLATION,)), Kind.IGNORE, "not installed"),
]


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize(("event", "payload", "row", "kind", "word"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_each_event_has_its_meaning(
    event: str, payload: dict[str, Any], row: Tracked, kind: Kind, word: str | None, content_type: str
) -> None:
    """From the bytes on, in both content types; what makes no work says why in a sentence."""
    body = json.dumps(payload).encode()
    if content_type.endswith("urlencoded"):
        body = urlencode({"payload": body.decode()}).encode()
    parsed = parse_body(body, content_type)
    assert not isinstance(parsed, Decision)
    decision = decide(event, parsed, row)
    assert decision.kind is kind
    assert (decision.reason is None) if word is None else (word in str(decision.reason))
    assert (decision.job_payload is not None) == (kind is Kind.INDEX)


def test_a_push_carries_what_a_worker_may_use() -> None:
    """The merged hints of all commits, and which push it was."""
    assert decide("push", samples.push(), HERE).job_payload == {
        "ref": "refs/heads/main",
        "before": OLD,
        "after": NEW,
        "forced": False,
        "deleted": False,
        "hints": {"added": ["a.py"], "modified": ["b.py"], "removed": ["old.py"]},
        "commits": 2,
        "pusher": "Codertocat",
        "rebuild": False,
    }


CHANGES: list[tuple[str, dict[str, Any], Tracked, Change | None, str]] = [
    # name, event, row, what changes in it, the branch whose job follows
    (
        "renamed",
        samples.renamed(),
        HERE,
        Change(address="https://github.com/acme/new-repo", provider_id=186853002),
        "main",
    ),
    (
        "renamed, number not known yet",
        samples.renamed("Repo"),
        tracked(provider_id=None),
        Change(address="https://github.com/acme/new-repo", provider_id=186853002),
        "main",
    ),
    (
        "transferred by an organization",
        samples.transferred("Acme"),
        tracked(provider_id=None),
        Change(address="https://github.com/other/repo", provider_id=186853002),
        "main",
    ),
    (
        "transferred by a user",
        samples.transferred("Acme", kind="user"),
        tracked(provider_id=None),
        Change(address="https://github.com/other/repo", provider_id=186853002),
        "main",
    ),
    (
        "renamed at a server of one's own",
        samples.renamed(),
        tracked(address="https://git.example.org/Acme/Repo.git"),
        Change(address="https://git.example.org/Acme/New-Repo.git", provider_id=186853002),
        "main",
    ),
    ("unarchived", samples.repository_event("unarchived"), HERE, Change(resume=(Pause.ARCHIVED,)), "main"),
    (
        "privatized",
        samples.repository_event("privatized"),
        tracked(branch="dev"),
        Change(turned_private=True),
        "dev",
    ),
    ("publicized", samples.repository_event("publicized"), HERE, None, "main"),
    ("edited", samples.default_branch_edited("trunk"), HERE, Change(default_branch="trunk"), "trunk"),
]


@pytest.mark.parametrize(("event", "row", "change", "branch"), [r[1:] for r in CHANGES], ids=[r[0] for r in CHANGES])
def test_what_happens_to_a_repository_changes_its_row_and_asks_the_server(
    event: dict[str, Any], row: Tracked, change: Change | None, branch: str
) -> None:
    """The host of its URL never changes; the job is about the branch that is tracked from now on."""
    decision = decide("repository", event, row)
    assert (decision.kind, decision.change) == (Kind.INDEX, change)
    assert decision.job_payload == {"ref": f"refs/heads/{branch}", "rebuild": False}


@pytest.mark.parametrize(
    ("event", "row"),
    [
        (samples.renamed("Another"), tracked(provider_id=None)),
        (samples.transferred("Nobody"), tracked(provider_id=None)),
        (samples.renamed(), tracked(address="file:///srv/repo")),
        (samples.renamed(), tracked(address=None)),
        (samples.renamed(), tracked(provider_id=8)),
        (samples.renamed(), tracked(is_read_by_app=True)),
    ],
)
def test_an_address_is_taken_only_from_whom_it_belongs_to(event: dict[str, Any], row: Tracked) -> None:
    """Not for a repository that cannot be told to be this one, nor by a tenant's secret where an App's tokens read."""
    decision = decide("repository", event, row)
    assert (decision.kind, decision.change) == (Kind.IGNORE, None)


def test_the_app_itself_may_tell_an_address() -> None:
    """Its deliveries are signed with a secret that no tenant has."""
    row = tracked(is_read_by_app=True)
    assert decide("repository", samples.renamed(), row, by_app=True).change is not None


@pytest.mark.parametrize(
    "full_name",
    ["a", "a/b/c", "../x", "a/..", "a/b?c", "a/b#c", "@evil.example/x", "a/b\n", "", None, 7, "a" * 101 + "/b"],
)
def test_a_name_that_is_none_changes_nothing(full_name: Any) -> None:
    """The new path goes into a URL that git is given."""
    event = samples.renamed()
    event["repository"]["full_name"] = full_name
    assert decide("repository", event, HERE).kind is Kind.MALFORMED


def test_a_push_to_what_was_archived_or_deleted_resumes_it() -> None:
    """Nobody can push there: the event that told the end of it was lost."""
    row = tracked(paused=(Pause.ARCHIVED, Pause.DELETED))
    decision = decide("push", samples.push(), row)
    assert (decision.kind, decision.change) == (Kind.INDEX, Change(resume=(Pause.ARCHIVED, Pause.DELETED)))


def test_while_the_app_is_not_installed_events_change_the_row_and_make_no_job() -> None:
    """A job would only be refused by the server."""
    row = tracked(paused=(Pause.INSTALLATION,))
    decision = decide("repository", samples.repository_event("privatized"), row)
    assert (decision.kind, decision.change) == (Kind.UPDATE, Change(turned_private=True))
