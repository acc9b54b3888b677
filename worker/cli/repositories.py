"""repo add, list, show, remove."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import typer

from worker.catalog import repositories
from worker.cli import looks
from worker.cli.github_hooks import EVENTS, hooks_of
from worker.cli.looks import print_json
from worker.cli.state import Json, State, open_state
from worker.errors import NotFound, SettingsError, UnsafeUrl, WorkerError
from worker.git.branches import is_branch_name
from worker.git.url import RepositoryUrl, parse_repository_url

Which = Annotated[str, typer.Argument(metavar="REPOSITORY", help="Name, URL, path, or id (its beginning or end).")]


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command("add")(add)
    app.command("list")(list_repositories)
    app.command("show")(show)
    app.command("remove")(remove)


def register(state: State, url: RepositoryUrl, *, name: str | None, branches: Sequence[str] = ()) -> tuple[UUID, bool]:
    """The repository's id and whether it is new, owned by the command's tenant."""
    provider = "github" if url.host == "github.com" else "git"
    with state.connection() as connection:
        repositories.ensure_owner(connection, state.user_id, create=state.database.embedded)
        return repositories.register(
            connection, user_id=state.user_id, name=name or url.name, url=url.url, provider=provider, branches=branches
        )


def parse_url(state: State, text: str) -> RepositoryUrl:
    """The repository's URL in its one spelling, by this installation's rules."""
    return parse_repository_url(
        text,
        allow_local=state.settings.allows_local_repositories,
        allow_private_hosts=state.settings.worker_allow_private_hosts,
    )


def check_branches(branches: Sequence[str]) -> None:
    """Wrong usage, where git has no branch of such a name, whatever its wildcards stand for."""
    for branch in branches:
        if not is_branch_name(branch.replace("*", "x").replace("?", "x")):
            raise typer.BadParameter(f"{branch!r} is not a name a branch can have", param_hint="--branch")


def find_repository(state: State, text: str) -> UUID:
    """A registered repository by what people call it, also by its path or by another spelling of its URL."""
    with state.connection() as connection:
        try:
            return repositories.find(connection, text, state.visible_user)
        except NotFound:
            try:
                url = parse_url(state, text).url
            except UnsafeUrl:
                url = text
            if url == text:
                raise
        return repositories.find(connection, url, state.visible_user)


def webhook_url(state: State, repository_id: UUID) -> str:
    """What GitHub is to call."""
    base = state.settings.worker_public_url or f"http://127.0.0.1:{state.settings.worker_receiver_port}"
    return f"{base}/webhooks/github/{repository_id}"


def agrees(question: str) -> bool:
    """Ask on stderr: what stdout holds is what was asked for."""
    typer.echo(f"{question} [y/N] ", err=True, nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://host/owner/repository, or a local path.")],
    branch: Annotated[
        list[str] | None,
        typer.Option(help="Branch to track, or a pattern such as 'release/*'; may be repeated. The first is searched."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name to list it by; default: from the URL.")] = None,
    installation: Annotated[
        int | None, typer.Option(help="Number of the GitHub App's installation that reads it.", min=1)
    ] = None,
    no_hook: Annotated[
        bool, typer.Option("--no-hook", help="Do not make the webhook by GitHub's API, even with a token for it.")
    ] = False,
    json: Json = False,
) -> None:
    """Register a repository and print what to paste into GitHub's webhook form, once; with a token, make the webhook.

    Example: worker repo add https://github.com/pallets/flask
    """
    from worker.credentials.installations import name_installation
    from worker.credentials.master_keys import load_master_keys
    from worker.receiver.provision import check_master_keys, make_secret, provision_secret

    check_branches(branch or ())
    with open_state(quiet=json) as state, state.connection() as connection:
        parsed, keys = parse_url(state, url), load_master_keys(state.settings)
        check_master_keys(connection, keys)
        hooks = None if no_hook else hooks_of(state.settings, parsed.url)
        if hooks is not None and state.settings.worker_public_url is None:
            hint = "Set it to the receiver's public address, or say --no-hook."
            raise SettingsError("WORKER_PUBLIC_URL is not set, so GitHub cannot be told where to deliver.", hint=hint)
        repository_id, created = register(state, parsed, name=name, branches=branch or ())
        if installation is not None:
            name_installation(connection, repository_id, installation)
        facts = {"id": repository_id, "created": created, "webhook_url": webhook_url(state, repository_id)}
        if hooks is None:
            secret, made = make_secret(connection, keys, repository_id), None
        else:
            made = hooks.ensure(facts["webhook_url"], provision_secret(connection, keys, repository_id))
            repositories.remember_hook(connection, repository_id, made.hook_id, made.provider_id)
            secret = None
        hook_id = made.hook_id if made else None
        if json:
            print_json({**facts, "webhook_secret": secret, "events": EVENTS, "hook_id": hook_id})
        else:
            _show_form(state, parsed, facts, secret, hook_id)


def _show_form(
    state: State, url: RepositoryUrl, facts: dict[str, Any], secret: str | None, hook_id: int | None
) -> None:
    """What GitHub's form asks for, in its order; the secret only when it was made just now."""
    state.out.print(f"Repository [bold]{facts['id']}[/] {'added' if facts['created'] else 'is registered'}.")
    if hook_id is not None:
        told = f"\nGitHub delivers to {looks.text(facts['webhook_url'])} (webhook {hook_id})."
        state.out.print(told, soft_wrap=True)
        return
    shown = secret or f"was shown when it was made; `worker repo rotate {str(facts['id'])[:8]}` makes a new one"
    for line in (
        f"\nOn GitHub: {looks.text(_form_of(state, url))}, and paste:",
        f"  Payload URL   {looks.text(facts['webhook_url'])}",
        "  Content type  application/json",
        f"  Secret        {shown}",
        "  SSL           Enable SSL verification",
        "  Events        Let me select individual events: Pushes, Repositories",
        "  Active        yes",
        f"\nThen `worker repo test {str(facts['id'])[:8]}` sends a ping the same way.",
    ):
        state.out.print(line, soft_wrap=True)
    if state.settings.worker_public_url is None:
        remark = "\nWORKER_PUBLIC_URL is not set: put your receiver's public address into the payload URL."
        state.aside.print(remark, style="dim")


