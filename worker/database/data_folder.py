"""The files of the embedded Postgres: where its data lies, and how a new database cluster is made there.

Everything is in `postgres/` of the state folder. Only when this program runs as root in a place that the server's
account may not enter (a checkout under /root, say) the data goes to a folder of its own under PLACES, and the file
`postgres/place` says where.
"""

import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from worker.database.account import Account, account_for
from worker.database.binaries import Binaries
from worker.errors import EmbeddedPostgresError

PLACES = (Path("/var/lib/indexing-worker"), Path("/var/tmp"))  # noqa: S108  (a folder with a random name)
"""Where root keeps data that cannot lie in the state folder; the first that can be used."""

SUPERUSER = "postgres"


def place_of(folder: Path) -> Path:
    """The folder that holds `data`, as recorded by an earlier start."""
    record = folder / "place"
    if not record.exists():
        return folder
    place = Path(record.read_text().strip())
    if not (place / "data").exists():
        raise EmbeddedPostgresError(
            f"The data of the embedded Postgres was kept in {place}, and is gone.",
            hint=f"Bring it back, or remove {record} to begin with an empty database.",
        )
    return place


def settle(folder: Path) -> tuple[Path, Account]:
    """Choose, and record, the place of the data and the account of the server."""
    place = place_of(folder)
    account = account_for(place / "data")
    if account.can_enter(place):
        return place, account
    if (place / "data").exists():
        raise EmbeddedPostgresError(
            f"The account that owns {place / 'data'} may no longer enter the folders above it.",
            hint=f"Open them again (chmod o+x), or move {folder} away to begin with an empty database.",
        )
    place = _new_place(account)
    (place / "data").mkdir(mode=0o700)
    account.own(place / "data")
    (folder / "place").write_text(f"{place}\n")
    return place, account


def _new_place(account: Account) -> Path:
    for parent in PLACES:
        try:
            parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix="indexing-worker-", dir=parent))
        except OSError:
            continue
        place.chmod(0o711)
        if account.can_enter(place):
            return place
        place.rmdir()
    raise EmbeddedPostgresError(
        f"The embedded Postgres found no place for its data: tried {', '.join(map(str, PLACES))}.",
        hint="Choose a WORKER_STATE_DIR that every user may enter, or run as an ordinary user.",
    )


def password_of(folder: Path) -> str:
    """The superuser's password: random, made at the first start, readable by this user alone."""
    path = folder / "password"
    if not path.exists():
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600, exist_ok=False)
        unfinished.write_text(secrets.token_urlsafe(24))
        unfinished.rename(path)
    return path.read_text().strip()


def ensure_cluster(binaries: Binaries, place: Path, account: Account, password: str) -> None:
    """A data folder these binaries can serve: made when there is none, refused when it is another version's."""
    version = binaries.version(account)
    made_by = place / "data" / "PG_VERSION"
    if not made_by.exists():
        _initialize(binaries, version, place, account, password)
    elif (found := made_by.read_text().strip()) != _major(version):
        raise EmbeddedPostgresError(
            f"The data in {place / 'data'} is PostgreSQL {found}'s, and the programs in {binaries.bin} are {version}.",
            hint=f"Set PG_BIN to the programs of PostgreSQL {found}, or move {place / 'data'} away and index again.",
        )


def _initialize(binaries: Binaries, version: str, place: Path, account: Account, password: str) -> None:
    # Made aside and renamed, so that a first start that was killed leaves no half a cluster behind.
    unfinished = place / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    account.own(unfinished)
    with tempfile.NamedTemporaryFile("w", dir=place, prefix="password-") as secret:
        secret.write(password)
        secret.flush()
        account.own(Path(secret.name))
        arguments = [f"--pgdata={unfinished}", f"--username={SUPERUSER}", f"--pwfile={secret.name}", "--encoding=UTF8"]
        fixed = ["--auth=scram-sha-256", "--no-sync", "--no-instructions", *_locale(version)]
        done = subprocess.run(
            [binaries.program("initdb"), *arguments, *fixed],
            **account.starts(),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise EmbeddedPostgresError(
            f"initdb could not make {place / 'data'}: {done.stderr.strip() or done.stdout.strip()}"
        )
    unfinished.rename(place / "data")  # over an empty folder at most; else it fails


def _locale(version: str) -> list[str]:
    if int(_major(version)) >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C" if sys.platform == "darwin" else "--locale=C.UTF-8"]


def _major(version: str) -> str:
    return version.partition(".")[0]
