"""The link step: which file leads to which, for the files whose answer may have changed.

Outside of the publish transaction, because it takes its time; one job at a time is at work on a repository.
"""

from collections.abc import Iterator, Mapping

from worker.catalog.edges import (
    Edge,
    EdgeChanges,
    PackedEdges,
    imports_of,
    stored_blobs,
    stored_edges,
    texts_of,
)
from worker.handlers.index_run import Plan, Run, Stored, Target
from worker.indexing.classify import Skip
from worker.indexing.languages import Language
from worker.indexing.links import PROJECT_FILES, Links

SOURCES_A_ROUND = 2_000
"""So many files' imports are in memory at once."""

MOST_PROJECT_FILES = 2_000


def link(run: Run, target: Target, plan: Plan, stored: Stored) -> EdgeChanges:
    """What changes among the branch's import edges.

    Where only contents changed, the changed files are looked at. Where paths came or went, or a project file says anew
    where modules are, any import may lead elsewhere: all are resolved again, and only what differs is written.
    """
    where = (target.repository.repo_no, target.branch.branch_no)
    before = stored_blobs(run.connection, *where)
    after = dict(before)
    for path in plan.changes.remove:
        after.pop(path, None)
    for path, version in plan.changes.write.items():
        # A link or a submodule is a path, and holds no imports.
        after[path] = (stored.ids[version.oid, version.lang], version.lang)
    changed = plan.changes.write
    if plan.changes.remove or any(path not in before or _is_project_file(path) for path in changed):
        sources = sorted(after)
    else:
        sources = sorted(changed)
    links = Links((path for path in after if plan.skips.get(path) is not Skip.SUBMODULE), _project_files(run, after))
    add, remove = PackedEdges(), PackedEdges()
    for some in _rounds(sources):
        wanted = set(_edges(run, links, {path: after[path] for path in some}))
        present = stored_edges(run.connection, *where, some)
        add.append(sorted(wanted - present, key=_order))
        remove.append(sorted(present - wanted, key=_order))
    run.context.log.info("linked", files=len(sources), added=len(add), removed=len(remove))
    return EdgeChanges(add, remove, [path for path in before if path not in after])


def _edges(run: Run, links: Links, files: Mapping[str, tuple[int, int]]) -> Iterator[Edge]:
    imports = imports_of(run.connection, (blob_id for blob_id, _ in files.values()))
    for path, (blob_id, lang) in files.items():
        for line, module, names in imports.get(blob_id, ()):
            found = links.targets(path, Language(lang), module, names)
            yield from ((path, to, module, line) for to in found or (None,))


def _project_files(run: Run, files: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    some = sorted((path for path in files if _is_project_file(path)), key=lambda path: (path.count("/"), path))
    ids = {path: files[path][0] for path in some[:MOST_PROJECT_FILES]}
    texts = texts_of(run.connection, ids.values())
    return {path: texts[blob_id] for path, blob_id in ids.items() if blob_id in texts}


def _is_project_file(path: str) -> bool:
    return path.rpartition("/")[2] in PROJECT_FILES


def _rounds(paths: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(paths), SOURCES_A_ROUND):
        yield paths[start : start + SOURCES_A_ROUND]


def _order(edge: Edge) -> tuple[str, int, str, str]:
    src, dst, module, line = edge
    return src, line, module, dst or ""
