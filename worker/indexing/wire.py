"""How tasks and extracts cross a pipe: frames of marshal, with a length in front.

marshal and not pickle: an extractor parses foreign bytes in C code, and what comes back from it must not be able to
name a function to call. Contents go one way only; the caller still has them and decodes them itself.
"""

import marshal
import struct
from typing import Any

from worker.indexing.classify import Skip
from worker.indexing.languages import Language
from worker.indexing.records import Extract, Import, Reference, ReferenceKind, Symbol, SymbolKind, Task

LENGTH = struct.Struct("!I")
_KINDS = {int(kind): kind for kind in SymbolKind}
_USES = {int(kind): kind for kind in ReferenceKind}


def frame(value: Any) -> bytes:
    """One value with its length in front."""
    body = marshal.dumps(value)
    return LENGTH.pack(len(body)) + body


def pack_task(task: Task, parse_it: bool) -> bytes:
    """A task for an extractor."""
    return frame((task.path, int(task.lang), task.content, parse_it))


def unpack_task(body: bytes) -> tuple[Task, bool]:
    """A task as the extractor sees it: its oid stays with the caller."""
    path, lang, content, parse_it = marshal.loads(body)  # noqa: S302  (cannot name a function)
    return Task(b"", path, Language(lang), content), parse_it


def pack_extract(extract: Extract) -> bytes:
    """An extract without its content."""
    return frame(
        (
            int(extract.skip),
            extract.sha256,
            extract.tokens,
            extract.line_count,
            [(s.line, s.end_line, int(s.kind), *s[3:]) for s in extract.symbols],
            [(int(r.kind), r.name, r.lines) for r in extract.references],
            extract.reason,
            [tuple(i) for i in extract.imports],
        )
    )


def unpack_extract(body: bytes, task: Task) -> Extract:
    """The extract of a task, its content decoded from the task's."""
    skip, sha256, tokens, line_count, symbols, references, reason, imports = marshal.loads(body)  # noqa: S302
    return Extract(
        oid=task.oid,
        lang=task.lang,
        skip=Skip(skip),
        size=len(task.content),
        sha256=sha256,
        tokens=tokens,
        line_count=line_count,
        content=task.content.decode("utf-8", "replace") if skip == Skip.NONE else None,
        symbols=tuple([Symbol(line, end, _KINDS[kind], *rest) for line, end, kind, *rest in symbols]),
        references=tuple([Reference(_USES[kind], name, lines) for kind, name, lines in references]),
        reason=reason,
        imports=tuple([Import(*row) for row in imports]),
    )
