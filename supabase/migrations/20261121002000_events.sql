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

-- As before, but for how a delivery that was here before is found: `is not distinct from` uses no index, so each
-- duplicate read the whole key of the table.
create or replace function queue.deliver(
    p_repository uuid, p_provider text, p_delivery_id text, p_event_type text, p_payload jsonb, p_headers jsonb,
    p_signature text, p_reason text default null, p_job_id uuid default null, p_job_type text default null,
    p_job_payload jsonb default '{}', p_priority integer default 0, p_coalesce_key text default null,
    p_max_attempts integer default 5, p_timeout_seconds integer default null, p_supersede boolean default false,
    out delivery_no bigint, out job_id uuid, out status text, out duplicate boolean
) language plpgsql as $$
begin
    duplicate := false;
    insert into public.webhook_deliveries (
        repository_id, provider, delivery_id, event_type, payload, headers, signature, status, error_message,
        processed_at)
    values (
        p_repository, p_provider, p_delivery_id, p_event_type, p_payload, p_headers, p_signature,
        case when p_job_type is null then 'ignored' else 'received' end, p_reason,
        case when p_job_type is null then now() end)
    on conflict (repository_id, delivery_id) do nothing
    returning id, webhook_deliveries.status into delivery_no, status;
    if delivery_no is null then
        if p_repository is null then
            select d.id, d.job_id, d.status into delivery_no, job_id, status
            from public.webhook_deliveries d where d.repository_id is null and d.delivery_id = p_delivery_id;
        else
            select d.id, d.job_id, d.status into delivery_no, job_id, status
            from public.webhook_deliveries d where d.repository_id = p_repository and d.delivery_id = p_delivery_id;
        end if;
        -- Not locked: jobs come before deliveries. Two redeliveries at once meet in one job by its coalesce key.
        duplicate := true;
        if status <> 'failed' then
            return;
        end if;
    end if;
    if p_job_type is null then
        return;
    end if;
    select e.job_id into job_id from queue.enqueue(
        p_job_id, p_repository, p_job_type, p_job_payload, p_priority, null, p_coalesce_key, null,
        p_max_attempts, p_timeout_seconds, p_supersede) e;
    status := 'queued';
    update public.webhook_deliveries d
    set status = 'queued', job_id = deliver.job_id, error_message = null, processed_at = null
    where d.id = delivery_no;
end $$;
