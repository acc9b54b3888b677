-- API keys and their metrics (seed 004). Keys are stored hashed; a user lists, creates and revokes the own ones,
-- and cannot change the limits.

create table public.api_keys (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references auth.users (id) on delete cascade,
    key_hash text not null unique,
    name text not null,
    permissions jsonb not null default '{"read": true, "write": false}',
    rate_limit integer not null default 60,
    monthly_quota integer not null default 1000000,
    usage_count integer not null default 0,
    last_used_at timestamptz,
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index api_keys_user on public.api_keys (user_id);

create table public.usage_metrics (
    id uuid primary key default gen_random_uuid(),
    api_key_id uuid references public.api_keys (id) on delete cascade,
    endpoint text not null,
    method text not null,
    status_code integer,
    response_time_ms integer,
    tokens_used integer not null default 0,
    created_at timestamptz not null default now()
);
create index usage_metrics_key_time on public.usage_metrics (api_key_id, created_at);

alter table public.api_keys enable row level security;
alter table public.usage_metrics enable row level security;

-- Hosted projects may grant everything on new public tables to the API roles: take it back first.
revoke all on public.api_keys, public.usage_metrics from public, anon, authenticated;
grant all on public.api_keys, public.usage_metrics to service_role;

-- The hash is not readable, and limits are not writable, by the key's owner: column grants say so.
grant select (id, user_id, name, permissions, rate_limit, monthly_quota, usage_count,
              last_used_at, expires_at, created_at, updated_at) on public.api_keys to authenticated;
grant insert (user_id, key_hash, name, expires_at) on public.api_keys to authenticated;
grant update (name) on public.api_keys to authenticated;
grant delete on public.api_keys to authenticated;
grant select on public.usage_metrics to authenticated;

create policy "own keys are listed" on public.api_keys
    for select to authenticated using (user_id = (select auth.uid()));
create policy "own keys are created" on public.api_keys
    for insert to authenticated with check (user_id = (select auth.uid()));
create policy "own keys are renamed" on public.api_keys
    for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy "own keys are revoked" on public.api_keys
    for delete to authenticated using (user_id = (select auth.uid()));
create policy "metrics of own keys" on public.usage_metrics
    for select to authenticated using (
        exists (select from public.api_keys k where k.id = api_key_id and k.user_id = (select auth.uid())));
