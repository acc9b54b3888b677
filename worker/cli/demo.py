"""demo: the whole way of a push, with receiver and worker as the two real processes.

Registers this checkout (or any path or https URL), posts a truly signed push, follows the job and shows what came of
it; then commits a change in a scratch clone, delivers that push, and shows that only the change was parsed.
"""

import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape

from worker.catalog import repositories
from worker.catalog.search import search_code, search_symbols
from worker.cli import looks
from worker.cli.follow import follow_job
from worker.cli.github_push import Push, post_push
from worker.cli.jobs import print_events
from worker.cli.logs import log_lines
from worker.cli.own import OwnProcess, own_worker
from worker.cli.repositories import parse_url, register
from worker.cli.searching import print_code, print_symbols
from worker.cli.state import Json, State, open_state, print_json
from worker.git.resolve import resolve_tip
from worker.git.url import RepositoryUrl
from worker.joblog.render import render
from worker.queue.events import events_of
from worker.receiver.provision import provision_secret
from worker.receiver.signature import load_master_keys

LOG_LINES_SHOWN = 12
CHANGED_FILE = "indexing_worker_demo.py"
CHANGE = '''"""A change that the demo pushed."""


def pushed_by_the_demo_{number}() -> str:
    """Only this file is new, so only this file is parsed."""
    return "{number}"
'''


@dataclass(frozen=True, slots=True)
class Registered:
    """A repository of the demo with the secret of its webhook."""

    id: UUID
    url: RepositoryUrl
    secret: str


def add_commands(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command()(demo)


def demo(
    place: Annotated[str, typer.Argument(metavar="[PATH_OR_URL]", help="What to index.")] = ".",
    json: Json = False,
) -> None:
    """Show the main job on real input: signed push → receiver → worker → searchable code, then a small change.

    Example: worker demo ../django
    """
    started = time.monotonic()
    with open_state(process="demo", quiet=json) as state, ExitStack() as stack:
        stage = Stage(state, quiet=json)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="indexing-worker-demo-")))
        stage.say("Starting `worker receive` and `worker run`")
        receiver = stack.enter_context(OwnProcess("receive", "--port", "0", ready=r'"port": (?P<port>\d+)'))
        worker = stack.enter_context(own_worker())
        stage.receiver_url = f"http://{state.settings.worker_http_host}:{receiver.found['port']}"
        full = stage.index_pushed(place)
        stage.show_details(full, f"http://{state.settings.worker_http_host}:{worker.found['port']}/metrics")
        incremental = stage.index_a_change(scratch, full["url"]) if full["status"] == "completed" else None
    seconds = round(time.monotonic() - started, 2)
    succeeded = _print_summary(full, incremental, seconds, as_json=json)
    if not succeeded:
        raise typer.Exit(1)


