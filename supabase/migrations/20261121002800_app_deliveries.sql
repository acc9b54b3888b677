-- Deliveries to the GitHub App's address are committed together as those of the repositories' own webhooks are.

-- Of an installation, the repository of a number, or those whose number is not known yet.
create index if not exists repositories_installation_number
    on public.repositories ((settings ->> 'github_installation_id'), provider_id)
    where settings ? 'github_installation_id';

-- As before, and an item may be without a repository: one that came to the App and concerns none here. Nothing was
-- judged for it, so its stamp is null; a duplicate of it is found by queue.deliver.
create or replace function queue.deliver_many(
    p_items jsonb,
    out place bigint, out delivery_no bigint, out job_id uuid, out status text, out duplicate boolean
) returns setof record language plpgsql
set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off set jit to off as $$
#variable_conflict use_column
declare
    item record;
    busy uuid[];
    lanes uuid[] := '{}';
    asked uuid[] := '{}';
begin
    -- As in queue.wait: what runs now cannot leave without seeing whom it has to wake up.
    select array_agg(l.repository_id) into busy
    from (select repository_id from queue.running
          where repository_id in (select (e ->> 'repository')::uuid from jsonb_array_elements(p_items) e)
          for update skip locked) l;
    for item in
        with given as materialized (
            select g.n, i.*, r.user_id, i.repository is null or r.id is not null as is_there,
                   i.stamp is not distinct from queue.webhook_stamp(r) as is_same
            from jsonb_array_elements(p_items) with ordinality g (item, n)
            cross join jsonb_to_record(g.item) as i (
                repository uuid, stamp text, provider text, delivery_id text, event_type text, payload jsonb,
                headers jsonb, signature text, reason text, id uuid, job_type text, job_payload jsonb,
                priority integer, coalesce_key text, max_attempts integer, timeout_seconds integer, supersede boolean)
            left join public.repositories r on r.id = i.repository
        ), judged as materialized (
            select g.*, g.is_there and g.is_same and not coalesce(g.supersede, false)
                and row_number() over (partition by g.repository, g.delivery_id order by g.n) = 1
                and (g.coalesce_key is null
                     or (row_number() over (partition by g.coalesce_key order by g.n) = 1 and w.is_waiting is null))
                and d.is_here is null as is_plain
            from given g
            -- With a limit, so that each is looked up: a bare EXISTS may be answered by reading the whole table.
            left join lateral (
                select true as is_waiting from queue.waiting where coalesce_key = g.coalesce_key limit 1) w on true
            left join lateral (
                select true as is_here from public.webhook_deliveries
                where repository_id = g.repository and delivery_id = g.delivery_id limit 1) d on true
        ), placed as (
            insert into queue.waiting (
                job_id, user_id, job_type, rank, repository_id, coalesce_key, run_after, queued_at, hold)
            select id, queue.lane(user_id), job_type, queue.rank(priority, now()), repository, coalesce_key, now(),
                   now(), case when repository = any (busy) then 'repository' end
            from judged where is_plain and job_type is not null
            order by user_id, repository, coalesce_key
            on conflict (coalesce_key) where coalesce_key is not null do nothing
            returning job_id
        ), jobs as (
            insert into public.indexing_jobs (
                id, repository_id, user_id, job_type, payload, priority, run_after, coalesce_key, max_attempts,
                timeout_seconds)
            select id, repository, user_id, job_type, job_payload, priority, now(), coalesce_key, max_attempts,
                   timeout_seconds
            from judged where id in (select job_id from placed)
        ), events as (
            insert into public.indexing_job_events (job_id, event_type, context)
            select id, 'enqueue', jsonb_strip_nulls(jsonb_build_object(
                'job_type', job_type, 'priority', priority, 'after', job_payload -> 'after'))
            from judged where id in (select job_id from placed)
        ), stored as (
            insert into public.webhook_deliveries (
                repository_id, provider, delivery_id, event_type, payload, headers, signature, status, error_message,
                processed_at, job_id)
            select repository, provider, delivery_id, event_type, payload, headers, signature,
                   case when job_type is null then 'ignored' else 'queued' end,
                   case when job_type is null then reason end, case when job_type is null then now() end,
                   case when job_type is not null then id end
            from judged
            where is_plain and (job_type is null or id in (select job_id from placed))
            order by repository, delivery_id
            on conflict (repository_id, delivery_id) do nothing
            returning id, repository_id, delivery_id, status
        )
        select j.*, s.id as stored_no, s.status as stored_status,
               exists (select from placed p where p.job_id = j.id) as is_placed
        from judged j left join stored s
            on j.is_plain and s.delivery_id = j.delivery_id
            and s.repository_id is not distinct from j.repository
        -- One order for everybody: two receivers that deliver the same at the same time do not wait in a circle.
        order by j.user_id, j.repository, j.coalesce_key nulls first, j.n
    loop
        place := item.n;
        delivery_no := null;
        job_id := null;
        duplicate := false;
        if item.stored_no is not null then
            delivery_no := item.stored_no;
            status := item.stored_status;
            if item.is_placed then
                job_id := item.id;
                lanes := lanes || queue.lane(item.user_id);
                asked := asked || case when queue.shows_state(item.job_type) then array[item.repository] end;
            end if;
        elsif item.is_placed then
            raise exception 'another receiver has this delivery in its hands' using errcode = 'serialization_failure';
        elsif not item.is_there then
            status := 'gone';
        elsif not item.is_same then
            status := 'changed';
        else
            select d.delivery_no, d.job_id, d.status, d.duplicate into delivery_no, job_id, status, duplicate
            from queue.deliver(
                item.repository, item.provider, item.delivery_id, item.event_type, item.payload, item.headers,
                item.signature, item.reason, item.id, item.job_type, item.job_payload, item.priority,
                item.coalesce_key, item.max_attempts, item.timeout_seconds, item.supersede) d;
        end if;
        return next;
    end loop;
    -- Never waits: whoever holds a row (claim, publish) shows the state again when it is done.
    update public.repositories set sync_state = 'queued', updated_at = now()
    where id in (select id from public.repositories
                 where id = any (asked) and sync_state not in ('queued', 'syncing')
                 order by id for no key update skip locked);
    if lanes <> '{}' then
        perform queue.activate(array(select distinct unnest(lanes)));
    end if;
end $$;
