"""Webhook posts over real HTTP into a real database."""

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg

from tests.receiver.conftest import KEYS, NEW, OLD, Sender, make_push, make_settings, running
from worker.credentials.master_keys import MasterKeys
from worker.receiver.provision import rotate_secret
from worker.receiver.signature import sign

PAYLOADS = Path(__file__).parent / "payloads"
Database = psycopg.Connection[dict[str, Any]]


def _rows(db: Database) -> tuple[int, int]:
    row = db.execute(
        "select (select count(*) from webhook_deliveries) as deliveries, (select count(*) from indexing_jobs) as jobs"
    ).fetchone()
    assert row is not None
    return row["deliveries"], row["jobs"]


def _metric(client: httpx.Client, line: str) -> float:
    found = [text for text in client.get("/metrics").text.splitlines() if text.startswith(line + " ")]
    return float(found[0].split()[-1]) if found else 0.0


def test_a_push_becomes_a_committed_delivery_and_job(sender: Sender, db: Database) -> None:
    """The answer names the job; delivery and job hold what is needed, cut to size and free of secrets."""
    push = make_push()
    answer = sender.post(push, delivery="d-1", headers={"Authorization": "Bearer s3cr3t"})
    assert answer.status_code == 202, answer.text
    job = db.execute("select * from indexing_jobs").fetchone()
    delivery = db.execute("select * from webhook_deliveries").fetchone()
    assert job is not None
    assert delivery is not None
    assert answer.json() == {
        "status": "queued",
        "job_id": str(job["id"]),
        "delivery_id": "d-1",
        "duplicate": False,
    }
    assert job["job_type"] == "incremental_update"
    assert job["status"] == "queued"
    assert job["repository_id"] == sender.repository
    assert job["payload"] == {
        "ref": "refs/heads/main",
        "before": OLD,
        "after": NEW,
        "forced": False,
        "deleted": False,
        "hints": {"added": [], "modified": ["README.md"], "removed": []},
        "commits": 1,
        "pusher": None,
        "rebuild": False,
    }
    assert delivery["job_id"] == job["id"]
    assert (delivery["status"], delivery["event_type"], delivery["provider"]) == ("queued", "push", "github")
    body = json.dumps(push).encode()
    assert delivery["payload"]["body_bytes"] == len(body)
    assert delivery["signature"] == sign(body, sender.secret)
    assert "s3cr3t" not in json.dumps(delivery["headers"])
    assert delivery["headers"]["x-github-event"] == "push"


def test_githubs_own_bodies_are_taken(sender: Sender, db: Database) -> None:
    """A real push body, as JSON and as a form, makes a job."""
    body = (PAYLOADS / "push-created.json").read_bytes()
    form = urlencode({"payload": body.decode()}).encode()
    assert sender.post(body).status_code == 202
    answer = sender.post(form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 202
    row = db.execute("select payload ->> 'after' as after from indexing_jobs").fetchone()
    assert row == {"after": "6113728f27ae82c7b1a177c8d03f9e96e0adf246"}
    assert _rows(db) == (2, 1)


def test_strangers_get_one_answer_and_leave_nothing(
    sender: Sender, make_repository: Callable[..., uuid.UUID], db: Database
) -> None:
    """Unknown repository, no uuid, no secret yet, bad or missing signature: one body, no row."""
    without_secret = make_repository()
    push = make_push()
    answers = [
        sender.post(push, secret="another"),
        sender.post(push, headers={"X-Hub-Signature-256": None}),
        sender.post(push, headers={"X-Hub-Signature-256": "sha256="}),
        sender.post(push, headers={"X-Hub-Signature-256": "sha256=" + "é" * 64}),
        sender.post(b"not json", secret="another"),
        sender.post(push, secret="another", headers={"X-GitHub-Event": None}),
    ]
    for address in (uuid.uuid4(), uuid.uuid4().hex, "x", without_secret, f"{{{sender.repository}}}"):
        stranger = Sender(sender.client, address, sender.secret)  # type: ignore[arg-type]
        answers += [stranger.post(push), stranger.post(push)]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(name for name in answer.headers if name != "date") for answer in answers}) == 1
    assert _rows(db) == (0, 0)
    assert sender.post(push).status_code == 202


