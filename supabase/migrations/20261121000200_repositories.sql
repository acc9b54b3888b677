-- Repositories and their tracked branches. Users read theirs; only the service role writes.

create table public.repositories (
    id uuid primary key default gen_random_uuid(),
    -- The narrow key that rows of schema idx carry instead of the uuid.
    repo_no integer generated always as identity unique,
    user_id uuid not null references auth.users (id) on delete cascade,
    api_key_id uuid references public.api_keys (id) on delete set null,
    name text not null,
    git_url text not null,
    provider text not null default 'github',
    provider_id bigint,
    visibility text not null default 'unknown' check (visibility in ('unknown', 'public', 'private')),
    -- status: can it be searched; sync_state: what its newest job is doing.
    status text not null default 'pending' check (status in ('pending', 'ready', 'error')),
    sync_state text not null default 'pending'
        check (sync_state in ('pending', 'queued', 'syncing', 'ready', 'error')),
    default_branch text,
    last_indexed_commit text check (last_indexed_commit ~ '^[0-9a-f]{40}$'),
    last_indexed_at timestamptz,
    index_generation bigint not null default 0,
    size_bytes bigint,
    -- The webhook secret is derived from a master key; the database holds what is needed to name it, never to know it.
    webhook_key_id text,
    webhook_secret_version integer not null default 1,
    webhook_secret_fingerprint text,
    webhook_previous_key_id text,
    webhook_previous_version integer,
    webhook_previous_until timestamptz,
    webhook_hook_id bigint,
    webhook_last_ping_at timestamptz,
    settings jsonb not null default '{}',
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (user_id, git_url)
) with (fillfactor = 85);
create index repositories_provider on public.repositories (provider, provider_id) where provider_id is not null;

create table public.repository_branches (
    repository_id uuid not null references public.repositories (id) on delete cascade,
    -- Small number of the branch within its repository: the key idx.files carries.
    branch_no smallint not null,
    name text not null,
    commit text check (commit ~ '^[0-9a-f]{40}$'),
    generation bigint not null default 0,
    parser_version integer not null default 0,
    indexed_at timestamptz,
    primary key (repository_id, branch_no),
    unique (repository_id, name)
);

alter table public.repositories enable row level security;
alter table public.repository_branches enable row level security;
revoke all on public.repositories, public.repository_branches from public, anon, authenticated;
grant all on public.repositories, public.repository_branches to service_role;
grant select on public.repository_branches to authenticated;
grant select (id, user_id, api_key_id, name, git_url, provider, provider_id, visibility, status, sync_state,
              default_branch, last_indexed_commit, last_indexed_at, index_generation, size_bytes,
              webhook_secret_version, webhook_hook_id, webhook_last_ping_at, settings, metadata,
              created_at, updated_at) on public.repositories to authenticated;

create policy "own repositories" on public.repositories
    for select to authenticated using (user_id = (select auth.uid()));
create policy "branches of own repositories" on public.repository_branches
    for select to authenticated using (
        exists (select from public.repositories r where r.id = repository_id and r.user_id = (select auth.uid())));
