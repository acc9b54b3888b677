"""Which Postgres this process uses: the one DATABASE_URL names, else the embedded one."""

from dataclasses import dataclass

from worker.database.embedded import EmbeddedPostgres
from worker.database.unavailable import where
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Database:
    """A Postgres to connect to; close it when this process needs it no more."""

    url: str
    server: EmbeddedPostgres | None = None

    @property
    def embedded(self) -> bool:
        """Whether it is the embedded one."""
        return self.server is not None

    def describe(self) -> str:
        """One sentence for people, without a secret."""
        place = where(self.url) or "an address that cannot be understood"
        if self.embedded:
            return f"Using the embedded Postgres at {place} (DATABASE_URL is not set)."
        return f"Using the Postgres of DATABASE_URL at {place}."

    def close(self) -> None:
        """Let go of the embedded server; nothing to do for another one."""
        if self.server is not None:
            self.server.release()


def resolve_database(settings: Settings) -> Database:
    """The database these settings mean; starts the embedded one, or joins it, when they name none."""
    if settings.database_url is not None:
        return Database(settings.database_url.get_secret_value())
    server = EmbeddedPostgres(settings.state_dir)
    return Database(server.start(), server)
