"""The only reader of the environment: one frozen object, every problem reported at once.

Names come from the environment and from `.env` in the current folder; the environment wins. docs/configuration.md
lists them all: it is made from this file by scripts/make-docs, under the headings that the comments here are.
"""

import base64
import ipaddress
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.errors import SettingsError

LOCAL_USER_ID = UUID("00000000-0000-4000-8000-000000000001")
"""The tenant of a laptop: with the embedded Postgres everything belongs to this user."""

LEAST_SECRET = 16
GITHUB_HOST = "github.com"


class Settings(BaseSettings):
    """Every setting of the program. Field names are the variables' names in lower case."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True
    )

    # Postgres and Supabase (names from the project's documents)
    database_url: SecretStr | None = Field(
        None, description="Postgres; Supabase's pooler URL fits. Without it the embedded Postgres is used."
    )
    database_listen_url: SecretStr | None = Field(
        None,
        description="Direct or session-mode URL of the same Postgres, to be told of new jobs; default: DATABASE_URL, "
        "and polling where that goes through a transaction-mode pooler.",
    )
    database_pool_size: int = Field(5, ge=1, le=100, description="Most connections in this process's pool.")
    database_max_connections: int = Field(
        25, ge=3, le=1000, description="Most connections of this process and its children together."
    )
    cache_ttl_seconds: float = Field(
        300, ge=0, le=86400, description="How long the receiver trusts a repository row it has read."
    )
    supabase_url: str | None = Field(None, description="https://<project>.supabase.co, for the Supabase log store.")
    supabase_service_key: SecretStr | None = Field(None, description="Service key, for the Supabase log store.")
    supabase_anon_key: SecretStr | None = Field(None, description="Never needed; known so that it is kept out of logs.")
    aws_access_key_id: SecretStr | None = Field(None, description="For the S3 log store.")
    aws_secret_access_key: SecretStr | None = Field(None, description="For the S3 log store.")
    aws_endpoint_url: str | None = Field(None, description="The S3 log store's address, if it is not AWS.")
    aws_region: str | None = Field(
        None, description="Region of the S3 log store's bucket; needed by AWS and by Supabase's S3 endpoint."
    )

    # Place
    worker_state_dir: Path = Field(
        Path(".worker"), description="Embedded Postgres, spool, local logs and keys live here."
    )
    worker_scratch_dir: Path | None = Field(
        None, description="Fetched objects of running jobs; default: the system's temporary folder."
    )
    worker_user_id: UUID | None = Field(
        None,
        description="The tenant the command line acts for; default with the embedded Postgres: a local user.",
    )

    # Worker
    worker_slots: int = Field(2, ge=1, le=256, description="Jobs run at once by one worker process.")
    worker_inline_slots: int = Field(
        100, ge=1, le=10_000, description="Light jobs (async handlers) run at once by one worker process."
    )
    worker_prefetch: int = Field(
        900, ge=0, le=10_000, description="Most light jobs claimed ahead; never for more than a fifth of a second."
    )
    worker_handlers: str = Field(
        "", description="Modules, separated by commas, that register more job types with @handler."
    )
    worker_job_types: str = Field(
        "", description="Only these job types, separated by commas, are claimed; default: all it has handlers for."
    )
    worker_listen: bool = Field(True, description="Be told of new jobs by LISTEN, where that provably works.")
    worker_poll_seconds: float = Field(1.0, ge=0.05, le=60, description="Pause between looks at an empty queue.")
    worker_lease_seconds: float = Field(
        30, ge=2, le=600, description="A worker silent for this long has lost its jobs."
    )
    worker_heartbeat_seconds: float = Field(5, ge=0.2, le=120, description="Pause between two renewals of the lease.")
    worker_drain_seconds: float = Field(
        270, ge=0, le=3600, description="How long running jobs may go on after SIGTERM; Fly kills after 300."
    )
    worker_timeout_seconds: int = Field(1800, ge=1, le=86400, description="Time limit of an attempt.")
    worker_memory_mb: int = Field(
        2048, ge=128, le=1_000_000, description="Memory limit of an attempt, all its processes."
    )
    worker_max_attempts: int = Field(5, ge=1, le=100, description="Errors after which a job has failed.")
    worker_crash_limit: int = Field(3, ge=1, le=100, description="Crashes after which a job has failed.")
    worker_backoff_seconds: float = Field(
        10, ge=0, le=3600, description="First pause before a retry; doubles, with jitter."
    )
    worker_job_retention_days: float = Field(
        30, gt=0, le=3650, description="Completed and cancelled jobs are deleted after this."
    )
    worker_failed_job_retention_days: float = Field(
        90, gt=0, le=3650, description="Failed jobs are deleted after this."
    )
    worker_http_host: str = Field(
        "127.0.0.1",
        description="Where health and metrics, and the receiver, listen; `::` is every address, of IPv4 too.",
    )
    worker_metrics_port: int = Field(
        9091, ge=0, le=65535, description="Health and metrics of `worker run`; 0: any free port."
    )

    worker_metrics_seconds: float = Field(
        10, ge=0.1, le=300, description="A count of the whole queue for metrics stands this long, for all processes."
    )

    # Indexing
    worker_extractors: int = Field(2, ge=1, le=64, description="Parsing processes of an index job.")
    worker_max_file_bytes: int = Field(
        1_000_000, ge=1_000, le=100_000_000, description="Larger files are listed, not read."
    )
    worker_max_files: int = Field(200_000, ge=1, le=10_000_000, description="A repository with more paths is refused.")
    worker_max_fetch_mb: int = Field(2_000, ge=1, le=1_000_000, description="A fetch that grows past this is stopped.")
    worker_blob_grace_days: float = Field(
        7, ge=1, le=3650, description="Contents that no file has used for so long are deleted."
    )
    worker_allow_local_repositories: bool | None = Field(
        None, description="Accept file:// repositories; default: only with the embedded Postgres."
    )
    worker_allow_private_hosts: bool = Field(
        False, description="Accept git servers with private or loopback addresses (your own Git server)."
    )

    worker_git_cache_dir: Path | None = Field(
        None, description="Fetched objects are kept here between jobs, on a volume for example; default: they are not."
    )
    worker_git_cache_mb: int = Field(
        5_000, ge=1, le=10_000_000, description="Bound of that folder; the least recently used repositories go first."
    )
    worker_git_token: SecretStr | None = Field(
        None, description="Reads private repositories of WORKER_USER_ID on WORKER_GIT_TOKEN_HOST; no other tenant's."
    )
    worker_git_token_host: str = Field(
        "github.com", min_length=1, max_length=260, description="The only host that gets WORKER_GIT_TOKEN."
    )
    worker_github_app_id: str | None = Field(
        None, description="Id of a GitHub App; repositories registered with `--installation` are read by its tokens."
    )
    worker_github_app_key: SecretStr | None = Field(None, description="The app's private key, PEM.")
    worker_github_app_secret: SecretStr | None = Field(
        None,
        description="Webhook secret of the GitHub App, for POST /webhooks/github; `new,old` while it is being changed.",
    )
    worker_github_hook_token: SecretStr | None = Field(
        None, description="May administer webhooks on GitHub: `worker repo add` and `rotate` then use GitHub's API."
    )
    worker_github_api_url: str = Field(
        "https://api.github.com", description="GitHub's API; https://host/api/v3 for a GitHub of your own."
    )

    # Receiver
    worker_receiver_port: int = Field(8080, ge=0, le=65535, description="Port of `worker receive`; 0: any free port.")
    worker_public_url: str | None = Field(None, description="What GitHub calls; printed by `worker repo add`.")
    worker_max_body_bytes: int = Field(
        26_214_400,
        ge=1_024,
        le=104_857_600,
        description="Larger webhook bodies get 413; GitHub sends up to 25 MB.",
    )
    worker_reconcile_seconds: float = Field(
        3600,
        ge=0,
        le=604_800,
        description="So often each repository is compared with its server, for pushes no webhook told; 0: never.",
    )
    worker_reconcile_per_minute: int = Field(
        100,
        ge=1,
        le=100_000,
        description="At most so many of these comparisons begin in a minute.",
    )
    worker_receiver_spool_dir: Path | None = Field(
        None,
        description="While Postgres is away, deliveries are kept in this folder of a volume, synced, and answered with "
        "202; default: they are answered with 503.",
    )
    worker_receiver_spool_mb: int = Field(256, ge=1, le=100_000, description="Bound of that folder; then 503 again.")
    worker_receiver_rate_per_minute: int = Field(
        3000, ge=0, le=1_000_000, description="Signed deliveries of one repository above this get 429; 0: no limit."
    )
    worker_receiver_allow: str = Field(
        "",
        description="Only these addresses may post: ranges separated by commas, or a file with the JSON of "
        "https://api.github.com/meta; default: all.",
    )
    worker_receiver_trusted_proxies: str = Field(
        "", description="Ranges of proxies, separated by commas, whose word on the sender's address is believed."
    )
    worker_receiver_client_header: Literal["x-forwarded-for", "fly-client-ip"] = Field(
        "x-forwarded-for", description="Where a trusted proxy tells the sender's address."
    )
    worker_cancel_superseded: bool = Field(
        False, description="A push stops the running index job of its branch; one job then does the work of both."
    )
    worker_master_keys: Annotated[SecretStr | None, NoDecode] = Field(
        None, description="`id=secret[,id=secret]`, newest first: webhook secrets are derived from them."
    )

    # Logs
    worker_log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level written.")
    worker_log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: console in a terminal.")
    worker_log_backend: Literal["local", "s3", "supabase"] = Field(
        "local", description="Where job logs are kept: files, an S3-compatible bucket, or Supabase Storage."
    )
    worker_log_bucket: str = Field(
        "worker-logs", min_length=3, max_length=63, description="Bucket (or folder) of job logs."
    )
    worker_log_flush_interval: float = Field(
        20, gt=0, le=3600, description="No logged byte waits longer than this, in seconds."
    )
    worker_log_max_mb: int = Field(
        2_048, ge=1, le=1_000_000, description="Most an attempt logs; near it debug lines are left out, then info."
    )
    worker_log_max_lines: int = Field(
        20_000_000, ge=1_000, le=2_000_000_000, description="Most lines of an attempt's log, in the same way."
    )
    worker_log_spool_mb: int = Field(
        5_000, ge=1, le=10_000_000, description="Bound of all logs that wait on this machine for the store."
    )
    worker_log_min_free_mb: int = Field(
        200, ge=0, le=10_000_000, description="Logs leave so much of the disk free, or a twentieth of a small one."
    )
    worker_log_retention_days: float = Field(7, gt=0, le=3650, description="Job logs are deleted after this.")

    # Traces
    worker_otlp_endpoint: str | None = Field(
        None,
        description="Collector of OpenTelemetry traces, OTLP over HTTP, such as http://127.0.0.1:4318; default: no "
        "traces. Needs the extra `otel`.",
    )
    worker_otlp_headers: SecretStr | None = Field(
        None, description="`name=value[,name=value]`, sent to the collector; its token, for example."
    )
    worker_trace_share: float = Field(1.0, ge=0, le=1, description="Share of all jobs that is traced.")

    @field_validator("database_url", "database_listen_url")
    @classmethod
    def _is_postgres_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        try:
            scheme = urlsplit(url.get_secret_value()).scheme
        except ValueError as problem:
            raise ValueError("is not a URL; a password with special characters must be percent-encoded") from problem
        if scheme not in ("postgres", "postgresql"):
            raise ValueError("must begin with postgresql:// or postgres://")
        return url

    @field_validator(
        "supabase_url", "worker_public_url", "aws_endpoint_url", "worker_github_api_url", "worker_otlp_endpoint"
    )
    @classmethod
    def _is_http_url(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"https?://[^/\s]+", url):
            raise ValueError("must begin with https:// (or http://)")
        return url.rstrip("/") if url else url

    @field_validator("worker_http_host")
    @classmethod
    def _is_address(cls, host: str) -> str:
        ipaddress.ip_address(host)
        return host

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        problems: list[str] = []
        if self.worker_heartbeat_seconds * 3 > self.worker_lease_seconds:
            problems.append("WORKER_HEARTBEAT_SECONDS: must be at most a third of WORKER_LEASE_SECONDS")
        if self.connections_needed > self.database_max_connections:
            problems.append(
                f"DATABASE_MAX_CONNECTIONS: {self.connections_needed} are needed (pool {self.database_pool_size}, "
                f"claims, completions, listening and heartbeat 4, one a slot {self.worker_slots}); raise it or lower "
                "DATABASE_POOL_SIZE or WORKER_SLOTS"
            )
        if (self.worker_github_app_id is None) != (self.worker_github_app_key is None):
            problems.append("WORKER_GITHUB_APP_ID: is of use only together with WORKER_GITHUB_APP_KEY")
        if any(len(secret) < LEAST_SECRET for secret in self.github_app_secrets) or len(self.github_app_secrets) > 2:
            problems.append(
                f"WORKER_GITHUB_APP_SECRET: one secret of at least {LEAST_SECRET} characters, or two with a comma"
            )
        problems += self._log_store_problems()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _log_store_problems(self) -> list[str]:
        """What the chosen log store still needs, each with the name to set."""
        needed = {
            "s3": ["aws_access_key_id", "aws_secret_access_key"],
            "supabase": ["supabase_url", "supabase_service_key"],
        }.get(self.worker_log_backend, [])
        wanted = f"is needed for WORKER_LOG_BACKEND={self.worker_log_backend}"
        problems = [f"{name.upper()}: {wanted}" for name in needed if getattr(self, name) is None]
        if self.worker_log_backend == "s3":
            if self.aws_endpoint_url is None and self.aws_region in (None, "auto"):
                problems.append(f"AWS_REGION: {wanted} on AWS; for any other store set AWS_ENDPOINT_URL")
            if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*[a-z0-9]", self.worker_log_bucket):
                problems.append("WORKER_LOG_BUCKET: an S3 bucket's name is of lower-case letters, digits, - and .")
        key = self.supabase_service_key if self.worker_log_backend == "supabase" else None
        if key is not None and is_public_key(key.get_secret_value()):
            problems.append("SUPABASE_SERVICE_KEY: is a public (anon) key, which may not upload; take the secret one")
        return problems

    @property
    def github_host(self) -> str:
        """The host of the repositories behind GitHub's API: a GitHub of your own has its API at https://host/api/v3."""
        api = urlsplit(self.worker_github_api_url)
        return GITHUB_HOST if api.netloc == f"api.{GITHUB_HOST}" else api.netloc.lower()

    @property
    def github_app_secrets(self) -> list[str]:
        """The accepted secrets of the GitHub App's webhook, newest first."""
        given = self.worker_github_app_secret
        return [part.strip() for part in given.get_secret_value().split(",")] if given else []

    @property
    def connections_needed(self) -> int:
        """Connections of one worker process at its busiest: pool, four of its own and one a child."""
        return self.database_pool_size + 4 + self.worker_slots

    @property
    def handler_modules(self) -> list[str]:
        """The modules of WORKER_HANDLERS."""
        return [name.strip() for name in self.worker_handlers.split(",") if name.strip()]

    @property
    def claimed_job_types(self) -> list[str]:
        """The job types of WORKER_JOB_TYPES; none: all."""
        return [name.strip() for name in self.worker_job_types.split(",") if name.strip()]

    @property
    def uses_embedded_postgres(self) -> bool:
        """No DATABASE_URL was given."""
        return self.database_url is None

    @property
    def state_dir(self) -> Path:
        """The state folder as an absolute path."""
        return self.worker_state_dir.expanduser().absolute()

    @property
    def scratch_dir(self) -> Path:
        """Where running jobs keep fetched objects."""
        return (self.worker_scratch_dir or Path(tempfile.gettempdir())).expanduser().absolute()

    @property
    def allows_local_repositories(self) -> bool:
        """Whether file:// repositories are accepted."""
        if self.worker_allow_local_repositories is None:
            return self.uses_embedded_postgres
        return self.worker_allow_local_repositories

    def for_children(self) -> "Settings":
        """These settings without what only the worker itself needs: git tokens reach a child each by itself."""
        return self.model_copy(
            update=dict.fromkeys(
                (
                    "worker_git_token",
                    "worker_github_app_key",
                    "worker_github_app_id",
                    "worker_github_app_secret",
                    "worker_github_hook_token",
                    "supabase_service_key",  # only the parent uploads logs
                    "aws_access_key_id",
                    "aws_secret_access_key",
                )
            )
        )

    def secrets(self) -> list[str]:
        """Every secret value in these settings, for redaction; the database password on its own as well."""
        found = [value.get_secret_value() for value in self.__dict__.values() if isinstance(value, SecretStr)]
        for url in (self.database_url, self.database_listen_url):
            if url is not None:
                found.append(urlsplit(url.get_secret_value()).password or "")
        found += self.github_app_secrets
        if self.worker_master_keys is not None:
            found += [pair.partition("=")[2] for pair in self.worker_master_keys.get_secret_value().split(",")]
        return [secret for secret in found if len(secret) >= 6]


