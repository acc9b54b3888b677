"""The database of LOCAL_DATABASE_URL, for scripts: `reset`, `scratch` (prints a migrated one's URL), `drop-scratch`.

The password comes from PGPASSWORD or the URL. Any other host than this machine is refused.
"""

import os
import sys
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

from psycopg import sql

from worker.database.connect import connect
from worker.database.migrate import migrate
from worker.errors import WorkerError

LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
SCRATCH = "_scratch_for_diff"


def local(url: str) -> str:
    """The URL, if it leads to this machine; exits with a sentence otherwise."""
    if urlsplit(url).hostname not in LOCAL_HOSTS or "host" in urlsplit(url).query:
        sys.exit(f"{urlsplit(url).hostname or url} is not this machine: only local databases are reset or copied")
    if database_of(url) in ("", "postgres", "template0", "template1"):
        sys.exit("name a database of its own in the URL, such as /indexing_worker: the server's own ones are kept")
    return url


def database_of(url: str) -> str:
    """The database's name."""
    return unquote(urlsplit(url).path.removeprefix("/"))


def beside(url: str, name: str) -> str:
    """The same server's URL, of another database."""
    return urlsplit(url)._replace(path=f"/{quote(name)}").geturl()


def recreate(url: str, name: str) -> str:
    """Drop this database of the server, whoever uses it, and make it anew, empty; its URL."""
    with connect(beside(url, "postgres"), name="worker scripts") as server:
        server.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        server.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    return beside(url, name)


def drop(url: str, name: str) -> None:
    """Drop this database of the server, if it is there."""
    with connect(beside(url, "postgres"), name="worker scripts") as server:
        server.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def main() -> None:
    """Do what the first argument says to the database of LOCAL_DATABASE_URL."""
    url = local(os.environ["LOCAL_DATABASE_URL"])
    scratch = f"{database_of(url)}{SCRATCH}"
    match sys.argv[1:]:
        case ["reset"]:
            recreate(url, database_of(url))
        case ["scratch"]:
            migrate(recreate(url, scratch))
            print(beside(url, scratch))
        case ["drop-scratch"]:
            drop(url, scratch)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main()
    except WorkerError as failure:
        sys.exit(f"{failure} {failure.hint or ''}".strip())