def test_a_signed_post_without_its_headers_is_malformed(sender: Sender, db: Database) -> None:
    """Without event or delivery id nothing can be recorded, and the sender is told which headers are needed."""
    for header in ("X-GitHub-Event", "X-GitHub-Delivery"):
        answer = sender.post(make_push(), headers={header: None})
        assert answer.status_code == 400
        assert "X-GitHub-Delivery" in answer.json()["reason"]
        assert sender.post(make_push(), headers={header: "x" * 200}).status_code == 400
    assert _rows(db) == (0, 0)


def test_a_signed_body_that_says_nothing_is_malformed(sender: Sender, db: Database) -> None:
    """400 with a sentence, and nothing stored."""
    for body in (b"", b"{", b"[1]", b'{"ref": 1}', json.dumps(make_push("refs/heads/\0")).encode()):
        answer = sender.post(body)
        assert answer.status_code == 400
        assert answer.json()["status"] == "malformed"
        assert answer.json()["reason"].endswith(".")
    assert _rows(db) == (0, 0)


def test_text_that_postgres_cannot_store_does_no_harm(sender: Sender, db: Database) -> None:
    """NUL and half surrogates anywhere in a signed payload do not turn a push into an error."""
    push = make_push(
        commits=[{"added": ["a\0b", "\ud800"]}],
        pusher={"name": "\ud800\0"},
        repository={"id": 10**30, "default_branch": "main"},
    )
    assert sender.post(push).status_code == 202
    row = db.execute("select payload -> 'hints' as hints from indexing_jobs").fetchone()
    assert row == {"hints": "unknown"}


def test_what_needs_no_work_is_kept_as_ignored(sender: Sender, db: Database) -> None:
    """Other events and branches answer 200 with the reason, and the delivery is on record."""
    answer = sender.post(make_push("refs/heads/feature"))
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ignored",
        "reason": "The push is to branch feature; this repository tracks main.",
    }
    assert sender.post({"action": "created"}, event="star").json()["status"] == "ignored"
    rows = db.execute(
        "select status, error_message, job_id, processed_at from webhook_deliveries order by id"
    ).fetchall()
    assert [row["status"] for row in rows] == ["ignored", "ignored"]
    assert rows[0]["error_message"] == answer.json()["reason"]
    assert rows[0]["processed_at"] is not None
    assert _rows(db) == (2, 0)


def test_a_repository_that_turned_private_is_so_at_once_and_has_a_job(sender: Sender, db: Database) -> None:
    """The row says it in the transaction that enqueues the job which moves its contents."""
    event = {"action": "privatized", "repository": {"id": 7, "default_branch": "main"}}
    assert sender.post(event, event="repository").status_code == 202
    row = db.execute("select visibility from repositories where id = %s", (sender.repository,)).fetchone()
    job = db.execute("select payload ->> 'ref' as ref from indexing_jobs").fetchone()
    assert (row, job) == ({"visibility": "private"}, {"ref": "refs/heads/main"})
    assert sender.post(event | {"action": "publicized"}, event="repository").status_code == 202
    row = db.execute("select visibility from repositories where id = %s", (sender.repository,)).fetchone()
    assert row == {"visibility": "private"}, "the job asks the server before anything is shared again"
    assert _rows(db) == (2, 1)


def test_the_rows_branch_and_number_decide(
    receiver: httpx.Client, make_sender: Callable[..., Sender], db: Database
) -> None:
    """The owner's branch is tracked; a secret used for another GitHub repository starts nothing."""
    sender = make_sender(receiver, default_branch="trunk", settings={"branch": "release"}, provider_id=7)
    assert sender.post(make_push("refs/heads/main")).json()["status"] == "ignored"
    assert sender.post(make_push("refs/heads/release")).status_code == 202
    foreign = sender.post(make_push("refs/heads/release", repository={"id": 8, "default_branch": "main"}))
    assert foreign.status_code == 200
    assert "another GitHub repository" in foreign.json()["reason"]
    assert _rows(db)[1] == 1


