-- The lanes' turns in a table of their own. A lane's virtual time changed its row and two indexes with every claim; what
-- a session with an old snapshot kept of that stood in front of every claim, and in front of every check that a tenant
-- has one lane only. Now queue_lanes changes when a lane falls asleep or wakes up, and what is passed of the turns is
-- not read again.

-- A row for each lane that is active and not paused; its virtual_time is the lane's while it is here. The trigger on
-- queue_lanes keeps it so. No key: finding the lane's row by what lies behind the floor is what makes it cheap.
create table queue.turns (
    virtual_time double precision not null,
    user_id uuid not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
create index turns_in_order on queue.turns (virtual_time, user_id);
create index turns_of_lane on queue.turns (user_id, virtual_time);
alter table queue.turns enable row level security;
revoke all on queue.turns from public, anon, authenticated;
grant all on queue.turns to service_role;

-- No lane's turn is smaller, in millionths. A sequence, as the clock is.
create sequence queue.turns_floor as bigint minvalue 0 start 0;
revoke all on sequence queue.turns_floor from public, anon, authenticated;
grant all on sequence queue.turns_floor to service_role;

-- A lane that wakes up takes its turn, one that falls asleep leaves it. Whoever wakes one holds the floor until the end
-- of the transaction, so that it is not raised past a turn that nobody can see yet.
create function queue.keep_turn() returns trigger language plpgsql
set enable_seqscan to off as $$
declare
    had_turn boolean := tg_op = 'UPDATE' and old.active and not old.paused;
    has_turn boolean := new.active and not new.paused;
    at_turn double precision;
begin
    if had_turn and (not has_turn or new.virtual_time <> old.virtual_time) then
        delete from queue.turns
        where user_id = old.user_id
          and virtual_time >= (select last_value / 1e6::double precision from queue.turns_floor)
        returning virtual_time into at_turn;
        if new.virtual_time = old.virtual_time then
            new.virtual_time := coalesce(at_turn, new.virtual_time);
        end if;
    end if;
    if has_turn and (not had_turn or new.virtual_time <> old.virtual_time) then
        perform pg_advisory_xact_lock_shared(7309940321140002);
        insert into queue.turns (virtual_time, user_id)
        select greatest(new.virtual_time, last_value / 1e6::double precision), new.user_id from queue.turns_floor;
    end if;
    return new;
end $$;
-- After an insert, because one that meets a conflict inserts nothing; before an update, which it completes.
create trigger lanes_keep_their_turn_inserted after insert on public.queue_lanes
    for each row when (new.active) execute function queue.keep_turn();
create trigger lanes_keep_their_turn_updated before update on public.queue_lanes
    for each row when (old.active is distinct from new.active or old.paused is distinct from new.paused
                       or old.virtual_time is distinct from new.virtual_time)
    execute function queue.keep_turn();

insert into queue.turns (virtual_time, user_id)
select virtual_time, user_id from public.queue_lanes where active and not paused;
-- squawk-ignore require-concurrent-index-deletion
drop index public.queue_lanes_turn;

-- Raises the floor to the first turn. For claim, behind its gate and before it has moved any lane: what it has moved
-- would be gone with its transaction, and the floor would not. Gives the lock back at once, by undoing everything but
-- the floor: a client that does not read the answer of its claim must not keep out who wakes a lane.
create function queue.raise_floor() returns void language plpgsql
set enable_seqscan to off as $$
declare
    first_turn bigint;
begin
    if pg_try_advisory_xact_lock(7309940321140002) then
        select floor(t.virtual_time * 1000000)::bigint into first_turn from queue.turns t
        where t.virtual_time >= (select last_value / 1e6::double precision from queue.turns_floor)
        order by t.virtual_time limit 1;
        perform setval('queue.turns_floor', first_turn)
        where first_turn > (select last_value from queue.turns_floor);
    end if;
    raise sqlstate 'QU001';
exception when sqlstate 'QU001' then
    null;
end $$;

-- As before, from the heads and the floor on.
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

-- As before; a lane's turn moves, and its row stays.
create or replace function queue.take(p_worker uuid, p_jobs uuid[], p_tags double precision[], p_slots integer[])
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
        update queue.turns t set virtual_time = n.last_tag + 1 / l.weight
        from (select user_id, max(tag) as last_tag from leased group by user_id) n
        join public.queue_lanes l on l.user_id = n.user_id
        where t.user_id = n.user_id
          and t.virtual_time >= (select last_value / 1e6::double precision from queue.turns_floor)
    ), clock as (
        select setval('queue.virtual_clock', greatest(
            (select last_value from queue.virtual_clock), floor(max(tag) * 1000000)::bigint)) from leased
    )
    select claimed.* from claimed where (select count(*) from clock) = 1;
