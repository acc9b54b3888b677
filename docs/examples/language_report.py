"""An example of a handler: how many files and lines of each language a repository's index holds.

docs/writing-a-handler.md walks through it; tests/handlers/test_language_report.py runs it in a real worker.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from worker.errors import PermanentError, Snooze
from worker.handlers.registry import handler
from worker.job import JobContext

_REPOSITORY = "select repo_no, last_indexed_commit from public.repositories where id = %s"
_INDEX_IS_WAITING = """
select exists (select from public.indexing_jobs where repository_id = %s and status = 'queued'
               and job_type in ('full_index', 'incremental_update')) as waiting"""
_LANGUAGES = """
select l.name as language, count(*) as files, sum(b.line_count)::bigint as lines
from idx.files f join idx.blobs b on b.id = f.blob_id join idx.languages l on l.lang = b.lang
where f.repo_no = %s group by l.name having count(*) >= %s order by files desc"""


class NotIndexed(PermanentError):
    """The repository has no index to report on; `code` is what the job's error_class will say."""

    code = "not_indexed"
    hint = "Index it first with `worker index`."


class ReportPayload(BaseModel):
    """What a language_report job is told."""

    least_files: int = Field(1, ge=1, description="Languages with fewer files are left out.")


@handler("language_report", payload=ReportPayload)
def language_report(context: JobContext, payload: ReportPayload) -> Mapping[str, Any]:
    """Count files and lines by language."""
    with context.connect() as connection:
        waiting = connection.execute(_INDEX_IS_WAITING, (context.job.repository_id,)).fetchone()
        if waiting is not None and waiting["waiting"]:
            raise Snooze("A newer index is about to be made.", seconds=2)
        context.progress("read")
        repository = connection.execute(_REPOSITORY, (context.job.repository_id,)).fetchone()
        if repository is None or repository["last_indexed_commit"] is None:
            raise NotIndexed("This job's repository has not been indexed yet.")
        rows = connection.execute(_LANGUAGES, (repository["repo_no"], payload.least_files)).fetchall()
    context.progress("read", len(rows), len(rows))
    context.log.info("counted", languages=len(rows), commit=repository["last_indexed_commit"])
    context.event("counted", f"{len(rows)} languages", commit=repository["last_indexed_commit"])
    return {"commit": repository["last_indexed_commit"], "languages": rows}
