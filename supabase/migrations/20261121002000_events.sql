-- What GitHub's events say of a repository beyond its commits.

-- Why no event makes work for it: archived, deleted, or the GitHub App that reads it is not installed for it.
alter table public.repositories add column if not exists paused_reasons text[] not null default '{}';
grant select (paused_reasons) on public.repositories to authenticated;

-- Deliveries to the GitHub App's own address name an installation, and find its repositories by it.
create index if not exists repositories_installation
    on public.repositories ((settings ->> 'github_installation_id')) where settings ? 'github_installation_id';

-- When each repository is next compared with its git server: GitHub does not deliver again by itself.
create table public.repository_checks (
    repository_id uuid primary key references public.repositories (id) on delete cascade,
    due_at timestamptz not null,
    checked_at timestamptz,
    -- In a row, that the server could not be asked; each doubles the pause.
    failures integer not null default 0,
    problem text,
    -- Branches found elsewhere than the index says, which no webhook had told.
    missed bigint not null default 0
);
create index repository_checks_due on public.repository_checks (due_at);

alter table public.repository_checks enable row level security;
revoke all on public.repository_checks from public, anon, authenticated;
grant all on public.repository_checks to service_role;
grant select on public.repository_checks to authenticated;
create policy "checks of own repositories" on public.repository_checks
    for select to authenticated using (
        exists (select from public.repositories r where r.id = repository_id and r.user_id = (select auth.uid())));

insert into public.maintenance_tasks (name, every) values ('reconcile', '1 minute'), ('redeliver', '10 minutes');
