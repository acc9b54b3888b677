"""GitHub's API for webhooks: what `worker repo add` and `worker repo rotate` do when they have a token for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from worker.errors import GitHubApiError
from worker.settings import Settings

EVENTS = ("push", "repository")
"""What a webhook has to send: a push comes with every branch that is created or deleted as well."""

_PAGE, _MOST_PAGES = 100, 10


@dataclass(frozen=True, slots=True)
class MadeHook:
    """A webhook as it is set up now, and GitHub's number of its repository."""

    hook_id: int
    created: bool
    provider_id: int


class GitHubHooks:
    """Webhooks of one repository, by its owner/name."""

    def __init__(self, api_url: str, token: str, full_name: str) -> None:
        self._api_url, self._full_name = api_url, full_name
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "indexing-worker",
        }

    def ensure(self, url: str, secret: str) -> MadeHook:
        """Make the webhook that posts to `url`, or bring the one there is in order. Raises GitHubApiError."""
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        wanted = {"active": True, "events": list(EVENTS), "config": config}
        number = self._ask("GET", "")["id"]
        for hook in self._hooks():
            if hook.get("config", {}).get("url") == url:
                self._ask("PATCH", f"/hooks/{hook['id']}", wanted)
                return MadeHook(hook["id"], False, number)
        return MadeHook(self._ask("POST", "/hooks", {"name": "web", **wanted})["id"], True, number)

    def change_secret(self, hook_id: int, secret: str) -> None:
        """Sign with another secret from now on. Raises GitHubApiError."""
        self._ask("PATCH", f"/hooks/{hook_id}/config", {"secret": secret})

    def _hooks(self) -> Iterator[dict[str, Any]]:
        for page in range(1, _MOST_PAGES + 1):
            hooks = self._ask("GET", f"/hooks?per_page={_PAGE}&page={page}")
            yield from hooks
            if len(hooks) < _PAGE:
                return

    def _ask(self, method: str, path: str, wanted: dict[str, Any] | None = None) -> Any:
        import httpx  # slow to import, and most commands do without

        try:
            # No proxy or netrc of the environment gets in between, and no redirect takes the token elsewhere.
            answer = httpx.request(
                method,
                f"{self._api_url}/repos/{self._full_name}{path}",
                json=wanted,
                headers=self._headers,
                timeout=15,
                trust_env=False,
                follow_redirects=False,
            )
        except httpx.HTTPError as failure:
            raise GitHubApiError(f"GitHub's API does not answer: {type(failure).__name__}.") from None
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not answer.is_success or told is None:
            raise _refusal(self._full_name, answer.status_code, told)
        return told


def hooks_of(settings: Settings, git_url: str) -> GitHubHooks | None:
    """The API for a repository's webhooks; None without a token for it, or for a repository elsewhere."""
    address = urlsplit(git_url)
    token = settings.worker_github_hook_token
    if token is None or address.netloc.lower() != settings.github_host:
        return None
    full_name = address.path.strip("/").removesuffix(".git")
    return GitHubHooks(settings.worker_github_api_url, token.get_secret_value(), full_name)


def _refusal(full_name: str, status: int, told: Any) -> GitHubApiError:
    said = f" It says: {str(told['message'])[:200]}" if isinstance(told, dict) and told.get("message") else ""
    match status:
        case 401:
            hint = "WORKER_GITHUB_HOOK_TOKEN is wrong or has expired."
        case 403 | 404:
            hint = "The token must be allowed to administer its webhooks (admin:repo_hook, or Webhooks: write)."
        case 422:
            hint = "GitHub takes 20 webhooks a repository, and only addresses that it can reach (WORKER_PUBLIC_URL)."
        case _:
            hint = "Try again, or set the webhook up by hand with --no-hook."
    return GitHubApiError(f"GitHub's API answers {status} about {full_name}.{said}", hint=hint)
