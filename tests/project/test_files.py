"""What every file of the project must hold to."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written so that this file does not match itself.
MACHINE_PATHS = re.compile(r"(?<![\w.~:/-])/(?:root(?=[/\s\"'`)]|$)|home/\w+/|work/\w|Users/\w+/)", re.M)
INDEX_HOSTS = re.compile(
    r"pypi\.(?:org|python)|pythonhosted\.(?:org|com)|registry\.npmjs\.|deb\.debian\.|(?:extra-)index-url\s*[=:]"
)
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")


def committed() -> Iterator[tuple[str, str]]:
    """Path and text of every file that git knows, or would with the next `git add`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in sorted(filter(None, listed.decode().split("\0"))):
        path = ROOT / name
        if path.is_file() and not name.startswith("tests/receiver/payloads/"):
            yield name, path.read_bytes().decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of somebody's machine", MACHINE_PATHS),
        ("a package index", INDEX_HOSTS),
        ("unfinished work", UNFINISHED),
    ],
)
def test_no_file_names(what: str, pattern: re.Pattern[str]) -> None:
    """The project reads the same on every machine: no private path, no index but the user's own, nothing put off."""
    found = [f"{name}: {match[0]}" for name, text in committed() for match in pattern.finditer(text)]
    assert found == [], f"these files name {what}"


def test_patterns_find_what_they_are_for() -> None:
    """The searches above are not blind."""
    assert MACHINE_PATHS.search('open("' + "/ro" + 'ot/x")')
    assert MACHINE_PATHS.search("cd /ho" + "me/me/x")
    assert not MACHINE_PATHS.search("https://host/home/x and docs/root/x")
    assert INDEX_HOSTS.search("https://py" + "pi.org/simple")


def test_migrations_are_named_as_the_supabase_cli_orders_them() -> None:
    """Versions compare as strings, so all have 14 digits; two files never share one."""
    names = [path.name for path in (ROOT / "supabase" / "migrations").iterdir()]
    assert [name for name in names if not re.fullmatch(r"[0-9]{14}_[a-z0-9_]+\.sql", name)] == []
    assert len({name[:14] for name in names}) == len(names)


def test_scripts_can_be_executed() -> None:
    """Every command in scripts/ runs as it is after a clone."""
    listed = subprocess.run(
        ["git", "ls-files", "-s", "scripts", ".ci"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    entries = [line.split(maxsplit=3) for line in listed.stdout.splitlines()]
    commands = [(mode, name) for mode, _, _, name in entries if not name.startswith("scripts/lib/")]
    assert [name for mode, name in commands if mode != "100755"] == []


def test_every_room_is_a_package_with_a_sentence() -> None:
    """A folder without __init__.py escapes the layers contract."""
    rooms = {path.parent for path in (ROOT / "worker").rglob("*.py")}
    silent = [str(room.relative_to(ROOT)) for room in rooms if not _begins_with_docstring(room / "__init__.py")]
    assert silent == []


def _begins_with_docstring(path: Path) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8").startswith('"""')
