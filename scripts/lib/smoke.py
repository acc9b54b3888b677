"""Ask a deployment whether it is healthy, as GitHub and Prometheus would; standard library only."""

import argparse
import hashlib
import hmac
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 10.0
NOBODY = uuid.UUID(int=0)


@dataclass(frozen=True)
class Reply:
    """What came back: status 0 and a sentence when nothing did."""

    status: int
    body: bytes

    @property
    def facts(self) -> dict[str, Any]:
        """The body's JSON object; empty when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: GitHub does not follow one either."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects)


def ask(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
    """One request; never raises for what the other side does."""
    request = urllib.request.Request(url, data=body, headers={"User-Agent": "indexing-worker-smoke", **(headers or {})})
    try:
        with _opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return Reply(answer.status, answer.read(5_000_000))
    except urllib.error.HTTPError as refusal:
        return Reply(refusal.code, refusal.read(1_000_000))
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "reason", failure)
        return Reply(0, f"no answer: {reason}".encode())


def live(url: str) -> Iterator[str]:
    """The process answers, and is a receiver."""
    reply = ask(f"{url}/health/live")
    if reply.status == 0:
        yield f"{url} gives {reply.body.decode()}. Is it deployed, and is the address right? `fly status`, `fly logs`."
    elif reply.status != 200:
        yield f"{url}/health/live answers {reply.status}, not 200{_where_to(reply)}. Something else listens there."
    elif "renewal_age_seconds" in ask(f"{url}/health").facts:
        yield f"{url} is a worker. Give the receiver's address, and this one with --worker."


def healthy(url: str) -> Iterator[str]:
    """Postgres answers, and jobs that wait find workers."""
    reply = ask(f"{url}/health")
    facts = reply.facts
    if reply.status not in (200, 503) or "status" not in facts:
        yield f"{url}/health answers {reply.status} and no health report."
    elif facts["status"] == "down":
        yield "Postgres does not answer the receiver. Check DATABASE_URL (`fly secrets list`) and the database itself."
    elif facts["status"] != "ok":
        yield f"The receiver is {facts['status']}: {' '.join(facts.get('reasons', []))} See docs/operating.md."
    elif not facts.get("workers"):
        yield "No worker has been seen for a minute. `fly status` shows the group worker; `fly logs` says why."


def metrics(url: str) -> Iterator[str]:
    """Prometheus would find what the alerts and the autoscaler look at."""
    reply = ask(f"{url}/metrics")
    if reply.status != 200:
        yield f"{url}/metrics answers {reply.status}, not 200: Prometheus has nothing to scrape."
        return
    text = reply.body.decode("utf-8", "replace")
    for name in ("indexing_worker_build_info", "indexing_worker_queue_jobs"):
        if not re.search(rf"^{name}\{{", text, re.M):
            yield f"{url}/metrics does not export {name}."


def closed(url: str) -> Iterator[str]:
    """A stranger's post is refused, and refused as a stranger's."""
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "ping", "X-GitHub-Delivery": str(uuid.uuid4())}
    reply = ask(f"{url}/webhooks/github/{NOBODY}", b"{}", headers)
    if reply.status != 401:
        said = "Deliveries do not arrive." if reply.status in (404, 405) else ""
        yield f"An unsigned webhook gets {reply.status}, not 401{_where_to(reply)}. {said}".strip()


def signed(url: str, repository: str, secret: str) -> Iterator[str]:
    """GitHub's ping is taken: the secret at GitHub fits the master keys of this receiver."""
    body = json.dumps({"zen": "Keep it logically awesome.", "hook_id": 1}).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "ping",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    reply = ask(f"{url}/webhooks/github/{repository}", body, headers)
    if reply.status == 401:
        yield f"A signed ping for repository {repository} gets 401: wrong secret, or other WORKER_MASTER_KEYS there."
    elif reply.status != 200:
        yield f"A signed ping for repository {repository} gets {reply.status}, not 200."


def working(url: str) -> Iterator[str]:
    """A worker is registered and renews its lease."""
    reply = ask(f"{url}/health")
    if reply.status != 200 or reply.facts.get("status") != "ok":
        said = json.dumps(reply.facts) if reply.facts else reply.body[:200].decode("utf-8", "replace")
        yield f"The worker at {url} is not healthy ({reply.status}): {said}"


def problems(checks: list[tuple[str, Callable[[], Iterator[str]]]]) -> list[str]:
    """Every sentence of every check; what does not answer, or is no receiver, is asked nothing more."""
    found: list[str] = []
    for number, (_, check) in enumerate(checks):
        found += check()
        if number == 0 and found:
            break
    return found


def main() -> int:
    """Check, say, and answer the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/smoke", description=__doc__)
    parser.add_argument("url", type=_address)
    parser.add_argument("--worker", type=_address, action="append", default=[])
    parser.add_argument("--wait", type=float, default=0)
    parser.add_argument("--repository")
    given = parser.parse_args()
    url: str = given.url
    checks: list[tuple[str, Callable[[], Iterator[str]]]] = [
        ("the receiver answers", lambda: live(url)),
        ("Postgres, queue and workers", lambda: healthy(url)),
        ("metrics", lambda: metrics(url)),
        ("strangers are refused", lambda: closed(url)),
        *((f"worker {worker}", lambda worker=worker: working(worker)) for worker in given.worker),
    ]
    if given.repository:
        secret = os.environ.get("SMOKE_SECRET")
        if not secret:
            parser.error("--repository needs its webhook's secret in SMOKE_SECRET")
        checks.append(("a signed ping", lambda: signed(url, given.repository, secret)))
    deadline = time.monotonic() + given.wait
    while (found := problems(checks)) and time.monotonic() < deadline:
        time.sleep(min(2, max(0.0, deadline - time.monotonic())))
    if found:
        print("\n".join(f"not healthy: {sentence}" for sentence in found), file=sys.stderr)
        return 1
    print(f"healthy: {', '.join(name for name, _ in checks)}")
    return 0


def _address(text: str) -> str:
    if not re.match(r"https?://[^/\s]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} must begin with https:// (or http://)")
    if "/webhooks/" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is a webhook's: give what stands before /webhooks")
    return text.rstrip("/")


def _where_to(reply: Reply) -> str:
    return " (a redirect: use the address it leads to)" if 300 <= reply.status < 400 else ""


if __name__ == "__main__":
    sys.exit(main())
