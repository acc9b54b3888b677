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

revoke all on function queue.lower_heads, queue.raise_heads from public;
grant execute on function queue.lower_heads, queue.raise_heads to service_role;
