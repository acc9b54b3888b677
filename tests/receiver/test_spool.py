"""The spool: what is answered with 202 while Postgres is away is on disk, and reaches it once, in order."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.fixtures.workers import ROOT, eventually
from tests.receiver.conftest import KEYS, Proxy, Sender, make_push, make_settings, running
from worker.receiver.batch import Batches
from worker.receiver.replay import Replay
from worker.receiver.spool import Spool, SpoolDamaged, Spooled, SpoolFull, SpoolUnusable, read

Database = psycopg.Connection[dict[str, Any]]
_ORDER = "select delivery_id, job_id from webhook_deliveries order by id"


@contextmanager
def _spooling(url: str, folder: Path, **values: Any) -> Iterator[httpx.Client]:
    with running(make_settings(url, worker_receiver_spool_dir=folder, **values)) as client:
        yield client


@contextmanager
def _process(url: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """`worker receive` with a spool, to be killed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKER_", "DATABASE_"))}
    given = {
        "DATABASE_URL": url, "WORKER_MASTER_KEYS": KEYS, "PYTHONPATH": str(ROOT), "WORKER_LOG_FORMAT": "json",
        "WORKER_RECEIVER_SPOOL_DIR": str(folder), "WORKER_STATE_DIR": str(folder.parent / "state"),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "receive", "--port", "0"],
        env=clean | given, cwd=folder.parent, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        lines = (json.loads(line) for line in process.stderr if line.startswith(b"{"))
        port = next(line["port"] for line in lines if line["event"] == "receiver listens")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def test_promise_1_what_is_spooled_is_committed_in_order(
    proxy: Proxy, make_sender: Callable[..., Sender], db: Database, tmp_path: Path
) -> None:
    """Postgres goes: signed posts get 202 and their place on disk; it comes back: all are there, once, in order."""
    with _spooling(proxy.url, tmp_path / "spool") as client:
        sender, other = make_sender(client), make_sender(client)
        assert [each.post(make_push(), delivery="0").json()["status"] for each in (sender, other)] == ["queued"] * 2
        proxy.cut()
        for number in range(1, 8):
            answer = sender.post(make_push(), delivery=str(number))
            assert (answer.status_code, answer.json()["status"]) == (202, "spooled")
        assert sender.post(make_push(), delivery="3").status_code == 202  # sent again: GitHub had no answer, say
        assert other.post(make_push(), delivery="1").status_code == 202
        health = client.get("/health")
        assert (health.status_code, health.json()["spooled"]) == (503, 9)
        assert "9 deliveries wait on disk for Postgres." in health.json()["reasons"]
        proxy.restore()
        eventually(lambda: db.execute("select count(*) as n from webhook_deliveries").fetchone() == {"n": 10})
        eventually(lambda: not list((tmp_path / "spool").glob("*.posts")))
        assert sender.post(make_push(), delivery="8").json()["status"] == "queued"
    mine = [row["delivery_id"] for row in db.execute(f"{_ORDER}") if row["delivery_id"] != "1"]
    assert [each for each in mine if each != "0"] == [str(number) for number in range(2, 9)]
    assert {row["job_id"] is None for row in db.execute(_ORDER)} == {False}
    assert db.execute("select count(*) as n from indexing_jobs").fetchone() == {"n": 2}


