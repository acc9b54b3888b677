-- A quick way for the commonest claim of an idle queue: one tenant has one job ready, and nobody else has any. No turns
-- are to be compared then. And the verbs' plans are made once a session, never compiled.

-- Whether a lane has a job that is ready and of a type that is not paused. A probe a type, however many jobs wait.
create function queue.has_ready(p_lane uuid) returns boolean language plpgsql as $$
declare
    looked_at text := '';
begin
    loop
        select w.job_type into looked_at from queue.waiting w
        where w.user_id = p_lane and w.hold is null and w.job_type > looked_at order by w.job_type limit 1;
        if not found then
            return false;
        end if;
        if not exists (select from queue.paused_types where job_type = looked_at) then
            return true;
        end if;
    end loop;
end $$;

-- Makes the only ready job of the only active lane this worker's; no rows: it is not that simple, ask queue.turns. For
-- claim, behind its gate. A lane without another ready job goes to sleep at once. Few statements, because each costs.
create function queue.take_only(p_worker uuid, p_types text[]) returns setof queue.claimed language plpgsql as $$
#variable_conflict use_column
declare
    lanes uuid[];
    clock double precision;
    lane record;
    jobs uuid[];
    repository uuid;
    claimed queue.claimed;
begin
    select array_agg(user_id), (select last_value / 1e6::double precision from queue.virtual_clock) into lanes, clock
    from (select user_id from public.queue_lanes where active and not paused order by virtual_time limit 2) l;
    if cardinality(lanes) is distinct from 1 then
        return;
    end if;
    -- FOR UPDATE: not while anybody makes a job of the lane ready (queue.activate).
    select user_id, weight, greatest(virtual_time, clock) as tag, virtual_time > clock as is_ahead into lane
    from public.queue_lanes
    where user_id = lanes[1] and active and not paused and max_running is null for update skip locked;
    if not found then
        return;
    end if;
    select array_agg(w.job_id), (array_agg(w.repository_id))[1] into jobs, repository
    from unnest(p_types) t (job_type) cross join lateral (
        select x.job_id, x.repository_id from queue.waiting x
        where x.user_id = lanes[1] and x.job_type = t.job_type and x.hold is null
        order by x.rank, x.job_id limit 2 for update skip locked) w;
    if cardinality(jobs) is distinct from 1 then
        return;
    end if;
    if repository is not null and exists (select from queue.running where repository_id = repository) then
        return;
    end if;
    update public.indexing_jobs j
    set status = 'in_progress', attempt = j.attempt + 1, lease_token = n.token, log_token = n.token,
        log_sealed_at = null, worker_id = p_worker, started_at = clock_timestamp(), finished_at = null,
        cancel_requested_at = null, cancel_reason = null, progress = null, updated_at = now()
    from (select nextval('public.lease_tokens') as token from public.indexing_jobs
          where id = jobs[1] and status = 'queued' for update skip locked) n
    where j.id = jobs[1]
    returning j.id, j.job_type, j.lease_token, j.attempt, j.max_attempts, j.payload, j.queued_at, j.started_at,
              j.created_at, j.repository_id, j.user_id, j.priority, j.errors, j.crashes, j.timeout_seconds
    into claimed;
    if not found then
        return;
    end if;
    with taken as (
        delete from queue.waiting where job_id = jobs[1]
    ), run as (
        insert into queue.running (token, job_id, worker_id, user_id, repository_id, claimed_at)
        values (claimed.lease_token, claimed.id, p_worker, lane.user_id, repository, claimed.started_at)
    ), deliveries as (
        update public.webhook_deliveries set status = 'processing' where job_id = jobs[1] and status = 'queued'
    ), moved as (
        select setval('queue.virtual_clock', floor(lane.tag * 1000000)::bigint) where lane.is_ahead
    )
    insert into public.indexing_job_events (job_id, event_type, context)
    select claimed.id, 'claim', jsonb_build_object(
        'worker', p_worker, 'attempt', claimed.attempt, 'lease_token', claimed.lease_token)
    where (select count(*) from moved) >= 0;
    update public.queue_lanes
    set virtual_time = lane.tag + 1 / lane.weight, active = queue.has_ready(lane.user_id)
    where user_id = lane.user_id;
    if repository is not null and queue.shows_state(claimed.job_type) then
        update public.repositories r set sync_state = 'syncing', updated_at = now()
        where r.id = (select x.id from public.repositories x
                      where x.id = repository and x.sync_state <> 'syncing' for no key update skip locked);
    end if;
    return next claimed;
