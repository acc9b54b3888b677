#!/usr/bin/env bash
# Apply supabase/migrations to a hosted project: scripts/supabase-apply-remote.sh [--dry-run]
#
#   SUPABASE_DB_URL or DATABASE_URL   postgresql://user@host:5432/postgres (the direct or the session-mode address)
#   PGPASSWORD                        its password; taken out of the URL when it is written there
#
# The password reaches the Supabase CLI through the environment only: arguments show in the process list. Migrations of
# other projects in the same database stay as they are, and so does their history: the CLI is shown a copy of supabase/
# in which each of them has an empty file, because it refuses a database whose history knows more than the folder.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
source "$root/scripts/lib/supabase.sh"

url="${SUPABASE_DB_URL:-${DATABASE_URL:-}}"
[[ -n "$url" ]] || fail supabase-apply "set SUPABASE_DB_URL (or DATABASE_URL) to postgresql://user@host:5432/postgres, and PGPASSWORD"
[[ "$url" =~ ^(postgres(ql)?://)(([^/?#@]*)@)?([^@]+)$ ]] || fail supabase-apply "the database URL must read postgresql://user@host:5432/postgres"
scheme="${BASH_REMATCH[1]}" account="${BASH_REMATCH[4]}" place="${BASH_REMATCH[5]}"
[[ -n "$account" ]] || fail supabase-apply "the database URL names no user: postgresql://user@host:5432/postgres"
[[ "$place" != *password=* ]] || fail supabase-apply "a password as a URL parameter would show in the process list: set PGPASSWORD"
[[ ! "$place" =~ ^[^/]*:6543(/|$) ]] || fail supabase-apply "port 6543 is the transaction pooler: take the direct or the session-mode address (5432)"
if [[ "$account" == *:* ]]; then
    password="${account#*:}"
    account="${account%%:*}"
    if [[ -z "${PGPASSWORD:-}" ]]; then printf -v PGPASSWORD '%b' "${password//%/\\x}"; fi
fi
[[ -n "${PGPASSWORD:-}" ]] || fail supabase-apply "set PGPASSWORD to the database password"
export PGPASSWORD
unset DATABASE_URL SUPABASE_DB_URL # nothing below needs the password twice

need_cli supabase-apply

target="$(remote_option)=$scheme$account@$place"

project="$(mktemp -d)"
trap 'rm -rf -- "$project"' EXIT
cp -R -- "$root/supabase" "$project/supabase"

# Versions that the database has and we have not. An old CLI cannot list them as JSON: then it refuses them itself.
foreign="$(supabase migration list "$target" --workdir="$project" --output-format=json 2>/dev/null \
    | grep -o '"local":"","remote":"[^"]*"' | sed 's/.*:"\([^"]*\)"$/\1/')" || foreign=""
for version in $foreign; do
    printf -- '-- of another project in this database\n' >"$project/supabase/migrations/${version}_another_project.sql"
done
# Ours may be older than theirs; among ours the order is kept by their names.
if [[ -n "$foreign" ]]; then set -- --include-all "$@"; fi

supabase db push "$target" --yes --workdir="$project" "$@"
