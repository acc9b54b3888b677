"""What a handler raised, turned into an answer, and an answer turned into an Outcome: the same for children and inline.

An answer is what a child can say over its channel: a mapping of plain values.
"""

import errno
import traceback
from collections.abc import Mapping
from typing import Any

import psycopg

from worker.backoff import retry_delay
from worker.errors import DatabaseUnavailable, DiskFull, LeaseLost, Snooze, WorkerError
from worker.job import Ending, Job, JobLog, Outcome
from worker.redact import Redactor

Answer = Mapping[str, Any]

_FREE_SPACE = "Free space in WORKER_SCRATCH_DIR, or point it to a larger disk."

OUTAGES = ("08", "25006", "53", "57P", "40", "55P03")
"""Beginnings of the SQLSTATEs with which Postgres says: not now. Others are errors of the job itself."""


def verdict(failure: Exception, log: JobLog, redactor: Redactor) -> Answer:
    """Log what a handler raised and say what it means for the job."""
    match failure:
        case LeaseLost():
            log.warning("lease lost", reason=str(failure))
            return {"kind": "lost", "message": str(failure)}
        # Read-only: a failover in progress, though an InternalError by its class.
        case DatabaseUnavailable() | psycopg.OperationalError() | psycopg.errors.ReadOnlySqlTransaction():
            return _database_failed(failure, log, redactor)
        case WorkerError():  # a JobError, or what a room raised: without a word on retrying, none helps
            log.error("attempt failed", error_class=failure.code, reason=str(failure), hint=failure.hint)
            sentence = redactor.text(f"{failure} {failure.hint}" if failure.hint else str(failure))
            retryable, seconds = getattr(failure, "retryable", False), getattr(failure, "seconds", None)
            return _failed(failure.code, sentence, retryable, seconds)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            log.error("no room on the disk", reason=str(failure))
            sentence = redactor.text(f"There is no room left on the disk: {failure}. {_FREE_SPACE}")[:2000]
            return _failed(DiskFull.code, sentence, True, None)
        case MemoryError():
            log.error("out of memory")
            return _failed("out_of_memory", "The attempt ran out of memory.", True, None, crash=True)
        case _:
            text = redactor.text("".join(traceback.format_exception(failure)))
            log.error("handler raised", error_class="unexpected", traceback=text)
            sentence = redactor.text(f"{type(failure).__name__}: {failure}")[:2000]
            return _failed("unexpected", sentence, True, None)


def _database_failed(failure: Exception, log: JobLog, redactor: Redactor) -> Answer:
    """An outage costs the job nothing; a statement that Postgres will not do is an error like any other."""
    state = getattr(failure, "sqlstate", None)
    reason = redactor.text(str(failure))
    log.error("database failed", reason=reason, sqlstate=state)
    if state is None or state.startswith(OUTAGES):
        return _failed(Snooze.code, "Postgres did not answer; the job comes back at no cost.", True, 5.0)
    return _failed("database_refused", f"Postgres refused: {reason}"[:2000], True, None)


def _failed(code: str, sentence: str, retryable: bool, seconds: float | None, *, crash: bool = False) -> Answer:
    return {
        "kind": "failed",
        "error_class": code,
        "message": sentence,
        "retryable": retryable,
        "snooze_seconds": seconds,
        "crash": crash,
    }


def outcome_of(answer: Answer, job: Job, *, first_backoff: float) -> Outcome:
    """The Outcome that an answer means for this job."""
    match answer:
        case {"kind": "done", "result": result}:
            return Outcome(Ending.COMPLETE, result=result)
        case {"kind": "published", "result": result}:
            return Outcome(Ending.PUBLISHED, result=result)
        case {"kind": "lost"}:
            return Outcome(Ending.LOST)
        case {"error_class": code, "message": sentence, "crash": True}:
            return crashed(job, code, sentence, first_backoff)
        case {"error_class": code, "message": sentence, "snooze_seconds": float() | int() as seconds}:
            return Outcome(Ending.SNOOZE, error_class=code, message=sentence, delay_seconds=seconds)
        case {"error_class": code, "message": sentence, "retryable": True}:
            return to_retry(job, code, sentence, first_backoff)
        case _:
            return Outcome(Ending.FAIL, error_class=answer.get("error_class"), message=answer.get("message"))


def to_retry(job: Job, code: str, sentence: str, first_backoff: float) -> Outcome:
    """An error that the next attempt may not meet, after its backoff."""
    delay = retry_delay(job.errors + 1, first=first_backoff)
    return Outcome(Ending.RETRY, error_class=code, message=sentence, delay_seconds=delay)


def crashed(job: Job, code: str, sentence: str, first_backoff: float) -> Outcome:
    """The attempt ended without an answer."""
    delay = retry_delay(job.crashes + 1, first=first_backoff)
    return Outcome(Ending.CRASH, error_class=code, message=sentence, delay_seconds=delay)
