"""Every error the project raises: its cause, whether a retry helps, and what the reader should do.

`code` is the `error_class` of jobs, events and metrics. Callers look at classes and codes, never at the text.
"""

from typing import ClassVar


class WorkerError(Exception):
    """Anything this project raises on purpose. `str()` is one sentence for a person; `hint` says what to do."""

    code: ClassVar[str] = "error"
    hint: str | None = None

    def __init__(self, sentence: str, *, hint: str | None = None) -> None:
        super().__init__(sentence)
        if hint is not None:
            self.hint = hint


class SettingsError(WorkerError):
    """The environment does not make a working program; the sentence lists every problem."""

    code = "settings"


class PortUnavailable(WorkerError):
    """Another process has the port, or this one may not have it."""

    code = "port_unavailable"


class DatabaseUnavailable(WorkerError):
    """Postgres does not answer. `is_outage`: it surely is away, and may come back by itself."""

    code = "database_unavailable"
    is_outage = False
    hint = "Check DATABASE_URL and that Postgres is running; `worker check` tries it."


class EmbeddedPostgresError(WorkerError):
    """The embedded Postgres cannot be started or used."""

    code = "embedded_postgres"


class MigrationError(WorkerError):
    """The migrations and the database do not fit together."""

    code = "migration"


class NotFound(WorkerError):
    """No such repository, job, schedule or log."""

    code = "not_found"


class SearchTooSlow(WorkerError):
    """A search ran into its time limit."""

    code = "search_too_slow"
    hint = "Give more of the text, or narrow it with --repo, --path or --language."


class ScheduleError(WorkerError):
    """A schedule that cannot be: its cron expression, time zone or name."""

    code = "schedule"


class UnsafeUrl(WorkerError):
    """A repository URL this program refuses before git sees it."""

    code = "unsafe_url"
    hint = "Use https://host/owner/repository without user, password or options."


class MasterKeyError(WorkerError):
    """The master key for webhook secrets is missing, malformed or not the one the database knows."""

    code = "master_key"


class GitHubApiError(WorkerError):
    """GitHub's API does not do what it was asked."""

    code = "github_api"
    hint = "Check WORKER_GITHUB_APP_ID, WORKER_GITHUB_APP_KEY or the token, and githubstatus.com."


class LeaseLost(WorkerError):
    """This attempt no longer owns its job: another worker has, or will have, the next one. Nothing was changed."""

    code = "lease_lost"


class LogStoreError(WorkerError):
    """The log store refused or failed; `retryable` says whether the same call may work later."""

    code = "log_store"

    def __init__(self, sentence: str, *, retryable: bool, hint: str | None = None) -> None:
        super().__init__(sentence, hint=hint)
        self.retryable = retryable


class ObjectTooLarge(LogStoreError):
    """The log store takes no object of this size; with smaller ones it is well."""

    code = "log_object_too_large"


class SpoolError(LogStoreError):
    """The disk of the spool failed, not the store; nothing is lost that was on it."""

    code = "log_spool"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, retryable=True, hint="Check that WORKER_STATE_DIR is writable and has room.")


# What ends an attempt. Handlers raise these; runtime/attempt.py is the one place that turns them into an Outcome.


class JobError(WorkerError):
    """A failure of one attempt; `retryable` says whether the next attempt may succeed."""

    code = "job_error"
    retryable: ClassVar[bool] = True


class PermanentError(JobError):
    """No retry helps."""

    code = "permanent"
    retryable = False


class ContentGone(JobError):
    """Stored contents that an index job relied on were collected, or moved, before it published."""

    code = "content_gone"


class Snooze(JobError):
    """Come back later, at no cost: the other side asked for it, or the thing is not there yet."""

    code = "snoozed"

    def __init__(self, sentence: str, *, seconds: float, hint: str | None = None) -> None:
        super().__init__(sentence, hint=hint)
        self.seconds = seconds


class UnknownJobType(PermanentError):
    """No handler is registered under the job's type."""

    code = "unknown_job_type"


class InvalidPayload(PermanentError):
    """The job's payload does not parse as its handler's payload type."""

    code = "invalid_payload"


class TimedOut(JobError):
    """The attempt ran into its time limit and was killed."""

    code = "timed_out"


class ChildCrashed(JobError):
    """The attempt's child process died without an answer; spends the crash budget, not the error budget."""

    code = "child_crashed"


class OutOfMemory(ChildCrashed):
    """The attempt's processes went over the memory limit and were killed."""

    code = "out_of_memory"


# git


class GitError(JobError):
    """git failed in a way that a retry may mend."""

    code = "git"


class GitNetworkError(GitError):
    """The git server could not be reached, or the connection broke."""

    code = "git_network"


class ServerBusy(GitNetworkError):
    """The git server answers that it cannot serve for now."""

    code = "server_busy"


class RateLimited(Snooze):
    """The git server asks to come back later: after the time it names, or a minute where it names none."""

    code = "rate_limited"

    def __init__(self, sentence: str, *, seconds: float = 60, hint: str | None = None) -> None:
        super().__init__(sentence, seconds=seconds, hint=hint)


class FetchRefused(GitError):
    """The server does not give out what was asked for in this way; the fetch step then asks for the whole commit."""

    code = "fetch_refused"


class GitTimeout(GitError):
    """A git command ran into its time limit."""

    code = "git_timeout"


class GitPermanentError(PermanentError):
    """git failed in a way that no retry mends."""

    code = "git_permanent"


class RepositoryNotFound(GitPermanentError):
    """The repository does not exist, or is not shown to strangers."""

    code = "repository_not_found"
    hint = "Check the URL; a private repository needs credentials."


class AccessDenied(GitPermanentError):
    """The git server wants credentials that were not given or not accepted."""

    code = "access_denied"


class Forbidden(AccessDenied):
    """The git server knows who asks, or does not care, and refuses; some say so of a spent rate limit as well."""


class BranchNotFound(GitPermanentError):
    """The repository has no such branch."""

    code = "branch_not_found"


class EmptyRepository(GitPermanentError):
    """The repository has no commit yet."""

    code = "empty_repository"
    hint = "Push a first commit; the push itself enqueues the next job."


class TooLarge(GitPermanentError):
    """The repository goes over a limit of bytes or paths."""

    code = "too_large"


class TooManyPaths(TooLarge):
    """The commit has more paths, or longer ones, than WORKER_MAX_FILES allows."""

    code = "too_many_paths"


class DiskFull(GitError):
    """No room left for the fetched objects."""

    code = "disk_full"
