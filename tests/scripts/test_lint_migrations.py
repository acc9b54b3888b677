"""scripts/lint-migrations: new migrations are held to the rules, applied ones are left alone."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DROP = "drop function public.search_code;\n"
NEW, OLD = "20991231000000_new.sql", "20261121000800_old.sql"

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv/bin/squawk").exists(), reason="squawk is not installed: scripts/setup-env dev"
)


def lint(*files: Path) -> subprocess.CompletedProcess[str]:
    """Lint these files, or all migrations."""
    return subprocess.run(
        [ROOT / "scripts/lint-migrations", *files], capture_output=True, text=True, timeout=60, check=False
    )


def written(folder: Path, name: str, text: str) -> Path:
    """A migration of this name."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_all_migrations_pass() -> None:
    """What `just check` and CI run."""
    done = lint()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (DROP, "ban-drop-function"),
        ("alter table public.indexing_jobs add column x text not null;\n", "adding-required-field"),
        ("alter table public.indexing_jobs alter column priority type bigint;\n", "changing-column-type"),
        ("alter table public.indexing_jobs rename column result to outcome;\n", "renaming-column"),
        ("alter table public.indexing_jobs drop column result;\n", "ban-drop-column"),
    ],
)
def test_a_new_migration_that_breaks_the_running_release_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    """A rolling deploy runs the old program on the new schema."""
    done = lint(written(tmp_path, NEW, text))
    assert done.returncode == 1
    assert rule in done.stdout


def test_applied_files_are_left_alone(tmp_path: Path) -> None:
    """They cannot be edited any more."""
    assert lint(written(tmp_path, OLD, DROP)).returncode == 0


def test_an_exception_stands_in_the_file(tmp_path: Path) -> None:
    """Whoever must break a rule says so above the line."""
    done = lint(written(tmp_path, NEW, f"-- squawk-ignore ban-drop-function\n{DROP}"))
    assert done.returncode == 0, done.stdout