def test_a_changed_row_counts_at_once(sender: Sender, db: Database) -> None:
    """What the receiver remembers of a repository is checked again in the transaction that commits."""
    assert sender.post(make_push("refs/heads/release")).json()["status"] == "ignored"
    db.execute("""update repositories set settings = '{"branch": "release"}'""")
    assert sender.post(make_push("refs/heads/release")).status_code == 202
    db.execute("delete from repositories")
    assert sender.post(make_push("refs/heads/release")).status_code == 401


def test_a_ping_leaves_the_hooks_id(receiver: httpx.Client, make_sender: Callable[..., Sender], db: Database) -> None:
    """GitHub's first post names the hook, and the repository's number where the address is the registered one."""
    ping = json.loads((PAYLOADS / "ping.json").read_text())
    right = make_sender(receiver, git_url=ping["repository"]["clone_url"])
    other = make_sender(receiver)
    assert right.post(ping, event="ping").status_code == 200
    assert other.post(ping, event="ping").status_code == 200
    columns = "webhook_hook_id as hook, provider_id, webhook_last_ping_at is not null as pinged"
    row = db.execute(f"select {columns} from repositories where id = %s", (right.repository,)).fetchone()
    assert row == {"hook": 109948940, "provider_id": 186853261, "pinged": True}
    row = db.execute(f"select {columns} from repositories where id = %s", (other.repository,)).fetchone()
    assert row == {"hook": 109948940, "provider_id": None, "pinged": True}
    assert _rows(db) == (0, 0)


# Size


def _raw(client: httpx.Client, head: str, chunks: Iterator[bytes]) -> tuple[bytes, int]:
    """Send a request by hand; the answer's first bytes, and how much was sent before it came."""
    sent = 0
    with socket.create_connection(("127.0.0.1", client.base_url.port or 80), timeout=10) as connection:
        connection.sendall(head.encode())
        connection.setblocking(False)
        answer = b""
        for chunk in chunks:
            connection.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(4096)
            if answer:
                return answer, sent
            connection.settimeout(10)
            connection.sendall(chunk)
            sent += len(chunk)
        connection.settimeout(10)
        return connection.recv(4096), sent


def test_a_body_over_the_limit_is_not_read(database_url: str, make_sender: Callable[..., Sender], db: Database) -> None:
    """413 by the announced length before a byte of it, and in the stream as soon as the limit is passed."""
    limit = 100_000
    with running(make_settings(database_url, worker_max_body_bytes=limit)) as client:
        sender = make_sender(client)
        address = f"POST /webhooks/github/{sender.repository} HTTP/1.1\r\nHost: x\r\n"
        answer, sent = _raw(client, address + f"Content-Length: {limit + 1}\r\n\r\n", iter([]))
        assert answer.startswith(b"HTTP/1.1 413 ")
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        answer, sent = _raw(client, address + "Transfer-Encoding: chunked\r\n\r\n", iter([chunk] * 1000))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert sent < 5 * limit
        exactly = json.dumps(make_push()).encode().ljust(limit)
        assert sender.post(exactly + b" ").status_code == 413
        assert sender.post(exactly).status_code == 202
    assert _rows(db) == (1, 1)


# Again and at once


