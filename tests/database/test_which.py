"""Which Postgres is used."""

from pathlib import Path

from worker.database.connect import connect
from worker.database.which import resolve_database
from worker.settings import load_settings


def test_a_url_is_used_as_it_is() -> None:
    """Nothing is started, and the sentence for people holds no password."""
    database = resolve_database(load_settings(database_url="postgresql://me:s3cret-x@db.example:6543/app"))
    assert database.url == "postgresql://me:s3cret-x@db.example:6543/app"
    assert not database.embedded
    assert database.describe() == "Using the Postgres of DATABASE_URL at db.example:6543/app."
    database.close()


def test_without_a_url_the_embedded_one_is_started_and_said_so(state: Path) -> None:
    """It runs until it is closed."""
    database = resolve_database(load_settings(database_url=None, worker_state_dir=state))
    with connect(database.url, name="test") as connection:
        password = connection.info.password
    assert database.embedded
    assert "embedded Postgres" in database.describe()
    assert password not in database.describe()
    database.close()
    assert database.server is not None
    assert not database.server.is_running()
