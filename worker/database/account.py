"""Whom the embedded server runs as: Postgres refuses to run as root, so root lends it another account."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import EmbeddedPostgresError

# Nothing else of this process's environment reaches the server: no secret, no PG* variable, no locale.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class Account:
    """A system account by its numbers; no numbers: the one this process has."""

    uid: int | None = None
    gid: int | None = None

    def starts(self) -> dict[str, Any]:
        """Arguments that make `subprocess` run a program as this account, with a clean environment."""
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"LC_ALL": "C"}
        # cwd: the present one may be closed to the account, and initdb asks for its name.
        start: dict[str, Any] = {"env": environment, "cwd": "/", "stdin": subprocess.DEVNULL}
        if self.uid is not None:
            start |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return start

    def own(self, path: Path) -> None:
        """Hand a file or folder over to this account."""
        if self.uid is None or self.gid is None:
            return
        try:
            os.chown(path, self.uid, self.gid)
        except OSError as failure:
            raise EmbeddedPostgresError(
                f"Cannot hand {path} over to the account the embedded Postgres runs as: {failure.strerror}.",
                hint="Run this program as an ordinary user, or set DATABASE_URL.",
            ) from failure

    def can_enter(self, folder: Path) -> bool:
        """Whether this account may pass through every folder down to this one."""
        if self.uid is None:
            return True
        tried = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]
        return subprocess.run(tried, **self.starts(), capture_output=True, check=False).returncode == 0


def account_for(data: Path) -> Account:
    """The account for a data folder: its owner's, or for a new one this process's, or `nobody` in place of root."""
    owner = data.stat() if data.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise EmbeddedPostgresError(
                f"The embedded Postgres in {data} belongs to another user.",
                hint="Run as the user that started it first (perhaps root), or choose another WORKER_STATE_DIR.",
            )
        return Account()
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresError(
            "Postgres does not run as root, and this system has no account `nobody` to lend it.",
            hint="Run this program as an ordinary user, or set DATABASE_URL.",
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)
