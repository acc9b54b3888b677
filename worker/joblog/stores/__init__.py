"""The log stores, and the choice between them."""

from worker.joblog.store import LogStore
from worker.joblog.stores.local import LocalStore
from worker.settings import Settings


def open_store(settings: Settings) -> LogStore:
    """The log store that the settings name; nothing is created or asked yet."""
    return LocalStore(settings.state_dir / "logs", settings.worker_log_bucket)
