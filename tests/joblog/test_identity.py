"""Names of log objects: readable back, and in the order of what they hold."""

import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.joblog.identity import LogIdentity, parse_sealed, parse_segment
from worker.joblog.spool import Spool, parse_name

identities = st.builds(
    LogIdentity,
    st.uuids(),
    st.datetimes(datetime(2001, 9, 10), datetime(2200, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 2**63 - 1),
    st.integers(1, 10_000_000),
)


@given(identities, st.integers(0, 10**8 - 1), st.integers(0, 10**15), st.integers(0, 10**9))
def test_names_tell_what_they_name(identity: LogIdentity, seq: int, offset: int, length: int) -> None:
    """Everything that made a name can be read from it."""
    segment = parse_segment(identity.segment_key(seq, offset, length))
    assert segment is not None
    assert (segment.job_id, segment.token, segment.day) == (identity.job_id, identity.token, identity.day)
    assert (segment.seq, segment.offset, segment.length) == (seq, offset, length)
    sealed = parse_sealed(identity.sealed_key)
    assert sealed is not None
    assert (sealed.job_id, sealed.token, sealed.day) == (identity.job_id, identity.token, identity.day)


@given(identities)
def test_a_spool_file_names_its_attempt(identity: LogIdentity) -> None:
    """A left-over spool file alone says whose it is, to the microsecond."""
    path = Spool(Path("spool")).path(identity)
    assert parse_name(path.name) == identity


def test_segments_sort_as_written() -> None:
    """Keys in order are pieces in order, whatever the number of digits."""
    job = uuid.uuid4()
    made = [LogIdentity(job, datetime.now(UTC), token) for token in (2, 10, 100)]
    keys = [one.segment_key(seq, seq * 1000, 7) for one in made for seq in (0, 2, 9, 10, 100)]
    assert sorted(keys) == keys


def test_the_day_is_the_jobs_day_in_utc() -> None:
    """Whatever time zone a machine has, all attempts of a job agree on the day."""
    moment = datetime(2026, 3, 5, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert LogIdentity(uuid.uuid4(), moment, 1).day == "2026-03-04"
    with pytest.raises(ValueError, match="time zone"):
        LogIdentity(uuid.uuid4(), datetime(2026, 3, 5), 1)


@pytest.mark.parametrize("key", ["", "live/x", "logs/2026-01-01/job-1.1.log", "logs/2026-01-01/job-%s.log", "a/../b"])
def test_foreign_names_are_nobodys(key: str) -> None:
    """A key of another form is neither a segment nor a log."""
    key = key.replace("%s", str(uuid.uuid4()))
    assert parse_segment(key) is None
    assert parse_sealed(key) is None
    assert parse_name(key) is None