def is_public_key(key: str) -> bool:
    """Whether a Supabase key is one that browsers get: its name, or the role that its token claims, says so."""
    if key.startswith("sb_publishable_"):
        return True
    claims = key.split(".")[1] if key.count(".") == 2 else ""
    try:
        return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("role") == "anon"
    except (ValueError, AttributeError):
        return False


def load_settings(**overrides: Any) -> Settings:
    """Read the environment and `.env`; raise one SettingsError that names every variable that is wrong."""
    try:
        return Settings(**overrides)
    except ValidationError as failure:
        problems = "\n".join(f"  {_problem(error)}" for error in failure.errors(include_url=False, include_input=False))
        raise SettingsError(
            f"These settings cannot be used:\n{problems}",
            hint="Set them in the environment or in .env; docs/configuration.md explains each.",
        ) from None  # the cause would print the values, secrets among them


def _problem(error: Any) -> str:
    name = str(error["loc"][0]).upper() if error["loc"] else ""
    text = error["msg"].removeprefix("Value error, ")
    text = text[0].lower() + text[1:] if name else text
    return f"{name}: {text}" if name else text


def masked(settings: Settings) -> dict[str, str]:
    """Variable → effective value, secrets masked: what `worker check` prints."""
    shown: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            shown[name.upper()] = "********" if value.get_secret_value() else ""
        else:
            shown[name.upper()] = "" if value is None else str(value)
    return shown


def environment_names() -> list[str]:
    """Names of all variables this program reads, in the order of docs/configuration.md."""
    return [name.upper() for name in Settings.model_fields]


def without_secrets(environment: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    """The environment without this program's secrets: what processes that touch foreign bytes inherit."""
    secret = {name.upper() for name, info in Settings.model_fields.items() if "SecretStr" in str(info.annotation)}
    return {name: value for name, value in environment.items() if name.upper() not in secret}
