"""A log store that fails on command, over local files."""

from collections.abc import Callable
from pathlib import Path

from worker.errors import LogStoreError
from worker.joblog.stores.local import LocalStore


class FaultyStore(LocalStore):
    """Remembers what it was asked to put, and fails as it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "worker-logs")
        self.fail_with: LogStoreError | None = None
        self.fail_after_writing = 0  # so many puts are stored, and their answers lost
        self.on_put: Callable[[], object] = lambda: None
        self.tries: list[str] = []
        self.sent: list[tuple[str, bytes]] = []
        self.puts: list[tuple[str, int]] = []
        self.ensure_bucket()

    def put(self, key: str, data: bytes) -> None:
        """Store, or fail."""
        self.tries.append(key)
        self.sent.append((key, data))
        self.on_put()
        if self.fail_with is not None:
            raise self.fail_with
        super().put(key, data)
        if self.fail_after_writing:
            self.fail_after_writing -= 1
            raise LogStoreError("The connection was cut.", retryable=True)
        self.puts.append((key, len(data)))

    def put_file(self, key: str, path: Path) -> None:
        """Store, or fail."""
        self.on_put()
        if self.fail_with is not None:
            raise self.fail_with
        super().put_file(key, path)
        self.puts.append((key, path.stat().st_size))
