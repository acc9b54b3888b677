"""repo add, list, show, remove, rotate-secret."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table

from worker.catalog import repositories
from worker.cli import looks
from worker.cli.state import Json, State, open_state, print_json
from worker.git.url import RepositoryUrl, parse_repository_url
from worker.receiver.provision import provision_secret
from worker.receiver.provision import rotate_secret as rotate
from worker.receiver.signature import load_master_keys

Which = Annotated[str, typer.Argument(metavar="REPOSITORY", help="Id (or its beginning), name or URL.")]


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command("add")(add)
    app.command("list")(list_repositories)
    app.command("show")(show)
    app.command("remove")(remove)
    app.command("rotate-secret")(rotate_secret)


def register(state: State, url: RepositoryUrl, *, name: str | None, branch: str | None) -> tuple[UUID, bool]:
    """The repository's id and whether it is new, owned by the command's tenant."""
    provider = "github" if url.host == "github.com" else "git"
    with state.connection() as connection:
        repositories.ensure_owner(connection, state.user_id, create=state.database.embedded)
        return repositories.register(
            connection, user_id=state.user_id, name=name or url.name, url=url.url, provider=provider, branch=branch
        )


def parse_url(state: State, text: str) -> RepositoryUrl:
    """The repository's URL in its one spelling, by this installation's rules."""
    return parse_repository_url(
        text,
        allow_local=state.settings.allows_local_repositories,
        allow_private_hosts=state.settings.worker_allow_private_hosts,
    )


def webhook_url(state: State, repository_id: UUID) -> str:
    """What GitHub is to call."""
    base = state.settings.worker_public_url or f"http://127.0.0.1:{state.settings.worker_receiver_port}"
    return f"{base}/webhooks/github/{repository_id}"


def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://host/owner/repository, or a local path.")],
    branch: Annotated[str | None, typer.Option(help="Branch to track; default: the default branch.")] = None,
    name: Annotated[str | None, typer.Option(help="A name to list it by; default: from the URL.")] = None,
    json: Json = False,
) -> None:
    """Register a repository and print what to paste into GitHub's webhook form. The secret is shown here only.

    Example: worker repo add https://github.com/pallets/flask
    """
    with open_state(quiet=json) as state:
        keys = load_master_keys(state.settings)
        repository_id, created = register(state, parse_url(state, url), name=name, branch=branch)
        with state.connection() as connection:
            secret = provision_secret(connection, keys, repository_id)
        _show_secret(state, repository_id, secret, json=json, created=created)


def rotate_secret(
    repository: Which,
    now: Annotated[bool, typer.Option("--now", help="After a leak: the old secret ends at once.")] = False,
    json: Json = False,
) -> None:
    """Make a new webhook secret; the old one is accepted for a day, or with --now no longer.

    Example: worker repo rotate-secret flask --now
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        repository_id = repositories.find(connection, repository, state.visible_user)
        grace = {"grace": timedelta(0)} if now else {}
        secret = rotate(connection, load_master_keys(state.settings), repository_id, **grace)
        _show_secret(state, repository_id, secret, json=json, created=False)


def _show_secret(state: State, repository_id: UUID, secret: str, *, json: bool, created: bool) -> None:
    url = webhook_url(state, repository_id)
    if json:
        print_json({"id": repository_id, "created": created, "webhook_url": url, "webhook_secret": secret})
        return
    state.out.print(f"Repository [bold]{repository_id}[/] {'added' if created else 'is registered'}.\n")
    state.out.print("On GitHub: Settings → Webhooks → Add webhook, and paste:")
    state.out.print(f"  Payload URL   {url}")
    state.out.print("  Content type  application/json")
    state.out.print(f"  Secret        {secret}")
    state.out.print("  Events        Just the push event\n")
    if state.settings.worker_public_url is None:
        state.out.print("[dim]WORKER_PUBLIC_URL is not set: put your receiver's public address into the URL.[/]")


def list_repositories(json: Json = False) -> None:
    """List repositories with what their newest job does.

    Example: worker repo list
    """
    with open_state(quiet=json) as state:
        with state.connection() as connection:
            rows = repositories.list_all(connection, state.visible_user)
        if json:
            print_json(rows)
            return
        table = Table("id", "name", "state", "commit", "indexed", "url", box=None, pad_edge=False)
        for row in rows:
            table.add_row(
                looks.short(row["id"]),
                looks.text(row["name"]),
                looks.status(row["sync_state"]),
                (row["last_indexed_commit"] or "–")[:10],
                looks.ago(row["last_indexed_at"]),
                looks.text(row["git_url"]),
            )
        state.out.print(table if rows else "No repositories yet: `worker repo add URL`.")


def show(repository: Which, json: Json = False) -> None:
    """Show one repository: its state, its index, its languages and its tokens.

    Example: worker repo show flask
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        facts = repositories.show(connection, repositories.find(connection, repository, state.visible_user))
        if json:
            print_json(facts)
            return
        languages = facts.pop("languages")
        for name, value in facts.items():
            state.out.print(f"{name.replace('_', ' '):27} {looks.text(value)}")
        table = Table("language", "files", "lines", "symbols", box=None, pad_edge=False)
        for row in languages:
            table.add_row(row["language"], f"{row['files']:,}", f"{row['lines']:,}", f"{row['symbols']:,}")
        state.out.print()
        state.out.print(table)


def remove(
    repository: Which,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a repository with its jobs, deliveries and index. Usage rows stay.

    Example: worker repo remove flask --yes
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        repository_id = repositories.find(connection, repository, state.visible_user)
        if not yes:
            typer.confirm(f"Delete {repository} ({repository_id}) with everything indexed from it?", abort=True)
        name = repositories.remove(connection, repository_id)
        if json:
            print_json({"removed": repository_id, "name": name})
        else:
            state.out.print(f"Removed {looks.text(name)}.")
