"""supabase/types/database.ts: what PostgREST shows, as TypeScript, made from the migrations by the Supabase CLI."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

from worker.database.embedded import EmbeddedPostgres
from worker.database.migrate import migrate

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "supabase" / "types" / "database.ts"
_HEAD = """// Tables, views and functions of schema public, for supabase-js: createClient<Database>(url, key).
// Made from supabase/migrations by scripts/supabase-types; a test fails when it is out of date.

"""


def find_cli() -> str | None:
    """The Supabase CLI: $SUPABASE_CLI, on PATH, or where scripts/setup-test-tools puts it."""
    installed = ROOT / ".tools/node_modules/.bin/supabase"
    return (
        os.environ.get("SUPABASE_CLI") or shutil.which("supabase") or (str(installed) if installed.exists() else None)
    )


def database_types(cli: str, url: str) -> str:
    """The file's text for the database of this URL, which must be migrated."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port or 5432}").geturl()
    done = subprocess.run(
        [cli, "gen", "types", "--lang", "typescript", "--schema", "public", f"--remote={bare}"],
        env={**os.environ, "PGPASSWORD": parts.password or ""},
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"supabase gen types failed: {done.stderr}")
    # The CLI's remark about a server without TLS comes on the same stream.
    return _HEAD + tidy(done.stdout[done.stdout.index("export type") :])


def tidy(text: str) -> str:
    """One member a line, indented by its depth: the CLI leaves that to formatters that are not here."""
    text = re.sub(r',"(?=\w+"\??:)', '\n"', text)
    text = re.sub(r"([{\[])(?=[^}\]\n]*$)", r"\1\n", text, flags=re.M)
    depth, lines = 0, []
    for line in filter(None, map(str.strip, text.splitlines())):
        depth -= line[0] in "}])"
        lines.append("  " * max(depth, 0) + line)
        depth += sum(line.count(opening) for opening in "{[(") - sum(line.count(closing) for closing in "}])")
        depth += line[0] in "}])"
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file, from a Postgres that lives as long as this takes."""
    cli = find_cli()
    if cli is None:
        sys.exit("The Supabase CLI is not there: npm install --global supabase, or scripts/setup-test-tools")
    with tempfile.TemporaryDirectory(prefix="indexing-worker-types-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder), options={"fsync": "off"})
        try:
            url = server.start()
            migrate(url)
            PAGE.write_text(database_types(cli, url), encoding="utf-8")
        finally:
            server.stop()
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
