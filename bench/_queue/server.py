"""A Postgres of the benchmark's own, as a user gets it (fsync on), and databases in it."""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from worker.database.embedded import EmbeddedPostgres
from worker.database.migrate import migrate

_OPTIONS = {"shared_preload_libraries": "pg_stat_statements", "max_wal_size": "4GB", "shared_buffers": "512MB"}
_TEMPLATE = "bench_template"


class Server:
    """Hands out databases, migrated or empty; each is dropped when its user is done."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)
        self._ask(sql.SQL("create database {}").format(sql.Identifier(_TEMPLATE)))
        migrate(_with_database(url, _TEMPLATE))

    @contextlib.contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """URL of a fresh database."""
        name = f"bench_{next(self._numbers)}"
        template = sql.Identifier(_TEMPLATE if migrated else "template0")
        self._ask(sql.SQL("create database {} template {}").format(sql.Identifier(name), template))
        try:
            yield _with_database(self._url, name)
        finally:
            self._ask(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def settle(self) -> None:
        """Write out what the last one left, so that it does not weigh on the next."""
        self._ask(sql.SQL("checkpoint"))

    def _ask(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)


@contextlib.contextmanager
def own_server() -> Iterator[Server]:
    """A server that is gone at the end, with its data."""
    with tempfile.TemporaryDirectory(prefix="indexing-worker-bench-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another user, who must be able to enter
        server = EmbeddedPostgres(Path(folder), options=_OPTIONS)
        url = server.start()
        try:
            yield Server(url)
        finally:
            server.stop()


def _with_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()
