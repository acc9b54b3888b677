-- What a Supabase project already has, for plain Postgres 15 to 18. Creates only what is missing.
-- On Supabase every statement here finds its object and does nothing.

do $$
begin
    if not exists (select from pg_roles where rolname = 'anon') then
        create role anon nologin noinherit;
    end if;
    if not exists (select from pg_roles where rolname = 'authenticated') then
        create role authenticated nologin noinherit;
    end if;
    if not exists (select from pg_roles where rolname = 'service_role') then
        create role service_role nologin noinherit bypassrls;
    end if;
exception
    -- Roles belong to the whole server: another database being migrated at this moment may create them first.
    when duplicate_object or unique_violation then null;
end $$;

create schema if not exists extensions;
create extension if not exists pg_trgm with schema extensions;

create schema if not exists auth;

do $$
begin
    if to_regclass('auth.users') is null then
        create table auth.users (
            id uuid primary key default gen_random_uuid(),
            email text,
            created_at timestamptz not null default now()
        );
    end if;
    if to_regprocedure('auth.jwt()') is null then
        create function auth.jwt() returns jsonb language sql stable as
        $f$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $f$;
    end if;
    if to_regprocedure('auth.uid()') is null then
        create function auth.uid() returns uuid language sql stable as
        $f$ select nullif(auth.jwt() ->> 'sub', '')::uuid $f$;
    end if;
    if to_regprocedure('auth.role()') is null then
        create function auth.role() returns text language sql stable as
        $f$ select auth.jwt() ->> 'role' $f$;
    end if;
end $$;

do $$
begin
    -- Hosted projects grant these already, and their auth schema belongs to another role.
    if pg_catalog.has_schema_privilege('auth', 'create') then
        grant usage on schema auth to anon, authenticated, service_role;
    end if;
end $$;
grant usage on schema extensions to anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;
