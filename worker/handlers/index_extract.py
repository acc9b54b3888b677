"""The extract step: read, parse and store every content that is not stored yet, in small committed batches."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from worker.catalog.blobs import BlobKey, NewBlob, known_blobs, store_blobs
from worker.git.blobs import read_blobs
from worker.handlers.index_run import Plan, Run, Stored, Target
from worker.indexing.classify import Skip
from worker.indexing.languages import PARSER_VERSION, Language
from worker.indexing.records import Extract, Task

BATCH_BYTES = 4_000_000
BATCH_BLOBS = 500


def extract_and_store(run: Run, target: Target, plan: Plan) -> Stored:
    """Read, parse and store every content that is not stored yet, in small committed batches."""
    wanted: dict[BlobKey, str] = {(v.oid, v.lang): path for path, v in plan.changes.write.items()}
    ids = dict(known_blobs(run.connection, target.scope, wanted, PARSER_VERSION))
    missing = {key: path for key, path in wanted.items() if key not in ids}
    unread = [_unread(key, path, plan) for key, path in missing.items() if path in plan.skips]
    for start in range(0, len(unread), BATCH_BLOBS):
        ids |= store_blobs(run.connection, target.scope, PARSER_VERSION, unread[start : start + BATCH_BLOBS])
    to_read = {key: path for key, path in missing.items() if path not in plan.skips}
    counts: Counter[str] = Counter()
    # Closed here, whoever still holds a failure's traceback: git ends with this step.
    with closing(_tasks(plan.git_dir, to_read)) as tasks, ThreadPoolExecutor(1, "store") as storer:
        storing: Future[dict[BlobKey, int]] | None = None
        for batch in _batches(run.pool.extract(tasks)):
            # While Postgres stores one batch the extractors read the next: at most two are in memory.
            if storing is not None:
                ids |= storing.result()
            rows = [_new_blob(extract) for extract in batch]
            storing = storer.submit(store_blobs, run.connection, target.scope, PARSER_VERSION, rows)
            counts["parsed"] += len(batch)
            counts["symbols"] += sum(len(extract.symbols) for extract in batch)
            counts["references"] += sum(len(extract.references) for extract in batch)
            _tell_what_was_left_out(run, to_read, batch)
            run.context.progress("extract", counts["parsed"], len(to_read))
        if storing is not None:
            ids |= storing.result()
    run.context.log.info("extracted", **counts, reused=len(wanted) - len(missing))
    return Stored(ids, len(wanted) - len(missing), counts["parsed"], counts["symbols"], counts["references"])


def _unread(key: BlobKey, path: str, plan: Plan) -> NewBlob:
    """A row for an object nobody read, so that nothing is silently left out."""
    oid, language = key
    return NewBlob(oid, language, int(plan.skips[path]), plan.sizes[path])


def _tasks(git_dir: Path, to_read: Mapping[BlobKey, str]) -> Generator[Task, None, None]:
    keys = list(to_read)
    with closing(read_blobs(git_dir, [key[0] for key in keys])) as blobs:
        for (oid, language), (_, content) in zip(keys, blobs, strict=True):
            yield Task(oid, to_read[oid, language], Language(language), content)


def _batches(extracts: Iterator[Extract]) -> Iterator[list[Extract]]:
    """Batches by bytes and by count: bounded memory here, bounded transactions there."""
    batch: list[Extract] = []
    size = 0
    for extract in extracts:
        batch.append(extract)
        size += extract.size
        if size >= BATCH_BYTES or len(batch) >= BATCH_BLOBS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _new_blob(extract: Extract) -> NewBlob:
    return NewBlob(
        oid=extract.oid,
        lang=int(extract.lang),
        skip=int(extract.skip),
        size=extract.size,
        sha256=extract.sha256,
        tokens=extract.tokens,
        line_count=extract.line_count,
        content=extract.content,
        note=extract.reason,
        symbols=[(s.line, s.end_line, int(s.kind), *s[3:]) for s in extract.symbols],
        references=[(int(r.kind), r.name, r.lines) for r in extract.references],
        imports=[(i.line, i.module, i.names) for i in extract.imports],
    )


def _tell_what_was_left_out(run: Run, paths: Mapping[BlobKey, str], batch: list[Extract]) -> None:
    for extract in batch:
        if extract.skip is Skip.POISON or extract.reason:
            path = paths[extract.oid, int(extract.lang)]
            run.context.log.warning("left out", path=path, skip=extract.skip.name.lower(), reason=extract.reason)
