"""validate: can the repository be reached, and what would be indexed? One ls-remote, nothing fetched."""

from collections.abc import Mapping
from typing import Any

from worker.catalog.branches import load_repository
from worker.git.url import parse_repository_url
from worker.handlers.index_fetch import ask_for_tip
from worker.handlers.payloads import ValidatePayload
from worker.handlers.registry import handler
from worker.job import VALIDATE, JobContext


@handler(VALIDATE, payload=ValidatePayload)
def validate(context: JobContext, payload: ValidatePayload) -> Mapping[str, Any]:
    """Ask the git server for the tracked branch's tip."""
    settings = context.settings
    with context.connect() as connection:
        repository = load_repository(connection, context.job.repository_id)
    url = parse_repository_url(
        repository.git_url,
        allow_local=settings.allows_local_repositories,
        allow_private_hosts=settings.worker_allow_private_hosts,
    )
    wanted = payload.ref.removeprefix("refs/heads/") if payload.ref else repository.branch
    _, tip = ask_for_tip(context, url, wanted)
    context.log.info("reachable", branch=tip.branch, commit=tip.commit)
    return {
        "reachable": True,
        "branch": tip.branch,
        "commit": tip.commit,
        "default_branch": tip.default_branch,
    }
