#!/usr/bin/env bash
# Write what was changed by hand in a local database as a new migration: scripts/supabase-generate.sh NAME
#
#   NAME                 lower-case words joined by underscores; the file is supabase/migrations/<14 digits>_NAME.sql
#   LOCAL_DATABASE_URL   postgresql://user@127.0.0.1:5432/name, a migrated Postgres on this machine with the changes; it
#                        is compared with a scratch database beside it, made from the migrations and dropped at the end.
#                        Not set: the local Supabase stack of `supabase start`, which needs Docker.
#
# Read the file before it is committed: it says what differs, not how to get there without locks and while the previous
# release runs. `scripts/lint-migrations` looks at that too.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
case "${1:-}" in -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '/^set /d'; exit 0 ;; esac
source "$root/scripts/lib/supabase.sh"

name="${1:-}"
[[ "$name" =~ ^[a-z0-9]+(_[a-z0-9]+)*$ ]] || fail supabase-generate "give the migration a name such as add_labels"
need_cli supabase-generate
cd -- "$root"
if [[ -z "${LOCAL_DATABASE_URL:-}" ]]; then
    unset DATABASE_URL SUPABASE_DB_URL
    exec supabase db diff --file "$name"
fi
take_password_out_of LOCAL_DATABASE_URL
scripts/setup-env runtime
trap '.venv/bin/python scripts/lib/local_database.py drop-scratch; rm -f -- "${found:-}"' EXIT
scratch="$(.venv/bin/python scripts/lib/local_database.py scratch)"
found="$(mktemp)"
# Not the history's own schema: `worker migrate` and the CLI keep that.
supabase db diff --use-pg-delta --from "$scratch" --to "$LOCAL_DATABASE_URL" --schema public,idx,queue --output "$found" >&2
if ! grep -q '[^[:space:]]' "$found"; then
    echo "supabase-generate: the database is as the migrations make it; nothing was written" >&2
    exit 0
fi
# Versions compare as strings: the new one must be the newest, whatever the clock says.
newest="$(find supabase/migrations -name '*_*.sql' -exec basename {} \; | sort | tail -n 1)"
version="$(date -u +%Y%m%d%H%M%S)"
if [[ ! "$version" > "${newest%%_*}" ]]; then version=$((${newest%%_*} + 100)); fi
file="supabase/migrations/${version}_$name.sql"
mv -- "$found" "$file"
chmod 644 "$file"
echo "$file"
