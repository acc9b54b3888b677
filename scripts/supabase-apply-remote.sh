#!/usr/bin/env bash
# Apply supabase/migrations to a hosted project: scripts/supabase-apply-remote.sh [--dry-run]
#
#   SUPABASE_DB_URL or DATABASE_URL   postgresql://user@host:5432/postgres (the direct or the session-mode address)
#   PGPASSWORD                        its password; taken out of the URL when it is written there
#
# The password reaches the Supabase CLI through the environment only: arguments show in the process list.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
fail() { printf 'supabase-apply: %s\n' "$*" >&2; exit 2; }

url="${SUPABASE_DB_URL:-${DATABASE_URL:-}}"
[[ -n "$url" ]] || fail "set SUPABASE_DB_URL (or DATABASE_URL) to postgresql://user@host:5432/postgres, and PGPASSWORD"
[[ "$url" =~ ^(postgres(ql)?://)(([^/?#@]*)@)?([^@]+)$ ]] || fail "the database URL must read postgresql://user@host:5432/postgres"
scheme="${BASH_REMATCH[1]}" account="${BASH_REMATCH[4]}" place="${BASH_REMATCH[5]}"
[[ -n "$account" ]] || fail "the database URL names no user: postgresql://user@host:5432/postgres"
[[ "$place" != *password=* ]] || fail "a password as a URL parameter would show in the process list: set PGPASSWORD"
if [[ "$account" == *:* ]]; then
    password="${account#*:}"
    account="${account%%:*}"
    if [[ -z "${PGPASSWORD:-}" ]]; then printf -v PGPASSWORD '%b' "${password//%/\\x}"; fi
fi
[[ -n "${PGPASSWORD:-}" ]] || fail "set PGPASSWORD to the database password"
export PGPASSWORD
unset DATABASE_URL SUPABASE_DB_URL # nothing below needs the password twice

command -v supabase >/dev/null || fail "the Supabase CLI is not on PATH: npm install --global supabase"
cd -- "$root"
# The option changed its name between versions 2 and 3 of the CLI.
if [[ "$(supabase db push --help 2>&1)" == *--db-url* ]]; then option=--db-url; else option=--remote; fi
exec supabase db push "$option=$scheme$account@$place" --yes "$@"
