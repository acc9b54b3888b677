"""Which token may read a job's repository. The worker asks for each job, and hands the answer to its child alone.

In this order: the tenant's own key, an installation token of the GitHub App for a repository that names its
installation, and the token of the environment. The last one is the operator's: it reads the repositories of the
operator's own tenant, or else any tenant could read with it whatever the operator can.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool

from worker.credentials.github_app import InstallationTokens, app_of
from worker.credentials.master_keys import load_master_keys
from worker.credentials.user_keys import GITHUB, open_user_key
from worker.errors import WorkerError
from worker.job import GitToken, Job
from worker.settings import GITHUB_HOST, LOCAL_USER_ID, Settings

Pool = AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]]

_REPOSITORY = re.compile(r"/[^/]+/([^/]+?)(?:\.git)?")

_READ = """
select r.git_url, r.user_id, r.settings ->> 'github_installation_id' as installation, k.api_key
from public.repositories r
left join public.user_api_keys k on k.user_id = r.user_id and k.service = %s
where r.id = %s"""


class GitTokens:
    """Finds tokens. Those of an app live in this object, and nowhere else."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._apps: InstallationTokens | None = None
        if app := app_of(settings):
            self._apps = InstallationTokens(app)

    async def find(self, job: Job) -> GitToken | None:
        """The token for a job's repository; where one is meant but cannot be had, what stands in the way.

        Raises psycopg.Error.
        """
        if job.repository_id is None:
            return None
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_READ, (GITHUB, job.repository_id))).fetchone()
        if row is None:
            return None
        address = urlsplit(row["git_url"])
        try:
            return await self._of(row, address.netloc.lower(), address.path)
        except WorkerError as problem:
            text = f"{problem} {problem.hint}" if problem.hint else str(problem)
            return GitToken(address.netloc.lower(), problem=text, passes=getattr(problem, "retryable", False))

    async def _of(self, row: Mapping[str, Any], host: str, path: str) -> GitToken | None:
        user_id: UUID = row["user_id"]
        if host == GITHUB_HOST and row["api_key"] is not None:
            return GitToken(host, open_user_key(row["api_key"], load_master_keys(self._settings), user_id, GITHUB))
        name = _REPOSITORY.fullmatch(path)
        if host == self._settings.github_host and self._apps and name and (row["installation"] or "").isdecimal():
            return GitToken(host, await self._apps.token(int(row["installation"]), name[1]))
        settings = self._settings
        if settings.worker_git_token and host == settings.worker_git_token_host.lower() and user_id == self._operator:
            return GitToken(host, settings.worker_git_token.get_secret_value())
        return None

    @property
    def _operator(self) -> UUID | None:
        settings = self._settings
        return settings.worker_user_id or (LOCAL_USER_ID if settings.uses_embedded_postgres else None)
