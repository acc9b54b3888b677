"""Index jobs run in the test's own process, and what the index then holds."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from worker.database.connect import connect
from worker.handlers.index import index
from worker.handlers.payloads import IndexPayload
from worker.job import GitToken, Job, new_job_id
from worker.settings import Settings

_OF_BLOBS = """
select f.path, t.* from idx.files f join idx.{} t on t.blob_id = f.blob_id
where f.repo_no = %(repo_no)s and f.branch_no = %(branch_no)s"""
_WITHOUT_NUMBERS = """
select (to_jsonb(x) - array['blob_id', 'repo_no', 'branch_no'])::text as row from ({}) x"""
_FILES = """
select f.path, f.mode, coalesce(nullif(f.skip, 0), b.skip) as skip, encode(b.oid, 'hex') as oid, b.lang,
       b.parser_version, case when b.lang >= 0 then b.size end as size, b.sha256, b.tokens, b.line_count,
       b.symbol_count, b.ref_count, b.note, b.content
from idx.files f join idx.blobs b on b.id = f.blob_id
where f.repo_no = %(repo_no)s and f.branch_no = %(branch_no)s"""
_EDGES = "select * from idx.import_edges where repo_no = %(repo_no)s and branch_no = %(branch_no)s"
_ROWS: dict[str, LiteralString] = {
    "files": _WITHOUT_NUMBERS.format(_FILES),
    "import_edges": _WITHOUT_NUMBERS.format(_EDGES),
    **{table: _WITHOUT_NUMBERS.format(_OF_BLOBS.format(table)) for table in ("symbols", "refs", "imports")},
}


class InProcess:
    """A JobContext without a child process: real database, real git, real extractors."""

    def __init__(
        self, job: Job, workdir: Path, database_url: str, on_phase: Callable[[str], None], **settings: Any
    ) -> None:
        self.job = job
        self.workdir = workdir
        self.processes = 1
        self.log = structlog.get_logger()
        given = {"_env_file": None, "worker_allow_local_repositories": True, **settings}
        self.settings = Settings(**given)
        self.git_token: GitToken | None = None
        self.result: dict[str, Any] = {}
        self._database_url = database_url
        self._on_phase = on_phase

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """A connection of the attempt's own."""
        with connect(self._database_url, name="test job") as connection:
            yield connection

    def progress(self, phase: str, done: int = 0, total: int | None = None) -> None:
        """Where a test may interfere."""
        self._on_phase(phase)

    def event(self, verb: str, message: str | None = None, **context: Any) -> None:
        """Nobody listens."""

    def published(self, result: Any) -> None:
        """Keep the result."""
        self.result = dict(result)


class Indexer:
    """Runs index jobs on repositories of the test, and reads the index back."""

    def __init__(self, url: str, db: psycopg.Connection[dict[str, Any]], folder: Path) -> None:
        self.url = url
        self.db = db
        self.folder = folder
        self.worker_id = uuid.uuid4()
        self.settings: dict[str, Any] = {}  # those of the next runs, where they are not the defaults
        db.execute(
            "insert into workers (id, hostname, pid, version, slots) values (%s, 'test', 1, '0', 1)", (self.worker_id,)
        )

    def claim(self, repository_id: uuid.UUID, **payload: Any) -> Job:
        """Enqueue and claim an index job."""
        self.db.execute(
            "select * from queue.enqueue(%s, %s, 'incremental_update', %s)",
            (new_job_id(), repository_id, Jsonb(payload)),
        )
        row = self.db.execute(
            "select * from queue.claim(%s, array['incremental_update'], 1)", (self.worker_id,)
        ).fetchone()
        assert row is not None
        return Job(**row)

    def context(self, job: Job, on_phase: Callable[[str], None] = lambda _: None) -> InProcess:
        """What the handler sees."""
        workdir = self.folder / str(job.lease_token)
        workdir.mkdir()
        return InProcess(job, workdir, self.url, on_phase, **self.settings)

    def context_again(self, job: Job) -> InProcess:
        """The next attempt of a job whose last one died."""
        self.db.execute("select queue.give_back(%s, %s, 'retry', 'error', '0', 'x', 'x')", (job.id, job.lease_token))
        row = self.db.execute(
            "select * from queue.claim(%s, array['incremental_update'], 1)", (self.worker_id,)
        ).fetchone()
        assert row is not None
        return self.context(Job(**row))

    def run(self, repository_id: uuid.UUID, **payload: Any) -> dict[str, Any]:
        """Index a repository's tip; the result."""
        context = self.context(self.claim(repository_id, **payload))
        index(context, IndexPayload.model_validate(payload))
        return context.result

    def files(self, repository_id: uuid.UUID) -> list[tuple[Any, ...]]:
        """Every path with everything that is known of its content, comparable between repositories."""
        rows = self.db.execute(
            """
            select f.path, f.mode, coalesce(nullif(f.skip, 0), b.skip) as skip, b.oid, b.lang, b.tokens, b.content,
                   (select array_agg(row(s.line, s.kind, s.parent, s.name, s.qualname, s.signature)::text
                                     order by s.line, s.parent, s.name)
                    from idx.symbols s where s.blob_id = b.id) as symbols,
                   (select array_agg(row(x.kind, x.name, x.lines)::text order by x.kind, x.name)
                    from idx.refs x where x.blob_id = b.id) as refs
            from idx.files f join idx.blobs b on b.id = f.blob_id join repositories r on r.repo_no = f.repo_no
            where r.id = %s order by f.path""",
            (repository_id,),
        )
        return [tuple(str(value) for value in row.values()) for row in rows]

    def rows(self, repository_id: uuid.UUID, branch: str) -> dict[str, list[tuple[Any, ...]]]:
        """Everything stored of a branch but the numbers of its rows, by table."""
        one = self.db.execute(
            """
            select r.repo_no, b.branch_no, b.commit, b.parser_version
            from repositories r join repository_branches b on b.repository_id = r.id
            where r.id = %s and b.name = %s""",
            (repository_id, branch),
        ).fetchone()
        assert one is not None
        where = {"repo_no": one["repo_no"], "branch_no": one["branch_no"]}
        found = {"branch": [(one["commit"], one["parser_version"])]}
        for table, query in _ROWS.items():
            found[table] = sorted(tuple(map(str, row.values())) for row in self.db.execute(query, where))
        return found

    def written_since(self, transaction: int) -> int:
        """Rows of schema idx written by transactions from this one on."""
        count = 0
        for table in ("blobs", "files", "symbols", "refs", "imports", "import_edges", "scopes"):
            query = sql.SQL("select count(*) as n from idx.{} where xmin::text::bigint >= %s").format(
                sql.Identifier(table)
            )
            row = self.db.execute(query, (transaction,)).fetchone()
            assert row is not None
            count += row["n"]
        return count

    def transaction(self) -> int:
        """The number of a new transaction."""
        row = self.db.execute("select pg_current_xact_id()::text::bigint as n").fetchone()
        assert row is not None
        return row["n"]


@pytest.fixture
def indexer(database_url: str, db: psycopg.Connection[dict[str, Any]], tmp_path: Path) -> Indexer:
    """Runs index jobs in this process."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Indexer(database_url, db, folder)
