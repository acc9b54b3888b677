"""A push delivery as GitHub sends it: the same shape, the same headers, truly signed."""

import json
import uuid
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from worker.errors import WorkerError
from worker.receiver.signature import sign

NO_COMMIT = "0" * 40


@dataclass(frozen=True, slots=True)
class Push:
    """What was pushed. `before` None: the branch is new."""

    repository: str
    branch: str
    before: str | None
    after: str
    added: tuple[str, ...] = ()

    def payload(self) -> dict[str, Any]:
        """The webhook's body as GitHub would write it."""
        commit = {"id": self.after, "added": list(self.added), "modified": [], "removed": [], "message": "pushed"}
        return {
            "ref": f"refs/heads/{self.branch}",
            "before": self.before or NO_COMMIT,
            "after": self.after,
            "created": self.before is None,
            "deleted": False,
            "forced": False,
            "repository": {
                "name": self.repository,
                "full_name": f"local/{self.repository}",
                "default_branch": self.branch,
            },
            "pusher": {"name": "demo"},
            "head_commit": commit,
            "commits": [commit] if self.added else [],
        }


def post_push(base_url: str, repository_id: UUID, secret: str, push: Push) -> dict[str, Any]:
    """Post a signed push; the receiver's answer. Raises WorkerError when it is not accepted."""
    import httpx  # slow to import, and only the demo needs it

    body = json.dumps(push.payload()).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/demo",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": sign(body, secret),
    }
    answer = httpx.post(
        f"{base_url}/webhooks/github/{repository_id}", content=body, headers=headers, timeout=15, trust_env=False
    )
    content = answer.json()
    if answer.status_code != 202 or not content.get("job_id"):
        raise WorkerError(f"The receiver answered {answer.status_code}: {content.get('reason') or content}")
    return content