def test_a_newer_post_does_not_overtake_a_spooled_one(
    database_url: str,
    make_sender: Callable[..., Sender],
    db: Database,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """While posts of a repository wait on disk, its next ones are put behind them, although Postgres answers."""
    with psycopg.connect(database_url) as holder, _spooling(database_url, tmp_path / "spool") as client:
        sender, other = make_sender(client), make_sender(client)
        assert sender.post(make_push()).json()["status"] == "queued"
        holder.execute("select from indexing_jobs where repository_id = %s for update", (sender.repository,))
        assert sender.post(make_push(), delivery="first").json()["status"] == "spooled"
        ping = sender.post({"hook_id": 5}, event="ping", delivery="second")
        assert ping.json()["status"] == "spooled"
        assert other.post(make_push()).json()["status"] == "queued"
        holder.rollback()
        eventually(lambda: client.get("/health").json()["spooled"] == 0)
    assert db.execute("select count(*) as n from webhook_deliveries where delivery_id = 'first'").fetchone() == {"n": 1}
    assert capfd.readouterr().err.count("delivery goes to the spool") == 1  # Postgres was not asked for the second
    row = db.execute("select webhook_hook_id from repositories where id = %s", (sender.repository,)).fetchone()
    assert row == {"webhook_hook_id": 5}


def test_only_remembered_senders_are_spooled(proxy: Proxy, make_sender: Callable[..., Sender], tmp_path: Path) -> None:
    """In an outage unknown repositories, wrong signatures and repositories never read get one and the same refusal."""
    with _spooling(proxy.url, tmp_path / "spool", cache_ttl_seconds=0) as client:
        known, never_seen = make_sender(client), make_sender(client)
        assert known.post(make_push()).status_code == 202
        proxy.cut()
        answers = [
            never_seen.post(make_push()),
            known.post(make_push(), secret="another"),
            Sender(client, uuid.uuid4(), known.secret).post(make_push()),
        ]
        assert {answer.status_code for answer in answers} == {503}
        assert len({answer.content for answer in answers}) == 1
        assert known.post(b"not json").status_code == 400
        assert known.post(make_push(), headers={"X-GitHub-Delivery": None}).status_code == 400
        assert not list((tmp_path / "spool").glob("*.posts"))
        assert known.post(make_push()).json()["status"] == "spooled"
        proxy.restore()
        eventually(lambda: client.get("/health").json().get("spooled") == 0)


def test_a_full_spool_says_503(proxy: Proxy, make_sender: Callable[..., Sender], tmp_path: Path) -> None:
    """The volume is bounded: what does not fit is refused, and what was taken stays."""
    with _spooling(proxy.url, tmp_path / "spool", worker_receiver_spool_mb=1) as client:
        sender = make_sender(client)
        assert sender.post(make_push()).status_code == 202
        proxy.cut()
        large = make_push(filler="x" * 600_000)
        assert [sender.post(large).status_code for _ in range(2)] == [202, 503]
        assert len(list((tmp_path / "spool").glob("*.posts"))) == 1
        proxy.restore()
        eventually(lambda: client.get("/health").json().get("spooled") == 0)


def test_promise_1_a_killed_receiver_leaves_what_it_answered_on_disk(
    proxy: Proxy, make_sender: Callable[..., Sender], db: Database, tmp_path: Path
) -> None:
    """Kill -9 with posts on disk: the next receiver commits each of them once."""
    folder = tmp_path / "spool"
    with _process(proxy.url, folder) as (process, client):
        sender = make_sender(client)
        assert sender.post(make_push(), delivery="0").status_code == 202
        proxy.cut()
        answers = [sender.post(make_push(), delivery=str(number)).json()["status"] for number in range(1, 6)]
        assert answers == ["spooled"] * 5
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    (folder / "00000000000000000009.part").write_bytes(b"half of a pos")
    proxy.restore()
    with _process(proxy.url, folder):
        eventually(lambda: not list(folder.glob("*.posts")))
    assert [row["delivery_id"] for row in db.execute(_ORDER)] == ["0", "1", "2", "3", "4", "5"]
    assert not list(folder.glob("*.part"))


def test_a_revoked_secret_does_not_come_in_by_the_spool(
    proxy: Proxy, make_sender: Callable[..., Sender], db: Database, tmp_path: Path
) -> None:
    """The secret was replaced at once while a post waited: it is not committed, and the operator is told."""
    with _spooling(proxy.url, tmp_path / "spool") as client:
        sender = make_sender(client)
        assert sender.post(make_push(), delivery="0").status_code == 202
        proxy.cut()
        assert sender.post(make_push(), delivery="1").json()["status"] == "spooled"
        db.execute("update repositories set webhook_secret_fingerprint = 'sha256:0000000000000000'")
        proxy.restore()
        eventually(lambda: client.get("/health").json().get("spooled") == 0)
    assert [row["delivery_id"] for row in db.execute(_ORDER)] == ["0"]


def test_one_folder_has_one_receiver(tmp_path: Path) -> None:
    """A second process that would replay the same posts is told so, instead of doing it."""
    first, second = Spool(tmp_path, most_bytes=1000), Spool(tmp_path, most_bytes=1000)
    first.open()
    with pytest.raises(SpoolUnusable, match="cannot be used") as refused:
        second.open()
    assert "WORKER_RECEIVER_SPOOL_DIR" in str(refused.value.hint)
    first.close()
    second.open()
    second.close()


def test_damage_costs_no_more_than_what_is_damaged(tmp_path: Path) -> None:
    """A bit flipped on the volume: the posts before it are read, and no wrong one."""

    async def fill() -> None:
        spool = Spool(tmp_path, most_bytes=10_000)
        spool.open()
        posts = [Spooled(uuid.uuid4(), {"x-github-event": "push"}, bytes([number]) * 100) for number in range(3)]
        await asyncio.gather(*map(spool.put, posts))
        with pytest.raises(SpoolFull):
            await spool.put(Spooled(uuid.uuid4(), {}, b"x" * 10_000))
        spool.close()

    asyncio.run(fill())
    files = sorted(tmp_path.glob("*.posts"))
    data = bytearray(b"".join(path.read_bytes() for path in files))
    whole = tmp_path / "whole"
    whole.write_bytes(data)
    assert [post.body[0] for post in read(whole)] == [0, 1, 2]
    data[-10] ^= 1
    whole.write_bytes(data)
    assert _before_damage(whole) == [0, 1]
    whole.write_bytes(data[:-300])
    assert _before_damage(whole) == [0]


def _before_damage(path: Path) -> list[int]:
    found: list[int] = []
    with pytest.raises(SpoolDamaged, match=path.name):
        found.extend(post.body[0] for post in read(path))
    return found


def test_a_damaged_or_lost_file_stops_nothing_behind_it(tmp_path: Path) -> None:
    """What can be read of it is committed and the rest kept aside; its repository's next posts wait for nothing."""
    accepted: list[int] = []

    async def accept(post: Spooled) -> None:
        accepted.append(post.body[0])

    async def replay() -> None:
        spool = Spool(tmp_path, most_bytes=100_000)
        spool.open()
        repository = uuid.uuid4()
        for number in range(4):
            await spool.put(Spooled(repository, {"x-github-event": "push"}, bytes([number]) * 100))
        _damage(tmp_path)
        replaying = asyncio.create_task(Replay(spool, accept).run())
        for _ in range(2000):
            if spool.oldest() is None:
                break
            await asyncio.sleep(0.01)
        assert not replaying.done()
        replaying.cancel()
        assert len(spool) == 0
        assert not spool.holds(str(repository))
        await spool.put(Spooled(repository, {}, b"x" * 90_000))  # there is room again
        spool.close()

    asyncio.run(replay())
    assert accepted == [2, 3]
    assert [path.name for path in tmp_path.glob("*.failed")] == ["00000000000000000002.failed"]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _damage(folder: Path) -> None:
    first, second, *_ = sorted(folder.glob("*.posts"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])


def test_what_is_kept_aside_is_not_replaced(tmp_path: Path) -> None:
    """The next process counts on behind the files that an operator shall still look at."""
    aside = tmp_path / "00000000000000000007.failed"
    aside.write_bytes(b"kept")
    (tmp_path / "notes.posts").write_bytes(b"an operator's")

    async def put() -> None:
        spool = Spool(tmp_path, most_bytes=10_000)
        spool.open()
        await spool.put(Spooled(uuid.uuid4(), {}, b"x"))
        path = spool.oldest()
        assert path is not None
        assert path.name == "00000000000000000008.posts"
        spool.close()

    asyncio.run(put())
    assert aside.read_bytes() == b"kept"


def test_what_could_not_be_synced_is_not_answered_and_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full volume: the post is refused, nothing of it stays, and the next one is kept once there is room."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    async def put() -> None:
        spool = Spool(tmp_path, most_bytes=10_000)
        spool.open()
        post = Spooled(uuid.uuid4(), {}, b"x")
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                await spool.put(post)
        assert not spool.holds(post.line)
        assert _names(tmp_path) == ["lock"]
        await spool.put(post)
        assert spool.holds(post.line)
        spool.close()

    asyncio.run(put())


def test_who_puts_again_at_once_is_taken() -> None:
    """The next item of whoever has just got an outcome finds somebody who takes it, though the last one just left."""

    async def commit(items: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0)
        return items

    async def put() -> list[int]:
        batches = Batches(commit, most=4, at_once=1)
        async with asyncio.timeout(20):
            return [await batches.put(number) for number in range(5)]

    assert asyncio.run(put()) == [0, 1, 2, 3, 4]
