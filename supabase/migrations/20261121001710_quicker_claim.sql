-- The quick claim again, with fewer statements: how long an idle worker takes to start a job is mostly their number.

-- Makes the only ready job of the only active lane this worker's; null: it is not that simple, ask queue.turns. For
-- claim, behind its gate. A lane without another ready job goes to sleep at once.
create function queue.take_single(p_worker uuid, p_types text[]) returns queue.claimed language plpgsql as $$
#variable_conflict use_column
declare
    lane record;
    jobs uuid[];
    repository uuid;
    claimed queue.claimed;
    nothing queue.claimed;
begin
    -- FOR UPDATE: not while anybody makes a job of the lane ready (queue.activate).
    select user_id, weight, virtual_time,
           (select last_value / 1e6::double precision from queue.virtual_clock) as clock into lane
    from public.queue_lanes
    where active and not paused and max_running is null
      and 1 = (select count(*) from (select from public.queue_lanes where active and not paused limit 2) l)
    for update skip locked;
    if not found then
        return nothing;
    end if;
    select array_agg(w.job_id), (array_agg(w.repository_id))[1] into jobs, repository
    from unnest(p_types) t (job_type) cross join lateral (
        select x.job_id, x.repository_id from queue.waiting x
        where x.user_id = lane.user_id and x.job_type = t.job_type and x.hold is null
        order by x.rank, x.job_id limit 2 for update skip locked) w;
    if cardinality(jobs) is distinct from 1 then
        return nothing;
    end if;
    if repository is not null and exists (select from queue.running where repository_id = repository) then
        return nothing;
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
        return nothing;
    end if;
    with taken as (
        delete from queue.waiting where job_id = jobs[1]
    ), run as (
        insert into queue.running (token, job_id, worker_id, user_id, repository_id, claimed_at)
        values (claimed.lease_token, claimed.id, p_worker, lane.user_id, repository, claimed.started_at)
    ), deliveries as (
        update public.webhook_deliveries set status = 'processing' where job_id = jobs[1] and status = 'queued'
    )
    insert into public.indexing_job_events (job_id, event_type, context)
    select claimed.id, 'claim', jsonb_build_object(
        'worker', p_worker, 'attempt', claimed.attempt, 'lease_token', claimed.lease_token);
    if lane.virtual_time > lane.clock then
        perform setval('queue.virtual_clock', floor(lane.virtual_time * 1000000)::bigint);
    end if;
    update public.queue_lanes
    set virtual_time = greatest(lane.virtual_time, lane.clock) + 1 / lane.weight, active = queue.has_ready(lane.user_id)
    where user_id = lane.user_id;
    if repository is not null and queue.shows_state(claimed.job_type) then
        update public.repositories r set sync_state = 'syncing', updated_at = now()
        where r.id = (select x.id from public.repositories x
                      where x.id = repository and x.sync_state <> 'syncing' for no key update skip locked);
    end if;
    return claimed;
end $$;

-- As before, with that quick way in front.
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
    single queue.claimed;
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
    if not pg_try_advisory_xact_lock(7309940321140001) then
        perform queue.pass_gate();
    end if;
    -- Behind the gate: it holds lanes, and a claim in front of it would pass them over.
    if has_due then
        perform queue.wake_due();
    end if;
    types := case when has_paused then array(select unnest(p_types) except select job_type from queue.paused_types)
                  else p_types end;
    if wanted > 0 then
        single := queue.take_single(p_worker, types);
        if single.id is not null then
            return next single;
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

-- Only queue.claim called it, and that is replaced above.
-- squawk-ignore ban-drop-function
drop function queue.take_only(uuid, text[]);

revoke all on function queue.take_single from public;
grant execute on function queue.take_single to service_role;
