"""The migration files of this program, as the Supabase CLI would read them."""

import hashlib
import itertools
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from worker.errors import MigrationError

_NAME = re.compile(r"^([0-9]{14})_(.*)\.sql$")


@dataclass(frozen=True)
class MigrationFile:
    """One file: the 14 digits its name begins with, the rest of the name, and where it is."""

    version: str
    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        """Its SQL, with the line ends of this program's repository whatever git made of them here."""
        return self.path.read_bytes().decode().replace("\r\n", "\n")

    @property
    def sha256(self) -> str:
        """Checksum of the text, to notice an edit after it was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations_folder() -> Path:
    """`supabase/migrations` of a checkout, or the copy that an installed package carries."""
    here = Path(__file__).parent
    packed = here / "migrations"
    return packed if packed.is_dir() else here.parents[1] / "supabase" / "migrations"


def read_folder(folder: Path) -> list[MigrationFile]:
    """The files in order of their versions; raises MigrationError for a folder that cannot be applied."""
    found = [_parse(path) for path in sorted(folder.glob("*.sql"))]
    if not found:
        raise MigrationError(f"There are no migrations in {folder}.", hint="Install the package again.")
    for first, second in itertools.pairwise(found):
        if first.version == second.version:
            raise MigrationError(
                f"{first.path.name} and {second.path.name} have the same version.", hint="Rename the newer one."
            )
    return found


def _parse(path: Path) -> MigrationFile:
    match = _NAME.match(path.name)
    if match is None:
        raise MigrationError(f"{path.name} is no name of a migration.", hint="Name it <14 digits>_<what it does>.sql.")
    return MigrationFile(match[1], match[2], path)