end $$;

-- As before, from the head and the floor on.
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
    select l.user_id, l.weight, t.virtual_time,
           (select last_value / 1e6::double precision from queue.virtual_clock) as clock into lane
    from queue.turns t join public.queue_lanes l on l.user_id = t.user_id
    where t.virtual_time >= (select last_value / 1e6::double precision from queue.turns_floor)
      and l.active and not l.paused and l.max_running is null
      and 1 = (select count(*) from (select from queue.turns
                                       where virtual_time >= (select last_value / 1e6::double precision from queue.turns_floor) limit 2) x)
    for update of l skip locked;
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
    -- One statement either way: the trigger moves the lane's turn, or takes it away.
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

-- As before; heads and floor are raised now and then, and heads whenever a claim has passed what had lowered one.
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
    -- First of all: with a newer floor than the rows it would pass over turns that were there.
    floor_before double precision := (select last_value / 1e6::double precision from queue.turns_floor);
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

-- As before, from the floor on.
create or replace function queue.look(out due boolean, out next_due_seconds double precision) language plpgsql
set enable_seqscan to off as $$
declare
    -- First of all: with a newer floor than the rows it would pass over turns that were there.
    floor_before constant double precision := (select last_value / 1e6::double precision from queue.turns_floor);
begin
    select exists (select from queue.turns where virtual_time >= floor_before)
           or coalesce(l.next_due <= clock_timestamp(), false),
           case when l.next_due is not null then greatest(extract(epoch from l.next_due - clock_timestamp()), 0) end
    into due, next_due_seconds
    from (select min(run_after) as next_due from queue.waiting where hold = 'time') l;
end $$;

-- As before; a head that hides a ready job is none, and a lane without a turn gets one.
create or replace function queue.mend() returns integer language plpgsql
set enable_seqscan to off as $$
declare
    stuck uuid[];
    asleep uuid[];
    wrong integer;
    lost uuid[];
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
    select array_agg(l.user_id) into lost
    from (select q.user_id from public.queue_lanes q
          where q.active and not q.paused and not exists (
              select from queue.turns t where t.user_id = q.user_id
              and t.virtual_time >= (select last_value / 1e6::double precision from queue.turns_floor))
          for no key update skip locked) l;
    if lost is not null then
        -- Asked again, now that they are held. Asleep and awake: the trigger gives them a turn.
        lost := array(select u from unnest(lost) u where not exists (
            select from queue.turns t where t.user_id = u
            and t.virtual_time >= (select last_value / 1e6::double precision from queue.turns_floor)));
        delete from queue.turns where user_id = any (lost);
        update public.queue_lanes set active = false where user_id = any (lost);
        update public.queue_lanes set active = true where user_id = any (lost);
    end if;
    return wrong + coalesce(cardinality(lost), 0) + coalesce(cardinality(stuck), 0) + coalesce(cardinality(asleep), 0);
end $$;

revoke all on function queue.keep_turn, queue.raise_floor from public;
grant execute on function queue.keep_turn, queue.raise_floor to service_role;
