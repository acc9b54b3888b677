"""A small index to search: files as texts, read by the real extractor."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest

from worker.catalog.blobs import NewBlob, store_blobs
from worker.indexing.extract import extract
from worker.indexing.languages import PARSER_VERSION, language_of
from worker.indexing.records import Task

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True, slots=True)
class Indexed:
    """A repository with one branch put into the index."""

    id: UUID
    owner: UUID
    repo_no: int


@pytest.fixture
def index(db, make_repository) -> Callable[..., Indexed]:
    """Index files, path → text, as a branch of a new repository or of one that is there; path → None removes."""

    def put(files, *, into=None, name="acme", owner=None, branch="main", **columns) -> Indexed:
        if into is None:
            owner = owner or uuid4()
            repository_id = make_repository(user_id=owner, name=name, **columns)
            row = db.execute("select repo_no from public.repositories where id = %s", (repository_id,)).fetchone()
            into = Indexed(repository_id, owner, row["repo_no"])
        branch_no = db.execute(
            """insert into public.repository_branches (repository_id, branch_no, name, commit)
               select %(id)s, count(*), %(name)s, %(commit)s
               from public.repository_branches where repository_id = %(id)s
               on conflict (repository_id, name) do update set commit = excluded.commit returning branch_no""",
            {"id": into.id, "name": branch, "commit": COMMIT},
        ).fetchone()["branch_no"]
        for path, text in files.items():
            place = (into.repo_no, branch_no, path)
            db.execute("delete from idx.files where (repo_no, branch_no, path) = (%s, %s, %s)", place)
            if text is not None:
                blob = read(path, text)
                (blob_id,) = store_blobs(db, 0, PARSER_VERSION, [blob]).values()
                db.execute("insert into idx.files values (%s, %s, %s, %s, 33188)", (*place, blob_id))
        return into

    return put


def read(path: str, text: str) -> NewBlob:
    """What an index job would store of this file."""
    content = text.encode()
    found = extract(Task(hashlib.sha1(content).digest(), path, language_of(path), content))
    return NewBlob(
        found.oid, int(found.lang), int(found.skip), found.size, found.sha256, found.tokens, found.line_count,
        found.content, found.reason,
        symbols=[(s.line, s.end_line, int(s.kind), *s[3:]) for s in found.symbols],
        references=[(int(r.kind), r.name, r.lines) for r in found.references],
    )  # fmt: skip
