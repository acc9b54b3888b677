"""The Grafana dashboard, made from ops/grafana/dashboard.toml."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "ops" / "grafana" / "dashboard.toml"
PAGE = ROOT / "ops" / "grafana" / "indexing-worker.json"
_COLUMNS = 24
_HEIGHTS = {"stat": 4, "timeseries": 8}
_SOURCE = {"type": "prometheus", "uid": "${source}"}


def queries() -> list[tuple[str, str]]:
    """Each panel's title with each of its expressions."""
    return [(panel["title"], query) for row in _rows() for panel in row["panel"] for _, query in _queries(panel)]


def dashboard() -> str:
    """The dashboard as Grafana imports it."""
    made = {
        "title": "Indexing worker",
        "uid": "indexing-worker",
        "description": "Made from ops/grafana/dashboard.toml by scripts/make-docs.",
        "tags": ["indexing-worker"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": list(_panels()),
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for row in _rows():
        number += 1
        yield _frame(number, "row", row["title"], x=0, y=y, width=_COLUMNS, height=1) | {
            "collapsed": False,
            "panels": [],
        }
        x, y, height = 0, y + 1, 0
        for panel in row["panel"]:
            kind, width = panel.get("kind", "timeseries"), panel.get("width", 8)
            if x + width > _COLUMNS:
                x, y = 0, y + height
            height = _HEIGHTS[kind]
            number += 1
            yield _frame(number, kind, panel["title"], x=x, y=y, width=width, height=height) | _content(panel)
            x += width
        y += height


def _frame(number: int, kind: str, title: str, *, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"id": number, "type": kind, "title": title, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _content(panel: dict[str, Any]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for place, (legend, query) in enumerate(_queries(panel))
    ]
    defaults = {"unit": panel.get("unit", "short"), "min": 0}
    return {"datasource": _SOURCE, "fieldConfig": {"defaults": defaults, "overrides": []}, "targets": targets}


def _rows() -> list[dict[str, Any]]:
    return tomllib.loads(SOURCE.read_text("utf-8"))["row"]


def _queries(panel: dict[str, Any]) -> list[tuple[str, str]]:
    return [(legend, query.replace("{p}", "indexing_worker_")) for legend, query in panel["queries"].items()]
