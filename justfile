# Everyday commands; `just` lists them. `just check` is exactly what CI runs.
# scripts/setup-env installs just into .venv, where there is no other: .venv/bin/just check

set shell := ["bash", "-euo", "pipefail", "-c"]
bin := justfile_directory() / ".venv/bin"

_list:
    @{{ just_executable() }} --justfile {{ quote(justfile()) }} --list --unsorted

# Make .venv ready for everything below
[group('develop')]
setup:
    scripts/setup-env dev

# All that must be green: format, lint, migrations, layers, types, tests (the documentation's among them)
[group('develop')]
check: format-check lint lint-migrations layers types test

# Format and mend what can be mended
[group('develop')]
fmt: setup
    {{ bin }}/ruff format
    {{ bin }}/ruff check --fix

[group('develop')]
format-check: setup
    {{ bin }}/ruff format --check

[group('develop')]
lint: setup
    {{ bin }}/ruff check

# Migrations that lock, rewrite or break: squawk, with the exceptions of .squawk.toml
[group('develop')]
lint-migrations: setup
    scripts/lint-migrations

# Every import goes to a lower floor
[group('develop')]
layers: setup
    {{ bin }}/lint-imports --no-logo

[group('develop')]
types: setup
    {{ bin }}/basedpyright

# scripts/test with its arguments: names, --all, pytest options
[group('develop')]
test *arguments:
    scripts/test {{ arguments }}

# Write the pages that are made from the program
[group('develop')]
docs:
    scripts/make-docs

# Build the documentation site into site/; a warning fails it
[group('develop')]
docs-site: setup
    NO_MKDOCS_2_WARNING=1 {{ bin }}/mkdocs build --strict

# From a signed push to searchable code, here and now
[group('run')]
demo *arguments:
    scripts/demo {{ arguments }}

# Measure: a benchmark's name and its arguments; without a name, the list
[group('run')]
bench *arguments:
    scripts/bench {{ arguments }}

# A worker process
[group('run')]
run: setup
    {{ bin }}/worker run

# A receiver process
[group('run')]
receive: setup
    {{ bin }}/worker receive

# A deployment on this machine: Postgres, PgBouncer, S3, Prometheus, receiver, two workers
[group('run')]
stack:
    scripts/stack up

# End it; --wipe deletes its data too
[group('run')]
stack-down *arguments:
    scripts/stack down {{ arguments }}

# Apply the migrations to DATABASE_URL, or to the embedded Postgres
[group('database')]
migrate: setup
    {{ bin }}/worker migrate

# Make a local database anew from the migrations and the seed: LOCAL_DATABASE_URL, or the local Supabase stack
[group('database')]
supabase-reset:
    scripts/supabase-reset-local.sh

# Write what was changed by hand in it as a new migration
[group('database')]
supabase-generate name:
    scripts/supabase-generate.sh {{ quote(name) }}

# Write the TypeScript types of what PostgREST shows
[group('database')]
supabase-types:
    scripts/supabase-types

# Apply the migrations to the hosted project in SUPABASE_DB_URL and PGPASSWORD
[group('database')]
supabase-apply *arguments:
    scripts/supabase-apply-remote.sh {{ arguments }}
