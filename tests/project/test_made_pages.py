"""Pages that are made from the program are up to date."""

import re
from pathlib import Path

import pytest

from scripts.lib.configuration_page import PAGE, idle_settings
from scripts.lib.house_diagram import DIAGRAM, floors
from scripts.lib.make_docs import MADE
from worker.settings import Settings, environment_names

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", MADE, ids=lambda page: page.name)
def test_made_pages_are_up_to_date(page: Path) -> None:
    """Whoever changes what a page is made from runs scripts/make-docs."""
    assert page.read_text("utf-8") == MADE[page](), f"run scripts/make-docs: {page.name} is out of date"


def test_the_configuration_page_has_every_setting_once_and_in_order() -> None:
    """No setting escapes the headings of settings.py."""
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text("utf-8"), re.M)
    assert rows == environment_names()


def test_every_setting_has_a_meaning() -> None:
    """A name alone tells nobody what to set."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_what_nothing_reads_is_called_idle() -> None:
    """Whoever sets one that has no effect yet has been told."""
    assert set(idle_settings()).isdisjoint({"database_url", "worker_slots", "supabase_anon_key"})


def test_the_picture_of_the_house_shows_every_room_on_its_floor() -> None:
    """Whatever lies in worker/ is drawn, and the table beside it counts the floors alike."""
    there = {path.name.removesuffix(".py") for path in (ROOT / "worker").iterdir() if not path.name.startswith("__")}
    assert sorted(room for floor in floors() for room in floor) == sorted(there)
    drawn = set(re.findall(r">([a-z]+)(?:/|\.py)</text>", DIAGRAM.read_text("utf-8")))
    assert drawn == there
    table = re.findall(r"^\| (\d) \| (.+?) \|", (ROOT / "docs/architecture.md").read_text("utf-8"), re.M)
    listed = {(int(floor), name) for floor, names in table for name in re.findall(r"`worker/(\w+)", names)}
    assert listed == {(number, room) for number, floor in enumerate(floors()) for room in floor}
