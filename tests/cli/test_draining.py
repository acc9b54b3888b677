"""worker drain: asks the right workers, and says what came of it."""

import uuid
from typing import Any

import pytest

from tests.fixtures.workers import eventually


@pytest.fixture
def register(db: Any):
    """A worker's row; its id."""

    def register(hostname: str = "here", pid: int = 1, state: str = "running") -> uuid.UUID:
        worker = uuid.uuid4()
        db.execute(
            "insert into workers (id, hostname, pid, version, slots, state) values (%s, %s, %s, '0', 2, %s)",
            (worker, hostname, pid, state),
        )
        return worker

    return register


def asked(db: Any) -> set[uuid.UUID]:
    """Who was asked to drain."""
    return {row["id"] for row in db.execute("select id from workers where drain_requested_at is not null").fetchall()}


def test_a_worker_is_named_by_its_id_its_host_or_its_pid(worker, register, db) -> None:
    """A host means all its workers; an unknown name means nobody, and is an error."""
    first, second, third = register("one", 1), register("one", 2), register("two", 3)
    assert worker("drain", str(first)[-12:]).code == 0
    assert asked(db) == {first}
    assert worker("drain", "two:3").code == 0
    assert asked(db) == {first, third}
    said = worker("drain", "one", "--json").json
    assert set(said["asked"]) == {str(first), str(second)}
    unknown = worker("drain", "three")
    assert unknown.code == 1
    assert "No living worker is called 'three'" in unknown.err
    assert asked(db) == {first, second, third}


def test_all_means_those_that_live(worker, register, db) -> None:
    """Stopped ones are not asked; without a name or --all nobody is."""
    assert worker("drain").code == 2
    alive = register()
    register(state="stopped")
    assert "Asked to drain: 1 of 1 workers, with 0 running jobs." in worker("drain", "--all").out
    assert asked(db) == {alive}
    late = worker("drain", "--all", "--wait", "0.2")
    assert late.code == 1
    assert "1 of 1 workers have not ended within 0.2 s" in late.err


def test_wait_ends_when_a_real_worker_has_ended(worker, start, db) -> None:
    """`--wait` answers once they are gone; the process exits with 0."""
    process = start("run", "--metrics-port", "0", WORKER_HEARTBEAT_SECONDS="0.3", WORKER_LEASE_SECONDS="3")
    eventually(lambda: db.execute("select from workers where state = 'running'").fetchone() is not None, what="it")
    said = worker("drain", "--all", "--wait", "60")
    assert said.code == 0, said.err
    assert said.out.endswith("All of them have ended.\n")
    assert process.wait(20) == 0
