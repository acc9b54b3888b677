"""The documentation site builds without a warning, and asks nobody for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("material", reason="mkdocs-material is not installed: scripts/setup-env dev")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; links and anchors between pages are checked by the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""
    return folder


def test_every_page_is_on_the_site(site: Path) -> None:
    """A page that was added is built, and found from the first one's navigation."""
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert {path.parent.name for path in site.glob("*/index.html")} >= pages
    first = (site / "index.html").read_text("utf-8")
    assert [page for page in sorted(pages) if f'href="{page}/"' not in first] == []


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    """Styles, scripts, fonts and pictures are the site's own."""
    loaded = {
        address
        for page in site.rglob("*.html")
        for address in re.findall(r'<(?:script|link|img)[^>]*?(?:src|href)="(https?://[^"]+)"', page.read_text("utf-8"))
    }
    assert loaded == set()


def test_every_diagram_is_shown(site: Path) -> None:
    """A picture is there, and no diagram stands as the text that GitHub would draw."""
    house = (site / "architecture/index.html").read_text("utf-8")
    assert 'src="../house.svg"' in house
    assert (site / "house.svg").exists()
    pages = {page.parent.name: page.read_text("utf-8") for page in site.glob("*/index.html")}
    assert [
        name for name, text in pages.items() if "mermaid" in text or "stateDiagram" in text or "--&gt;" in text
    ] == []
    assert "<td>retry, snooze, release, rescue</td>" in pages["queue"]
