-- The queue's hot side: who waits, who runs, and whose turn it is.
--
-- indexing_jobs is what people and policies look at; a job's row changes status without touching an index, so those
-- updates stay within the page (HOT). What claims look for stands in two narrow tables: queue.waiting has a row for
-- each queued job, queue.running one for each job in progress. The verbs keep all three equal in one transaction.
--
-- Fair share is start-time fair queueing (Goyal, Vin, Cheng 1996) with a lane a tenant: a lane's virtual time is the
-- tag of its next job and grows by 1 / weight with each start; the smallest tag goes first. A lane behind the queue's
-- virtual clock could not use its turns; its tag counts from the clock, so it neither owes for the past nor saves up
-- for a burst. Among lanes behind the clock the one furthest behind goes first.
--
-- Lock order everywhere: repository, running row, waiting row, job, lane, deliveries, blobs; each by id. A running job's
-- own row is the exception: its verb holds it first of all. claim waits for other claims (its gate, milliseconds) and
-- for nothing else.

-- Job types that nobody claims for now.
create table queue.paused_types (
    job_type text primary key,
    paused_at timestamptz not null default now()
);

create table queue.waiting (
    job_id uuid primary key,
    user_id uuid not null,
    job_type text not null,
    rank bigint not null,
    repository_id uuid,
    coalesce_key text,
    run_after timestamptz not null,
    queued_at timestamptz not null,
    -- Null: ready. 'time': not before run_after. 'repository': another job of the repository runs and wakes one up
    -- when it leaves.
    hold text check (hold in ('time', 'repository'))
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_threshold = 1000);
create index waiting_ready on queue.waiting (user_id, job_type, rank, job_id) where hold is null;
create index waiting_due on queue.waiting (run_after) where hold = 'time';
create index waiting_repository on queue.waiting (repository_id, hold, job_type, rank, job_id)
    where repository_id is not null;
-- At most one queued job of a coalesce key: newer pushes join it.
create unique index waiting_one_queued on queue.waiting (coalesce_key) where coalesce_key is not null;

