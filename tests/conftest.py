"""What every test may ask for; the fixtures are in tests/fixtures/."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# Examples cost what the machine has left: neither their time nor their number's says anything of the code.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")

# Tests run from a checkout as well as with the package installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

# One that others import stands before them: pytest must see it first.
pytest_plugins = [
    "tests.fixtures.server",
    "tests.fixtures.databases",
    "tests.fixtures.git_repositories",
    "tests.fixtures.indexes",
    "tests.fixtures.workers",
    "tests.fixtures.receivers",
    "tests.fixtures.proxy",
    "tests.fixtures.own_server",
    "tests.fixtures.pgbouncer",
    "tests.fixtures.postgrest",
    "tests.fixtures.prometheus",
    "tests.fixtures.s3_servers",
    "tests.fixtures.supabase_storage",
    "tests.fixtures.log_stores",
    "tests.fixtures.leaks",
    "tests.fixtures.github_api",
]
