-- What everybody shows of the whole queue, counted once for all of them; and how a worker is asked to drain.

-- One row: the newest count. Whoever finds it too old counts anew, and nobody waits for that.
create table queue.gauge_cache (
    one boolean primary key default true check (one),
    taken_at timestamptz not null,
    gauges jsonb not null
) with (fillfactor = 50);
insert into queue.gauge_cache (taken_at, gauges) values ('-infinity', '{}');
alter table queue.gauge_cache enable row level security;
revoke all on queue.gauge_cache from public, anon, authenticated;
grant all on queue.gauge_cache to service_role;

create or replace function queue.seconds_since(p_moment timestamptz) returns double precision language sql stable
set search_path = '' as $$
    select round(greatest(extract(epoch from clock_timestamp() - p_moment), 0), 3)::double precision;
$$;

-- Counts now. `due`: jobs that a free slot could take at this moment, of no paused type or tenant and within their
-- tenant's cap, and for how long the first of them has been due. `claims`: how many leases were ever given.
create or replace function queue.count_gauges(p_tenants integer) returns jsonb language sql
set search_path = '' set jit to off as $$
    with waiting as materialized (
        select w.user_id, w.job_type, count(*) as jobs, min(w.queued_at) as oldest,
               count(*) filter (where w.hold is null or (w.hold = 'time' and w.run_after <= clock_timestamp())) as ready,
               min(greatest(w.queued_at, w.run_after))
                   filter (where w.hold is null or (w.hold = 'time' and w.run_after <= clock_timestamp())) as since
        from queue.waiting w group by w.user_id, w.job_type
    ), running as materialized (
        select j.job_type, r.user_id, count(*) as jobs, min(r.claimed_at) as oldest
        from queue.running r join public.indexing_jobs j on j.id = r.job_id group by j.job_type, r.user_id
    ), lanes as materialized (
        select w.user_id, w.job_type, w.ready, w.since, coalesce(l.paused, false) as paused,
               l.max_running - (select coalesce(sum(r.jobs), 0) from running r where r.user_id = w.user_id) as room,
               -- A tenant's room is given to its types in turn, so that their sum is right.
               sum(w.ready) over (partition by w.user_id order by w.job_type) - w.ready as before
        from waiting w left join public.queue_lanes l on l.user_id = w.user_id
        where w.ready > 0 and not exists (select from queue.paused_types p where p.job_type = w.job_type)
    ), due as (
        select job_type, case when room is null then ready else least(ready, greatest(room - before, 0)) end as jobs, since
        from lanes where not paused
    )
    select jsonb_build_object(
        'depth', coalesce((select jsonb_agg(jsonb_build_array(d.job_type, d.status, d.jobs, queue.seconds_since(d.oldest)))
            from (select job_type, 'queued' as status, sum(jobs) as jobs, min(oldest) as oldest
                  from waiting group by job_type
                  union all
                  select job_type, 'in_progress', sum(jobs), min(oldest) from running group by job_type) d), '[]'),
        'due', coalesce((select jsonb_agg(jsonb_build_array(d.job_type, d.jobs, queue.seconds_since(d.since)))
            from (select job_type, sum(jobs) as jobs, min(since) as since from due where jobs > 0 group by job_type) d), '[]'),
        'tenants', coalesce((select jsonb_agg(jsonb_build_array(t.user_id, queue.seconds_since(t.since), t.jobs))
            from (select user_id, min(oldest) as since, sum(jobs) as jobs from waiting
                  group by user_id order by 2 limit p_tenants) t), '[]'),
        -- A worker that is silent for a minute is not one of those at work, whatever its row says.
        'workers', (select jsonb_build_object(
                'running', count(*) filter (where state = 'running' and alive),
                'draining', count(*) filter (where state = 'draining' and alive),
                'fenced', count(*) filter (where state = 'fenced' and alive),
                'silent', count(*) filter (where not alive),
                'slots', coalesce(sum(slots) filter (where state = 'running' and alive), 0))
            from (select state, slots, last_seen_at > clock_timestamp() - interval '1 minute' as alive from public.workers
                  where state in ('running', 'draining', 'fenced')) w),
        'paused', (select count(*) from queue.paused_types) + (select count(*) from public.queue_lanes where paused),
        -- Only a worker fires them, so they are a reason to start one.
        'schedules', (select count(*) from public.job_schedules where not paused and next_run_at <= clock_timestamp()),
        'unsealed', (select count(*) from queue.unsealed),
        'claims', (select case when is_called then last_value else 0 end from public.lease_tokens));
$$;

-- gauges: the newest count, at most p_window old where nobody else is just counting. `age_seconds` says how old.
create or replace function queue.gauges(p_window interval, p_tenants integer default 10) returns jsonb language plpgsql
set search_path = '' as $$
declare
    newest queue.gauge_cache;
    counted jsonb;
begin
    select * into newest from queue.gauge_cache;
    if newest.taken_at is null or newest.taken_at <= clock_timestamp() - p_window then
        select * into newest from queue.gauge_cache
        where taken_at <= clock_timestamp() - p_window for update skip locked;
        if found then
            counted := queue.count_gauges(p_tenants);
            update queue.gauge_cache set taken_at = clock_timestamp(), gauges = counted;
            return counted || '{"age_seconds": 0}';
        end if;
        select * into newest from queue.gauge_cache;
        if newest.gauges = '{}' then  -- the very first count is still under way elsewhere
            return queue.count_gauges(p_tenants) || '{"age_seconds": 0}';
        end if;
    end if;
    return newest.gauges || jsonb_build_object('age_seconds', queue.seconds_since(newest.taken_at));
end $$;

revoke all on function queue.count_gauges(integer), queue.seconds_since(timestamptz), queue.gauges(interval, integer)
    from public, anon, authenticated;
grant execute on function queue.count_gauges(integer), queue.seconds_since(timestamptz), queue.gauges(interval, integer)
    to service_role;

-- Set by `worker drain`; the worker's heartbeat reads it.
alter table public.workers add column if not exists drain_requested_at timestamptz;