create table queue.running (
    token bigint primary key,
    job_id uuid not null,
    worker_id uuid not null,
    user_id uuid not null,
    repository_id uuid,
    -- Which of its tenant's slots the job takes, where the tenant has a cap.
    slot integer,
    claimed_at timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
-- Promise 5, exactly: at most one job in progress for a repository.
create unique index running_one_of_repository on queue.running (repository_id) where repository_id is not null;
-- A tenant's cap, exactly: two claims cannot take one slot.
create unique index running_slot on queue.running (user_id, slot) where slot is not null;
create index running_worker on queue.running (worker_id);

-- Ended jobs whose log is not sealed yet.
create table queue.unsealed (
    job_id uuid primary key,
    ended_at timestamptz not null default clock_timestamp()
);
create index unsealed_ended on queue.unsealed (ended_at);

alter table queue.paused_types enable row level security;
alter table queue.waiting enable row level security;
alter table queue.running enable row level security;
alter table queue.unsealed enable row level security;
revoke all on queue.paused_types, queue.waiting, queue.running, queue.unsealed from public, anon, authenticated;
grant all on queue.paused_types, queue.waiting, queue.running, queue.unsealed to service_role;

-- The lanes. `active`: may have a ready job; only such lanes are looked at.
alter table public.queue_lanes add column active boolean not null default false;
create index queue_lanes_turn on public.queue_lanes (virtual_time, user_id) where active and not paused;
alter table public.queue_lanes set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The queue's virtual clock, in millionths of a start. A sequence, because it changes with every claim and must not
-- leave dead rows behind; a claim that rolls back leaves it a little fast, which harms nobody.
create sequence queue.virtual_clock as bigint minvalue 0 start 0;
revoke all on sequence queue.virtual_clock from public, anon, authenticated;
grant all on sequence queue.virtual_clock to service_role;

-- Why the last cancel of a running job was asked for.
alter table public.indexing_jobs add column cancel_reason text;

-- The status no longer stands in any index of the job's row.
drop index public.indexing_jobs_one_running;
drop index public.indexing_jobs_one_queued;
drop index public.indexing_jobs_claim;
drop index public.indexing_jobs_worker;
drop index public.indexing_jobs_finished;
drop index public.indexing_jobs_unsealed;
-- Room for the two later versions of each row beside the first.
alter table public.indexing_jobs set (fillfactor = 50);
-- One index is enough for events: they are read and pruned by their job, in order.
alter table public.indexing_job_events drop constraint indexing_job_events_pkey;
alter table public.indexing_job_events add primary key (job_id, id);
drop index public.indexing_job_events_job;
alter table public.indexing_job_events set (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.1);

-- The lane of a job without a tenant.
create function queue.lane(p_user uuid) returns uuid language sql immutable as $$
    select coalesce(p_user, '00000000-0000-0000-0000-000000000000');
$$;

-- Where a job stands among its tenant's: smaller is earlier. A point of priority is worth a minute of waiting, so a job
-- is never overtaken by one that came later than that: this is the ageing.
create function queue.rank(p_priority integer, p_queued_at timestamptz) returns bigint language sql immutable as $$
    select (extract(epoch from p_queued_at at time zone 'UTC') * 1000000)::bigint - p_priority::bigint * 60000000;
$$;

-- Index jobs show on the repository's row how they stand; other job types leave it alone.
create function queue.shows_state(p_job_type text) returns boolean language sql immutable as $$
    select p_job_type in ('full_index', 'incremental_update');
$$;

-- Takes up what was queued and running before this migration.
insert into queue.waiting (job_id, user_id, job_type, rank, repository_id, coalesce_key, run_after, queued_at, hold)
select id, queue.lane(user_id), job_type, queue.rank(priority, queued_at), repository_id, coalesce_key, run_after,
       queued_at, case when run_after > now() then 'time' end
from public.indexing_jobs where status = 'queued';
insert into queue.running (token, job_id, worker_id, user_id, repository_id, claimed_at)
select lease_token, id, coalesce(worker_id, gen_random_uuid()), queue.lane(user_id), repository_id,
       coalesce(started_at, now())
from public.indexing_jobs where status = 'in_progress';
insert into queue.unsealed (job_id, ended_at)
select id, finished_at from public.indexing_jobs
where status in ('completed', 'failed', 'cancelled') and log_token is not null and log_sealed_at is null;
insert into public.queue_lanes (user_id, active)
select distinct user_id, true from queue.waiting
on conflict (user_id) do update set active = true;

-- What hangs on a job goes with it.
create or replace function public.delete_events_of_deleted_jobs() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
    delete from public.indexing_job_events where job_id in (select id from deleted);
    delete from queue.waiting where job_id in (select id from deleted where status = 'queued');
    delete from queue.running where token in (select lease_token from deleted where lease_token is not null);
    delete from queue.unsealed where job_id in (select id from deleted where log_sealed_at is null);
    return null;
end $$;

-- A job's row made without queue.enqueue waits like any other.
create function queue.wait_for_inserted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    job record;
begin
    for job in
        select i.* from inserted i
        where i.status = 'queued' and not exists (select from queue.waiting w where w.job_id = i.id)
    loop
        if not queue.wait(job.id, job.user_id, job.job_type, job.priority, job.repository_id, job.coalesce_key,
                          job.run_after, job.queued_at) then
            raise unique_violation using
                message = format('a job of coalesce key %s is queued already', job.coalesce_key),
                hint = 'queue.enqueue joins it';
        end if;
    end loop;
    return null;
end $$;
create trigger jobs_wait after insert on public.indexing_jobs
    referencing new table as inserted for each statement execute function queue.wait_for_inserted();

-- Marks lanes as having a ready job. Holds their rows against being put to sleep until the caller's transaction has
-- committed what it made ready; claims go on.
create function queue.activate(p_users uuid[]) returns void language plpgsql as $$
declare
    asleep uuid[];
begin
    select array_agg(l.user_id) filter (where not l.active) into asleep
    from (select user_id, active from public.queue_lanes where user_id = any (p_users)
          order by user_id for key share) l
    having count(*) = cardinality(p_users);
    if not found then  -- a tenant's first job
        insert into public.queue_lanes (user_id)
        select distinct u from unnest(p_users) u order by u on conflict do nothing;
        select array_agg(l.user_id) filter (where not l.active) into asleep
        from (select user_id, active from public.queue_lanes where user_id = any (p_users)
              order by user_id for key share) l;
    end if;
    if asleep is not null then
        update public.queue_lanes l set active = true, updated_at = now()
        from (select user_id from public.queue_lanes where user_id = any (asleep) and not active
              order by user_id for no key update) s
        where l.user_id = s.user_id;
    end if;
end $$;

-- Puts a job into the waiting table; false: a job of its coalesce key is there already. The caller holds the job. Who
-- has more waiting rows to lock activates the lane itself, afterwards.
create function queue.wait(
    p_job uuid, p_user uuid, p_job_type text, p_priority integer, p_repository uuid, p_coalesce_key text,
    p_run_after timestamptz, p_queued_at timestamptz, p_activates boolean default true)
returns boolean language plpgsql as $$
declare
    is_parked boolean := false;
    is_later boolean := p_run_after > clock_timestamp();
begin
    if p_repository is not null and not is_later then
        -- The running job's row is held, so that it cannot leave without seeing whom it has to wake up.
        perform from queue.running where repository_id = p_repository for update skip locked;
        is_parked := found;
    end if;
    insert into queue.waiting (job_id, user_id, job_type, rank, repository_id, coalesce_key, run_after, queued_at, hold)
    values (p_job, queue.lane(p_user), p_job_type, queue.rank(p_priority, p_queued_at), p_repository, p_coalesce_key,
            p_run_after, p_queued_at, case when is_later then 'time' when is_parked then 'repository' end)
    on conflict (coalesce_key) where coalesce_key is not null do nothing;
    if not found then
        return false;
    end if;
    if p_activates then
        perform queue.activate(array[queue.lane(p_user)]);
    end if;
    return true;
end $$;

-- Wakes the next waiting job, one of each type, of repositories whose running job has left, and then their lanes
-- together with those given: lanes come after all waiting rows, in one go.
create function queue.wake(p_repositories uuid[], p_lanes uuid[] default null) returns void language plpgsql
set enable_seqscan to off as $$
declare
    woken uuid[] := coalesce(p_lanes, '{}');
    lanes uuid[];
    all_awake boolean := false;
begin
    while not all_awake loop  -- one that was cancelled or postponed this instant leaves its turn to the next
        with recursive held as (
            select r.repository_id, (
                select w.job_type from queue.waiting w
                where w.repository_id = r.repository_id and w.hold = 'repository'
                order by w.job_type limit 1) as job_type
            from unnest(p_repositories) r (repository_id) where r.repository_id is not null
            union all
            select h.repository_id, (
                select w.job_type from queue.waiting w
                where w.repository_id = h.repository_id and w.hold = 'repository' and w.job_type > h.job_type
                order by w.job_type limit 1)
            from held h where h.job_type is not null
        ), next as (
            select n.job_id from held h cross join lateral (
                select w.job_id from queue.waiting w
                where w.repository_id = h.repository_id and w.hold = 'repository' and w.job_type = h.job_type
                order by w.rank, w.job_id limit 1) n
            where h.job_type is not null
        ), ready as (
            update queue.waiting w set hold = null
            where w.job_id in (select job_id from next) and w.hold = 'repository' returning w.user_id
        )
        select array_agg(distinct user_id), count(*) = (select count(*) from next) into lanes, all_awake from ready;
        woken := woken || lanes;
    end loop;
    if woken <> '{}' then
        perform queue.activate(array(select distinct unnest(woken)));
    end if;
end $$;

-- Takes jobs that leave their attempt out of the running table, and wakes who waited for them. The caller has changed
-- the jobs' rows by their tokens.
create function queue.leave(p_tokens bigint[]) returns void language plpgsql
set enable_seqscan to off as $$
declare
    repositories uuid[];
    capped uuid[];
begin
    with gone as (
        delete from queue.running where token = any (p_tokens) returning repository_id, user_id, slot
    )
    select array_agg(repository_id) filter (where repository_id is not null),
           array_agg(distinct user_id) filter (where slot is not null)
    into repositories, capped from gone;
    if repositories is not null or capped is not null then
        perform queue.wake(repositories, capped);
    end if;
end $$;

-- As before, from the narrow tables, and of index jobs only.
create or replace function queue.show_state(p_repository uuid, p_failed boolean default false)
returns void language sql as $$
    update public.repositories r
    set status = s.status, sync_state = s.sync_state, updated_at = now()
    from (
        select case when x.last_indexed_commit is not null then 'ready'
                    when p_failed then 'error' else x.status end as status,
               case when exists (select from queue.running n join public.indexing_jobs j on j.id = n.job_id
                                 where n.repository_id = x.id and queue.shows_state(j.job_type)) then 'syncing'
                    when exists (select from queue.waiting w
                                 where w.repository_id = x.id and queue.shows_state(w.job_type)) then 'queued'
                    when p_failed then 'error'
                    when x.last_indexed_commit is not null then 'ready' else 'pending' end as sync_state
        from public.repositories x where x.id = p_repository
    ) s
    where r.id = p_repository and (r.status, r.sync_state) is distinct from (s.status, s.sync_state);
$$;

-- enqueue: a new queued job, or the queued job of the same coalesce key with its target replaced (joined = true).
-- p_supersede: the running job of that key, if any, is asked to stop; its deliveries move to this one. p_user: whose a job
-- without a repository is; one of a repository is its owner's.
drop function queue.deliver(
    uuid, text, text, text, jsonb, jsonb, text, text, uuid, text, jsonb, integer, text, integer, integer);
drop function queue.enqueue(
    uuid, uuid, text, jsonb, integer, timestamptz, text, uuid, integer, integer);
create function queue.enqueue(
    p_id uuid, p_repository uuid, p_job_type text, p_payload jsonb, p_priority integer default 0,
    p_run_after timestamptz default null, p_coalesce_key text default null, p_requested_by uuid default null,
    p_max_attempts integer default 5, p_timeout_seconds integer default null, p_supersede boolean default false,
    p_user uuid default null, out job_id uuid, out joined boolean
) language plpgsql as $$
declare
    owner uuid := p_user;
    due timestamptz := coalesce(p_run_after, now());
begin
    if p_repository is not null then
        select user_id into owner from public.repositories where id = p_repository;
        if not found then
            raise exception 'no repository %', p_repository using errcode = 'foreign_key_violation';
        end if;
        if queue.shows_state(p_job_type) then
            -- Never waits: whoever holds the row (claim, publish) shows the state again when it is done.
            update public.repositories set sync_state = 'queued', updated_at = now()
            where id = (select id from public.repositories
                        where id = p_repository and sync_state not in ('queued', 'syncing')
                        for no key update skip locked);
        end if;
    end if;
    joined := false;
    while not queue.wait(p_id, owner, p_job_type, p_priority, p_repository, p_coalesce_key, due, now()) loop
        joined := queue.join_queued(p_coalesce_key, p_payload, p_priority, due) is not null;
        exit when joined;
    end loop;
    if joined then
        select w.job_id into job_id from queue.waiting w where w.coalesce_key = p_coalesce_key;
    else
        job_id := p_id;
        insert into public.indexing_jobs (
            id, repository_id, user_id, requested_by, job_type, payload, priority, run_after, coalesce_key,
            max_attempts, timeout_seconds)
        values (
            p_id, p_repository, owner, p_requested_by, p_job_type, p_payload, p_priority, due, p_coalesce_key,
            p_max_attempts, p_timeout_seconds);
    end if;
    if p_supersede and p_coalesce_key is not null then
        update public.indexing_jobs j
        set cancel_requested_at = now(), cancel_reason = 'superseded', updated_at = now()
        from queue.running r
        where r.repository_id = p_repository and j.id = r.job_id and j.coalesce_key = p_coalesce_key
          and j.cancel_requested_at is null
          -- Never waits for a publish: a run that is about to end may end.
          and j.id = (select x.id from public.indexing_jobs x where x.id = r.job_id for no key update skip locked);
    end if;
    perform queue.record(
        job_id, case when joined then 'coalesce' else 'enqueue' end, null,
        jsonb_build_object('job_type', p_job_type, 'priority', p_priority, 'after', p_payload -> 'after'));
end $$;

-- The queued job of a coalesce key takes over a newer target. Null: there is none.
create function queue.join_queued(p_coalesce_key text, p_payload jsonb, p_priority integer, p_due timestamptz)
returns uuid language plpgsql as $$
declare
    target queue.waiting;
    job public.indexing_jobs;
begin
    select * into target from queue.waiting where coalesce_key = p_coalesce_key for update;
    if not found then
        return null;
    end if;
    update public.indexing_jobs j set
        payload = queue.merge_payload(j.payload, p_payload) || jsonb_build_object('asked_at', now()),
        priority = greatest(j.priority, p_priority),
        errors = 0,
        crashes = 0,
        -- A wait that the other side asked for (Retry-After) is kept; our own backoff is not.
        run_after = case when j.snoozes > 0 then j.run_after else p_due end,
        updated_at = now()
    where j.id = target.job_id and j.status = 'queued' returning * into job;
    if not found then  -- changed by hand: its place is free
        delete from queue.waiting where job_id = target.job_id;
        return null;
    end if;
    update queue.waiting set
        rank = queue.rank(job.priority, job.queued_at),
        run_after = job.run_after,
        hold = case when job.run_after > clock_timestamp() then 'time' when target.hold = 'repository' then 'repository' end
    where job_id = target.job_id;
    if target.hold is null and job.run_after > clock_timestamp() then
        perform queue.wake_next(target.repository_id);
    end if;
    perform queue.activate(array[target.user_id]);
    return target.job_id;
end $$;

-- Many new jobs in one statement; without coalesce keys. The arrays are equally long; p_users is for jobs without a
-- repository.
create function queue.enqueue_many(
    p_ids uuid[], p_repositories uuid[], p_job_types text[], p_payloads jsonb[], p_priorities integer[],
    p_run_afters timestamptz[], p_max_attempts integer[], p_timeouts integer[], p_requested_by uuid default null,
    p_users uuid[] default null)
returns integer language plpgsql as $$
declare
    total integer;
    lanes uuid[];
    busy uuid[];
begin
    if exists (select from unnest(p_repositories) r where r is not null
               and not exists (select from public.repositories where id = r)) then
        raise exception 'no such repository among those given' using errcode = 'foreign_key_violation';
    end if;
    select array_agg(l.repository_id) into busy
    from (select repository_id from queue.running where repository_id = any (p_repositories)
          for update skip locked) l;
    with given as (
        select u.*, case when u.repository_id is null then u.tenant else r.user_id end as user_id,
               coalesce(u.run_after, now()) as due
        from unnest(p_ids, p_repositories, p_job_types, p_payloads, p_priorities, p_run_afters, p_max_attempts,
                    p_timeouts, p_users)
            as u (id, repository_id, job_type, payload, priority, run_after, max_attempts, timeout_seconds, tenant)
        left join public.repositories r on r.id = u.repository_id
    ), jobs as (
        insert into public.indexing_jobs (
            id, repository_id, user_id, requested_by, job_type, payload, priority, run_after, max_attempts,
            timeout_seconds)
        select id, repository_id, user_id, p_requested_by, job_type, payload, priority, due, max_attempts,
               timeout_seconds
        from given
    ), events as (
        insert into public.indexing_job_events (job_id, event_type, context)
        select id, 'enqueue', jsonb_build_object('job_type', job_type, 'priority', priority) from given
    ), queued as (
        insert into queue.waiting (job_id, user_id, job_type, rank, repository_id, run_after, queued_at, hold)
        select id, queue.lane(user_id), job_type, queue.rank(priority, now()), repository_id, due, now(),
               case when due > now() then 'time' when repository_id = any (busy) then 'repository' end
        from given
        returning user_id
    )
    select count(*), array_agg(distinct user_id) into total, lanes from queued;
    if lanes is not null then
        perform queue.activate(lanes);
    end if;
    return total;
end $$;

-- A webhook delivery and its job in one transaction. The same delivery again answers with the first one's job;
-- one that failed is enqueued again. p_job_type null: nothing to do, p_reason says why.
create function queue.deliver(
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
        select d.id, d.job_id, d.status into delivery_no, job_id, status
        from public.webhook_deliveries d
        where d.repository_id is not distinct from p_repository and d.delivery_id = p_delivery_id;
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

-- Jobs whose time has come become ready, oldest first. Never waits: a lane or a job that somebody holds comes later.
-- Answers how many.
create function queue.wake_due(p_limit integer default 10000) returns integer language plpgsql
set enable_seqscan to off as $$
declare
    due uuid[];
    lanes uuid[];
    woken integer;
    instant timestamptz := clock_timestamp();  -- a volatile function is no bound of an index scan
begin
    select array_agg(d.job_id), array_agg(distinct d.user_id) into due, lanes
    from (select job_id, user_id from queue.waiting where hold = 'time' and run_after <= instant
          order by run_after limit p_limit for update skip locked) d;
    if due is null then
        return 0;
    end if;
    select array_agg(l.user_id) into lanes
    from (select user_id from public.queue_lanes where user_id = any (lanes) for no key update skip locked) l;
    update queue.waiting set hold = null where job_id = any (due) and user_id = any (lanes);
    get diagnostics woken = row_count;
    update public.queue_lanes set active = true where user_id = any (lanes) and not active;
    return woken;
end $$;

-- Whose turn it is: up to p_wanted jobs from the lanes with the smallest tags, best rank first within a lane, at most
-- one a repository, no busy repository, no lane over its cap. Lanes of p_barren are left out; barren answers the lanes
-- looked at that have nothing to give, crowded those where jobs that wait for busy repositories stand in the way.
-- No job is answered whose turn may come after one that was not looked at: then there is more, and the caller asks
-- again.
create function queue.turns(
    p_types text[], p_wanted integer, p_lanes integer, p_barren uuid[],
    out jobs uuid[], out tags double precision[], out slots integer[], out barren uuid[], out crowded uuid[],
    out more boolean)
language plpgsql set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
#variable_conflict use_column
begin
    with clock as materialized (
        select last_value / 1e6::double precision as now from queue.virtual_clock
    ), lane as materialized (
        select user_id, virtual_time, weight, max_running
        from public.queue_lanes where active and not paused and user_id <> all (p_barren)
        order by virtual_time, user_id limit p_lanes
        for no key update skip locked
    ), share as materialized (
        -- own: what the tag would be without the clock; it orders those behind the clock.
        select lane.user_id, lane.weight, lane.max_running, lane.virtual_time as own,
               greatest(lane.virtual_time, clock.now) as tag,
               4 + 2 * p_wanted / (count(*) over ())::integer as depth,
               case when max_running is null then p_wanted else
                   max_running - (select count(*)::integer from queue.running r
                                  where r.user_id = lane.user_id and r.slot is not null) end as allowed
        from lane, clock
    ), seen as materialized (
        select s.*, c.job_id, c.rank, coalesce(c.repository_id, c.job_id) as alone,
               c.repository_id is not null and exists (
                   select from queue.running r where r.repository_id = c.repository_id) as busy
        from share s left join lateral (  -- a lane with nothing to give has one row without a job
            select w.job_id, w.rank, w.repository_id
            from unnest(p_types) t (job_type) cross join lateral (
                select x.job_id, x.rank, x.repository_id from queue.waiting x
                where x.user_id = s.user_id and x.job_type = t.job_type and x.hold is null
                order by x.rank, x.job_id limit s.depth) w
            order by w.rank, w.job_id limit s.depth
        ) c on s.allowed > 0
    ), firsts as (
        select f.*, row_number() over (partition by user_id order by rank, job_id) as place
        from (select distinct on (user_id, alone) * from seen where job_id is not null and not busy
              order by user_id, alone, rank, job_id) f
    ), looked as materialized (
        select user_id, tag, own, weight, depth, allowed, count(job_id) as jobs,
               count(*) filter (where busy) as busy,
               count(distinct alone) filter (where job_id is not null and not busy) as places
        from seen group by user_id, tag, own, weight, depth, allowed
    ), edge as materialized (
        -- The first turn that may be somebody's who was not looked at: the next lane, or more of a lane's jobs.
        select e.tag, e.own, e.user_id from (
            (select tag, own, user_id from share
             where (select count(*) from share) = p_lanes order by own desc, user_id desc limit 1)
            union all
            select tag + places / weight, own + places / weight, user_id from looked
            where jobs = depth and places < allowed
        ) e order by e.tag, e.own, e.user_id limit 1
    ), turn as materialized (
        select f.job_id, f.user_id, f.place, f.max_running, f.tag + (f.place - 1) / f.weight as tag,
               f.own + (f.place - 1) / f.weight as own
        from firsts f
        where f.place <= f.allowed
          and not exists (select from edge e where (f.tag + (f.place - 1) / f.weight,
                                                    f.own + (f.place - 1) / f.weight, f.user_id)
                                                 > (e.tag, e.own, e.user_id))
        order by f.tag + (f.place - 1) / f.weight, f.own + (f.place - 1) / f.weight, f.user_id limit p_wanted
    )
    select array_agg(job_id order by tag, own, user_id), array_agg(tag order by tag, own, user_id),
           array_agg(case when max_running is not null then (
               select g.slot from generate_series(1, max_running) g (slot)
               where not exists (select from queue.running r where r.user_id = turn.user_id and r.slot = g.slot)
               order by g.slot offset place - 1 limit 1) end order by tag, own, user_id),
           (select array_agg(user_id) from looked where jobs = 0),
           (select array_agg(user_id) from looked
            where (places = 0 and busy > 0) or (jobs = depth and busy * 2 > jobs)),
           exists (select from edge)
    into jobs, tags, slots, barren, crowded, more
    from turn;
end $$;

-- What a worker needs of a claimed job.
create type queue.claimed as (
    id uuid, job_type text, lease_token bigint, attempt integer, max_attempts integer, payload jsonb,
    queued_at timestamptz, started_at timestamptz, created_at timestamptz, repository_id uuid, user_id uuid,
    priority integer, errors integer, crashes integer, timeout_seconds integer
);

-- Makes picked jobs this worker's, each under a new lease token, in the order given.
create function queue.take(p_worker uuid, p_jobs uuid[], p_tags double precision[], p_slots integer[])
returns setof queue.claimed language plpgsql
set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
#variable_conflict use_column
begin
    return query
    with mine as (
        select * from unnest(p_jobs, p_tags, p_slots) with ordinality p (job_id, tag, slot, nth)
    ), held as materialized (
        select w.job_id, w.user_id, w.repository_id, mine.tag, mine.slot, mine.nth
        from mine
        join queue.waiting w on w.job_id = mine.job_id and w.hold is null
        join public.indexing_jobs j on j.id = w.job_id and j.status = 'queued'
        for update of w, j skip locked
    ), leased as materialized (
        select ordered.*, nextval('public.lease_tokens') as token from (select * from held order by nth) ordered
    ), taken as (
        delete from queue.waiting w using leased where w.job_id = leased.job_id
    ), run as (
        insert into queue.running (token, job_id, worker_id, user_id, repository_id, slot, claimed_at)
        select token, job_id, p_worker, user_id, repository_id, slot, clock_timestamp() from leased
    ), claimed as (
        update public.indexing_jobs j
        set status = 'in_progress', attempt = j.attempt + 1, lease_token = leased.token, log_token = leased.token,
            log_sealed_at = null, worker_id = p_worker, started_at = clock_timestamp(), finished_at = null,
            cancel_requested_at = null, cancel_reason = null, progress = null, updated_at = now()
        from leased where j.id = leased.job_id
        returning j.id, j.job_type, j.lease_token, j.attempt, j.max_attempts, j.payload, j.queued_at, j.started_at,
                  j.created_at, j.repository_id, j.user_id, j.priority, j.errors, j.crashes, j.timeout_seconds
    ), events as (
        insert into public.indexing_job_events (job_id, event_type, context)
        select c.id, 'claim',
               jsonb_build_object('worker', p_worker, 'attempt', c.attempt, 'lease_token', c.lease_token)
        from claimed c
    ), deliveries as (
        update public.webhook_deliveries d set status = 'processing'
        from claimed c where d.job_id = c.id and d.status = 'queued'
    ), shown as (
        update public.repositories r set sync_state = 'syncing', updated_at = now()
        where r.id in (
            select x.id from claimed c join public.repositories x on x.id = c.repository_id
            where queue.shows_state(c.job_type) and x.sync_state <> 'syncing'
            for no key update of x skip locked)
    ), turns as (
        update public.queue_lanes l set virtual_time = n.last_tag + 1 / l.weight
        from (select user_id, max(tag) as last_tag from leased group by user_id) n
        where l.user_id = n.user_id
    ), clock as (
        select setval('queue.virtual_clock', greatest(
            (select last_value from queue.virtual_clock), floor(max(tag) * 1000000)::bigint)) from leased
    )
    select claimed.* from claimed where (select count(*) from clock) = 1;
end $$;

-- Puts jobs of these lanes and types that wait for a busy repository aside; whoever leaves the repository wakes the next
-- one. The running job's row is held meanwhile, so that it cannot leave without seeing them. Answers how many.
create function queue.park(p_users uuid[], p_types text[]) returns integer language plpgsql
set enable_seqscan to off as $$
declare
    found_jobs uuid[];
    found_repositories uuid[];
    parked integer;
begin
    select array_agg(w.job_id), array_agg(distinct w.repository_id) into found_jobs, found_repositories
    from unnest(p_users) u (user_id) cross join unnest(p_types) t (job_type) cross join lateral (
        select x.job_id, x.repository_id from queue.waiting x
        where x.user_id = u.user_id and x.job_type = t.job_type and x.hold is null
        order by x.rank, x.job_id limit 1000) w
    where w.repository_id is not null
      and exists (select from queue.running r where r.repository_id = w.repository_id);
    if found_jobs is null then
        return 0;
    end if;
    select array_agg(l.repository_id) into found_repositories
    from (select repository_id from queue.running where repository_id = any (found_repositories)
          for update skip locked) l;
    with held as (
        select job_id from queue.waiting
        where job_id = any (found_jobs) and hold is null and repository_id = any (found_repositories)
        for update skip locked
    )
    update queue.waiting w set hold = 'repository' from held where w.job_id = held.job_id;
    get diagnostics parked = row_count;
    return parked;
end $$;

-- Of lanes that had nothing to give, those without a ready job or with their cap reached sleep until somebody activates
-- them.
create function queue.settle(p_users uuid[]) returns void language plpgsql
set enable_seqscan to off as $$
declare
    mine uuid[];
begin
    -- FOR UPDATE: not while anybody makes a job of the lane ready (queue.activate).
    select array_agg(l.user_id) into mine
    from (select q.user_id from public.queue_lanes q
          where q.user_id = any (p_users)
            and (not exists (select from queue.waiting w where w.user_id = q.user_id and w.hold is null)
                 or q.max_running <= (select count(*) from queue.running r
                                      where r.user_id = q.user_id and r.slot is not null))
          for update skip locked) l;
    -- Asked again, now that they are held.
    update public.queue_lanes q set active = false
    where q.user_id = any (mine)
      and (not exists (select from queue.waiting w where w.user_id = q.user_id and w.hold is null)
           or q.max_running <= (select count(*) from queue.running r
                                where r.user_id = q.user_id and r.slot is not null));
end $$;

-- The gate of claim, held until the end of the transaction. A claim is a matter of milliseconds, but its answer goes out
-- before it commits: a client that does not read it (paused, or behind a dead connection) would keep everybody out for
-- as long as TCP is patient. Whoever has waited for five seconds ends such a one; its jobs are released as those of a
-- claim whose reply was lost.
create function queue.pass_gate() returns void language plpgsql as $$
declare
    gate constant bigint := 7309940321140001;
    before text := current_setting('lock_timeout');
begin
    if pg_try_advisory_xact_lock(gate) then
        return;
    end if;
    loop
        begin
            perform set_config('lock_timeout', '5s', true);
            perform pg_advisory_xact_lock(gate);
            exit;
        exception when lock_not_available then
            perform pg_terminate_backend(a.pid)
            from pg_locks l join pg_stat_activity a on a.pid = l.pid
            where l.locktype = 'advisory' and l.granted and l.objsubid = 1
              and l.database = (select oid from pg_database where datname = current_database())
              and (l.classid::bigint << 32) + l.objid::bigint = gate
              and a.wait_event = 'ClientWrite' and a.query_start < clock_timestamp() - interval '5 seconds';
        end;
    end loop;
    perform set_config('lock_timeout', before, true);
end $$;

-- claim: up to p_limit due jobs, at most one a repository, each with a new lease token; tokens grow in the order of
-- the tenants' turns. The cost depends on p_limit and the lanes looked at, not on how many jobs wait.
drop function queue.claim(uuid, text[], integer);
create function queue.claim(p_worker uuid, p_types text[], p_limit integer)
returns setof queue.claimed language plpgsql
set enable_seqscan to off as $$
declare
    types text[];
    wanted integer := p_limit;
    lanes integer := p_limit;
    taken integer;
    moved integer;
    rounds integer := 0;
    barren uuid[] := '{}';
    turn record;
begin
    -- A worker that was given up, or that has fenced itself, gets nothing more under that name.
    if not exists (select from public.workers where id = p_worker and state = 'running') then
        return;
    end if;
    if not exists (select from public.queue_lanes where active and not paused)
       and not exists (select from queue.waiting where hold = 'time' and run_after <= statement_timestamp()) then
        return;
    end if;
    -- The gate: one claim at a time, so that the lanes' order is exact. It opens with the end of this transaction.
    perform queue.pass_gate();
    -- Behind the gate: it holds lanes, and a claim in front of it would pass them over.
    perform queue.wake_due();
    types := array(select unnest(p_types) except select job_type from queue.paused_types);
    while wanted > 0 loop
        taken := 0;
        moved := 0;
        turn := queue.turns(types, wanted, lanes, barren);
        if turn.jobs is not null then
            return query select * from queue.take(p_worker, turn.jobs, turn.tags, turn.slots);
            get diagnostics taken = row_count;
            wanted := wanted - taken;
            if taken < cardinality(turn.jobs) then
                -- Held by somebody else at this moment, or changed by hand: nobody queues behind them.
                delete from queue.waiting w using public.indexing_jobs j
                where w.job_id = any (turn.jobs) and j.id = w.job_id and j.status <> 'queued';
                barren := barren || array(select distinct user_id from queue.waiting where job_id = any (turn.jobs));
            end if;
        end if;
        barren := barren || turn.barren;
        if turn.crowded is not null and rounds < 20 then
            moved := queue.park(turn.crowded, types);  -- out of the way: look again
            rounds := rounds + 1;
        end if;
        exit when not turn.more and turn.crowded is null and wanted < p_limit;
        if taken = 0 and moved = 0 then
            barren := barren || turn.crowded;
            if turn.jobs is null and turn.barren is null and turn.crowded is null then  -- every lane was looked at
                exit when queue.wake_due() = 0;
                barren := '{}';
            end if;
        end if;
        lanes := least(lanes * 4, 10000);
    end loop;
    if barren <> '{}' then
        perform queue.settle(barren);
    end if;
end $$;

-- complete, for many light jobs without a log at once: no index job and no publish is among them. p_results is a JSON
-- array. Answers the tokens that were still their jobs'; the others changed nothing.
create function queue.complete_many(p_jobs uuid[], p_tokens bigint[], p_results jsonb)
returns bigint[] language plpgsql
set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
declare
    done bigint[];
begin
    with given as (
        select i.job_id, i.token, p_results -> (i.nth - 1)::integer as result
        from unnest(p_jobs, p_tokens) with ordinality i (job_id, token, nth)
    ), ended as (
        update public.indexing_jobs j
        set status = 'completed', result = g.result, error_message = null, error_class = null, lease_token = null,
            finished_at = clock_timestamp(), updated_at = now()
        from given g where j.id = g.job_id and j.lease_token = g.token
        returning j.id, g.token
    ), deliveries as (
        update public.webhook_deliveries d set status = 'processed', processed_at = now(), error_message = null
        from ended where d.job_id = ended.id and d.status in ('received', 'queued', 'processing')
    ), events as (
        insert into public.indexing_job_events (job_id, event_type, context)
        select id, 'complete', jsonb_build_object('lease_token', token) from ended
    )
    select array_agg(token) into done from ended;
    if done is not null then
        perform queue.leave(done);
    end if;
    return coalesce(done, '{}');
end $$;

-- The first lock of every verb of an index job. Other job types leave the repository's row alone: null.
create or replace function queue.lock_repository_of(p_job uuid) returns uuid language sql as $$
    select r.id from public.repositories r
    where r.id = (select j.repository_id from public.indexing_jobs j
                  where j.id = p_job and queue.shows_state(j.job_type))
    for no key update;
$$;

-- complete: the attempt succeeded. False: the token is no longer the job's, and nothing changed.
create or replace function queue.complete(p_job uuid, p_token bigint, p_result jsonb)
returns boolean language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
begin
    update public.indexing_jobs
    set status = 'completed', result = p_result, error_message = null, error_class = null, lease_token = null,
        finished_at = clock_timestamp(), updated_at = now()
    where id = p_job and lease_token = p_token;
    if not found then
        return false;
    end if;
    update public.webhook_deliveries set status = 'processed', processed_at = now(), error_message = null
    where job_id = p_job and status in ('received', 'queued', 'processing');
    perform queue.record(p_job, 'complete', null, jsonb_build_object('lease_token', p_token));
    insert into queue.unsealed (job_id) values (p_job) on conflict (job_id) do update set ended_at = excluded.ended_at;
    perform queue.leave(array[p_token]);
    perform queue.show_state(repository);
    return true;
end $$;

-- Ends a job that the caller holds locked, with its deliveries. Not a verb: fail and cancel are.
create or replace function queue.end_without_result(
    p_job uuid, p_repository uuid, p_status text, p_verb text, p_error_class text, p_message text, p_context jsonb)
returns void language plpgsql as $$
declare
    token bigint;
    has_log boolean;
begin
    select lease_token, log_token is not null and log_sealed_at is null into token, has_log
    from public.indexing_jobs where id = p_job;
    update public.indexing_jobs
    set status = p_status, error_class = p_error_class, error_message = p_message, lease_token = null,
        finished_at = clock_timestamp(), updated_at = now()
    where id = p_job;
    update public.webhook_deliveries set status = 'failed', processed_at = now(), error_message = p_message
    where job_id = p_job and status in ('received', 'queued', 'processing');
    perform queue.record(p_job, p_verb, p_message, p_context || jsonb_build_object('error_class', p_error_class));
    if has_log then
        insert into queue.unsealed (job_id) values (p_job)
        on conflict (job_id) do update set ended_at = excluded.ended_at;
    end if;
    if token is not null then
        perform queue.leave(array[token]);
    end if;
    perform queue.show_state(p_repository, p_status = 'failed');
end $$;

-- The queued follow-up of a job's coalesce key takes over its deliveries and its payload; the job ends cancelled. The
-- caller holds the job. Null: there is no follow-up.
create function queue.supersede(p_job uuid, p_repository uuid, p_verb text, p_error_class text, p_context jsonb)
returns uuid language plpgsql as $$
declare
    job public.indexing_jobs;
    follow_up uuid;
    token bigint;
begin
    select * into job from public.indexing_jobs where id = p_job;
    if job.coalesce_key is null then
        return null;
    end if;
    -- Before any waiting row, as queue.wait does: an enqueue may be about to join the follow-up.
    perform from queue.running r where r.token = job.lease_token for update;
    select w.job_id into follow_up from queue.waiting w
    where w.coalesce_key = job.coalesce_key and w.job_id <> p_job for update;
    if not found then
        return null;
    end if;
    update public.indexing_jobs
    set status = 'cancelled', error_class = 'superseded', error_message = 'superseded by job ' || follow_up,
        lease_token = null, finished_at = clock_timestamp(), updated_at = now()
    where id = p_job;
    update public.indexing_jobs set payload = queue.merge_payload(job.payload, payload) where id = follow_up;
    update public.webhook_deliveries set job_id = follow_up, status = 'queued'
    where job_id = p_job and status in ('received', 'queued', 'processing');
    perform queue.record(p_job, 'cancel', 'superseded', p_context || jsonb_build_object(
        'after', p_verb, 'superseded_by', follow_up, 'error_class', p_error_class));
    if job.log_token is not null then
        insert into queue.unsealed (job_id) values (p_job)
        on conflict (job_id) do update set ended_at = excluded.ended_at;
    end if;
    if job.lease_token is not null then
        perform queue.leave(array[job.lease_token]);
    end if;
    perform queue.show_state(p_repository);
    return follow_up;
end $$;

-- retry, snooze, release, rescue: a running job goes back to queued. p_spends says which budget pays ('error',
-- 'crash', 'none'); a spent budget fails the job, a cancel that was asked for ends it, and a queued follow-up of the
-- same coalesce key takes its place. Answers what happened: the verb, 'fail', 'cancel' or 'supersede';
-- null: the token is no longer the job's.
create or replace function queue.give_back(
    p_job uuid, p_token bigint, p_verb text, p_spends text, p_delay interval, p_error_class text, p_message text,
    p_crash_limit integer default 3, p_snooze_limit integer default 50, p_snooze_time interval default '1 day')
returns text language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
    job public.indexing_jobs;
    due timestamptz := clock_timestamp() + p_delay;
    facts jsonb;
    freed integer;
begin
    select * into job from public.indexing_jobs where id = p_job and lease_token = p_token for update;
    if not found then
        return null;
    end if;
    facts := jsonb_build_object('lease_token', p_token, 'attempt', job.attempt);
    update public.indexing_jobs
    set errors = errors + (p_spends = 'error')::int, crashes = crashes + (p_spends = 'crash')::int,
        -- An error in between ends a row of snoozes; the errors' own budget bounds how often.
        snoozes = case p_verb when 'snooze' then snoozes + 1 when 'retry' then 0 else snoozes end,
        snoozed_since = case p_verb when 'snooze' then coalesce(snoozed_since, now()) when 'retry' then null
                                    else snoozed_since end
    where id = p_job returning * into job;

    if job.cancel_requested_at is not null and job.cancel_reason is distinct from 'superseded' then
        perform queue.end_without_result(p_job, repository, 'cancelled', 'cancel', 'cancelled',
                                         coalesce(job.cancel_reason, 'cancelled on request'), facts);
        return 'cancel';
    end if;
    if (p_spends = 'error' and job.errors >= job.max_attempts)
        or (p_spends = 'crash' and job.crashes >= p_crash_limit)
        or (p_verb = 'snooze' and (job.snoozes > p_snooze_limit or job.snoozed_since < now() - p_snooze_time)) then
        perform queue.end_without_result(p_job, repository, 'failed', 'fail', p_error_class, p_message, facts);
        return 'fail';
    end if;
    if queue.supersede(p_job, repository, p_verb, p_error_class, facts) is not null then
        return 'supersede';
    end if;
    -- Out of the running table first, so that it is not parked behind itself; lanes come last, because a push that has
    -- taken the coalesce key, or that joins the job to be woken, may want the lane.
    delete from queue.running where token = p_token returning slot into freed;
    while not queue.wait(p_job, job.user_id, job.job_type, job.priority, job.repository_id, job.coalesce_key,
                         due, job.queued_at, false) loop
        -- A follow-up was committed this instant.
        if queue.supersede(p_job, repository, p_verb, p_error_class, facts) is not null then
            perform queue.wake(array[job.repository_id],
                               case when freed is not null then array[queue.lane(job.user_id)] end);
            return 'supersede';
        end if;
    end loop;
    update public.indexing_jobs
    set status = 'queued', lease_token = null, worker_id = null, run_after = due, error_class = p_error_class,
        error_message = p_message, progress = null, updated_at = now()
    where id = p_job;
    update public.webhook_deliveries set status = 'queued' where job_id = p_job and status = 'processing';
    perform queue.record(p_job, p_verb, p_message, facts || jsonb_build_object(
        'error_class', p_error_class, 'delay_seconds', extract(epoch from p_delay), 'spends', p_spends));
    perform queue.wake(array[job.repository_id], array[queue.lane(job.user_id)]);
    perform queue.show_state(repository);
    return p_verb;
end $$;

-- cancel: ends a queued job at once, asks the worker of a running one. Answers 'cancelled', 'requested', the terminal
-- status it already has, or null for no such job.
create or replace function queue.cancel(p_job uuid, p_reason text default 'cancelled on request')
returns text language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
    waiting_at uuid;
    found_status text;
begin
    -- One that is parked stands in nobody's way: its place need not be given to another.
    select case when w.hold is null then w.repository_id end into waiting_at
    from queue.waiting w where w.job_id = p_job for update;
    select status into found_status from public.indexing_jobs where id = p_job for update;
    if found_status = 'queued' then
        delete from queue.waiting where job_id = p_job;
        perform queue.end_without_result(p_job, repository, 'cancelled', 'cancel', 'cancelled', p_reason, '{}');
        perform queue.wake_next(waiting_at);
        return 'cancelled';
    elsif found_status = 'in_progress' then
        update public.indexing_jobs
        set cancel_requested_at = coalesce(cancel_requested_at, now()), cancel_reason = p_reason, updated_at = now()
        where id = p_job;
        return 'requested';
    end if;
    return found_status;
end $$;

-- A job that may have been woken up for its repository is out of the way: the next one's turn, unless a job runs.
create function queue.wake_next(p_repository uuid) returns void language plpgsql as $$
begin
    if p_repository is not null and not exists (select from queue.running where repository_id = p_repository) then
        perform queue.wake(array[p_repository]);
    end if;
end $$;

-- cancel of a running job, by its worker, after the child's tree is gone. False: the token is no longer the job's.
create or replace function queue.cancel_running(p_job uuid, p_token bigint) returns boolean language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
    facts jsonb := jsonb_build_object('lease_token', p_token);
    reason text;
begin
    select coalesce(cancel_reason, 'cancelled on request') into reason
    from public.indexing_jobs where id = p_job and lease_token = p_token for update;
    if not found then
        return false;
    end if;
    if reason = 'superseded' and queue.supersede(p_job, repository, 'cancel', null, facts) is not null then
        return true;
    end if;
    perform queue.end_without_result(p_job, repository, 'cancelled', 'cancel', 'cancelled', reason, facts);
    return true;
end $$;

-- Manual retry of a failed or cancelled job; budgets start anew, token and attempt go on growing. A queued follow-up of
-- the same coalesce key does its work instead. Answers the id of the job that will run, or null when the job is not
-- failed or cancelled.
create or replace function queue.retry_finished(p_job uuid) returns uuid language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
    job public.indexing_jobs;
    target uuid := p_job;
begin
    select * into job from public.indexing_jobs where id = p_job and status in ('failed', 'cancelled') for update;
    if not found then
        return null;
    end if;
    while not queue.wait(p_job, job.user_id, job.job_type, job.priority, job.repository_id, job.coalesce_key,
                         now(), now()) loop
        select w.job_id into target from queue.waiting w where w.coalesce_key = job.coalesce_key for update;
        exit when found;
        target := p_job;
    end loop;
    if target = p_job then
        update public.indexing_jobs
        set status = 'queued', errors = 0, crashes = 0, snoozes = 0, snoozed_since = null, run_after = now(),
            queued_at = now(), finished_at = null, worker_id = null, error_class = null, error_message = null,
            cancel_requested_at = null, cancel_reason = null, updated_at = now()
        where id = p_job;
        delete from queue.unsealed where job_id = p_job;
    end if;
    update public.webhook_deliveries set status = 'queued', job_id = target, error_message = null, processed_at = null
    where job_id = p_job and status = 'failed';
    perform queue.record(target, 'enqueue', 'manual retry', jsonb_build_object('retry_of', p_job));
    perform queue.show_state(repository);
    return target;
end $$;

-- renew: a worker says it lives and which tokens it holds. Answers {"known": false} when the worker is not (or no
-- longer) one of ours, else the tokens still held, those to cancel, and those released because their claim's reply
-- was lost (claimed before the last renewal and yet not held).
create or replace function queue.renew(p_worker uuid, p_tokens bigint[], p_lease interval)
returns jsonb language plpgsql
set enable_seqscan to off as $$
declare
    previous timestamptz;
    released jsonb := '[]';
    stray record;
begin
    select last_seen_at into previous from public.workers
    where id = p_worker and state in ('running', 'draining') for update;
    if not found then
        return '{"known": false}';
    end if;
    update public.workers
    set last_seen_at = clock_timestamp(),
        -- A gap of half a lease breaks the row: after an outage nobody is in a hurry to call others dead.
        renewing_since = case when previous < clock_timestamp() - p_lease / 2 then clock_timestamp()
                              else renewing_since end
    where id = p_worker;
    for stray in
        select r.job_id, r.token from queue.running r
        where r.worker_id = p_worker and r.claimed_at < previous and r.token <> all (p_tokens)
        order by r.job_id
    loop
        if queue.give_back(stray.job_id, stray.token, 'release', 'none', '0', 'claim_lost',
                           'the reply to the claim was lost') is not null then
            released := released || to_jsonb(stray.token);
        end if;
    end loop;
    return jsonb_build_object(
        'known', true,
        'released', released,
        'held', coalesce((select jsonb_agg(r.token) from queue.running r
                          where r.worker_id = p_worker and r.token = any (p_tokens)), '[]'),
        'cancel', coalesce((select jsonb_agg(r.token) from queue.running r
                            join public.indexing_jobs j on j.id = r.job_id
                            where r.worker_id = p_worker and r.token = any (p_tokens)
                              and j.cancel_requested_at is not null), '[]'));
end $$;

-- Jobs whose worker has not renewed for a whole lease. Empty unless the asking worker itself has renewed that long.
create or replace function queue.orphans(p_worker uuid, p_lease interval, p_limit integer default 1000)
returns table (job_id uuid, lease_token bigint, worker_id uuid, excused boolean) language sql as $$
    select r.job_id, r.token, r.worker_id, coalesce(w.state in ('draining', 'fenced', 'stopped'), false)
    from queue.running r
    left join public.workers w on w.id = r.worker_id
    where (w.id is null or w.state in ('fenced', 'stopped', 'lost') or w.last_seen_at < clock_timestamp() - p_lease)
      and exists (select from public.workers me
                  where me.id = p_worker and me.state = 'running'
                    and me.renewing_since <= clock_timestamp() - p_lease
                    and me.last_seen_at > clock_timestamp() - p_lease / 2)
    order by r.job_id limit p_limit;
$$;

-- seal: the commit point of a job's log. False: a newer attempt has begun, or the job is not at its end. The same call
-- again answers true again, so that a lost reply cannot make the caller delete what the row names.
create or replace function queue.seal_log(
    p_job uuid, p_log_token bigint, p_parts jsonb, p_bytes bigint, p_lines bigint)
returns boolean language plpgsql as $$
begin
    update public.indexing_jobs
    set log_parts = p_parts, log_bytes = p_bytes, log_lines = p_lines, log_sealed_at = now(), updated_at = now()
    where id = p_job and log_token = p_log_token and log_sealed_at is null
      and status in ('completed', 'failed', 'cancelled');
    if found then
        delete from queue.unsealed where job_id = p_job;
        return true;
    end if;
    return exists (
        select from public.indexing_jobs
        where id = p_job and log_token = p_log_token and log_sealed_at is not null and log_parts = p_parts);
end $$;

-- Takes over the sealing of jobs that ended without their own worker (rescued to failure, cancelled while queued, or
-- whose worker died in between): each gets a new log token, because two parties must never seal under one.
create or replace function queue.take_unsealed(p_after interval, p_limit integer default 100)
returns setof public.indexing_jobs language sql as $$
    with old as materialized (
        select j.id from queue.unsealed u join public.indexing_jobs j on j.id = u.job_id
        where u.ended_at < now() - p_after and j.status in ('completed', 'failed', 'cancelled')
          and j.log_token is not null and j.log_sealed_at is null
        order by u.ended_at limit p_limit for update of j skip locked
    )
    update public.indexing_jobs j set log_token = nextval('public.lease_tokens'), updated_at = now()
    from old where j.id = old.id
    returning j.*;
$$;

-- A uuid of version 7 (RFC 9562) of a moment: with p_random false the smallest one.
create function queue.uuid7(p_at timestamptz default clock_timestamp(), p_random boolean default true)
returns uuid language sql volatile as $$
    select (lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0')
            || case when p_random then '7' || substr(md5(random()::text || clock_timestamp()::text), 1, 3)
                                      || '8' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 15)
                    else '70008000000000000000' end)::uuid;
$$;
-- Prune walks along the ids: rows made without the program must not stand outside the order of time.
alter table public.indexing_jobs alter column id set default queue.uuid7();

-- prune, one step along the ids after p_after: of the next p_window jobs deletes the finished ones older than their
-- status's age, never one whose log is not sealed. `last` null: this was the end.
create function queue.prune_step(
    p_after uuid, p_window integer, p_completed interval, p_failed interval, p_cancelled interval,
    out last uuid, out gone integer)
language plpgsql as $$
declare
    step uuid[];
    oldest_kept timestamptz := now() - least(p_completed, p_failed, p_cancelled);
begin
    step := array(select id from public.indexing_jobs
                  where id > p_after and id < queue.uuid7(oldest_kept, false) order by id limit p_window);
    with old as (
        select j.id from public.indexing_jobs j
        where j.id = any (step)
          and j.finished_at < now() - case j.status when 'completed' then p_completed when 'failed' then p_failed
                                                    when 'cancelled' then p_cancelled end
          and not exists (select from queue.unsealed u where u.job_id = j.id)
        for update of j skip locked
    ), deleted as (
        delete from public.indexing_jobs j using old where j.id = old.id returning 1
    )
    select count(*) into gone from deleted;
    last := step[p_window];
end $$;

-- As before, for workers of the version before.
create or replace function queue.prune(p_statuses text[], p_age interval, p_limit integer default 1000)
returns integer language sql as $$
    with old as (
        select id from public.indexing_jobs j
        where id < queue.uuid7(now() - p_age, false) and status = any (p_statuses)
          and status in ('completed', 'failed', 'cancelled') and finished_at < now() - p_age
          and not exists (select from queue.unsealed u where u.job_id = j.id)
        order by id limit p_limit for update skip locked
    ), gone as (
        delete from public.indexing_jobs j using old where j.id = old.id returning 1
    )
    select count(*)::int from gone;
$$;

-- Sets a tenant's lane: null leaves a value as it is; p_max_running 0 takes the cap away.
create function queue.set_lane(
    p_user uuid, p_weight real default null, p_paused boolean default null, p_max_running integer default null)
returns public.queue_lanes language plpgsql as $$
declare
    lane public.queue_lanes;
begin
    perform queue.pass_gate();  -- no job starts meanwhile
    perform from queue.running where user_id = queue.lane(p_user) order by token for update;  -- before the lane
    perform queue.activate(array[queue.lane(p_user)]);
    update public.queue_lanes
    set weight = coalesce(p_weight, weight), paused = coalesce(p_paused, paused),
        max_running = case when p_max_running is null then max_running else nullif(p_max_running, 0) end,
        updated_at = now()
    where user_id = queue.lane(p_user) returning * into lane;
    if lane.max_running is not null then  -- what runs already takes its slots
        update queue.running r set slot = n.slot
        from (select token, row_number() over (order by token)
                     + coalesce((select max(slot) from queue.running where user_id = lane.user_id), 0) as slot
              from queue.running where user_id = lane.user_id and slot is null) n
        where r.token = n.token;
    end if;
    return lane;
end $$;

-- Pauses or resumes a job type for all tenants; running jobs go on.
create function queue.set_paused(p_job_type text, p_paused boolean) returns void language plpgsql as $$
begin
    if p_paused then
        insert into queue.paused_types (job_type) values (p_job_type) on conflict do nothing;
    else
        delete from queue.paused_types where job_type = p_job_type;
    end if;
end $$;

-- What an idle worker asks: may there be something to claim now, and when is the next job due?
create function queue.look(out due boolean, out next_due_seconds double precision) language plpgsql
set enable_seqscan to off as $$
begin
    select exists (select from public.queue_lanes where active and not paused)
           or coalesce(l.next_due <= clock_timestamp(), false),
           case when l.next_due is not null then greatest(extract(epoch from l.next_due - clock_timestamp()), 0) end
    into due, next_due_seconds
    from (select min(run_after) as next_due from queue.waiting where hold = 'time') l;
end $$;

-- A safety net for changes made by hand, run by maintenance: wakes jobs put aside for a repository where nothing runs
-- any more, and lanes that sleep on ready jobs. Answers how many it found.
create function queue.mend() returns integer language plpgsql
set enable_seqscan to off as $$
declare
    stuck uuid[];
    asleep uuid[];
begin
    with recursive parked as (
        (select repository_id from queue.waiting where repository_id is not null order by repository_id limit 1)
        union all
        select (select w.repository_id from queue.waiting w where w.repository_id > p.repository_id
                order by w.repository_id limit 1)
        from parked p where p.repository_id is not null
    )
    select array_agg(p.repository_id) into stuck from parked p
    where exists (select from queue.waiting w where w.repository_id = p.repository_id and w.hold = 'repository'
                  and not exists (select from queue.waiting o where o.repository_id = w.repository_id
                                  and o.hold is null and o.job_type = w.job_type))
      and not exists (select from queue.running r where r.repository_id = p.repository_id);
    if stuck is not null then
        perform queue.wake(stuck);
    end if;
    with recursive lanes as (
        (select user_id from queue.waiting where hold is null order by user_id limit 1)
        union all
        select (select w.user_id from queue.waiting w where w.hold is null and w.user_id > l.user_id
                order by w.user_id limit 1)
        from lanes l where l.user_id is not null
    )
    select array_agg(l.user_id) into asleep from lanes l
    where l.user_id is not null
      and not exists (select from public.queue_lanes q where q.user_id = l.user_id
                      and (q.active or q.max_running <= (select count(*) from queue.running r
                                                         where r.user_id = q.user_id and r.slot is not null)));
    if asleep is not null then
        perform queue.activate(asleep);
    end if;
    return coalesce(cardinality(stuck), 0) + coalesce(cardinality(asleep), 0);
end $$;

insert into public.maintenance_tasks (name, every) values ('mend', '1 minute');

-- Manual retry of a queued job that waits for its time (a backoff, a snooze, a time it was given): it is due now, its
-- budgets stay as they are. False: it waits for no time, or is not queued.
create function queue.hurry(p_job uuid) returns boolean language plpgsql as $$
declare
    lane uuid;
begin
    select w.user_id into lane from queue.waiting w where w.job_id = p_job and w.hold = 'time' for update;
    if not found then
        return false;
    end if;
    update public.indexing_jobs set run_after = now(), updated_at = now() where id = p_job and status = 'queued';
    if not found then  -- changed by hand
        return false;
    end if;
    update queue.waiting set run_after = now(), hold = null where job_id = p_job;
    perform queue.record(p_job, 'enqueue', 'run now', '{}');
    perform queue.activate(array[lane]);
    return true;
end $$;

-- From the narrow tables; so it reads with its owner's rights, and filters by tenant itself.
drop view public.queue_depth;
create view public.queue_depth with (security_barrier = true) as
select d.user_id, d.job_type, d.status, d.jobs, d.oldest_queued_at
from (
    select nullif(user_id, '00000000-0000-0000-0000-000000000000') as user_id, job_type, 'queued' as status,
           count(*)::bigint as jobs, min(queued_at) as oldest_queued_at
    from queue.waiting group by user_id, job_type
    union all
    select j.user_id, j.job_type, 'in_progress', count(*)::bigint, min(j.queued_at)
    from queue.running r join public.indexing_jobs j on j.id = r.job_id group by j.user_id, j.job_type
) d
where d.user_id = (select auth.uid())
   -- As in idx.reads_everything(), written out: a view's functions are called with the rights of its reader.
   or (select coalesce(nullif(current_setting('role', true), ''), 'none') = 'service_role'
           or (coalesce(nullif(current_setting('role', true), ''), 'none') = 'none'
               and pg_has_role(session_user, (select relowner from pg_class where oid = 'queue.waiting'::regclass), 'MEMBER')));
revoke all on public.queue_depth from public, anon, authenticated;
grant select on public.queue_depth to authenticated, service_role;

revoke all on all functions in schema queue from public;
grant execute on all functions in schema queue to service_role;
