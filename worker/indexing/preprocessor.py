"""C and C++ as a parser can read them that does not run the preprocessor.

A macro may stand where no grammar expects a word (`class EXPORT Name {`, `void f() LOCKS(x) {`), and an `#ifdef` may
hold one brace of a pair; the parser then loses what follows, up to the whole file. Both are overwritten with spaces, so
that every place stays where it was. Macros are told by their capitals; what may be a type stays. No expression goes
over a text twice: their repetitions are possessive or bounded.
"""

import re
from dataclasses import dataclass, field

from worker.indexing import kotlin
from worker.indexing.languages import Language

_PREPROCESSED = frozenset({Language.C, Language.CPP, Language.CSHARP})
_SWIFT_DIRECTIVE = re.compile(rb"^[ \t]*+#(?:if|elseif|else|endif)\b[^\n]*", re.MULTILINE)
_WORD = rb"[A-Z_][A-Z0-9_]{3,}+"
_CALL = rb"(?:\((?:[^(){};\n]|\([^(){};\n]*+\))*+\))?+"
_MACRO = _WORD + rb"\b" + _CALL
# Words in a macro's name that say it stands for a specifier or an attribute, never for a type.
_SPECIFIER = (
    rb"(?=[A-Z_])[A-Z0-9_]*(?:API|EXPORT|IMPORT|INLINE|CONSTEXPR|CONSTEVAL|CONSTINIT|DEPRECATED|NODISCARD|UNUSED|NORETURN"
    rb"|ATTR|VISIBILITY|PUBLIC|DECL|EXTERN|LINKAGE|WARN|MUST_USE|EXPLICIT|VIRTUAL|STATIC|ALLOCATOR|HIDDEN|COLD)[A-Z0-9_]*+"
    rb"\b" + _CALL
)
_MACROS = re.compile(
    rb"\b(?:class|struct|union|enum)\s++(?P<tag>(?:"
    + _MACRO
    + rb"[ \t]++){1,4}+)(?=[A-Za-z_][\w:]*+\s*+(?:final\b\s*+)?[:{<])"
    rb"|\)\s*+(?:const\b\s*+)?+(?:noexcept\b\s*+)?+(?P<after>(?:" + _MACRO + rb"\s*+){1,4}+)(?=\{)"
    rb"|^[ \t]*+(?:(?:static|inline|extern|explicit|virtual|friend|constexpr)\s++){0,4}+"
    rb"(?P<before>(?:" + _SPECIFIER + rb"[ \t]++){1,4}+)(?=[A-Za-z_~:])"
    rb"|^[ \t]*+(?P<line>" + _MACRO + rb")[ \t]*+(?=$|//)",
    re.MULTILINE,
)
_BEFORE_STATEMENT = b";{}:>/"
_AFTER_MACRO = re.compile(rb"\s*+(?:[A-Za-z_~:\[]|#|/[/*])")
_FUNCTION = re.compile(rb"\s*+[\w:~]++\s*+\(")
_DIRECTIVE = re.compile(rb"^[ \t]*+#[ \t]*+(if|ifdef|ifndef|elif|elifdef|else|endif)\b(?:[^\n\\]|\\.)*+", re.M | re.S)
_ENDS = (b"", b";", b"}", b",", b"]", b"/", b"{")
_NO_CODE = re.compile(
    rb"""'\\?[^\n]'|"(?:[^"\\\n]|\\.)*+"?|//[^\n]*+|/\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/)?|^[ \t]*+#(?:[^\n\\]|\\.)*+""",
    re.M | re.S,
)
_NEVER = re.compile(rb"[ \t]*+#[ \t]*+if[ \t]++0\b")


