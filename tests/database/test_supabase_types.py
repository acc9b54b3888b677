"""supabase/types/database.ts is what the migrations make, and the front end's example compiles against it."""

import json
import subprocess
from pathlib import Path

import pytest

from scripts.lib.database_types import PAGE, database_types, find_cli, tidy

ROOT = Path(__file__).parents[2]
CLI = find_cli()
TSC = ROOT / ".tools/node_modules/.bin/tsc"


@pytest.mark.skipif(CLI is None, reason="no Supabase CLI: scripts/setup-test-tools installs it with npm")
def test_the_types_are_those_of_the_migrations(database_url: str) -> None:
    """Whoever changes a table, view or function of schema public runs scripts/supabase-types."""
    assert CLI is not None
    assert PAGE.read_text("utf-8") == database_types(CLI, database_url), "run scripts/supabase-types"


@pytest.mark.skipif(not TSC.exists(), reason="no TypeScript: scripts/setup-test-tools installs it with npm")
@pytest.mark.parametrize(
    "mistake", ["", *(pytest.param(name, marks=pytest.mark.slow) for name in ("search_nothing", "latest_commit"))]
)
def test_the_example_compiles_against_the_types(tmp_path: Path, mistake: str) -> None:
    """What docs/supabase.md shows is typed to the column and the argument; a wrong name is an error."""
    example = (ROOT / "docs/examples/search.ts").read_text("utf-8")
    example = example.replace("../../supabase/types/database", str(PAGE.with_suffix("")))
    wrong = {"": "", "search_nothing": "search_symbols", "latest_commit": "last_indexed_commit"}[mistake]
    (tmp_path / "search.ts").write_text(example.replace(wrong, mistake) if mistake else example)
    options = {
        "noEmit": True, "strict": True, "module": "esnext", "moduleResolution": "bundler", "target": "es2022",
        "lib": ["es2022", "dom"], "skipLibCheck": True,
        "paths": {"@supabase/supabase-js": [str(ROOT / ".tools/node_modules/@supabase/supabase-js")]},
    }  # fmt: skip
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["search.ts"]}))
    done = subprocess.run([TSC, "-p", tmp_path], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode == 0) == (mistake == ""), done.stdout


def test_tidied_types_have_one_member_a_line() -> None:
    """A change of one column is a change of one line."""
    assert tidy('export type A = {\nRow: {\n"a": string,"b"?: number | null\n}\n}\n').splitlines() == [
        "export type A = {",
        "  Row: {",
        '    "a": string',
        '    "b"?: number | null',
        "  }",
        "}",
    ]
