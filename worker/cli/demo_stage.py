"""The demo's steps, each saying what it does, with receiver and worker as the two processes that do the work."""

import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from worker.catalog import repositories
from worker.catalog.branches import load_repository
from worker.catalog.search import Page, Scope, search_code, search_symbols
from worker.cli import looks
from worker.cli.demo_change import CHANGED_FILE, ScratchClone
from worker.cli.follow import follow_job
from worker.cli.github_push import Push, post_push
from worker.cli.jobs import print_events
from worker.cli.own import OwnProcess, own_worker
from worker.cli.repositories import parse_url, register
from worker.cli.searching import print_code
from worker.cli.state import State
from worker.cli.symbols import print_symbols
from worker.git.resolve import Tip, resolve_tip
from worker.git.url import RepositoryUrl
from worker.job import Status
from worker.queue.events import events_of

LOG_LINES_SHOWN = 12
# Counters only: the queue's gauges are counted every few seconds, and would show the job that has just ended.
METRICS_SHOWN = re.compile(r"indexing_worker_(?:claims|attempts|fetched_bytes|tokens|log_lines)_total\b.* (?!0\.0$)")
LOCAL = "WORKER_ALLOW_LOCAL_REPOSITORIES"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Registered:
    """A repository of the demo with its tip and the secret of its webhook."""

    id: UUID
    url: RepositoryUrl
    tip: Tip
    secret: str


class Stage:
    """The demo's steps, each saying what it does, with the two processes that do the work."""

    def __init__(self, state: State, *, quiet: bool) -> None:
        self.state = state
        self._quiet = quiet
        self._processes = ExitStack()
        self._receiver_url = ""
        self._metrics_url = ""

    def __enter__(self) -> "Stage":
        """Start receiver and worker."""
        self.say("Starting `worker receive` and `worker run`")
        with ExitStack() as starting:
            ready = r'"port": (?P<port>\d+)'
            receiver = starting.enter_context(OwnProcess("receive", "--port", "0", ready=ready))
            self._worker = starting.enter_context(own_worker({LOCAL: "true"}))
            self._receiver_url = f"http://127.0.0.1:{receiver.found['port']}"
            self._metrics_url = f"http://127.0.0.1:{self._worker.found['port']}/metrics"
            self._processes = starting.pop_all()
        return self

    def __exit__(self, *failure: Any) -> None:
        """Stop both."""
        self._processes.__exit__(*failure)

    def say(self, sentence: str) -> None:
        """A headline."""
        if not self._quiet:
            self.state.out.print(f"\n[bold cyan]▸ {looks.text(sentence)}[/]", soft_wrap=True)

    def register(self, place: str) -> Registered:
        """Register a repository, look where it stands, and derive its webhook secret."""
        from worker.credentials.master_keys import load_master_keys
        from worker.receiver.provision import provision_secret

        url = parse_url(self.state, place)
        repository_id, _ = register(self.state, url, name=None)
        with self.state.connection() as connection:
            tip = resolve_tip(url, load_repository(connection, repository_id).branch)
            secret = provision_secret(connection, load_master_keys(self.state.settings), repository_id)
        self.say(f"Registered {url.url}")
        return Registered(repository_id, url, tip, secret)

    def push(self, repository: Registered, push: Push) -> Row:
        """Deliver a signed push and follow its job to the end."""
        answer = post_push(self._receiver_url, repository.id, repository.secret, push)
        self.say(f"Delivered the push of {push.after[:12]}: {answer['status']}, job {answer['job_id']}")
        row = follow_job(self.state, UUID(answer["job_id"]), quiet=self._quiet, check=self._worker.check)
        if not self._quiet:
            self._print_outcome(row)
        return row

    def _print_outcome(self, row: Row) -> None:
        if row["status"] == Status.COMPLETED:
            for name, value in looks.result_lines(row["result"]):
                self.state.out.print(f"  {name:11} {value}", soft_wrap=True)
        else:
            reason = f"  {looks.status(row['status'])}: {looks.text(row['error_message'])}"
            self.state.out.print(reason, soft_wrap=True)

    def index_pushed(self, repository: Registered) -> Row:
        """The main job: a push of the tip as it is now, and everything there is to see of it."""
        tip = repository.tip
        row = self.push(repository, Push(repository.url.name, tip.branch, before=None, after=tip.commit))
        if not self._quiet:
            self._show_log(row["id"])
            if row["status"] == Status.COMPLETED:
                self._show_searches(repository.id)
            self._show_metrics()
        return row

    def _show_log(self, job_id: UUID) -> None:
        from worker.cli.logs import log_lines
        from worker.joblog.render import render

        out = self.state.out
        self.say(f"The end of its log (worker logs {job_id})")
        for line in list(log_lines(self.state, job_id))[-LOG_LINES_SHOWN:]:
            out.print("  " + render(line), soft_wrap=True, markup=False)
        self.say(f"Its events (worker job {job_id})")
        print_events(out, self.state.ask(events_of, job_id))

    def _show_searches(self, repository_id: UUID) -> None:
        scope, some = Scope(self.state.visible_user, repository_id), Page(limit=5)
        with self.state.connection() as connection:
            for query in ("main", "run", "s", "t"):
                if found := search_symbols(connection, query, scope, some):
                    self.say(f'Symbols (worker symbols "{query}")')
                    print_symbols(self.state.out, found)
                    break
            self.say('Code (worker search "return ")')
            print_code(self.state.out, search_code(connection, "return ", scope, some), "return ")

    def _show_metrics(self) -> None:
        import httpx  # slow to import, and only the demo needs it

        self.say(f"Metrics of the worker ({self._metrics_url})")
        for line in httpx.get(self._metrics_url, timeout=10, trust_env=False).text.splitlines():
            if METRICS_SHOWN.match(line):
                self.state.out.print(f"  {line}", soft_wrap=True, markup=False)

    def index_a_change(self, cloned: Registered, folder: Path) -> Row | None:
        """A clone, its first push (everything is known already), one commit, its push."""
        self.say("Making a scratch clone, and pushing one change to it")
        clone = ScratchClone(cloned.url, cloned.tip, folder)
        repository = self.register(str(folder))
        name, tip = repository.url.name, repository.tip  # of a detached HEAD git may have made a branch again
        try:
            first = self.push(repository, Push(name, tip.branch, before=None, after=tip.commit))
            if first["status"] != Status.COMPLETED:
                return None
            after = clone.commit_a_change()
            return self.push(repository, Push(name, tip.branch, before=tip.commit, after=after, added=(CHANGED_FILE,)))
        finally:
            with self.state.connection() as connection:
                repositories.remove(connection, repository.id)
