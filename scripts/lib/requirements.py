"""Print the requirements of a dependency group of pyproject.toml, one a line; works with any pip or uv."""

import sys
import tomllib
from pathlib import Path


def requirements(groups: dict[str, list[str | dict[str, str]]], name: str) -> list[str]:
    """The group's requirements, those of the groups it includes in their place."""
    found: list[str] = []
    for entry in groups[name]:
        found += requirements(groups, entry["include-group"]) if isinstance(entry, dict) else [entry]
    return found


def main() -> None:
    """Print the group named by the only argument; `runtime` has no requirements beyond the package's own."""
    name = sys.argv[1]
    if name != "runtime":
        pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
        print("\n".join(requirements(pyproject["dependency-groups"], name)))


if __name__ == "__main__":
    main()
