"""Which token a job gets: the tenant's own, the app's, the operator's, or none."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from worker.credentials.git_token import GitTokens
from worker.credentials.master_keys import MasterKeys
from worker.credentials.user_keys import set_user_key
from worker.database.pool import make_pool
from worker.errors import AccessDenied, GitNetworkError
from worker.job import GitToken, Job, new_job_id
from worker.runtime.channel import Secrets, pack_secrets
from worker.settings import Settings

KEYS = "k1=" + "a" * 32
OPERATOR = uuid.UUID("00000000-0000-4000-8000-0000000000aa")


def find(database_url: str, repository_id: uuid.UUID | None, app: Any = None, **given: Any) -> GitToken | None:
    """The token of a job of this repository."""
    now = datetime.now(UTC)
    job = Job(new_job_id(), "full_index", 1, 1, 5, {}, now, now, now, repository_id)
    fixed: dict[str, Any] = {
        "_env_file": None,
        "database_url": database_url,
        "worker_user_id": OPERATOR,
        "worker_master_keys": KEYS,
        "worker_git_token": "operators-token",
    }

    async def ask() -> GitToken | None:
        pool = make_pool(database_url, size=1, name="test", patience=10)
        await pool.open()
        try:
            tokens = GitTokens(Settings(**fixed | given), pool)
            tokens._apps = app
            return await tokens.find(job)
        finally:
            await pool.close()

    return asyncio.run(ask())


class Apps:
    """An app that gives out its tokens' names, or refuses."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def token(self, installation: int, repository: str) -> str:
        """Installation and repository, as one word."""
        if self.failure is not None:
            raise self.failure
        return f"app-{installation}-{repository}"


def test_the_tenants_own_key_comes_first_and_is_for_github_alone(database_url, db, make_repository) -> None:
    """A key of one tenant is of no use to another, nor on another host."""
    user_id = uuid.uuid4()
    own = make_repository(user_id=user_id, settings={"github_installation_id": 7})
    elsewhere = make_repository(user_id=user_id, git_url="https://gitlab.com/acme/x")
    set_user_key(db, MasterKeys.parse(KEYS), user_id, "github", "tenants-token")
    assert find(database_url, own, Apps()) == GitToken("github.com", "tenants-token")
    assert find(database_url, elsewhere) is None
    assert find(database_url, make_repository()) is None
    locked = find(database_url, own, worker_master_keys="k2=" + "b" * 32)
    assert locked is not None
    assert (locked.token, locked.passes) == (None, False)
    assert "k1" in str(locked.problem)


def test_the_app_reads_repositories_that_name_their_installation(database_url, make_repository) -> None:
    """Others are none of its business, however their URL looks."""
    url = "https://github.com/acme/plans"
    assert find(database_url, make_repository(git_url=url), Apps()) is None
    row = make_repository(git_url=url, settings={"github_installation_id": 7})
    assert find(database_url, row, Apps()) == GitToken("github.com", "app-7-plans")
    elsewhere = make_repository(git_url="https://gitlab.com/acme/x", settings={"github_installation_id": 7})
    assert find(database_url, elsewhere, Apps()) is None


@pytest.mark.parametrize(("failure", "passes"), [(AccessDenied("Gone."), False), (GitNetworkError("Down."), True)])
def test_a_token_that_cannot_be_had_stops_no_public_job(database_url, make_repository, failure, passes) -> None:
    """The problem travels with the job, and is raised only where a token is needed."""
    row = make_repository(settings={"github_installation_id": 7})
    found = find(database_url, row, Apps(failure))
    assert found is not None
    assert (found.token, found.passes) == (None, passes)
    assert str(failure) in str(found.problem)


def test_the_token_of_the_environment_is_the_operators(database_url, make_repository) -> None:
    """Or else any tenant could register what the operator can read."""
    own = make_repository(user_id=OPERATOR)
    assert find(database_url, own) == GitToken("github.com", "operators-token")
    assert find(database_url, own, worker_git_token_host="git.example.org") is None
    assert find(database_url, own, worker_user_id=None) is None
    assert find(database_url, make_repository(user_id=OPERATOR, git_url="https://gitlab.com/a/b")) is None
    assert find(database_url, make_repository()) is None
    assert find(database_url, None) is None


def test_what_only_the_worker_needs_does_not_reach_its_children() -> None:
    """A child gets the token of its own job, and neither the operator's nor the app's key."""
    secrets = {"worker_git_token": "operators-token", "worker_github_app_id": "1", "worker_github_app_key": "a-key-pem"}
    given: dict[str, Any] = {"_env_file": None, **secrets}
    settings = Settings(**given)
    packed = pack_secrets(replace(Secrets(settings, "postgresql://x"), settings=settings.for_children()))
    assert b"operators-token" in pack_secrets(Secrets(settings, "postgresql://x"))
    assert b"operators-token" not in packed
    assert b"a-key-pem" not in packed
