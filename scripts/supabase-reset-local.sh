#!/usr/bin/env bash
# Make a local database anew from the migrations and the seed: scripts/supabase-reset-local.sh
#
#   LOCAL_DATABASE_URL   postgresql://user@127.0.0.1:5432/name, a plain Postgres on this machine; everything in this
#                        database is lost. Its password in PGPASSWORD, or in the URL.
#                        Not set: the local Supabase stack of `supabase start`, which needs Docker.
#
# A host other than this machine is refused: nothing here can reach a hosted project.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
case "${1:-}" in -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '/^set /d'; exit 0 ;; esac
source "$root/scripts/lib/supabase.sh"

need_cli supabase-reset
cd -- "$root"
if [[ -z "${LOCAL_DATABASE_URL:-}" ]]; then
    unset DATABASE_URL SUPABASE_DB_URL # `db reset` without --remote is the local stack's, whatever is set
    exec supabase db reset
fi
take_password_out_of LOCAL_DATABASE_URL
scripts/setup-env runtime
.venv/bin/python scripts/lib/local_database.py reset
supabase db push "$(remote_option)=$LOCAL_DATABASE_URL" --yes --include-seed --workdir="$root"
