"""Why Postgres does not answer, told without the secrets of its URL.

libpq quotes what it could not use, and in a URL whose password was not percent-encoded that may be a piece of the
password. So its text is never passed on: the server's own words are, and the reasons listed here.
"""

import re
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from worker.errors import DatabaseUnavailable

_OUTAGES = (
    "connection refused",
    "timeout expired",
    "connection timeout",
    "no route to host",
    "network is unreachable",
    "temporary failure in name resolution",
    "no such file or directory",
    "server closed the connection unexpectedly",
    "the database system is starting up",
    "the database system is shutting down",
    "the database system is in recovery mode",
)
_REASONS = (
    *_OUTAGES,
    "name or service not known",
    "nodename nor servname provided",
    "server does not support ssl",
    "certificate verify failed",
    "no password supplied",
)
_ENCODE = "A password with special characters must be percent-encoded in DATABASE_URL."


def unavailable(url: str, failure: psycopg.Error) -> DatabaseUnavailable:
    """The error to raise for a connection that could not be made."""
    place = where(url)
    if place is None:
        return DatabaseUnavailable("DATABASE_URL cannot be understood as a Postgres URL.", hint=_ENCODE)
    sentence = f"Postgres at {place} does not answer: {_reason(str(failure))}."
    for secret in _secrets(url):
        sentence = sentence.replace(secret, "***")
    error = DatabaseUnavailable(sentence)
    error.is_outage = any(reason in str(failure).lower() for reason in _OUTAGES)
    return error


def where(url: str) -> str | None:
    """Host, port and database; None for a URL that does not surely say which part is the password."""
    try:
        known = conninfo_to_dict(url)
    except psycopg.Error:
        return None
    _, scheme, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if scheme and (rest.count("@") > 1 or ("@" in rest and "@" not in authority)):
        return None
    port = str(known.get("port", 5432))
    if not re.fullmatch(r"[\d,]+", port):
        return None
    return f"{known.get('host', 'localhost')}:{port}/{known.get('dbname', '')}"


def _reason(text: str) -> str:
    if said := re.search(r"FATAL:\s+(.+)", text):
        return said[1].strip().rstrip(".")
    found = [reason for reason in _REASONS if reason in text.lower()]
    return found[0] if found else "the connection failed"


def _secrets(url: str) -> set[str]:
    password = str(conninfo_to_dict(url).get("password") or "")
    return {secret for secret in (password, unquote(password), urlsplit(url).password or "") if secret}
