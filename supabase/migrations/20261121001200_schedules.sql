-- Schedules: jobs that come by the clock. The program computes the times (worker/queue/cron.py); the database says what
-- is due, by its own clock, and fires each tick once.

create table public.job_schedules (
    id uuid primary key default gen_random_uuid(),
    name text not null check (name <> ''),
    -- Whose it is: the repository's owner, where it has one.
    user_id uuid references auth.users (id) on delete cascade,
    repository_id uuid references public.repositories (id) on delete cascade,
    job_type text not null,
    payload jsonb not null default '{}' check (jsonb_typeof(payload) = 'object'),
    priority integer not null default 0,
    cron text not null,
    timezone text not null default 'UTC',
    -- What becomes of the ticks that an outage missed: nothing, one job for all, a job each.
    catch_up text not null default 'one' check (catch_up in ('none', 'one', 'all')),
    paused boolean not null default false,
    coalesce_key text,
    -- The oldest tick that has not fired.
    next_run_at timestamptz not null,
    last_run_at timestamptz,
    last_job_id uuid,
    last_error text,
    created_at timestamptz not null default clock_timestamp(),
    -- Of what the schedule says; firing does not touch it.
    updated_at timestamptz not null default clock_timestamp(),
    unique nulls not distinct (user_id, name)
) with (fillfactor = 50);
create index job_schedules_due on public.job_schedules (next_run_at) where not paused;
create index job_schedules_repository on public.job_schedules (repository_id);

alter table public.job_schedules enable row level security;
revoke all on public.job_schedules from public, anon, authenticated;
grant all on public.job_schedules to service_role;
grant select on public.job_schedules to authenticated;
create policy "own schedules" on public.job_schedules
    for select to authenticated using (user_id = (select auth.uid()));

-- Fires a schedule: a job for each of p_ticks, and the next time, in one statement of the caller, so that a crash leaves
-- all of it or nothing. Answers the jobs; null: somebody else has fired this tick, the schedule was changed since it was
-- read (p_updated_at), or somebody holds it now: then the caller goes on to the next one without waiting.
create function queue.fire_schedule(
    p_schedule uuid, p_due timestamptz, p_updated_at timestamptz, p_next timestamptz, p_ticks timestamptz[],
    p_job_ids uuid[], p_max_attempts integer default 5)
returns uuid[] language plpgsql as $$
declare
    schedule public.job_schedules;
    job uuid;
    jobs uuid[] := '{}';
begin
    if p_next <= p_due or cardinality(p_ticks) <> cardinality(p_job_ids) then
        raise exception 'the next time must come after %, and each tick needs a job id', p_due
            using errcode = 'invalid_parameter_value';
    end if;
    -- The repository comes first, as everywhere: whoever deletes it holds it, and then waits for its schedules.
    perform from public.repositories r
    where r.id = (select s.repository_id from public.job_schedules s where s.id = p_schedule)
    for key share skip locked;
    if not found and exists (select from public.job_schedules s where s.id = p_schedule and s.repository_id is not null)
    then
        return null;
    end if;
    -- One tick fires once because its old time is named here; the lock only keeps the others from waiting.
    update public.job_schedules s
    set next_run_at = p_next, last_error = null,
        last_run_at = case when cardinality(p_ticks) > 0 then clock_timestamp() else s.last_run_at end
    where s.id = (select x.id from public.job_schedules x where x.id = p_schedule for no key update skip locked)
      and s.next_run_at = p_due and s.updated_at = p_updated_at and not s.paused
    returning * into schedule;
    if not found then
        return null;
    end if;
    for tick in 1 .. cardinality(p_ticks) loop
        select e.job_id into job
        from queue.enqueue(
            p_job_ids[tick], schedule.repository_id, schedule.job_type,
            schedule.payload || jsonb_build_object(
                'schedule', schedule.name,
                'scheduled_for', to_char(p_ticks[tick] at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
            schedule.priority, null, schedule.coalesce_key, null, p_max_attempts, p_user => schedule.user_id) e;
        jobs := jobs || job;
    end loop;
    update public.job_schedules set last_job_id = coalesce(job, last_job_id) where id = p_schedule;
    return jobs;
end $$;
revoke all on function queue.fire_schedule(uuid, timestamptz, timestamptz, timestamptz, timestamptz[], uuid[], integer)
    from public;
grant execute on function
    queue.fire_schedule(uuid, timestamptz, timestamptz, timestamptz, timestamptz[], uuid[], integer) to service_role;

-- Taken only when a schedule is due.
insert into public.maintenance_tasks (name, every) values ('schedules', '1 second');
