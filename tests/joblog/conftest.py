"""A spool, a local store and attempts of one job, for the tests of job logs."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.joblog.identity import LogIdentity
from worker.joblog.spool import Spool
from worker.joblog.stores.local import LocalStore

CREATED = datetime(2026, 3, 4, 23, 59, 58, 123456, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool folder that does not exist yet."""
    return Spool(tmp_path / "spool")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty local store."""
    made = LocalStore(tmp_path / "store", "worker-logs")
    made.ensure_bucket()
    return made


@pytest.fixture
def attempt() -> Callable[[int], LogIdentity]:
    """Attempt n of one job; its lease token is 10 n."""
    job_id = uuid.uuid4()
    return lambda number: LogIdentity(job_id, CREATED, number * 10, number)
