"""The publish step: one transaction, guarded by the lease token, in which an index job takes effect."""

from collections.abc import Mapping
from typing import Any

from worker.catalog.branches import remove_untracked
from worker.catalog.edges import EdgeChanges, write_edges
from worker.catalog.files import Totals, totals
from worker.catalog.publish import PublishedFile, advance, bill_blobs, pin, write_paths
from worker.errors import LeaseLost
from worker.git.download import Download
from worker.handlers.index_run import Plan, Run, Stored, Target
from worker.indexing.classify import Skip
from worker.indexing.languages import PARSER_VERSION
from worker.indexing.tokens import TOKENIZER
from worker.queue.finish import complete_in_transaction
from worker.usage.tokens import record_tokens


def publish(
    run: Run, target: Target, plan: Plan, stored: Stored, edges: EdgeChanges, download: Download
) -> dict[str, Any]:
    """One transaction, guarded by the lease token: paths, commit, usage, deliveries and the job's completion."""
    changes, connection, job = plan.changes, run.connection, run.context.job
    files = {
        path: PublishedFile(stored.ids[version.oid, version.lang], version.mode, int(plan.skips.get(path, Skip.NONE)))
        for path, version in changes.write.items()
    }
    with connection.transaction():
        run.hold_job()
        pin(connection, target.scope, {file.blob_id for file in files.values()})
        write_paths(connection, target.repository, target.branch, write=files, remove=changes.remove)
        write_edges(connection, target.repository.repo_no, target.branch.branch_no, edges)
        tokens = bill_blobs(connection, job.id, [file.blob_id for file in files.values()])
        record_tokens(connection, job, tokens, api_key_id=target.repository.api_key_id, tokenizer=TOKENIZER)
        count = totals(connection, target.repository.repo_no, target.branch.branch_no)
        _advance(run, target, count)
        _forget_untracked(run, target)
        facts = {
            "files_changed": len(changes.write) + len(changes.remove),
            "files_removed": len(changes.remove),
            "files_parsed": stored.parsed,
            "symbols_parsed": stored.symbols,
            "references_parsed": stored.references,
            "tokens_billed": tokens,
            "contents_kept": stored.kept,
            "bytes_fetched": download.fetched,
            "git_kept": download.was_kept,
        }
        result = _result(run, target, count, facts)
        complete_in_transaction(connection, job, result)
    run.context.published(result)
    return result


def publish_nothing_new(run: Run, target: Target) -> dict[str, Any]:
    """The branch stands where it stood: nothing is written but the job's completion."""
    facts = dict.fromkeys(
        ["files_changed", "files_removed", "files_parsed", "symbols_parsed", "references_parsed", "tokens_billed"], 0
    )
    branch = target.branch
    with run.connection.transaction():
        run.hold_job()
        if branch.totals is not None:
            count = Totals(**branch.totals)
        else:
            count = totals(run.connection, target.repository.repo_no, branch.branch_no)
        result = _result(run, target, count, {**facts, "bytes_fetched": 0, "unchanged": True})
        complete_in_transaction(run.connection, run.context.job, result)
    run.context.published(result)
    return result


def _advance(run: Run, target: Target, count: Totals) -> None:
    moved = advance(
        run.connection,
        target.repository,
        target.branch,
        commit=target.tip.commit,
        parser_version=PARSER_VERSION,
        totals=count,
        default_branch=target.tip.default_branch,
        scope=target.scope,
    )
    if not moved:
        raise LeaseLost("Another attempt has published this branch meanwhile; nothing was published.")


def _forget_untracked(run: Run, target: Target) -> None:
    tip = target.tip
    gone = remove_untracked(
        run.connection, target.repository, keep=target.branch.name, default_branch=tip.default_branch
    )
    if gone:
        run.context.log.info("no longer tracked", branches=gone)


def _result(run: Run, target: Target, count: Totals, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the job's row, the command line and the log say of a finished index job."""
    return {
        "commit": target.tip.commit,
        "branch": target.branch.name,
        "files": count.files,
        "skipped": count.skipped,
        "symbols": count.symbols,
        "references": count.references,
        "tokens": count.tokens,
        "size_bytes": count.size_bytes,
        **facts,
        "seconds": run.seconds(),
    }
