"""The master keys of an installation: webhook secrets are derived from them, and kept tokens encrypted under them."""

import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from worker.errors import MasterKeyError
from worker.settings import Settings

LOCAL_KEY_ID = "local"
"""Id of the key that a laptop makes for itself."""

_LEAST_LENGTH = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAKE_ONE = "Make one with `openssl rand -hex 32` and set WORKER_MASTER_KEYS=<id>=<secret>, for example k1=…"


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One master key: the id is stored beside what was derived from it, the secret never."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """The master keys of this installation, newest first: the first signs new secrets, all are accepted."""

    keys: tuple[MasterKey, ...]

    @classmethod
    def parse(cls, text: str) -> "MasterKeys":
        """Read `id=secret[,id=secret]`; raises MasterKeyError, which never repeats a secret."""
        keys = tuple(_parse_key(number, part) for number, part in enumerate(text.split(","), start=1))
        ids = [key.id for key in keys]
        twice = sorted({key_id for key_id in ids if ids.count(key_id) > 1})
        if twice:
            raise MasterKeyError(
                f"WORKER_MASTER_KEYS names {', '.join(twice)} more than once.",
                hint="Give each key its own id.",
            )
        return cls(keys)

    @property
    def newest(self) -> MasterKey:
        """The key from which new secrets are derived."""
        return self.keys[0]

    def find(self, key_id: str) -> MasterKey:
        """The key of this id; raises MasterKeyError when it is not configured."""
        for key in self.keys:
            if key.id == key_id:
                return key
        known = ", ".join(key.id for key in self.keys)
        raise MasterKeyError(
            f"The master key {key_id!r} is not configured here (known: {known}).",
            hint="Add it to WORKER_MASTER_KEYS, or make a new secret with `worker repo rotate`.",
        )


def _parse_key(number: int, part: str) -> MasterKey:
    key_id, equals, secret = (piece.strip() for piece in part.partition("="))
    if not equals:
        raise MasterKeyError(f"WORKER_MASTER_KEYS: entry {number} is not of the form id=secret.", hint=_MAKE_ONE)
    if not _KEY_ID.fullmatch(key_id):
        raise MasterKeyError(
            f"WORKER_MASTER_KEYS: the id of entry {number} must be 1 to 64 letters, digits or any of . _ -",
            hint=_MAKE_ONE,
        )
    if len(secret) < _LEAST_LENGTH:
        raise MasterKeyError(
            f"WORKER_MASTER_KEYS: the secret of {key_id!r} has {len(secret)} characters, "
            f"at least {_LEAST_LENGTH} are needed.",
            hint=_MAKE_ONE,
        )
    return MasterKey(key_id, secret)


def load_master_keys(settings: Settings) -> MasterKeys:
    """The configured keys; on a laptop (embedded Postgres) one made once and kept in the state folder."""
    if settings.worker_master_keys is not None:
        return MasterKeys.parse(settings.worker_master_keys.get_secret_value())
    if not settings.uses_embedded_postgres:
        raise MasterKeyError("WORKER_MASTER_KEYS is not set, and webhook secrets are derived from it.", hint=_MAKE_ONE)
    path = settings.state_dir / "master.key"
    if not path.exists():
        _create(path)
    return MasterKeys.parse(f"{LOCAL_KEY_ID}={path.read_text(encoding='ascii').strip()}")


def _create(path: Path) -> None:
    """Write a random key, whole or not at all: of processes that start at once, all read the first one's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # another process was first
    finally:
        draft.unlink(missing_ok=True)
