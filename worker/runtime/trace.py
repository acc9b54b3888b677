"""What the parent tells of an attempt to the job's trace: its span, its phases, and the job's own at the end."""

import time
from typing import Any

from worker import tracing
from worker.job import Job, Outcome

_LAST_VERBS = ("complete", "fail", "cancel")
_MOST_PHASES, _LONGEST_NAME = 200, 60


class AttemptTrace:
    """Made when the attempt begins; does nothing while traces are off."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._begun = time.time_ns()
        self._phases: list[tracing.Phase] = []

    def take(self, message: dict[str, Any]) -> bool:
        """Whether a message of the child was meant for the trace; the child is not believed blindly."""
        if message.get("kind") != "phases":
            return False
        phases = message.get("phases")
        for phase in phases[:_MOST_PHASES] if isinstance(phases, list) else []:
            match phase:
                case [str(name), int(begun), int(ended)] if self._begun <= begun <= ended <= time.time_ns():
                    self._phases.append((name[:_LONGEST_NAME], begun, ended))
                case _:
                    continue
        return True

    def end(self, outcome: Outcome, verb: str) -> None:
        """The attempt's end is recorded under this verb."""
        if not tracing.is_on():
            return
        job, ended = self._job, time.time_ns()
        facts = {"job.type": job.job_type, "error.type": outcome.error_class}
        facts["repository.id"] = str(job.repository_id) if job.repository_id else None
        attempt = {"attempt": job.attempt, "lease.token": job.lease_token, "verb": verb}
        tracing.attempted(job.id, self._begun, ended, {**facts, **attempt}, self._phases)
        if verb in _LAST_VERBS:
            tracing.finished(job.id, int(job.created_at.timestamp() * 1e9), ended, {**facts, "verb": verb})
