"""An S3 store for the benchmark: the one that the environment names, or the server that the tests use, started here."""

import os
from contextlib import ExitStack

from worker.errors import WorkerError
from worker.joblog.store import LogStore
from worker.joblog.stores import open_store
from worker.settings import load_settings


def started(stack: ExitStack) -> tuple[LogStore, str] | None:
    """A store with its bucket, and what it is; None where neither can be had."""
    if os.environ.get("WORKER_LOG_BACKEND", "local") != "local":
        settings = load_settings()
        store = open_store(settings)
        store.ensure_bucket()
        return store, f"{settings.worker_log_backend} {settings.aws_endpoint_url or settings.supabase_url or 'AWS'}"
    if why_not() is not None:
        return None
    from tests.fixtures.s3_servers import SWIFT_PYTHON, swift_server

    server = stack.enter_context(swift_server(SWIFT_PYTHON))
    store = open_store(
        load_settings(
            worker_log_backend="s3",
            worker_log_bucket="bench-logs",
            aws_endpoint_url=server.url,
            aws_access_key_id=server.key,
            aws_secret_access_key=server.secret,
            aws_region="us-east-1",
        )
    )
    store.ensure_bucket()
    return store, "S3: OpenStack Swift, started here"


def why_not() -> str | None:
    """Why no S3 server can be started here; None if one can."""
    try:
        from tests.fixtures.s3_servers import SWIFT_PYTHON
        from worker.joblog.stores import s3

        assert s3
    except (ImportError, WorkerError) as failure:
        return str(failure)
    return None if SWIFT_PYTHON.exists() else "scripts/setup-test-tools installs OpenStack Swift"
