"""docs/house.svg, the floors and rooms of worker/, drawn from the import-linter contract in pyproject.toml."""

import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIAGRAM = ROOT / "docs" / "house.svg"
_WIDTH, _HEIGHT, _GAP, _MARGIN, _LABEL = 760, 44, 8, 12, 60
_AIR = 4
"""Characters of a box beside its name."""
_STYLE = (
    "text{font:14px ui-monospace,Menlo,Consolas,monospace;fill:#1f2937}"
    ".floor{fill:#6b7280;font-size:12px}.room{fill:#eef2ff;stroke:#6366f1}.file{fill:#fefce8;stroke:#ca8a04}"
    ".ground{stroke:#9ca3af}"
)


def floors() -> list[list[str]]:
    """Rooms and files by floor, ground floor first; `__main__`, which only starts the program, is left out."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = [found for found in pyproject["tool"]["importlinter"]["contracts"] if found["type"] == "layers"]
    layers = [[room.strip() for room in layer.split("|")] for layer in reversed(contract["layers"])]
    return [rooms for rooms in layers if rooms != ["__main__"]]


def house_diagram() -> str:
    """The SVG's text: a storey a floor, a box a room; folders and single files have different colours."""
    house = floors()
    height = len(house) * (_HEIGHT + _GAP) + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">\n',
        "<title>A file imports only from lower floors, and rooms of one floor do not know each other</title>\n",
        f"<style>{_STYLE}</style>\n",
    ]
    for number, rooms in enumerate(house):
        top = height - _MARGIN - (number + 1) * (_HEIGHT + _GAP) + _GAP
        parts.append(f'<text class="floor" x="{_MARGIN}" y="{top + _HEIGHT / 2 + 4:g}">floor {number}</text>\n')
        parts += _storey(rooms, top)
    ground = height - _MARGIN
    parts.append(f'<line class="ground" x1="{_MARGIN}" y1="{ground}" x2="{_WIDTH - _MARGIN}" y2="{ground}"/>\n</svg>\n')
    return "".join(parts)


def _storey(rooms: list[str], top: int) -> list[str]:
    left, width = _MARGIN + _LABEL, _WIDTH - 2 * _MARGIN - _LABEL
    # A longer name has a wider box, and all have some air.
    unit = (width - (len(rooms) - 1) * _GAP) / sum(len(room) + _AIR for room in rooms)
    boxes: list[str] = []
    place: float = left
    for room in rooms:
        is_folder = (ROOT / "worker" / room).is_dir()
        each = unit * (len(room) + _AIR)
        name = escape(f"{room}/" if is_folder else f"{room}.py")
        boxes.append(
            f'<rect class="{"room" if is_folder else "file"}" x="{place:.1f}" y="{top}" width="{each:.1f}" '
            f'height="{_HEIGHT}" rx="6"/>'
            f'<text x="{place + each / 2:.1f}" y="{top + _HEIGHT / 2 + 5:g}" text-anchor="middle">{name}</text>\n'
        )
        place += each + _GAP
    return boxes
