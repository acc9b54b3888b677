-- The claim of one job that waits alone, as most pushes find it, in fewer steps; and claims start behind what they have
-- moved aside, too.

-- The one ready job of the only lane that is awake, or that lane if it has none. The lane stays awake: the claim that
-- finds it empty, when nobody waits for its answer any more, puts it to sleep.
-- Beside queue.take_single, which a claim that runs at this moment may still call.
create function queue.take_lone(p_worker uuid, p_types text[], out job queue.claimed, out empty_lane uuid)
language plpgsql as $$
#variable_conflict use_column
declare
    at_floor constant double precision := coalesce(pg_sequence_last_value('queue.turns_floor'), 0) / 1e6;
    at_clock constant double precision := coalesce(pg_sequence_last_value('queue.virtual_clock'), 0) / 1e6;
    lane record;
    jobs uuid[];
    repository uuid;
    ignored bigint;  -- what setval says: an assignment needs no query
begin
    select l.user_id, l.weight, t.virtual_time, t.place into lane
    from (select (array_agg(x.user_id))[1] as user_id, min(x.virtual_time) as virtual_time,
                 (array_agg(x.place))[1] as place
          from (select user_id, virtual_time, ctid as place from queue.turns
                where virtual_time >= at_floor order by virtual_time limit 2) x
          having count(*) = 1) t
    join public.queue_lanes l on l.user_id = t.user_id
    where l.active and not l.paused and l.max_running is null
    for no key update of l skip locked;
    if not found then
        return;
    end if;
    select array_agg(w.job_id), (array_agg(w.repository_id))[1] into jobs, repository
    from unnest(p_types) t (job_type) cross join lateral (
        select x.job_id, x.repository_id from queue.waiting x
        where x.user_id = lane.user_id and x.job_type = t.job_type and x.hold is null
          and x.rank >= coalesce((select min(h.rank) from queue.heads h
                                  where h.user_id = lane.user_id and h.job_type = t.job_type), -9223372036854775808)
        order by x.rank, x.job_id limit 2 for update skip locked) w;
    if jobs is null then
        empty_lane := lane.user_id;
        return;
    end if;
    if cardinality(jobs) > 1 then
        return;
    end if;
    if repository is not null then
        perform from queue.running r where r.repository_id = repository;
        if found then
            return;
        end if;
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
    into job;
    if not found then  -- held by somebody else at this moment
        return;
    end if;
    delete from queue.waiting where job_id = jobs[1];
    insert into queue.running (token, job_id, worker_id, user_id, repository_id, claimed_at)
    values (job.lease_token, job.id, p_worker, lane.user_id, repository, job.started_at);
    insert into public.indexing_job_events (job_id, event_type, context)
    values (job.id, 'claim', jsonb_build_object(
        'worker', p_worker, 'attempt', job.attempt, 'lease_token', job.lease_token));
    update queue.turns t set virtual_time = greatest(lane.virtual_time, at_clock) + 1 / lane.weight
    where t.ctid = lane.place and t.user_id = lane.user_id;
    if lane.virtual_time > at_clock then
        ignored := setval('queue.virtual_clock', floor(lane.virtual_time * 1000000)::bigint);
    end if;
    if repository is not null then
        update public.webhook_deliveries set status = 'processing' where job_id = job.id and status = 'queued';
        if queue.shows_state(job.job_type) then
            update public.repositories r set sync_state = 'syncing', updated_at = now()
            where r.id = (select x.id from public.repositories x
                          where x.id = repository and x.sync_state <> 'syncing' for no key update skip locked);
        end if;
    end if;
end $$;

-- As before, and of lanes of which the claim has moved jobs aside, for the types that were asked for. A claim
-- that runs at this moment calls it with three arguments, as before.
-- squawk-ignore ban-drop-function
drop function queue.raise_heads(bigint, text[], boolean);
create function queue.raise_heads(p_after_token bigint, p_types text[], p_all boolean, p_lanes uuid[] default '{}')
returns void language plpgsql
set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
declare
    lanes uuid[];
    types text[];
    heads bigint[];
    instant bigint := queue.rank(0, clock_timestamp());
    -- The last ones are enough: the others come next time, and looking up 500 would cost a tenth of their claim.
    since bigint := greatest(p_after_token, (select last_value from public.lease_tokens) - 64);
begin
    if not p_all and p_lanes = '{}' and not exists (select from queue.heads where is_lowered) then
        return;
    end if;
    -- FOR UPDATE: not while anybody makes a job of the lane ready (queue.lower_heads).
    select array_agg(l.user_id) into lanes
    from (select q.user_id from public.queue_lanes q
          where q.user_id = any (array(select r.user_id from queue.running r where r.token > since) || p_lanes)
            and (p_all or q.user_id = any (p_lanes)
                 or exists (select from queue.heads h where h.user_id = q.user_id and h.is_lowered
                            and h.job_type = any (p_types)))
          for update skip locked) l;
    if lanes is null then
        return;
    end if;
    -- Looked up now that the lanes are held: what became ready before is seen, what does later sees the head.
    select array_agg(c.user_id), array_agg(c.job_type), array_agg(coalesce(
               (select w.rank from queue.waiting w
                where w.user_id = c.user_id and w.job_type = c.job_type and w.hold is null
                  and w.rank >= coalesce((select min(h.rank) from queue.heads h
                                          where h.user_id = c.user_id and h.job_type = c.job_type),
                                         -9223372036854775808)
                order by w.rank limit 1), instant))
    into lanes, types, heads
    from (select r.user_id, j.job_type
          from queue.running r join public.indexing_jobs j on j.id = r.job_id
          where r.token > since and r.user_id = any (lanes)
          union
          select u, t from unnest(p_lanes) u, unnest(p_types) t where u = any (lanes)) c;
    delete from queue.heads h using unnest(lanes, types) c (user_id, job_type)
    where h.user_id = c.user_id and h.job_type = c.job_type;
    insert into queue.heads (user_id, job_type, rank) select * from unnest(lanes, types, heads);
