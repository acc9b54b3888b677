-- Claims start behind what has been claimed. A session that holds an old snapshot (a dump, a forgotten transaction)
-- keeps every row that has left the waiting table, in its index too, and what has left stands in front of what waits.
-- Each claim read all of it: beside such a session a claim took ten times as long after 100,000 jobs.

-- Where a lane's ready jobs of a type begin: none has a smaller rank than the smallest of these rows. No row: anywhere.
-- Claims raise a head, behind their gate and only while nobody makes a job of that lane ready; whoever makes one ready in
-- front of it adds a row. Rows are added and never changed, so that nobody waits for another.
create table queue.heads (
    user_id uuid not null,
    job_type text not null,
    rank bigint not null,
    -- Added for a job that became ready late: claims raise the head again when they have passed it.
    is_lowered boolean not null default false
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
create index heads_of_lane on queue.heads (user_id, job_type, rank);
create index heads_lowered on queue.heads (user_id) where is_lowered;
alter table queue.heads enable row level security;
revoke all on queue.heads from public, anon, authenticated;
grant all on queue.heads to service_role;

-- A job that becomes ready in front of its lane's head lowers the head. The lane is held until the end of the
-- transaction: no claim raises the head past a job that it cannot see yet.
create function queue.lower_heads() returns trigger language plpgsql
set enable_seqscan to off as $$
declare
    lanes uuid[] := array(select distinct user_id from made where hold is null);
    there bigint;
begin
    if lanes = '{}' then
        return null;
    end if;
    perform from public.queue_lanes where user_id = any (lanes) order by user_id for key share;
    get diagnostics there = row_count;
    if there < cardinality(lanes) then  -- a tenant's first job
        insert into public.queue_lanes (user_id) select u from unnest(lanes) u order by u on conflict do nothing;
        perform from public.queue_lanes where user_id = any (lanes) order by user_id for key share;
    end if;
    insert into queue.heads (user_id, job_type, rank, is_lowered)
    select m.user_id, m.job_type, m.rank, true
    from (select user_id, job_type, min(rank) as rank from made where hold is null group by user_id, job_type) m
    where m.rank < (select min(h.rank) from queue.heads h where h.user_id = m.user_id and h.job_type = m.job_type);
    return null;
end $$;
create trigger waiting_lowers_heads_inserted after insert on queue.waiting
    referencing new table as made for each statement execute function queue.lower_heads();
create trigger waiting_lowers_heads_updated after update on queue.waiting
    referencing new table as made for each statement execute function queue.lower_heads();

-- Raises the heads of lanes and types of which jobs were claimed after a lease token: of all of them, or only of those
-- that were lowered. For claim, behind its gate. Lanes of which somebody makes a job ready at this moment stay as they
-- are.
create function queue.raise_heads(p_after_token bigint, p_types text[], p_all boolean) returns void language plpgsql
set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
declare
    lanes uuid[];
    types text[];
    heads bigint[];
    instant bigint := queue.rank(0, clock_timestamp());
    -- The last ones are enough: the others come next time, and looking up 500 would cost a tenth of their claim.
    since bigint := greatest(p_after_token, (select last_value from public.lease_tokens) - 64);
begin
    if not p_all and not exists (select from queue.heads where is_lowered) then
        return;
    end if;
    -- FOR UPDATE: not while anybody makes a job of the lane ready (queue.lower_heads).
    select array_agg(l.user_id) into lanes
    from (select q.user_id from public.queue_lanes q
          where q.user_id in (select r.user_id from queue.running r where r.token > since)
            and (p_all or exists (select from queue.heads h where h.user_id = q.user_id and h.is_lowered
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
    from (select distinct r.user_id, j.job_type
          from queue.running r join public.indexing_jobs j on j.id = r.job_id
          where r.token > since and r.user_id = any (lanes)) c;
    delete from queue.heads h using unnest(lanes, types) c (user_id, job_type)
    where h.user_id = c.user_id and h.job_type = c.job_type;
    insert into queue.heads (user_id, job_type, rank) select * from unnest(lanes, types, heads);
end $$;

-- As before, from the heads on. A probe a type, and one between each two types with a head.
create or replace function queue.has_ready(p_lane uuid) returns boolean language plpgsql
set enable_seqscan to off as $$
declare
    looked_at text := '';
    seen text;
    head record;
begin
    for head in
        select h.job_type, min(h.rank) as rank from queue.heads h where h.user_id = p_lane group by h.job_type
        union all select null, null order by job_type nulls last
    loop
        loop  -- types in front of this one, that have no head
            if head.job_type is null then
                select w.job_type into seen from queue.waiting w
                where w.user_id = p_lane and w.hold is null and w.job_type > looked_at order by w.job_type limit 1;
            else
                select w.job_type into seen from queue.waiting w
                where w.user_id = p_lane and w.hold is null and w.job_type > looked_at and w.job_type < head.job_type
                order by w.job_type limit 1;
            end if;
            exit when not found;
            if not exists (select from queue.paused_types where job_type = seen) then
                return true;
            end if;
            looked_at := seen;
        end loop;
        if head.job_type is not null then
            if exists (select from queue.waiting w where w.user_id = p_lane and w.hold is null
                       and w.job_type = head.job_type and w.rank >= head.rank)
               and not exists (select from queue.paused_types where job_type = head.job_type) then
                return true;
            end if;
            looked_at := head.job_type;
        end if;
    end loop;
    return false;
end $$;

-- As before, from the heads on.
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

-- As before, from the head on.
create or replace function queue.take_single(p_worker uuid, p_types text[]) returns queue.claimed language plpgsql as $$
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
          and x.rank >= coalesce((select min(h.rank) from queue.heads h
                                  where h.user_id = lane.user_id and h.job_type = t.job_type), -9223372036854775808)
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

-- As before, from the heads on.
create or replace function queue.park(p_users uuid[], p_types text[]) returns integer language plpgsql
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
          and x.rank >= coalesce((select min(h.rank) from queue.heads h
                                  where h.user_id = u.user_id and h.job_type = t.job_type), -9223372036854775808)
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

-- As before; heads are raised now and then, and whenever a claim has passed what had lowered one.
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
    token_before bigint;
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
            if random() * 512 < 1 then
                perform queue.raise_heads(single.lease_token - 1, types, true);
            end if;
            return next single;
            return;
        end if;
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
    if wanted < p_limit then
        perform queue.raise_heads(token_before, types, random() * 512 < p_limit - wanted);
    end if;
end $$;

-- As before; and a head that hides a ready job is none.
create or replace function queue.mend() returns integer language plpgsql
set enable_seqscan to off as $$
declare
    stuck uuid[];
    asleep uuid[];
    wrong integer;
begin
    with wrong as (
        select h.user_id, h.job_type from queue.heads h group by h.user_id, h.job_type
        having exists (select from queue.waiting w where w.user_id = h.user_id and w.job_type = h.job_type
                       and w.hold is null and w.rank < min(h.rank))
    )
    delete from queue.heads h using wrong w where h.user_id = w.user_id and h.job_type = w.job_type;
    get diagnostics wrong = row_count;
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
    return wrong + coalesce(cardinality(stuck), 0) + coalesce(cardinality(asleep), 0);
end $$;

revoke all on function queue.lower_heads, queue.raise_heads from public;
grant execute on function queue.lower_heads, queue.raise_heads to service_role;
