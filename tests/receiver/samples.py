"""Bodies of GitHub's events in GitHub's shapes, cut to the fields that a reader of them may look at."""

from typing import Any

OLD, NEW, NONE = "a" * 40, "b" * 40, "0" * 40
SENDER = {"login": "Codertocat", "id": 21031067, "type": "User", "site_admin": False}


def repository(full_name: str = "Acme/Repo", **changes: Any) -> dict[str, Any]:
    """The repository of an event."""
    owner, _, name = full_name.partition("/")
    return {
        "id": 186853002,
        "node_id": "MDEwOlJlcG9zaXRvcnkxODY4NTMwMDI=",
        "name": name,
        "full_name": full_name,
        "private": False,
        "owner": {"login": owner, "id": 38302899, "type": "Organization"},
        "html_url": f"https://github.com/{full_name}",
        "fork": False,
        "created_at": "2019-05-15T15:19:25Z",
        "updated_at": "2019-05-15T15:20:57Z",
        "pushed_at": "2019-05-15T15:20:56Z",
        "git_url": f"git://github.com/{full_name}.git",
        "ssh_url": f"git@github.com:{full_name}.git",
        "clone_url": f"https://github.com/{full_name}.git",
        "size": 0,
        "archived": False,
        "disabled": False,
        "default_branch": "main",
    } | changes


def commit(identity: str = NEW, **paths: list[str]) -> dict[str, Any]:
    """One commit of a push."""
    return {
        "id": identity,
        "tree_id": "f" * 40,
        "distinct": True,
        "message": "Update README.md",
        "timestamp": "2019-05-15T15:20:41Z",
        "url": f"https://github.com/Acme/Repo/commit/{identity}",
        "author": {"name": "Codertocat", "email": "x@users.noreply.github.com", "username": "Codertocat"},
        "committer": {"name": "Codertocat", "email": "x@users.noreply.github.com", "username": "Codertocat"},
        "added": [],
        "removed": [],
        "modified": [],
    } | paths


def push(ref: str = "refs/heads/main", **changes: Any) -> dict[str, Any]:
    """A push of two commits."""
    commits = [commit("c" * 40, added=["a.py"], modified=["b.py"]), commit(added=["a.py"], removed=["old.py"])]
    return {
        "ref": ref,
        "before": OLD,
        "after": NEW,
        "repository": repository() | {"master_branch": "main", "stargazers": 0},
        "pusher": {"name": "Codertocat", "email": "x@users.noreply.github.com"},
        "sender": SENDER,
        "created": False,
        "deleted": False,
        "forced": False,
        "base_ref": None,
        "compare": "https://github.com/Acme/Repo/compare/aaa...bbb",
        "commits": commits,
        "head_commit": commits[-1],
    } | changes


def branch_deleted(ref: str = "refs/heads/main") -> dict[str, Any]:
    """The push that deletes a branch or a tag."""
    return push(ref, after=NONE, deleted=True, commits=[], head_commit=None)


def create(ref: str = "feature", ref_type: str = "branch") -> dict[str, Any]:
    """A branch or tag was made."""
    return {
        "ref": ref,
        "ref_type": ref_type,
        "master_branch": "main",
        "description": None,
        "pusher_type": "user",
        "repository": repository(),
        "sender": SENDER,
    }


def delete(ref: str = "feature", ref_type: str = "branch") -> dict[str, Any]:
    """A branch or tag was deleted."""
    return {"ref": ref, "ref_type": ref_type, "pusher_type": "user", "repository": repository(), "sender": SENDER}


def repository_event(action: str, full_name: str = "Acme/Repo", **changes: Any) -> dict[str, Any]:
    """What happened to a repository; `changes` are those of the repository after it."""
    return {"action": action, "repository": repository(full_name, **changes), "sender": SENDER}


def renamed(before: str = "Repo", full_name: str = "Acme/New-Repo") -> dict[str, Any]:
    """`before` is the old name without its owner."""
    return repository_event("renamed", full_name) | {"changes": {"repository": {"name": {"from": before}}}}


def transferred(giver: str = "Acme", full_name: str = "Other/Repo", *, kind: str = "organization") -> dict[str, Any]:
    """`giver` is the owner before, a user or an organization."""
    return repository_event("transferred", full_name) | {
        "changes": {"owner": {"from": {kind: {"login": giver, "id": 1}}}}
    }


def default_branch_edited(branch: str = "trunk") -> dict[str, Any]:
    """Another branch is the default one."""
    changes = {"default_branch": {"from": "main"}}
    return repository_event("edited", default_branch=branch) | {"changes": changes}


def public() -> dict[str, Any]:
    """A private repository was made public: GitHub's older event for it."""
    return {"repository": repository(), "sender": SENDER}


def ping(events: tuple[str, ...] = ("push", "repository"), kind: str = "Repository") -> dict[str, Any]:
    """The first delivery of a new webhook."""
    return {
        "zen": "Anything added dilutes everything else.",
        "hook_id": 109948940,
        "hook": {
            "type": kind,
            "id": 109948940,
            "name": "web",
            "active": True,
            "events": list(events),
            "config": {"content_type": "json", "url": "https://hooks.example.org/", "insecure_ssl": "0"},
            "updated_at": "2019-05-15T15:20:49Z",
            "created_at": "2019-05-15T15:20:49Z",
        },
        "repository": repository(),
        "sender": SENDER,
    }


def installation(action: str = "created", number: int = 957387, **changes: Any) -> dict[str, Any]:
    """The GitHub App was installed, or removed, or suspended."""
    listed = [{"id": 186853002, "node_id": "x", "name": "Repo", "full_name": "Acme/Repo", "private": False}]
    return {
        "action": action,
        "installation": {
            "id": number,
            "account": {"login": "Acme", "id": 38302899, "type": "Organization"},
            "repository_selection": "selected",
            "app_id": 29310,
            "target_type": "Organization",
            "permissions": {"contents": "read", "metadata": "read"},
            "events": ["push", "repository"],
        },
        "repositories": listed,
        "sender": SENDER,
    } | changes


def installation_repositories(action: str = "added", number: int = 957387, **changes: Any) -> dict[str, Any]:
    """Repositories came to an installation, or left it."""
    listed = [{"id": 186853002, "node_id": "x", "name": "Repo", "full_name": "Acme/Repo", "private": False}]
    return {
        "action": action,
        "installation": installation(number=number)["installation"],
        "repository_selection": "selected",
        "repositories_added": listed if action == "added" else [],
        "repositories_removed": listed if action == "removed" else [],
        "requester": None,
        "sender": SENDER,
    } | changes