end $$;

-- As before, with fewer candidates beyond what is wanted: what is missing, if anything, the next round finds.
create or replace function queue.turns(
    p_types text[], p_wanted integer, p_lanes integer, p_barren uuid[],
    out jobs uuid[], out tags double precision[], out slots integer[], out barren uuid[], out crowded uuid[],
    out more boolean)
language plpgsql set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
#variable_conflict use_column
begin
    with clock as materialized (
        select last_value / 1e6::double precision as now from queue.virtual_clock
    ), lane as materialized (
        select l.user_id, t.virtual_time, l.weight, l.max_running
        from queue.turns t join public.queue_lanes l on l.user_id = t.user_id
        where t.virtual_time >= (select last_value / 1e6::double precision from queue.turns_floor)
          and l.active and not l.paused and t.user_id <> all (p_barren)
        order by t.virtual_time, t.user_id limit p_lanes
        for no key update of l skip locked
    ), share as materialized (
        -- own: what the tag would be without the clock; it orders those behind the clock.
        select lane.user_id, lane.weight, lane.max_running, lane.virtual_time as own,
               greatest(lane.virtual_time, clock.now) as tag,
               4 + p_wanted * 5 / 4 / (count(*) over ())::integer as depth,
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
                  and x.rank >= coalesce((select min(h.rank) from queue.heads h
                                          where h.user_id = s.user_id and h.job_type = t.job_type), -9223372036854775808)
                order by x.rank, x.job_id limit s.depth) w
            order by w.rank, w.job_id limit s.depth
        ) c on s.allowed > 0
    ), firsts as (
        select f.*, row_number() over (partition by user_id order by rank, job_id) as place
        from (select distinct on (user_id, alone) * from seen where job_id is not null and not busy
              order by user_id, alone, rank, job_id) f
    ), looked as materialized (
        select user_id, min(tag) as tag, min(own) as own, min(weight) as weight, min(depth) as depth,
               min(allowed) as allowed, count(job_id) as jobs, count(*) filter (where busy) as busy,
               count(distinct alone) filter (where job_id is not null and not busy) as places
        from seen group by user_id
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

-- As before, but for what is said above.
create or replace function queue.claim(p_worker uuid, p_types text[], p_limit integer)
returns setof queue.claimed language plpgsql
set enable_seqscan to off set plan_cache_mode to force_generic_plan set jit to off as $$
declare
    types text[] := p_types;
    wanted integer := p_limit;
    lanes integer := p_limit;
    taken integer;
    moved integer;
    rounds integer := 0;
    barren uuid[] := '{}';
    turn record;
    lone record;
    parked uuid[] := '{}';
    has_lanes boolean;
    has_due boolean;
    has_paused boolean;
    token_before bigint;
    -- First of all: with a newer floor than the rows it would pass over turns that were there.
    floor_before constant double precision := coalesce(pg_sequence_last_value('queue.turns_floor'), 0) / 1e6;
begin
    -- A worker that was given up, or that has fenced itself, gets nothing more under that name.
    select exists (select from queue.turns where virtual_time >= floor_before),
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
    if random() * 512 < 1 then
        perform queue.raise_floor();
    end if;
    -- Behind the gate: it holds lanes, and a claim in front of it would pass them over.
    if has_due then
        perform queue.wake_due();
    end if;
    if has_paused then
        types := array(select unnest(p_types) except select job_type from queue.paused_types);
    end if;
    if wanted > 0 then
        lone := queue.take_lone(p_worker, types);
        if (lone.job).id is not null then
            if random() * 512 < 1 then
                perform queue.raise_heads((lone.job).lease_token - 1, types, true);
            end if;
            return next lone.job;
            return;
        end if;
        if lone.empty_lane is not null and not has_due then
            -- Nobody waits for the disk: a lane that has lost its sleep is put to sleep again.
            perform set_config('synchronous_commit', 'off', true);
            perform queue.settle(array[lone.empty_lane]);
            return;
        end if;
    end if;
    if random() * 512 < wanted then
        perform queue.raise_floor();
    end if;
    token_before := (select last_value from public.lease_tokens);
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
            parked := parked || turn.crowded;
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
    if wanted < p_limit or parked <> '{}' then
        perform queue.raise_heads(token_before, types, random() * 512 < p_limit - wanted, parked);
    end if;
end $$;

-- As before; a lane that is awake and has nothing ready is no reason to claim.
create or replace function queue.look(out due boolean, out next_due_seconds double precision) language plpgsql
set enable_seqscan to off as $$
declare
    -- First of all: with a newer floor than the rows it would pass over turns that were there.
    floor_before constant double precision := coalesce(pg_sequence_last_value('queue.turns_floor'), 0) / 1e6;
begin
    select exists (select from queue.turns t where t.virtual_time >= floor_before and queue.has_ready(t.user_id))
           or coalesce(l.next_due <= clock_timestamp(), false),
           case when l.next_due is not null then greatest(extract(epoch from l.next_due - clock_timestamp()), 0) end
    into due, next_due_seconds
    from (select min(run_after) as next_due from queue.waiting where hold = 'time') l;
end $$;

revoke all on function queue.take_lone, queue.raise_heads from public;
grant execute on function queue.take_lone, queue.raise_heads to service_role;
