"""`worker check` finds what is wrong, names the variable, and shows no secret."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SECRET = "k3epm3s3cr3t"


def test_everything_works(worker: Callable[..., Any]) -> None:
    """All findings pass, and the effective settings are shown with secrets masked."""
    ended = worker("check")
    assert ended.code == 0
    assert "failed" not in ended.out
    shown = [line.split() for line in ended.out.splitlines()]
    assert ["WORKER_SLOTS", "2"] in shown
    assert ["WORKER_MASTER_KEYS", "********"] in shown
    assert "0123456789abcdef" not in ended.out


@pytest.mark.parametrize(
    ("url", "word"),
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:1/db", "refused"),
        (f"postgresql://me:{SECRET}@nowhere.invalid/db", "does not answer"),
        (f"postgresql://me:{SECRET}@x@y/db", "percent-encoded"),
        (f"mysql://me:{SECRET}@localhost/db", "must begin with postgresql://"),
    ],
)
def test_a_bad_database_url(worker: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, url: str, word: str) -> None:
    """It fails within seconds, says DATABASE_URL and why, and never the password, as text and as JSON."""
    monkeypatch.setenv("DATABASE_URL", url)
    started = time.monotonic()
    ended = worker("check")
    assert time.monotonic() - started < 6
    said = " ".join((ended.out + ended.err).split())
    assert ended.code == 1
    assert "DATABASE_URL" in said
    assert word in said
    as_json = worker("check", "--json")
    assert as_json.code == 1
    assert not all(check["passed"] for check in as_json.json["checks"])
    assert SECRET not in said + as_json.out + as_json.err


def test_every_wrong_setting_is_named_at_once(worker: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody mends one variable only to be told of the next."""
    monkeypatch.setenv("WORKER_SLOTS", "0")
    monkeypatch.setenv("WORKER_PUBLIC_URL", "example.org")
    for words in (("check",), ("jobs",)):
        ended = worker(*words)
        assert (ended.code, ended.out) == (1, "")
        assert "WORKER_SLOTS: " in ended.err
        assert "WORKER_PUBLIC_URL: " in ended.err
    (finding,) = worker("check", "--json").json["checks"]
    assert finding["name"] == "settings"


def test_what_else_may_be_missing(
    worker: Callable[..., Any], empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Migrations, master key and log store are tried as the processes will need them."""
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    monkeypatch.delenv("WORKER_MASTER_KEYS")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKER_STATE_DIR", str(tmp_path / "file"))
    findings = {check["name"]: check for check in worker("check", "--json").json["checks"]}
    assert {name for name, check in findings.items() if not check["passed"]} == {
        "Postgres", "log store", "webhook master key",
    }  # fmt: skip
    assert "worker migrate" in findings["Postgres"]["hint"]
