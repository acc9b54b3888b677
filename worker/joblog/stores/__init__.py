"""The log stores, and the choice between them."""

from worker.errors import SettingsError
from worker.joblog.store import LogStore
from worker.joblog.stores.local import LocalStore
from worker.settings import Settings


def open_store(settings: Settings) -> LogStore:
    """The log store that the settings name; nothing is created or asked yet. SettingsError if its client is missing."""
    backend = settings.worker_log_backend
    try:
        # The clients are extras, and half a second of imports: only who uses one pays for it.
        if backend == "s3":
            from worker.joblog.stores.s3 import open_s3

            return open_s3(settings)
        if backend == "supabase":
            from worker.joblog.stores.supabase import open_supabase

            return open_supabase(settings)
    except ModuleNotFoundError as missing:
        raise SettingsError(
            f"WORKER_LOG_BACKEND={backend} needs the package {missing.name!r}, which is not installed.",
            hint=f"Install the extra: pip install 'indexing-worker[{backend}]'.",
        ) from None
    return LocalStore(settings.state_dir / "logs", settings.worker_log_bucket)
