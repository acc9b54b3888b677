-- A tenant's own keys for other services, such as a GitHub token for private repositories. Only ciphertext is kept:
-- the worker seals it under a master key that the database never sees, bound to this row's user and service.

create table public.user_api_keys (
    user_id uuid not null references auth.users (id) on delete cascade,
    service text not null check (service ~ '^[a-z][a-z0-9_]{0,62}$'),
    api_key text not null check (api_key like 'v1.%'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (user_id, service)
);

alter table public.user_api_keys enable row level security;
revoke all on public.user_api_keys from public, anon, authenticated;
grant all on public.user_api_keys to service_role;

-- Which keys there are may be seen and ended by their owner; not even the ciphertext is shown.
grant select (user_id, service, created_at, updated_at) on public.user_api_keys to authenticated;
grant delete on public.user_api_keys to authenticated;
create policy "own service keys are listed" on public.user_api_keys
    for select to authenticated using (user_id = (select auth.uid()));
create policy "own service keys are removed" on public.user_api_keys
    for delete to authenticated using (user_id = (select auth.uid()));
