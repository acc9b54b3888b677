"""One file → one Extract.

What a file cannot give is left out, and said: a content that is no text has a skip reason and no content; a file on
which the parser runs into its time limit keeps its text and tokens and has no symbols; symbols and references over a
limit (20,000 a file, names over 512 bytes, qualified names over 1024) are left out and counted. `reason` says each of
these in a sentence. Skip.POISON is for contents that end the process again and again; the pool alone gives it.
"""

import hashlib

from worker.indexing import keywords
from worker.indexing.classify import Skip, classify_content
from worker.indexing.definitions import definitions
from worker.indexing.grammars import ParsingStopped, by_purpose, grammar_of, parse
from worker.indexing.imports import imports
from worker.indexing.languages import Language, language_of_script
from worker.indexing.markup import LANGUAGES as MARKUP
from worker.indexing.markup import markup
from worker.indexing.preprocessor import readable
from worker.indexing.records import Extract, Import, Reference, Symbol, Task
from worker.indexing.references import references
from worker.indexing.sql import sql
from worker.indexing.tokens import count_tokens

Records = tuple[tuple[Symbol, ...], tuple[Reference, ...], tuple[Import, ...], str | None]
NOT_PARSED = "Not parsed: the parser took too long; the text is searchable, its symbols are not known."


def extract(task: Task, *, parse_it: bool = True) -> Extract:
    """Read a file; never raises for what is in it. Without `parse_it` there is the text and nothing else."""
    skip = classify_content(task.path, task.content)
    digest = hashlib.sha256(task.content).digest()
    if skip is not Skip.NONE:
        return Extract(task.oid, task.lang, skip, len(task.content), digest, 0, 0, None, (), (), None)
    text = task.content.decode("utf-8", "replace")
    symbols, uses, brought_in, reason = _records(task, text) if parse_it else ((), (), (), NOT_PARSED)
    return Extract(
        oid=task.oid,
        lang=task.lang,
        skip=Skip.NONE,
        size=len(task.content),
        sha256=digest,
        tokens=count_tokens(text),
        line_count=line_count(task.content),
        content=text,
        symbols=symbols,
        references=uses,
        reason=reason,
        imports=brought_in,
    )


def _records(task: Task, text: str) -> Records:
    """Symbols, references, imports, and a sentence where some are missing."""
    lang = language_of_script(task.content) if task.lang is Language.TEXT else task.lang
    if lang in MARKUP:
        entries, missing = markup(lang, text)
        return entries, (), (), _left_out(missing, 0)
    if lang is Language.SQL:
        statements = sql(text)
        return statements.symbols, statements.references, (), _left_out(*statements.left_out)
    grammar = grammar_of(lang)
    if grammar is None:
        return (), (), (), None
    try:
        matches = parse(grammar, readable(lang, task.content))
    except ParsingStopped:
        return (), (), (), NOT_PARSED
    if lang in keywords.LANGUAGES:
        matches = keywords.by_keyword(task.content, lang, matches)
    found = by_purpose(grammar, matches)
    defined = definitions(task.content, lang, found.definitions)
    used = references(task.content, lang, found.references, defined.name_starts)
    brought_in = imports(task.content, lang, found.imports)
    return defined.symbols, used.references, brought_in, _left_out(defined.left_out, used.left_out)


def _left_out(symbols: int, names: int) -> str | None:
    if not symbols and not names:
        return None
    return f"Too many or too long to keep: {symbols} definitions and {names} used names were left out."


def line_count(content: bytes) -> int:
    """Lines of a content; a last line without a line feed counts."""
    return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))
