"""The row of a job, as far as its log is concerned, and what is left over, for tests that kill processes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from worker.joblog.identity import LogIdentity
from worker.joblog.seal import Sealed
from worker.joblog.spool import Spool


class Row:
    """The job's row as far as its log is concerned, in a file, so that it outlives the process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, token: int, parts: list[dict[str, Any]], *, sealed: bool) -> None:
        """Set it."""
        self._path.with_suffix(".new").write_text(json.dumps({"token": token, "parts": parts, "sealed": sealed}))
        self._path.with_suffix(".new").replace(self._path)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """log_parts."""
        return json.loads(self._path.read_text())["parts"]

    def commit(self, token: int) -> Callable[[Sealed], bool]:
        """The token-fenced update; True also if it has happened before."""

        def update(sealed: Sealed) -> bool:
            row = json.loads(self._path.read_text())
            if row["token"] != token:
                return False
            if row["sealed"]:
                return row["parts"] == sealed.parts
            self.write(token, sealed.parts, sealed=True)
            return True

        return update


def leftovers(spool: Spool) -> Iterator[LogIdentity]:
    """Attempts whose spool no process writes any more; each is ours alone while the caller's loop body runs."""
    spool.remove_orphans()
    for identity in spool.identities():
        with spool.claim(identity) as ours:
            if ours:
                yield identity