def test_promise_1_the_same_delivery_at_once_makes_one_job(sender: Sender, db: Database) -> None:
    """Twenty identical posts at the same moment: all accepted, one job, one of them the first."""
    with ThreadPoolExecutor(20) as threads:
        barrier = threading.Barrier(20)

        def post(_: int) -> httpx.Response:
            barrier.wait()
            return sender.post(make_push(), delivery="same")

        answers = list(threads.map(post, range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert [answer.json()["duplicate"] for answer in answers].count(False) == 1
    assert _rows(db) == (1, 1)


def test_promise_1_a_redelivery_of_a_failed_one_runs_again(sender: Sender, db: Database) -> None:
    """Redelivering what was processed does nothing; what failed is enqueued anew."""
    first = sender.post(make_push(), delivery="again").json()
    db.execute("update indexing_jobs set status = 'completed', finished_at = now()")
    db.execute("update webhook_deliveries set status = 'processed'")
    again = sender.post(make_push(), delivery="again")
    assert (again.status_code, again.json()["job_id"], again.json()["duplicate"]) == (202, first["job_id"], True)
    assert _rows(db) == (1, 1)
    db.execute("update indexing_jobs set status = 'failed'")
    db.execute("update webhook_deliveries set status = 'failed', error_message = 'broke'")
    retried = sender.post(make_push(), delivery="again").json()
    assert retried["status"] == "queued"
    assert retried["job_id"] != first["job_id"]
    assert _rows(db) == (1, 2)
    row = db.execute("select status, error_message, job_id::text from webhook_deliveries").fetchone()
    assert row == {"status": "queued", "error_message": None, "job_id": retried["job_id"]}


def test_many_pushes_to_one_branch_wait_as_one_job(sender: Sender, db: Database) -> None:
    """Distinct pushes coalesce while queued: one job, all deliveries joined, the paths of all in its hints."""
    with ThreadPoolExecutor(8) as threads:
        pushes = [make_push(commits=[{"modified": [f"{number}.py"]}]) for number in range(40)]
        answers = list(threads.map(sender.post, pushes))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert _rows(db) == (40, 1)
    row = db.execute("select payload -> 'hints' -> 'modified' as paths from indexing_jobs").fetchone()
    assert row is not None
    assert sorted(row["paths"]) == sorted(f"{number}.py" for number in range(40))
    joined = db.execute(
        "select count(distinct job_id) as jobs from webhook_deliveries where status = 'queued'"
    ).fetchone()
    assert joined == {"jobs": 1}


# Secrets


def test_a_rotated_secret_works_at_once_and_a_leaked_one_stops_at_once(
    sender: Sender, db: Database, keys: MasterKeys
) -> None:
    """With grace both secrets are accepted; without, the old one is refused although the receiver remembers it."""
    old = sender.secret
    assert sender.post(make_push()).status_code == 202
    new = rotate_secret(db, keys, sender.repository)
    assert sender.post(make_push(), secret=old).status_code == 202
    assert sender.post(make_push(), secret=new).status_code == 202
    newest = rotate_secret(db, keys, sender.repository, grace=timedelta(0))
    assert sender.post(make_push(), secret=new).status_code == 401
    assert sender.post(make_push(), secret=newest).status_code == 202
    assert sender.post(make_push(), secret=old).status_code == 401


def test_a_new_secret_is_looked_for(sender: Sender, db: Database, keys: MasterKeys) -> None:
    """GitHub may use the new secret before the receiver's memory of the row ends: a mismatch reads again."""
    assert sender.post(make_push()).status_code == 202
    new = rotate_secret(db, keys, sender.repository)
    end = time.monotonic() + 3
    while sender.post(make_push(), secret=new).status_code != 202:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_grace_time_ends(sender: Sender, db: Database, keys: MasterKeys) -> None:
    """A remembered old secret is refused once its time is over."""
    rotate_secret(db, keys, sender.repository, grace=timedelta(hours=1))
    assert sender.post(make_push()).status_code == 202
    db.execute("update repositories set webhook_previous_until = now() - interval '1 second'")
    assert sender.post(make_push()).status_code == 401


def test_a_receiver_with_another_master_key_refuses_loudly(
    database_url: str, make_sender: Callable[..., Sender], db: Database
) -> None:
    """A key that did not make the secret cannot check it: 401 outside, a metric for the operator."""
    counter = 'indexing_worker_signature_failures_total{reason="master_key"}'
    with running(make_settings(database_url, worker_master_keys="k1=" + "f" * 32)) as client:
        sender = make_sender(client)
        before = _metric(client, counter)
        assert sender.post(make_push()).status_code == 401
        assert _metric(client, counter) == before + 1
    with running(make_settings(database_url, worker_master_keys="k2=" + "f" * 32 + "," + KEYS)) as client:
        assert Sender(client, sender.repository, sender.secret).post(make_push()).status_code == 202
    assert _rows(db) == (1, 1)
