"""Definitions and uses in SQL, read token by token, whatever the dialect.

No grammar: tree-sitter-sql, 14 MB and half as fast, finds an error in most files of real migrations (83 % of
timescaledb's). What `create` makes is a definition: tables, views and composite types with their columns, functions,
triggers, indexes and all else that has a name; what a function creates while it runs is none. A name before a
parenthesis is a call; a table that is read, written, altered or referred to is used.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.indexing.definitions import MAX_NAME_BYTES, MAX_QUALNAME_BYTES, MAX_SIGNATURE, MAX_SYMBOLS
from worker.indexing.records import Reference, ReferenceKind, Symbol, SymbolKind
from worker.indexing.references import MAX_NAMES

_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/|$))
    | (?P<text>[en]?'(?:[^'\\]|''|\\(?:[^']|'(?![\s),;|]))?)*+'?)
    | (?P<dollar>\$(?:[A-Za-z_]\w*)?\$)
    | (?P<word>[^\W\d][\w$#]*|"(?:[^"\n]|"")*+"|`[^`\n]*`|\[[^\W\d][\w ]*\](?=\s*[.(]|\s+as\b))
    | (?P<mark>[(),;.])
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
MAX_DOC = 300
_COPY_DATA = re.compile(r"[^;\n]{0,300};\r?\n")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KINDS = {
    "table": SymbolKind.STRUCT,
    "view": SymbolKind.STRUCT,
    "type": SymbolKind.TYPE,
    "domain": SymbolKind.TYPE,
    "function": SymbolKind.FUNCTION,
    "procedure": SymbolKind.FUNCTION,
    "aggregate": SymbolKind.FUNCTION,
    "macro": SymbolKind.MACRO,
    "schema": SymbolKind.NAMESPACE,
    "package": SymbolKind.MODULE,
    "trigger": SymbolKind.OTHER,
    "index": SymbolKind.OTHER,
    "sequence": SymbolKind.OTHER,
    "policy": SymbolKind.OTHER,
    "rule": SymbolKind.OTHER,
    "role": SymbolKind.OTHER,
    "user": SymbolKind.OTHER,
    "publication": SymbolKind.OTHER,
    "subscription": SymbolKind.OTHER,
    "statistics": SymbolKind.OTHER,
    "synonym": SymbolKind.OTHER,
    "server": SymbolKind.OTHER,
    "event": SymbolKind.OTHER,
}
_ROUTINES = frozenset({"function", "procedure", "trigger", "event", "package"})
_AFTER_KIND = frozenset({"if", "not", "exists", "concurrently", "body"})
_UNKNOWN = _words("operator cast transform access language conversion collation extension database text tablespace")
_NO_COLUMNS = _words("constraint primary foreign unique check exclude like index key partition period fulltext spatial")
_NO_CALLS = _words(
    "all and any array as bigint binary bit by char character check coalesce collate columns commit constraint cube"
    " decimal default distinct double else end enum except exclude exists extract false filter float for foreign from"
    " generated greatest group grouping having identity if in include index inner int integer intersect interval into"
    " is join key lateral least left like limit materialized merge natural not null nullif numeric nvarchar of on only"
    " or order outer over overlaps overlay partition position precision primary range real references returning"
    " returns right rollup row rows select set sets similar some substring table then time timestamp timestamptz to"
    " trim true union unique unnest update using values varbinary varchar varying when where window with within"
    " xmlelement"
)
_NO_TABLES = _words(
    "all as begin case cascade current dual each end exists for function if jsonb_to_recordset lateral not null of"
    " only order row rows select set skip start statement stdin stdout table the then values where with"
)
_USERS = frozenset({"from", "join", "into", "update", "table", "references", "truncate", "copy"})
_INSERTS = frozenset({"insert", "merge", "replace", "ignore", "overwrite"})
_NO_UPDATES = frozenset({"for", "on", "do", "or", "before", "after", "key", "instead", "no"})
_NO_SOURCES = frozenset({"extract", "trim", "substring", "overlay", "position"})  # `extract(epoch from created)`
_MAX_DOLLARS = 100  # opening marks without an end, after which no more ends are looked for
_LINE_COMMENT = re.compile(r"[ \t]*--+[ \t]*(.*)")
_BLOCK_COMMENT = re.compile(r"/\*+([^*]|\*(?!/))*\*/\s*\Z")


class _Token(NamedTuple):
    kind: str  # word, text, mark; open and close of a body
    word: str  # what a keyword is told by: lower case; a quoted name keeps its quotes
    start: int
    end: int
    in_body: bool


@dataclass(slots=True)
class _Found:
    """What has been found so far."""

    text: str
    symbols: list[Symbol] = field(default_factory=list)
    uses: dict[tuple[ReferenceKind, str], set[int]] = field(default_factory=dict)
    docs: dict[str, str] = field(default_factory=dict)
    named: set[int] = field(default_factory=set)  # where names stand that are defined there
    local: set[str] = field(default_factory=set)  # names of common table expressions, which are no tables
    left_out: int = 0
    line_starts: list[int] = field(default_factory=list)

    def line(self, offset: int) -> int:
        """The line of an offset, counted from 1."""
        return bisect_right(self.line_starts, offset)

    def define(
        self, kind: SymbolKind, names: list[str], lines: tuple[int, int], signature: str, doc: str | None
    ) -> None:
        """Keep a definition, or count it where it cannot be kept."""
        name, qualname, parent = names[-1], ".".join(names), ".".join(names[:-1]) or None
        too_long = len(name.encode()) > MAX_NAME_BYTES or len(qualname.encode()) > MAX_QUALNAME_BYTES
        if too_long or not name or len(self.symbols) >= MAX_SYMBOLS:
            self.left_out += 1
        else:
            self.symbols.append(Symbol(*lines, kind, parent, name, qualname, signature[:MAX_SIGNATURE], doc))

    def use(self, kind: ReferenceKind, token: _Token) -> None:
        """Note a used name."""
        self.uses.setdefault((kind, self.name(token)), set()).add(self.line(token.start))

    def name(self, token: _Token) -> str:
        """A name as written, without its quotes."""
        return self.text[token.start : token.end].strip('"`[]')


class Statements(NamedTuple):
    """What a file defines, in order, and uses; and how many definitions and how many used names were left out."""

    symbols: tuple[Symbol, ...]
    references: tuple[Reference, ...]
    left_out: tuple[int, int]


def sql(text: str) -> Statements:
    """Read a file of SQL; never raises for what is in it."""
    found = _Found(text, line_starts=[0, *(match.end() for match in re.finditer("\n", text))])
    tokens = _tokens(text)
    skip_to = 0
    for index, token in enumerate(tokens):
        if index >= skip_to and token.kind == "word" and not token.in_body and _begins(text, tokens, index):
            if token.word == "create":
                skip_to = _create(found, tokens, index)
            elif token.word == "comment":
                _comment(found, tokens, index)
    for index, token in enumerate(tokens):
        if token.kind == "word":
            _use(found, tokens, index)
    symbols = tuple(one._replace(doc=found.docs.get(one.qualname, one.doc)) for one in found.symbols)
    references, left_out = _references(found)
    return Statements(symbols, references, (found.left_out, left_out))


def _references(found: _Found) -> tuple[tuple[Reference, ...], int]:
    known = [key for key in sorted(found.uses) if not (key[0] is ReferenceKind.USE and key[1] in found.local)]
    kept = [key for key in known if len(key[1].encode()) <= MAX_NAME_BYTES][:MAX_NAMES]
    references = tuple(Reference(kind, name, tuple(sorted(found.uses[kind, name]))) for kind, name in kept)
    return references, len(known) - len(kept)


def _tokens(text: str) -> list[_Token]:
    """Tokens without comments; those of bodies between dollars are marked, and a body is parted from what follows."""
    tokens: list[_Token] = []
    place = failed = 0
    while place < len(text):
        jump = len(text)
        for match in _TOKEN.finditer(text, place):
            kind, start, end = match.lastgroup, match.start(), match.end()
            if kind == "dollar" and failed < _MAX_DOLLARS:
                close = text.find(match[0], end)
                if close < 0:
                    failed += 1
                    continue
                tokens.append(_Token("open", "$", start, end, False))
                tokens += [_token(inner, True) for inner in _TOKEN.finditer(text, end, close) if _counts(inner)]
                jump = close + len(match[0])
                tokens.append(_Token("close", "$", close, jump, False))
                break
            if not _counts(match):
                continue
            tokens.append(_token(match, False))
            if match[0].lower() == "stdin" and (data := _COPY_DATA.match(text, end)):
                ending = text.find("\n\\.", data.end() - 1)
                jump = ending if ending >= 0 else len(text)
                tokens.append(_Token("mark", ";", end, data.end(), False))
                break
        place = jump
    return tokens


def _counts(match: re.Match[str]) -> bool:
    return match.lastgroup not in ("comment", "dollar")


def _token(match: re.Match[str], in_body: bool) -> _Token:
    return _Token(match.lastgroup or "", match[0].lower(), match.start(), match.end(), in_body)


def _begins(text: str, tokens: list[_Token], index: int) -> bool:
    """Whether a statement begins here: after another, or at the start of a line."""
    token = tokens[index]
    if index == 0 or tokens[index - 1].word in (";", "go", "$"):
        return True
    before = tokens[index - 1].end
    line_start = text.rfind("\n", before, token.start) + 1
    return line_start > 0 and not text[line_start : token.start].strip()


def _create(found: _Found, tokens: list[_Token], index: int) -> int:
    """Note what a `create` makes; answers the token after the statement."""
    made = next((at for at in range(index + 1, min(index + 30, len(tokens))) if _tells(tokens[at])), None)
    if made is None or tokens[made].word not in _KINDS:
        return index + 1
    at = made + 1
    what = tokens[made].word
    while at < len(tokens) and tokens[at].word in _AFTER_KIND:
        at += 1
    if what == "event" and at < len(tokens) and tokens[at].word == "trigger":
        at += 1
    path, after = _path(tokens, at)
    if not path or path[0].word in ("on", "mapping", "for", "using"):
        return index + 1
    end = _statement_end(found.text, tokens, after, what in _ROUTINES)
    names = [found.name(token) for token in path]
    found.named.add(path[-1].start)
    kind = _kind(what, tokens, after)
    first, last = found.line(path[-1].start), found.line(tokens[min(end, len(tokens) - 1)].end - 1)
    signature = " ".join(found.text[tokens[index].start : _head_end(tokens, what, after, end)].split())
    found.define(kind, names, (first, last), signature, _doc_above(found.text, tokens[index].start))
    if kind is SymbolKind.STRUCT:
        _columns(found, tokens, names, after, end)
    if what in ("index", "trigger", "policy", "rule"):
        _on(found, tokens, after, end)
    return end


def _tells(token: _Token) -> bool:
    """Whether this word says what is created, or that nothing that we know is."""
    return token.word in _KINDS or token.word in _UNKNOWN or token.word in (";", "(", "as", "$")


def _kind(what: str, tokens: list[_Token], after: int) -> SymbolKind:
    if what == "type" and after + 1 < len(tokens) and tokens[after].word in ("as", "is"):
        if tokens[after + 1].word == "enum":
            return SymbolKind.ENUM
        if tokens[after + 1].word in ("(", "object"):
            return SymbolKind.STRUCT
    return _KINDS[what]


def _path(tokens: list[_Token], at: int) -> tuple[list[_Token], int]:
    """The words of `schema.name` that begin at a token, and the token behind them."""
    path: list[_Token] = []
    while at < len(tokens) and tokens[at].kind == "word":
        path.append(tokens[at])
        at += 1
        if at >= len(tokens) or tokens[at].word != ".":
            break
        at += 1
    return path, at


def _statement_end(text: str, tokens: list[_Token], at: int, is_routine: bool) -> int:
    """The semicolon that ends a statement, or the token before the next one; blocks of a routine are passed over."""
    depth = 0
    for index in range(at, len(tokens)):
        token = tokens[index]
        if token.in_body:
            continue
        if token.word == ";" and depth <= 0:
            return index
        if depth <= 0 and token.word in ("create", "go") and _begins(text, tokens, index):
            return index - 1
        if is_routine and token.kind == "word":
            following = tokens[index + 1].word if index + 1 < len(tokens) else ""
            depth += _opens(token.word, tokens[index - 1].word, following)
    return len(tokens) - 1


def _opens(word: str, before: str, following: str) -> int:
    """1 where a block of a routine begins, -1 where it ends."""
    if word == "end":
        return 0 if following in ("if", "loop", "while", "repeat", "for") else -1
    if word == "begin":
        return 0 if following in ("tran", "transaction", "work", ";") else 1
    return 1 if word == "case" and before != "end" else 0


def _head_end(tokens: list[_Token], what: str, after: int, end: int) -> int:
    """Where a definition's signature ends: before the body of a routine, the columns of a table, a view's query."""
    for index in range(after, min(end + 1, after + 300)):
        token = tokens[index]
        if token.word in (";", "$"):
            return tokens[index - 1].end if tokens[index - 1].word != "as" else tokens[index - 2].end
        if token.word in ("as", "is", "begin") and what in ("view", "procedure", "function", "table"):
            return tokens[index - 1].end
        if token.word == "(" and what in ("table", "type"):
            return tokens[index - 1].end
    return tokens[min(end, after + 300, len(tokens) - 1)].end


def _columns(found: _Found, tokens: list[_Token], names: list[str], after: int, end: int) -> None:
    """The columns between the parentheses that follow a table's name, or a composite type's."""
    while after < end and tokens[after].word in ("as", "is", "object"):
        after += 1
    if after >= end or tokens[after].word != "(":
        return
    depth, column = 0, after
    for index in range(after, end + 1):
        token = tokens[index]
        if token.word == "(":
            depth += 1
            column = index + 1 if depth == 1 else column
        elif token.word == ")":
            depth -= 1
        if (depth == 1 and token.word == ",") or depth == 0:
            _column(found, tokens[column:index], names)
            column = index + 1
        if depth == 0:
            return


def _column(found: _Found, tokens: list[_Token], names: list[str]) -> None:
    if tokens and tokens[0].kind == "word" and tokens[0].word not in _NO_COLUMNS:
        found.named.add(tokens[0].start)
        signature = " ".join(found.text[tokens[0].start : tokens[-1].end].split())
        line = found.line(tokens[0].start)
        found.define(SymbolKind.FIELD, [*names, found.name(tokens[0])], (line, line), signature, None)


def _on(found: _Found, tokens: list[_Token], after: int, end: int) -> None:
    """The table of an index, trigger or policy."""
    for index in range(after, min(end, after + 40)):
        if tokens[index].word == "on":
            at = index + 1
            while at < end and tokens[at].word == "only":
                at += 1
            path, _ = _path(tokens, at)
            if path:
                found.named.add(path[-1].start)  # `on accounts (name)` is no call
                found.use(ReferenceKind.USE, path[-1])
            return


def _comment(found: _Found, tokens: list[_Token], index: int) -> None:
    """`comment on table accounts is 'text'` documents it."""
    for at in range(index + 2, min(index + 60, len(tokens) - 1)):
        if tokens[at].word == ";":
            return
        if tokens[at].word == "is" and tokens[at + 1].kind == "text":
            path = next((path for start in range(index + 3, at) for path, _ in [_path(tokens, start)] if path), None)
            text = found.text[tokens[at + 1].start : tokens[at + 1].end].lstrip("eEnN").strip("'").strip()
            if path and text:
                found.docs[".".join(map(found.name, path))] = text.split("\n")[0].replace("''", "'")[:MAX_DOC]
            return


def _doc_above(text: str, start: int) -> str | None:
    """The first line of the comment that ends on the line above."""
    above = text[max(0, start - 4_000) : start].rstrip(" \t")
    if above.endswith("*/\n"):
        match = _BLOCK_COMMENT.search(above)
        lines = match[0].strip("/*\n ").split("\n") if match else []
    else:
        lines = []
        for line in reversed(above.split("\n")[:-1]):
            match = _LINE_COMMENT.fullmatch(line.rstrip("\r"))
            if match is None:
                break
            lines.insert(0, match[1])
    words = (line.strip(" *-=\t\r") for line in lines)
    return next((line[:MAX_DOC] for line in words if re.search(r"\w", line)), None)


def _use(found: _Found, tokens: list[_Token], index: int) -> None:
    """Note what the word at `index` uses: itself, where it is called; the table after it, where it is `from`."""
    token = tokens[index]
    following = tokens[index + 1].word if index + 1 < len(tokens) else ""
    if following == "(" and token.word not in _NO_CALLS and token.start not in found.named:
        found.use(ReferenceKind.CALL, token)
    elif following == "as" and index + 2 < len(tokens) and tokens[index + 2].word in ("(", "materialized", "not"):
        found.local.add(found.name(token))
    elif token.word in _USERS and _reads_a_table(tokens, index):
        at = index + 1
        while at < len(tokens) and tokens[at].word in ("if", "not", "exists", "only", "table", "lateral"):
            at += 1
        path, after = _path(tokens, at)
        is_call = token.word in ("from", "join") and after < len(tokens) and tokens[after].word == "("
        if path and not is_call and path[-1].start not in found.named and path[-1].word not in _NO_TABLES:
            found.named.add(path[-1].start)  # `insert into accounts (id)` is no call
            found.use(ReferenceKind.USE, path[-1])


def _reads_a_table(tokens: list[_Token], index: int) -> bool:
    """Whether `from`, `into` and `update` are meant as such."""
    word = tokens[index].word
    before = tokens[index - 1].word if index else ""
    if word == "into":
        return before in _INSERTS
    if word == "update":
        return before not in _NO_UPDATES
    if word == "from":
        return before != "distinct" and not (
            index > 2 and tokens[index - 2].word == "(" and tokens[index - 3].word in _NO_SOURCES
        )
    return True
