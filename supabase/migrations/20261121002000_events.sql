-- What GitHub's events say of a repository beyond its commits.

-- Why no event makes work for it: archived, deleted, or the GitHub App that reads it is not installed for it.
alter table public.repositories add column if not exists paused_reasons text[] not null default '{}';
grant select (paused_reasons) on public.repositories to authenticated;

-- Deliveries to the GitHub App's own address name an installation, and find its repositories by it.
create index if not exists repositories_installation
    on public.repositories ((settings ->> 'github_installation_id')) where settings ? 'github_installation_id';
