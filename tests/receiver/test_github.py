"""What GitHub's events mean: decisions on real and on broken payloads."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from worker.receiver.github import MOST_HINTS, Change, Decision, Kind, Tracked, decide, parse_body
from worker.receiver.stored import stored_headers, stored_payload

PAYLOADS = Path(__file__).parent / "payloads"
OLD, NEW, NONE = "a" * 40, "b" * 40, "0" * 40


def _real(name: str) -> dict[str, Any]:
    return json.loads((PAYLOADS / f"{name}.json").read_text())


def _push(ref: str = "refs/heads/main", **changes: Any) -> dict[str, Any]:
    return {
        "ref": ref,
        "before": OLD,
        "after": NEW,
        "created": False,
        "deleted": False,
        "forced": False,
        "commits": [],
        "repository": {"id": 7, "default_branch": "main"},
    } | changes


def _commit(**paths: list[str]) -> dict[str, Any]:
    return {"id": NEW, "added": [], "modified": [], "removed": []} | paths


def _payload(decision: Decision) -> dict[str, Any]:
    assert decision.kind is Kind.INDEX, decision
    assert decision.job_payload is not None
    return dict(decision.job_payload)


def test_githubs_first_push_is_indexed() -> None:
    """The push that creates the tracked branch starts from nothing: before is null."""
    payload = _payload(decide("push", _real("push-created"), Tracked()))
    assert payload == {
        "ref": "refs/heads/master",
        "after": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "before": None,
        "forced": False,
        "deleted": False,
        "hints": {"added": ["README.md"], "modified": [], "removed": []},
        "commits": 1,
        "pusher": "Codertocat",
        "rebuild": False,
    }


@pytest.mark.parametrize(
    ("event", "name", "kind"),
    [
        ("ping", "ping", Kind.PING),
        ("ping", "ping-organization", Kind.PING),
        ("push", "push-tag-deleted", Kind.IGNORE),
        ("create", "create", Kind.IGNORE),
        ("repository", "repository-renamed", Kind.IGNORE),
    ],
)
def test_githubs_other_events(event: str, name: str, kind: Kind) -> None:
    """Real bodies of events that start no job."""
    decision = decide(event, _real(name), Tracked())
    assert decision.kind is kind
    assert (decision.reason is None) == (kind is Kind.PING)


@pytest.mark.parametrize(
    ("tracked", "branch"),
    [
        (Tracked(), "main"),
        (Tracked(default_branch="trunk"), "trunk"),
        (Tracked(branch="release/1", default_branch="trunk"), "release/1"),
    ],
)
def test_the_tracked_branch(tracked: Tracked, branch: str) -> None:
    """The owner's choice of branch comes before the known default branch, and that before the push's own."""
    assert _payload(decide("push", _push(f"refs/heads/{branch}"), tracked))["ref"] == f"refs/heads/{branch}"
    other = decide("push", _push("refs/heads/other"), tracked)
    assert other == Decision(Kind.IGNORE, f"The push is to branch other; this repository tracks {branch}.")


FURTHER = Tracked(default_branch="main", patterns=("dev", "release/*", "team/**"))


@pytest.mark.parametrize(
    ("branch", "kind"),
    [
        ("main", Kind.INDEX),
        ("dev", Kind.INDEX),
        ("release/1", Kind.INDEX),
        ("release/1/fix", Kind.IGNORE),
        ("release/", Kind.INDEX),
        ("team/a/b", Kind.INDEX),
        ("devel", Kind.IGNORE),
        ("other", Kind.IGNORE),
    ],
)
def test_further_branches_are_tracked_by_name_and_pattern(branch: str, kind: Kind) -> None:
    """One star stops at a slash, two do not."""
    assert decide("push", _push(f"refs/heads/{branch}"), FURTHER).kind is kind


def test_a_further_branch_that_was_deleted_is_removed_by_its_job() -> None:
    """The job asks the server; the main branch stays as it was."""
    payload = _payload(decide("push", _push("refs/heads/release/1", deleted=True, after=NONE), FURTHER))
    assert (payload["deleted"], payload["after"], payload["before"]) == (True, None, OLD)
    assert decide("push", _push(deleted=True, after=NONE), FURTHER).kind is Kind.IGNORE


def test_a_default_branch_that_was_renamed_is_tracked_under_its_new_name() -> None:
    """The row still has the old one."""
    push = _push("refs/heads/trunk", repository={"id": 7, "default_branch": "trunk"})
    assert decide("push", push, Tracked(default_branch="main")).kind is Kind.INDEX
    assert decide("push", push, Tracked(branch="main")).kind is Kind.IGNORE


@pytest.mark.parametrize(("action", "private"), [("privatized", True), ("publicized", False)])
def test_a_change_of_visibility_enqueues_a_job_that_asks_the_server(action: str, private: bool) -> None:
    """It is about the main branch; the pool is closed at once, and opened by the job alone."""
    event = _real("repository-renamed") | {"action": action}
    decision = decide("repository", event, Tracked(branch="dev"))
    assert (_payload(decision)["ref"], decision.change == Change(turned_private=True)) == ("refs/heads/dev", private)


@pytest.mark.parametrize(
    ("push", "word"),
    [
        (_push(deleted=True, after=NONE), "deleted"),
        (_push("refs/tags/v1"), "tag"),
        (_push("refs/heads/feature"), "feature"),
        (_push("refs/notes/commits"), "no branch"),
    ],
)
def test_pushes_without_work_say_why(push: dict[str, Any], word: str) -> None:
    """Deletions, tags and other branches are ignored in words that a person understands."""
    decision = decide("push", push, Tracked())
    assert decision.kind is Kind.IGNORE
    assert word in str(decision.reason)


def test_hints_join_all_commits_and_name_each_path_once() -> None:
    """The hints of a push are the union over its commits."""
    commits = [_commit(added=["a", "b"]), _commit(added=["b"], modified=["c"]), _commit(removed=["d", "d"])]
    hints = _payload(decide("push", _push(commits=commits), Tracked()))["hints"]
    assert hints == {"added": ["a", "b"], "modified": ["c"], "removed": ["d"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"commits": [_commit(added=[f"{number}" for number in range(MOST_HINTS + 1)])]},
        {"commits": [_commit(added=[f"{part}/{n}" for n in range(1500)]) for part in range(3)]},
        {"commits": [_commit()] * 2048},
        {"commits": None},
        {"commits": ["x"]},
        {"commits": [_commit(added=["nul\0"])]},
        {"commits": [_commit(added=["\ud800"])]},
        {"commits": [_commit(added=[1])]},  # type: ignore[list-item]
        {"forced": True, "commits": [_commit(added=["a"])]},
    ],
)
def test_hints_that_cannot_be_trusted_are_unknown(changes: dict[str, Any]) -> None:
    """Too many, cut, odd or forced: the job is told nothing rather than half, and git decides."""
    assert _payload(decide("push", _push(**changes), Tracked()))["hints"] == "unknown"


def test_as_many_hints_as_allowed_are_kept() -> None:
    """The cap counts paths, not mentions."""
    commit = _commit(modified=[str(number) for number in range(MOST_HINTS)])
    hints = _payload(decide("push", _push(commits=[commit, commit]), Tracked()))["hints"]
    assert len(hints["modified"]) == MOST_HINTS


def test_a_secret_used_for_another_repository_changes_nothing_here() -> None:
    """The numeric id decides which repository a webhook belongs to, for every event."""
    for event in ("push", "ping", "create"):
        decision = decide(event, _push(), Tracked(provider_id=8))
        assert decision.kind is Kind.IGNORE
        assert "another GitHub repository" in str(decision.reason)
    assert decide("push", _push(), Tracked(provider_id=7)).kind is Kind.INDEX


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": None},
        {"ref": "main"},
        {"ref": "refs/heads/" + "x" * 300},
        {"ref": "refs/heads/a\0b"},
        {"after": "HEAD"},
        {"after": None},
        {"before": NEW.upper()},
        {"after": NEW + "\n"},
        {"repository": None},
    ],
)
def test_a_push_without_its_facts_is_malformed(changes: dict[str, Any]) -> None:
    """What the job needs is checked here, with a sentence for the sender."""
    decision = decide("push", _push(**changes), Tracked())
    assert decision.kind is Kind.MALFORMED
    assert decision.reason


def test_both_content_types_carry_the_same_payload() -> None:
    """GitHub sends JSON or a form with one field, as the webhook is set up."""
    payload = _real("push-created")
    form = urlencode({"payload": json.dumps(payload)}).encode()
    assert parse_body(json.dumps(payload).encode(), "application/json") == payload
    assert parse_body(form, "application/x-www-form-urlencoded; charset=utf-8") == payload


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"[]", "application/json"),
        (b"nul", None),
        (b"[" * 100_000, "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"1" * 5000, "application/json"),
        (b"a=b", "application/x-www-form-urlencoded"),
        (b"payload=%7B", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=b"] * 50), "application/x-www-form-urlencoded"),
        ("payload=é".encode(), "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_cannot_be_read_is_malformed(body: bytes, content_type: str | None) -> None:
    """Bytes of any kind get a clear answer."""
    decision = parse_body(body, content_type)
    assert isinstance(decision, Decision)
    assert decision.kind is Kind.MALFORMED


_names = st.sampled_from(
    ["ref", "before", "after", "commits", "repository", "default_branch", "id", "added", "deleted"]
)
_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_likely = st.sampled_from([OLD, NEW, NONE, "refs/heads/main", "refs/tags/x", "main"])
_json = st.recursive(
    _leaves | _likely,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names | st.text(), inner),
    max_leaves=15,
)


@given(st.sampled_from(["push", "ping", "create", "\0"]), st.dictionaries(_names, _json))
@example("push", _push(commits=[{"added": {}}]))
def test_no_payload_raises(event: str, payload: dict[str, Any]) -> None:
    """Whatever JSON comes, there is a decision, and what is kept of it can be stored."""
    decision = decide(event, payload, Tracked())
    assert decision.reason or decision.kind in (Kind.INDEX, Kind.PING)
    kept = stored_payload(payload, b"")
    json.dumps(kept, allow_nan=False).encode()
    Jsonb(kept)


@given(st.binary(max_size=200), st.sampled_from(["application/json", "application/x-www-form-urlencoded", None, ";"]))
def test_no_body_raises(body: bytes, content_type: str | None) -> None:
    """Whatever bytes come, there is an answer."""
    assert isinstance(parse_body(body, content_type), dict | Decision)


def test_what_is_kept_of_a_post_is_small_and_holds_no_secret() -> None:
    """Commit messages, addresses and unknown headers are not stored; size and hash of the whole are."""
    payload = _real("push-created")
    body = json.dumps(payload).encode()
    kept = stored_payload(payload, body)
    assert len(json.dumps(kept)) < 700
    assert kept["body_bytes"] == len(body)
    assert len(kept["body_sha256"]) == 64
    assert kept["repository"]["id"] == 186853002
    assert kept["commits"] == 1
    assert "noreply" not in json.dumps(kept)
    headers = {"authorization": "Bearer x", "cookie": "y", "x-hub-signature": "z", "user-agent": "GitHub-Hookshot/1"}
    assert stored_headers(headers) == {"user-agent": "GitHub-Hookshot/1"}