end $$;

-- As before, with the quick way in front.
create or replace function queue.claim(p_worker uuid, p_types text[], p_limit integer)
returns setof queue.claimed language plpgsql
set enable_seqscan to off set plan_cache_mode to force_generic_plan set jit to off as $$
declare
    types text[];
    wanted integer := p_limit;
    lanes integer := p_limit;
    taken integer;
    moved integer;
    rounds integer := 0;
    barren uuid[] := '{}';
    turn record;
    has_lanes boolean;
    has_due boolean;
    has_paused boolean;
begin
    -- A worker that was given up, or that has fenced itself, gets nothing more under that name.
    select exists (select from public.queue_lanes where active and not paused),
           exists (select from queue.waiting where hold = 'time' and run_after <= statement_timestamp()),
           exists (select from queue.paused_types)
    into has_lanes, has_due, has_paused
    from public.workers where id = p_worker and state = 'running';
    if not found or not (has_lanes or has_due) then
        return;
    end if;
    -- The gate: one claim at a time, so that the lanes' order is exact. It opens with the end of this transaction.
    perform queue.pass_gate();
    -- Behind the gate: it holds lanes, and a claim in front of it would pass them over.
    if has_due then
        perform queue.wake_due();
    end if;
    types := case when has_paused then array(select unnest(p_types) except select job_type from queue.paused_types)
                  else p_types end;
    if wanted > 0 then
        return query select * from queue.take_only(p_worker, types);
        if found then
            return;
        end if;
    end if;
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

-- As before; jobs of paused types do not keep a lane awake.
create or replace function queue.settle(p_users uuid[]) returns void language plpgsql
set enable_seqscan to off as $$
declare
    mine uuid[];
begin
    -- FOR UPDATE: not while anybody makes a job of the lane ready (queue.activate).
    select array_agg(l.user_id) into mine
    from (select q.user_id from public.queue_lanes q
          where q.user_id = any (p_users)
            and (not queue.has_ready(q.user_id)
                 or q.max_running <= (select count(*) from queue.running r
                                      where r.user_id = q.user_id and r.slot is not null))
          for update skip locked) l;
    -- Asked again, now that they are held.
    update public.queue_lanes q set active = false
    where q.user_id = any (mine)
      and (not queue.has_ready(q.user_id)
           or q.max_running <= (select count(*) from queue.running r
                                where r.user_id = q.user_id and r.slot is not null));
end $$;

-- As before; lanes that slept on jobs of a resumed type wake up.
create or replace function queue.set_paused(p_job_type text, p_paused boolean) returns void language plpgsql
set enable_seqscan to off as $$
declare
    lanes uuid[];
begin
    if p_paused then
        insert into queue.paused_types (job_type) values (p_job_type) on conflict do nothing;
        return;
    end if;
    delete from queue.paused_types where job_type = p_job_type;
    lanes := array(select q.user_id from public.queue_lanes q
                   where exists (select from queue.waiting w
                                 where w.user_id = q.user_id and w.job_type = p_job_type and w.hold is null));
    if lanes <> '{}' then
        perform queue.activate(lanes);
    end if;
end $$;

-- As before; a lane of paused jobs may sleep.
create or replace function queue.mend() returns integer language plpgsql
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
    where l.user_id is not null and queue.has_ready(l.user_id)
      and not exists (select from public.queue_lanes q where q.user_id = l.user_id
                      and (q.active or q.max_running <= (select count(*) from queue.running r
                                                         where r.user_id = q.user_id and r.slot is not null)));
    if asleep is not null then
        perform queue.activate(asleep);
    end if;
    return coalesce(cardinality(stuck), 0) + coalesce(cardinality(asleep), 0);
end $$;

revoke all on function queue.has_ready, queue.take_only from public;
grant execute on function queue.has_ready, queue.take_only to service_role;

alter function queue.complete_many set plan_cache_mode to force_generic_plan;
alter function queue.complete_many set jit to off;
alter function queue.look set jit to off;
alter function queue.mend set jit to off;