def _form_of(state: State, url: RepositoryUrl) -> str:
    """The form's own address, where it is known."""
    if url.host == state.settings.github_host:
        return f"{url.url.removesuffix('.git')}/settings/hooks/new"
    return "Settings → Webhooks → Add webhook"


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
        if not rows:
            state.aside.print("No repositories yet: `worker repo add URL` or `worker index PATH_OR_URL` adds one.")
            return
        table = looks.table(
            "id", "name", "state", "indexed", "commit", "url", keep=("id", "state", "indexed", "commit")
        )
        for row in rows:
            table.add_row(
                looks.identifier(state.out, row["id"]), looks.text(row["name"]), looks.status(row["sync_state"]),
                looks.ago(row["last_indexed_at"]), (row["last_indexed_commit"] or "–")[:10],
                looks.text(row["git_url"]),
            )  # fmt: skip
        looks.show(state.out, table)


def show(repository: Which, json: Json = False) -> None:
    """Show one repository: its state, its index, its languages and its tokens.

    Example: worker repo show flask
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        facts = repositories.show(connection, find_repository(state, repository))
        if json:
            print_json(facts)
            return
        languages = facts.pop("languages")
        for name, value in facts.items():
            state.out.print(f"{name.replace('_', ' '):27} {looks.text(value)}", soft_wrap=True)
        if languages:
            table = looks.table("language", "files", "lines", "symbols")
            for row in languages:
                table.add_row(row["language"], *(f"{row[name]:,}" for name in ("files", "lines", "symbols")))
            state.out.print()
            looks.show(state.out, table)


def remove(
    repository: Which,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a repository with its jobs, deliveries and index. Usage rows stay.

    Example: worker repo remove flask --yes
    """
    with open_state(quiet=json) as state, state.connection() as connection:
        repository_id = find_repository(state, repository)
        if not yes and not agrees(f"Delete {repository} ({repository_id}) with everything indexed from it?"):
            raise WorkerError("Nothing was deleted.")
        name = repositories.remove(connection, repository_id)
        if json:
            print_json({"removed": repository_id, "name": name})
        else:
            state.out.print(f"Removed {looks.text(name)}.")
