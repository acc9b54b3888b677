"""Write the pages that are made from the program, or with --check say which are out of date."""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.lib.alerts import RULE_TESTS, RULES, rule_tests, rules
from scripts.lib.commands_page import PAGE as COMMANDS
from scripts.lib.commands_page import commands_page
from scripts.lib.configuration_page import PAGE as CONFIGURATION
from scripts.lib.configuration_page import configuration_page
from scripts.lib.dashboard import PAGE as DASHBOARD
from scripts.lib.dashboard import dashboard
from scripts.lib.house_diagram import DIAGRAM, house_diagram

MADE: dict[Path, Callable[[], str]] = {
    COMMANDS: commands_page,
    CONFIGURATION: configuration_page,
    RULES: rules,
    RULE_TESTS: rule_tests,
    DASHBOARD: dashboard,
    DIAGRAM: house_diagram,
}
"""Each page that nobody writes by hand, and what makes it."""


def outdated() -> list[Path]:
    """The pages that no longer say what the program is."""
    return [page for page, make in MADE.items() if not page.exists() or page.read_text("utf-8") != make()]


def main() -> None:
    """Write what is out of date; with --check only name it, and exit 1 if there is any."""
    pages = outdated()
    for page in pages:
        if "--check" not in sys.argv[1:]:
            page.write_text(MADE[page](), encoding="utf-8")
        print(f"{'out of date' if '--check' in sys.argv[1:] else 'wrote'}: {page.relative_to(Path.cwd())}")
    if pages and "--check" in sys.argv[1:]:
        sys.exit(1)


if __name__ == "__main__":
    main()
