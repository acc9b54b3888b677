"""Alert rules for Prometheus, and promtool's tests of them, made from ops/prometheus/alerts.toml."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "ops" / "prometheus" / "alerts.toml"
RULES = ROOT / "ops" / "prometheus" / "alerts.yml"
RULE_TESTS = ROOT / "ops" / "prometheus" / "alerts_test.yml"
RUNBOOKS = "docs/runbooks.md"
_HEAD = "# Made from alerts.toml by scripts/make-docs: edit that file, not this one.\n"
_UNITS = {"s": 1, "m": 60, "h": 3600}


def alerts() -> list[dict[str, Any]]:
    """The alerts as their source has them."""
    return tomllib.loads(SOURCE.read_text("utf-8"))["alert"]


def rules(shorten: float = 1) -> str:
    """The rules file; `shorten` divides every time in it, for tests that cannot wait for minutes."""
    lines = [_HEAD, "groups:", "  - name: indexing-worker", "    rules:"]
    for alert in alerts():
        lines += [
            f"      - alert: {_name(alert)}",
            f"        expr: {_quoted(_expression(alert['expr'], shorten))}",
            f"        for: {_time(_seconds(alert['for']) / shorten)}",
            "        labels:",
            f"          severity: {alert['severity']}",
            "        annotations:",
            f"          summary: {_quoted(alert['summary'])}",
            f"          runbook_url: {_runbook(alert)}",
        ]
    return "\n".join(lines) + "\n"


def rule_tests() -> str:
    """Promtool's tests: each alert fires on one set of series and keeps quiet on another."""
    lines = [_HEAD, "rule_files: [alerts.yml]", "evaluation_interval: 1m", "tests:"]
    for alert in alerts():
        lines += _rule_test(alert, fires=True) + _rule_test(alert, fires=False)
    return "\n".join(lines) + "\n"


def _rule_test(alert: dict[str, Any], *, fires: bool) -> list[str]:
    lines = [f"  - name: {_name(alert)} {'fires' if fires else 'keeps quiet'}", "    interval: 1m", "    input_series:"]
    for series, values in alert["fires" if fires else "quiet"].items():
        lines += [f"      - series: {_quoted(_named(series))}", f"        values: {_quoted(_repeated(values))}"]
    lines += ["    alert_rule_test:", f"      - alertname: {_name(alert)}", f"        eval_time: {alert['after']}"]
    if not fires:
        return [*lines, "        exp_alerts: []"]
    labels = {"severity": alert["severity"], **alert.get("labels", {})}
    annotations = {"summary": alert["summary"], "runbook_url": _runbook(alert)}
    expected = f"{{exp_labels: {json.dumps(labels)}, exp_annotations: {json.dumps(annotations)}}}"
    return [*lines, "        exp_alerts:", f"          - {expected}"]


def _repeated(values: str) -> str:
    """Promtool's "1x20" means 1+0x20."""
    return re.sub(r"(?<![+x\d])(\d+)x(\d+)", r"\1+0x\2", values)


def _expression(text: str, shorten: float) -> str:
    scaled = re.sub(r"\[(\d+[smh])\]", lambda found: f"[{_time(max(_seconds(found[1]) / shorten, 3))}]", text.strip())
    return _named(re.sub(r"@(\d+[smh])", lambda found: f"{_seconds(found[1]) / shorten:g}", scaled))


def _named(text: str) -> str:
    return text.replace("{p}", "indexing_worker_")


def _name(alert: dict[str, Any]) -> str:
    return f"IndexingWorker{alert['name']}"


def _runbook(alert: dict[str, Any]) -> str:
    return f"{RUNBOOKS}#{alert['runbook']}"


def _seconds(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]


def _time(seconds: float) -> str:
    """A time as Prometheus writes it."""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms" if seconds else "0s"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
