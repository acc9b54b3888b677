"""What every test may ask for; the fixtures are in tests/fixtures/."""

import sys
from pathlib import Path

# Tests run from a checkout as well as with the package installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

pytest_plugins = [
    "tests.fixtures.server",
    "tests.fixtures.databases",
    "tests.fixtures.git_repositories",
    "tests.fixtures.workers",
]