def readable(lang: Language, source: bytes) -> bytes:
    """The source as it is to be parsed, of the same length: C and C++ without what only a preprocessor understands,
    Kotlin without what its grammar does not, Swift without the lines of `#if`: around a `case` its grammar loses the
    rest of the class. Every branch of one is whole in Swift, and all are read.
    """
    if lang is Language.KOTLIN:
        return kotlin.readable(source)
    if lang is Language.SWIFT:
        return _SWIFT_DIRECTIVE.sub(lambda line: b" " * len(line[0]), source)
    if lang not in _PREPROCESSED:
        return source
    text = bytearray(source)
    is_sharp = lang is Language.CSHARP
    for start, end in _halves_of_pairs(source, is_sharp=is_sharp):
        _blank(text, start, end)
    if is_sharp:
        return bytes(text)
    for match in _MACROS.finditer(bytes(text)):
        group = match.lastgroup
        if group is not None and (group != "line" or _stands_alone(source, match)):
            _blank(text, *match.span(group))
    return bytes(text)


def _blank(text: bytearray, start: int, end: int) -> None:
    """Spaces for all but the line feeds."""
    lines = bytes(text[start:end]).split(b"\n")
    text[start:end] = b"\n".join(b" " * len(line) for line in lines)


def _stands_alone(source: bytes, match: re.Match[bytes]) -> bool:
    """Whether a macro alone on its line is neither the last of a list nor the type of the function below."""
    before = source[max(0, match.start() - 200) : match.start()].rstrip()
    last_line = before[before.rfind(b"\n") + 1 :]
    if (
        before
        and before[-1] not in _BEFORE_STATEMENT
        and not last_line.lstrip().startswith(b"#")
        and b"//" not in last_line
    ):
        return False
    if _AFTER_MACRO.match(source, match.end()) is None:
        return False
    return match["line"].endswith(b")") or _FUNCTION.match(source, match.end()) is None


@dataclass(slots=True)
class _Conditional:
    """An #if with its branches so far: where each directive stands, and the braces each branch opens and closes."""

    directives: list[tuple[int, int]]
    is_never: bool
    balances: list[int] = field(default_factory=lambda: [0])
    lowest: int = 0
    are_whole: bool = True  # every branch ends where a statement does

    def count(self, braces: int) -> None:
        self.balances[-1] += braces
        self.lowest = min(self.lowest, self.balances[-1])


def _halves_of_pairs(source: bytes, *, is_sharp: bool) -> list[tuple[int, int]]:
    """What to leave out so that every brace has its pair: the directives and all branches but one.

    The grammars of C and C++ know directives around whole statements. C#'s expects them nowhere near an `else`: there
    all go, and only branches stay that are whole statements.
    """
    left_out: list[tuple[int, int]] = []
    open_: list[_Conditional] = []
    end = 0
    for directive in _DIRECTIVE.finditer(source):
        if open_:
            code = source[end : directive.start()]
            open_[-1].count(_braces(code))
            if is_sharp and code.rstrip()[-1:] not in _ENDS:
                open_[-1].are_whole = False
        word, span, end = directive[1], directive.span(), directive.end()
        if word.startswith(b"if"):
            open_.append(_Conditional([span], _NEVER.match(directive[0]) is not None))
        elif word == b"endif" and open_:
            done = open_.pop()
            done.directives.append(span)
            if any(done.balances) or done.lowest < 0 or not done.are_whole:
                left_out += _all_but_one(done)
                if open_:
                    open_[-1].count(done.balances[_kept(done)])
            elif is_sharp:
                left_out += done.directives
        elif word != b"endif" and open_:
            open_[-1].directives.append(span)
            open_[-1].balances.append(0)
    return left_out


def _braces(code: bytes) -> int:
    balance = code.count(b"{") - code.count(b"}")
    if balance or b"'" in code or b'"' in code:
        code = _NO_CODE.sub(b" ", code)
        balance = code.count(b"{") - code.count(b"}")
    return balance


def _kept(conditional: _Conditional) -> int:
    return 1 if conditional.is_never and len(conditional.balances) > 1 else 0


def _all_but_one(conditional: _Conditional) -> list[tuple[int, int]]:
    kept = _kept(conditional)
    places = conditional.directives
    spans = [(start, places[number + 1][0]) for number, (start, _) in enumerate(places[:-1]) if number != kept]
    return [*spans, *((start, end) for start, end in places)]
