"""repo rotate, test: a repository's webhook, its secret, and whether they fit together."""

import json as json_module
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import psycopg
import typer

from worker.cli import looks
from worker.cli.github_hooks import EVENTS, hooks_of
from worker.cli.looks import print_json
from worker.cli.repositories import Which, find_repository, webhook_url
from worker.cli.state import Json, State, open_state
from worker.errors import GitHubApiError, WorkerError

Connection = psycopg.Connection[dict[str, Any]]

SECONDS = 10
"""GitHub gives a delivery up after this."""

_OF_KEY = """
select id from public.repositories
where webhook_key_id = %(key)s and (%(user)s::uuid is null or user_id = %(user)s) order by name, id"""
_HOOK = "select id, name, git_url, webhook_hook_id from public.repositories where id = %s"
_MEANINGS = {
    401: "the receiver there has another secret for this repository, other master keys, or another database",
    404: "no receiver answers at that address; is it the right one, without a path in front?",
    413: "something in front of the receiver refuses the body",
    503: "the receiver answers, but cannot reach its Postgres",
}


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command("rotate")(rotate)
    app.command("rotate-secret", hidden=True)(rotate)  # its name before
    app.command("test")(send_ping)


def rotate(
    repository: Annotated[
        str | None, typer.Argument(metavar="REPOSITORY", help="Name, URL, path, or id.", show_default=False)
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="After a leak: the old secret ends at once.")] = False,
    key: Annotated[
        str | None, typer.Option(help="All repositories whose secrets were made from this master key.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a new webhook secret; the old one is accepted for a day, or with --now no longer.

    Example: worker repo rotate flask --now
    """
    from worker.credentials.master_keys import load_master_keys
    from worker.receiver.provision import GRACE, rotate_secret

    if (repository is None) == (key is None):
        raise typer.BadParameter("name a repository, or a master key with --key")
    with open_state(quiet=json) as state, state.connection() as connection:
        keys = load_master_keys(state.settings)
        rotated: list[dict[str, Any]] = []
        for repository_id in _chosen(state, connection, repository, key):
            secret = rotate_secret(connection, keys, repository_id, grace=timedelta(0) if now else GRACE)
            rotated.append(_tell_github(state, connection, repository_id, secret))
            if not json:
                _print_rotated(state, rotated[-1])
        if json:
            print_json(rotated[0] if repository is not None else rotated)
        elif not rotated:
            state.aside.print(f"No webhook secret was made from the master key {looks.text(key)}.")


def _chosen(state: State, connection: Connection, repository: str | None, key: str | None) -> list[UUID]:
    if repository is not None:
        return [find_repository(state, repository)]
    rows = connection.execute(_OF_KEY, {"key": key, "user": state.visible_user}).fetchall()
    return [row["id"] for row in rows]


def _tell_github(state: State, connection: Connection, repository_id: UUID, secret: str) -> dict[str, Any]:
    """Where GitHub's API takes the new secret nobody needs to see it; else it is what must be pasted."""
    row = connection.execute(_HOOK, (repository_id,)).fetchone()
    assert row is not None
    facts = {"id": row["id"], "name": row["name"], "webhook_url": webhook_url(state, repository_id)}
    hooks = hooks_of(state.settings, row["git_url"])
    if hooks is not None and row["webhook_hook_id"] is not None:
        try:
            hooks.change_secret(row["webhook_hook_id"], secret)
            return {**facts, "webhook_secret": None, "hook_id": row["webhook_hook_id"]}
        except GitHubApiError as refusal:  # the old secret may have ended: the new one must not be lost
            state.aside.print(looks.text(f"{refusal} {refusal.hint or ''}"), style="yellow")
    return {**facts, "webhook_secret": secret, "hook_id": None}


def _print_rotated(state: State, facts: dict[str, Any]) -> None:
    state.out.print(f"Repository [bold]{facts['id']}[/] ({looks.text(facts['name'])})", soft_wrap=True)
    if facts["webhook_secret"] is None:
        state.out.print(f"  GitHub has the new secret (webhook {facts['hook_id']}).", soft_wrap=True)
    else:
        state.out.print(f"  Payload URL   {looks.text(facts['webhook_url'])}", soft_wrap=True)
        state.out.print(f"  Secret        {facts['webhook_secret']}", soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of a ping: `status` None where nobody answered."""

    url: str
    passed: bool
    status: int | None
    milliseconds: float
    reason: str


def send_ping(repository: Which, json: Json = False) -> None:
    """Send a signed ping through the public URL, as GitHub would, and say what is wrong if it does not arrive.

    Example: worker repo test flask
    """
    from worker.credentials.master_keys import load_master_keys
    from worker.receiver.provision import find_secret

    with open_state(quiet=json) as state, state.connection() as connection:
        repository_id = find_repository(state, repository)
        secret = find_secret(connection, load_master_keys(state.settings), repository_id)
        if secret is None:
            raise WorkerError("This repository has no webhook secret yet.", hint="`worker repo add URL` makes one.")
        tested = _pinged(webhook_url(state, repository_id), secret)
        if json:
            print_json(asdict(tested))
        elif tested.passed:
            state.out.print(f"{looks.text(tested.url)} took the ping in {tested.milliseconds:.0f} ms.", soft_wrap=True)
    if not tested.passed:
        raise typer.Exit(1) if json else WorkerError(f"{tested.url}: {tested.reason}", hint=_hint(state))


def _pinged(url: str, secret: str) -> Tested:
    """Without a hook id: this is nobody's webhook, and nothing is remembered of it."""
    import httpx  # slow to import, and most commands do without

    from worker.receiver.signature import sign

    body = json_module.dumps({"zen": "Anything added dilutes everything else.", "events": list(EVENTS)}).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/indexing-worker-test",
        "X-GitHub-Event": "ping",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": sign(body, secret),
    }
    started = time.perf_counter()
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as failure:
        spent = (time.perf_counter() - started) * 1000
        return Tested(url, False, None, round(spent, 1), f"nobody answers ({type(failure).__name__}).")
    spent = round((time.perf_counter() - started) * 1000, 1)
    if answer.status_code == 200 and _is_ours(answer):
        return Tested(url, True, 200, spent, "The ping was taken.")
    meaning = _MEANINGS.get(answer.status_code, "that is no answer of a receiver")
    return Tested(url, False, answer.status_code, spent, f"answers {answer.status_code}: {meaning}.")


def _is_ours(answer: Any) -> bool:
    try:
        return answer.json().get("status") == "ok"
    except (ValueError, AttributeError):
        return False


def _hint(state: State) -> str:
    if state.settings.worker_public_url is None:
        return "WORKER_PUBLIC_URL is not set: this was the receiver of this machine, `worker receive`."
    return "WORKER_PUBLIC_URL must be what GitHub can reach, and `worker receive` must run behind it."
