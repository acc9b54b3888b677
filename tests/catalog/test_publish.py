"""Publishing a large repository: many short statements, because each has a time limit within the transaction."""

import os
import uuid

import pytest

from worker.catalog.blobs import NewBlob, store_blobs
from worker.catalog.branches import load_branch, load_repository
from worker.catalog.edges import ROWS_A_STATEMENT, EdgeChanges, PackedEdges, stored_edges, write_edges
from worker.catalog.publish import PublishedFile, bill_blobs, pin, write_paths

GUARD = """
create function public.refuse_many() returns trigger language plpgsql as $$
begin
    if (select count(*) from rows_written) > tg_argv[0]::int then
        raise exception 'too many rows in one statement';
    end if;
    return null;
end $$"""


def guard(db, table, verb, most):
    """From now on no statement of this kind may write more rows than that."""
    db.execute(GUARD.replace("create", "create or replace", 1))
    which = {"insert": "new", "update": "new", "delete": "old"}[verb]
    db.execute(
        f"create trigger few_{verb} after {verb} on idx.{table} referencing {which} table as rows_written"
        f" for each statement execute function public.refuse_many({most})".encode()
    )


def test_very_many_edges_are_written_in_short_statements(db, make_repository):
    """Half a million in one COPY took longer than the lease allows, at every attempt: the job failed for ever."""
    for verb in ("insert", "delete"):
        guard(db, "import_edges", verb, ROWS_A_STATEMENT)
    repository = load_repository(db, make_repository())
    edges = [(f"{n % 7}.py", f"{n}.py" if n % 3 else None, "m", n) for n in range(2 * ROWS_A_STATEMENT + 5)]
    write_edges(db, repository.repo_no, 0, EdgeChanges(add=PackedEdges(edges)))
    assert stored_edges(db, repository.repo_no, 0, [f"{n}.py" for n in range(7)]) == set(edges)
    write_edges(db, repository.repo_no, 0, EdgeChanges(remove=PackedEdges(edges[:-1])))
    assert stored_edges(db, repository.repo_no, 0, [f"{n}.py" for n in range(7)]) == {edges[-1]}


def test_edges_are_packed_and_come_out_as_they_went_in():
    """In their order, in slices; none is none."""
    packed = PackedEdges()
    packed.append([("a", None, "m", 1), ("b", "c", "é", 2)])
    packed.append([])
    packed.append([("d", "e", "m", 3)])
    assert len(packed) == 3
    assert [list(some) for some in packed.slices(1)] == [
        [("a", None, "m", 1)], [("b", "c", "é", 2)], [("d", "e", "m", 3)],
    ]  # fmt: skip
    assert list(PackedEdges().slices(5)) == []


@pytest.mark.parametrize("times", [1, 2])
def test_very_many_paths_are_pinned_billed_and_written_in_short_statements(db, make_repository, monkeypatch, times):
    """Also where they were there before, and their contents' grace time begins."""
    monkeypatch.setattr("worker.catalog.publish.PATHS_A_STATEMENT", 3)
    blobs = [NewBlob(os.urandom(20), 0, 0, 1, tokens=2, content="x") for _ in range(10)]
    ids = store_blobs(db, 0, 1, blobs)
    for table, verb in (("files", "insert"), ("files", "delete"), ("upkeep", "update")):
        guard(db, table, verb, 3)
    repository = load_repository(db, make_repository())
    branch = load_branch(db, repository.id, "main")
    files = {f"{n}.py": PublishedFile(blob_id, 0o100644, 0) for n, blob_id in enumerate(ids.values())}
    for _ in range(times):
        with db.transaction():
            pin(db, 0, set(ids.values()))
            write_paths(db, repository, branch, write=files, remove=[])
            billed = bill_blobs(db, uuid.uuid4(), list(ids.values()))
        assert billed == (20 if branch.commit is None else 0)
        db.execute("update public.repository_branches set commit = %s", ("1" * 40,))
        branch = load_branch(db, repository.id, "main")
    with db.transaction():
        write_paths(db, repository, branch, write={}, remove=list(files))
    assert db.execute("select count(*) as n from idx.files").fetchone()["n"] == 0