class Stage:
    """The demo's steps, each saying what it does."""

    def __init__(self, state: State, *, quiet: bool) -> None:
        self.state = state
        self.quiet = quiet
        self.receiver_url = ""
        self._keys = load_master_keys(state.settings)

    def say(self, sentence: str) -> None:
        """A headline."""
        if not self.quiet:
            self.state.out.print(f"\n[bold cyan]▸ {escape(sentence)}[/]", soft_wrap=True)

    def register(self, place: str) -> Registered:
        """Register a repository and derive its webhook secret."""
        url = parse_url(self.state, place)
        repository_id, _ = register(self.state, url, name=None, branch=None)
        with self.state.connection() as connection:
            return Registered(repository_id, url, provision_secret(connection, self._keys, repository_id))

    def push(self, repository: Registered, push: Push) -> dict[str, Any]:
        """Deliver a signed push and follow its job to the end."""
        answer = post_push(self.receiver_url, repository.id, repository.secret, push)
        self.say(f"Delivered the push of {push.after[:12]}: {answer['status']}, job {answer['job_id']}")
        row = follow_job(self.state, UUID(answer["job_id"]), quiet=self.quiet)
        if not self.quiet and row["status"] == "completed":
            for name, value in looks.result_lines(row["result"]):
                self.state.out.print(f"  {name:14} {value}")
        elif not self.quiet:
            self.state.out.print(f"  {looks.status(row['status'])}: {looks.text(row['error_message'])}")
        return row

    def index_pushed(self, place: str) -> dict[str, Any]:
        """The main job: a push of the tip as it is now."""
        repository = self.register(place)
        self.say(f"Registered {repository.url.url}")
        tip = resolve_tip(repository.url, None)
        row = self.push(repository, Push(repository.url.name, tip.branch, before=None, after=tip.commit))
        return {**row, "url": repository.url.url}

    def show_details(self, row: dict[str, Any], metrics_url: str) -> None:
        """Log, events, a search of each kind, and the queue's metrics."""
        if self.quiet:
            return
        job_id, state = row["id"], self.state
        self.say(f"The end of its log (worker logs {job_id})")
        for line in list(log_lines(state, job_id))[-LOG_LINES_SHOWN:]:
            state.out.print("  " + escape(render(line)), soft_wrap=True)
        self.say(f"Its events (worker job {job_id})")
        print_events(state, state.ask(events_of, job_id))
        if row["status"] == "completed":
            self._show_searches(row["repository_id"])
        import httpx  # slow to import, and only the demo needs it

        self.say("Queue metrics (Prometheus)")
        for line in httpx.get(metrics_url, timeout=10).text.splitlines():
            if line.startswith(("indexing_worker_queue_", "indexing_worker_attempts_total")) and "created" not in line:
                state.out.print(f"  {escape(line)}", soft_wrap=True)

    def _show_searches(self, repository_id: UUID) -> None:
        state, owner = self.state, self.state.visible_user
        with state.connection() as connection:
            self.say('Symbols (worker symbols "main")')
            found = search_symbols(connection, "main", owner=owner, repository=repository_id, limit=5)
            print_symbols(
                state, found or search_symbols(connection, "s", owner=owner, repository=repository_id, limit=5)
            )
            self.say('Code (worker search "return ")')
            print_code(
                state, search_code(connection, "return ", owner=owner, repository=repository_id, limit=5), "return "
            )

    def index_a_change(self, scratch: Path, url: str) -> dict[str, Any] | None:
        """A clone, its first push (everything is known already), one commit, its push."""
        self.say("Making a scratch clone, and pushing one change to it")
        from git import Repo  # GitPython: the demo's own clone needs no protection from itself

        clone = Repo.clone_from(url, scratch / "scratch-clone", depth=1, allow_unsafe_protocols=True)
        repository = self.register(str(clone.working_dir))
        try:
            branch = "HEAD" if clone.head.is_detached else clone.active_branch.name
            before = clone.head.commit.hexsha
            first = self.push(repository, Push(repository.url.name, branch, before=None, after=before))
            after = _commit_a_change(clone)
            change = Push(repository.url.name, branch, before=before, after=after, added=(CHANGED_FILE,))
            return self.push(repository, change) if first["status"] == "completed" else None
        finally:
            with self.state.connection() as connection:
                repositories.remove(connection, repository.id)


def _commit_a_change(clone: Any) -> str:
    from git import Actor

    number = uuid.uuid4().hex[:12]
    (Path(clone.working_dir) / CHANGED_FILE).write_text(CHANGE.format(number=number), encoding="utf-8")
    who = Actor("demo", "demo@localhost")
    clone.index.add([CHANGED_FILE])
    return clone.index.commit("A change for the demo", author=who, committer=who, skip_hooks=True).hexsha


def _print_summary(full: dict[str, Any], incremental: dict[str, Any] | None, seconds: float, *, as_json: bool) -> bool:
    """The last line, and whether both jobs completed."""
    result = full["result"] or {}
    changed = (incremental["result"] or {}) if incremental else {}
    completed = full["status"] == "completed" and incremental is not None and incremental["status"] == "completed"
    summary = {
        "status": "completed" if completed else "failed",
        "files": result.get("files"),
        "symbols": result.get("symbols"),
        "tokens": result.get("tokens"),
        "seconds": seconds,
        "incremental": {
            "files_changed": changed.get("files_changed"),
            "files_parsed": changed.get("files_parsed"),
            "tokens_billed": changed.get("tokens_billed"),
        },
    }
    if as_json:
        print_json(summary)
    else:
        _print_ending(summary, completed)
    return completed


def _print_ending(summary: dict[str, Any], completed: bool) -> None:
    from rich.console import Console

    console, change = Console(highlight=False), summary["incremental"]
    if completed:
        console.print(
            f"\n[bold green]Done[/] in {summary['seconds']:.1f} s: {summary['files']:,} files, "
            f"{summary['symbols']:,} symbols, {summary['tokens']:,} tokens; "
            f"the change parsed {change['files_parsed']} file and billed {change['tokens_billed']} tokens."
        )
        console.print("Everything the demo started has been stopped. Next: `.venv/bin/worker --help`.")
    else:
        console.print(f"\n[bold red]The demo did not complete[/] ({summary['seconds']:.1f} s); see the reasons above.")
