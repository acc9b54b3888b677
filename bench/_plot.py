"""Bar charts for the documentation: SVG written by hand, readable on a light and on a dark page."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

WIDTH, MARGIN, HEAD, ROW, BAR = 720, 24, 64, 36, 22
LETTER = 8  # a wide average at 14 px: fonts differ between readers

# The card brings its own background: an SVG shown by <img> learns the system's colours, not those of the page around.
STYLE = """
  text { font: 14px system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .unit { fill: #59636e }
  .card { fill: #ffffff; stroke: #d1d9e0 }
  .first { fill: #0969da }
  .other { fill: #afb8c1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .unit { fill: #9198a1 }
    .card { fill: #0d1117; stroke: #3d444d }
    .first { fill: #4493f8 }
    .other { fill: #57606a }
  }
"""


def bars(path: Path, title: str, rows: list[tuple[str, float]], unit: str) -> None:
    """Write one horizontal bar for each name and figure, in the order given; the first, ours, is coloured."""
    height = HEAD + ROW * len(rows) + MARGIN // 2
    named = escape(f"{title}: {', '.join(f'{name} {_figure(value)}' for name, value in rows)} {unit}")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{named}">',
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="title" x="{MARGIN}" y="38">{escape(title)}</text>',
        f'<text class="unit" x="{WIDTH - MARGIN}" y="38" text-anchor="end">{escape(unit)}</text>',
        *_rows(rows),
        "</svg>",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rows(rows: list[tuple[str, float]]) -> list[str]:
    left = MARGIN + _room(name for name, _ in rows) + 12
    longest = WIDTH - MARGIN - left - _room(_figure(value) for _, value in rows) - 8
    most = max((value for _, value in rows), default=0) or 1
    lines: list[str] = []
    for place, (name, value) in enumerate(rows):
        top = HEAD + ROW * place
        width = max(2, longest * value / most)
        text = top + BAR / 2 + 5
        lines += [
            f'<text x="{left - 12:.0f}" y="{text:.0f}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{"other" if place else "first"}" x="{left:.0f}" y="{top}" width="{width:.1f}"'
            f' height="{BAR}" rx="3"/>',
            f'<text x="{left + width + 8:.1f}" y="{text:.0f}">{_figure(value)}</text>',
        ]
    return lines


def _room(texts: Iterable[str]) -> float:
    return max((len(text) for text in texts), default=0) * LETTER


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
