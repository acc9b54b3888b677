"""Takes secrets out of text and of JSON-like values, before anything is written anywhere.

Known secrets go first, in every spelling they are likely to appear in; then the shapes of well-known credentials.
"""

import base64
import json
import math
import re
import threading
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
SHORTEST_SECRET = 4  # masking shorter ones would mask everything
DEEPEST = 32
MOST_NAMES = 1000

_VALUE = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[redacted\]|[^\s"'&;,)}\]]+)"""
_NAMES = "password|passwd|pwd|secret(?:_access)?(?:_key)?|api_?key|(?:access|auth|private)_token"
# Every branch begins with a literal character, so that the regex engine skips to the next candidate by table.
_SHAPES: dict[str, str] = {
    "github": r"gh[pousr]_[A-Za-z0-9_.\-]{16,}|github_pat_[A-Za-z0-9_]{16,}",  # ghs_ tokens may hold a JWT
    "supabase": r"sb_secret_[A-Za-z0-9_\-]{8,}",
    "aws": r"AKIA[A-Z0-9]{12,}|ASIA[A-Z0-9]{12,}",
    "jwt": r"eyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]{5,}(?:\.[A-Za-z0-9_\-]*)*",
    "pem": r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    "git": r"x-access-token:[^\s@'\"]+",
    "url": r"://(?P<user>[^\s/?#@:'\"]*)(?P<password>:[^\s/?#'\"]*)?@",
}
_NAMED = re.compile(
    r"(?P<header>(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token|digest|negotiate)\s+)?)[^\s\"',}]+"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/\-]{16,}=*"
    rf"|(?P<name>(?:{_NAMES})[\"']?\s*[=:]\s*)(?P<value>{_VALUE})",
    re.IGNORECASE,
)
# A regex without regard to case looks at every character; these few substrings say whether it is worth it.
_NAMED_HINTS = ("authorization", "bearer", "basic", "passw", "pwd", "secret", "api", "token")
_SHAPED = re.compile("|".join(_SHAPES.values()))
_SECRET_KEY = re.compile(
    r"(?:^|_)(?:pgpassword|password|passwd|pwd|passphrase|secret|token|api_?key|access_?key|secret_?key|service_?key"
    r"|anon_?key|private_?key|master_?keys?|authorization|credentials?|cookie)$"
)
_OPEN_KEYS = frozenset({"lease_token", "log_token"})  # numbers that fence; nobody can use them
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Redactor:
    """Replaces secrets by MASK; one object serves all threads."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._spellings: tuple[str, ...] = ()  # replaced as a whole, so that readers need no lock
        self._names: dict[str, tuple[str, bool]] = {}
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Know one more secret, from now on and for all threads."""
        if len(secret) < SHORTEST_SECRET or secret in MASK:
            return
        with self._lock:
            known = {*self._spellings, *_spellings(secret)}
            self._spellings = tuple(sorted(known, key=lambda text: (-len(text), text)))
            self._names = {}

    def text(self, s: str) -> str:
        """The text without secrets."""
        for spelling in self._spellings:
            if spelling in s:
                s = s.replace(spelling, MASK)
        s = _SHAPED.sub(_mask_shape, s)
        folded = s.lower()
        if any(hint in folded for hint in _NAMED_HINTS):
            s = _NAMED.sub(_mask_named, s)
        return s

    def value(self, v: Any) -> Any:
        """The value without secrets, as plain JSON: whatever JSON cannot hold becomes text."""
        return self._value(v, 0)

    def _value(self, v: Any, depth: int) -> Any:
        if v is None or isinstance(v, bool):
            return v
        if isinstance(v, str):
            return self._string(str(v))
        if isinstance(v, (int, float)):
            return self._number(v)
        if depth >= DEEPEST:
            return "…"
        if isinstance(v, Mapping):
            return dict(self._item(_text_of(k), item, depth) for k, item in v.items())
        if isinstance(v, (list, tuple, AbstractSet)):
            return [self._value(item, depth + 1) for item in v]
        return self._string(_text_of(v))

    def _item(self, name: str, v: Any, depth: int) -> tuple[str, Any]:
        shown, secret = self._name(name)
        if secret and v is not None and not isinstance(v, bool):
            return shown, MASK
        return shown, self._value(v, depth + 1)

    def _name(self, name: str) -> tuple[str, bool]:
        names = self._names  # add() puts a new one in place; an answer computed before it must not land there
        if (known := names.get(name)) is not None:
            return known
        if len(names) >= MOST_NAMES:
            names.clear()
        names[name] = answer = (self._string(name), is_secret_name(name))
        return answer

    def _string(self, s: str) -> str:
        if s.isascii():
            return self.text(s)
        # Lone surrogates are no Unicode: strict readers of JSON refuse the whole line.
        return self.text(s.encode("utf-8", "backslashreplace").decode())

    def _number(self, v: int | float) -> int | float | str:
        try:
            text = repr(v)
        except ValueError:  # an int of more digits than Python prints
            return "…"
        if any(spelling in text for spelling in self._spellings):
            return MASK
        return v if isinstance(v, int) or math.isfinite(v) else text


def is_secret_name(key: str) -> bool:
    """Whether values under this key are secret whatever they look like."""
    plain = _CAMEL.sub("_", key).lower().replace("-", "_")
    return plain not in _OPEN_KEYS and _SECRET_KEY.search(plain) is not None


def _text_of(v: Any) -> str:
    if isinstance(v, str):
        return v
    if isinstance(v, (bytes, bytearray, memoryview)):
        return bytes(v).decode("utf-8", "backslashreplace")
    try:
        return str(v)
    except Exception as failure:  # foreign __str__ may raise anything, and a log line must not
        return f"<{type(v).__name__}: {type(failure).__name__}>"


def _mask_shape(match: re.Match[str]) -> str:
    text = match.group()
    if text.startswith("://"):
        if match["password"] is not None:
            return f"://{match['user']}:{MASK}@"
        web = match.string[max(0, match.start() - 5) : match.start()].lower().endswith(("http", "https"))
        return f"://{MASK}@" if web else text  # https://<token>@host; but ssh://git@host shows no secret
    return f"x-access-token:{MASK}" if text.startswith("x-access-token:") else MASK


def _mask_named(match: re.Match[str]) -> str:
    quotation = match["value"][0] if match["value"] and match["value"][0] in "'\"" else ""
    return f"{match['header'] or match['scheme'] or match['name']}{quotation}{MASK}{quotation}"


def _spellings(secret: str) -> set[str]:
    found = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    }
    raw = secret.encode("utf-8", "surrogateescape")
    for encoded in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        found |= {encoded, re.sub("%..", lambda match: match.group().lower(), encoded)}
    return found | _base64_spellings(raw)


def _base64_spellings(raw: bytes) -> set[str]:
    """The characters that depend on the secret alone, for each of its three places in a longer base64 text."""
    found: set[str] = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        complete = (before + len(raw)) * 8 // 6
        core = encoded[-(-before * 8 // 6) : complete]
        if len(core) >= 6:
            found |= {core, core.translate(str.maketrans("+/", "-_"))}
    return found
