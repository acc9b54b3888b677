-- The verbs of a job, one function each (docs/queue.md has the table). Every function changes the job and writes its
-- event in one transaction, and every change to a running job names the lease token of the attempt that asks: a token
-- that is no longer the job's changes nothing.
--
-- Lock order everywhere: repository, job, deliveries, blobs; each by id. claim never waits for a lock.
-- Not exposed to the API roles.

create schema queue;
revoke all on schema queue from public;
grant usage on schema queue to service_role;

-- Records one event of a job.
create function queue.record(p_job uuid, p_verb text, p_message text, p_context jsonb default '{}')
returns void language sql as $$
    insert into public.indexing_job_events (job_id, event_type, message, context)
    values (p_job, p_verb, p_message, jsonb_strip_nulls(p_context));
$$;

-- Locks the repository of a job, the first lock of every verb.
create function queue.lock_repository_of(p_job uuid) returns uuid language sql as $$
    select r.id from public.repositories r
    where r.id = (select j.repository_id from public.indexing_jobs j where j.id = p_job)
    for no key update;
$$;

-- Shows on the repository row what its jobs now say. The caller holds the row.
create function queue.show_state(p_repository uuid, p_failed boolean default false) returns void language sql as $$
    update public.repositories r
    set status = s.status, sync_state = s.sync_state, updated_at = now()
    from (
        select case when x.last_indexed_commit is not null then 'ready'
                    when p_failed then 'error' else x.status end as status,
               case when exists (select from public.indexing_jobs where repository_id = x.id and status = 'in_progress')
                        then 'syncing'
                    when exists (select from public.indexing_jobs where repository_id = x.id and status = 'queued')
                        then 'queued'
                    when p_failed then 'error'
                    when x.last_indexed_commit is not null then 'ready' else 'pending' end as sync_state
        from public.repositories x where x.id = p_repository
    ) s
    where r.id = p_repository and (r.status, r.sync_state) is distinct from (s.status, s.sync_state);
$$;

-- Joins the file hints of two pushes; "unknown" joins to "unknown", and so do more than 3,000 paths: git decides anyway.
create function queue.merge_hints(p_old jsonb, p_new jsonb) returns jsonb language sql immutable as $$
    with paths as (
        select distinct how, path
        from (values (p_old), (p_new)) h (hints)
        cross join (values ('added'), ('modified'), ('removed')) w (how)
        cross join lateral jsonb_array_elements_text(
            case when jsonb_typeof(hints -> how) = 'array' then hints -> how else '[]'::jsonb end) p (path)
    )
    select case
        when jsonb_typeof(p_old) = 'object' and jsonb_typeof(p_new) = 'object' and (select count(*) <= 3000 from paths)
        then jsonb_build_object(
            'added', coalesce((select jsonb_agg(path order by path) from paths where how = 'added'), '[]'),
            'modified', coalesce((select jsonb_agg(path order by path) from paths where how = 'modified'), '[]'),
            'removed', coalesce((select jsonb_agg(path order by path) from paths where how = 'removed'), '[]'))
        else '"unknown"'::jsonb end;
$$;

-- Joins a newer push's payload to a queued one: the newer target wins, the hints are merged, a rebuild stays asked for,
-- and every commit that a push came from is remembered: a server that still shows one of them lags behind.
create function queue.merge_payload(p_old jsonb, p_new jsonb) returns jsonb language sql immutable as $$
    select p_old || p_new
        || case when p_old ? 'hints' or p_new ? 'hints'
               then jsonb_build_object('hints', queue.merge_hints(p_old -> 'hints', p_new -> 'hints')) else '{}' end
        || case when p_old ? 'before' or p_new ? 'before'
               then jsonb_build_object('befores', (
                   select coalesce(jsonb_agg(b), '[]') from (
                       select jsonb_array_elements_text(coalesce(p_old -> 'befores', '[]')) as b
                       union select jsonb_array_elements_text(coalesce(p_new -> 'befores', '[]'))
                       union select p_old ->> 'before' union select p_new ->> 'before' limit 100) x
                   where b is not null)) else '{}' end
        || case when p_old -> 'rebuild' = 'true' then '{"rebuild": true}'::jsonb else '{}' end;
$$;

-- enqueue: a new queued job, or the queued job of the same coalesce key with its target replaced (joined = true).
create function queue.enqueue(
    p_id uuid, p_repository uuid, p_job_type text, p_payload jsonb, p_priority integer default 0,
    p_run_after timestamptz default null, p_coalesce_key text default null, p_requested_by uuid default null,
    p_max_attempts integer default 5, p_timeout_seconds integer default null,
    out job_id uuid, out joined boolean
) language plpgsql as $$
declare
    owner uuid;
begin
    if p_repository is not null then
        select user_id into owner from public.repositories where id = p_repository;
        if not found then
            raise exception 'no repository %', p_repository using errcode = 'foreign_key_violation';
        end if;
        -- Never waits: whoever holds the row (claim, publish) shows the state again when it is done.
        update public.repositories set sync_state = 'queued', updated_at = now()
        where id = (select id from public.repositories
                    where id = p_repository and sync_state not in ('queued', 'syncing')
                    for no key update skip locked);
    end if;
    insert into public.indexing_jobs as job (
        id, repository_id, user_id, requested_by, job_type, payload, priority, run_after, coalesce_key,
        max_attempts, timeout_seconds)
    values (
        p_id, p_repository, owner, p_requested_by, p_job_type, p_payload, p_priority, coalesce(p_run_after, now()),
        p_coalesce_key, p_max_attempts, p_timeout_seconds)
    on conflict (coalesce_key) where status = 'queued' do update set
        payload = queue.merge_payload(job.payload, excluded.payload) || jsonb_build_object('asked_at', now()),
        priority = greatest(job.priority, excluded.priority),
        errors = 0,
        crashes = 0,
        -- A wait that the other side asked for (Retry-After) is kept; our own backoff is not.
        run_after = case when job.snoozes > 0 then job.run_after else excluded.run_after end,
        updated_at = now()
    returning job.id into job_id;
    joined := job_id <> p_id;
    perform queue.record(
        job_id, case when joined then 'coalesce' else 'enqueue' end, null,
        jsonb_build_object('job_type', p_job_type, 'priority', p_priority, 'after', p_payload -> 'after'));
end $$;

-- A webhook delivery and its job in one transaction. The same delivery again answers with the first one's job;
-- one that failed is enqueued again. p_job_type null: nothing to do, p_reason says why.
create function queue.deliver(
    p_repository uuid, p_provider text, p_delivery_id text, p_event_type text, p_payload jsonb, p_headers jsonb,
    p_signature text, p_reason text default null, p_job_id uuid default null, p_job_type text default null,
    p_job_payload jsonb default '{}', p_priority integer default 0, p_coalesce_key text default null,
    p_max_attempts integer default 5, p_timeout_seconds integer default null,
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
        p_max_attempts, p_timeout_seconds) e;
    status := 'queued';
    update public.webhook_deliveries d
    set status = 'queued', job_id = deliver.job_id, error_message = null, processed_at = null
    where d.id = delivery_no;
end $$;

-- claim: up to p_limit due jobs, at most one a repository, each with a new lease token.
create function queue.claim(p_worker uuid, p_types text[], p_limit integer)
returns setof public.indexing_jobs language plpgsql as $$
declare
    candidates uuid[];
    idle uuid[];
begin
    -- A worker that was given up, or that has fenced itself, gets nothing more under that name.
    if not exists (select from public.workers where id = p_worker and state = 'running') then
        return;
    end if;
    select array_agg(first.id) into candidates
    from (
        select distinct on (coalesce(due.repository_id, due.id)) due.id
        from (
            select j.id, j.repository_id, j.priority
            from public.indexing_jobs j
            where j.status = 'queued' and j.run_after <= now() and j.job_type = any (p_types)
              and not exists (select from public.indexing_jobs r
                              where r.repository_id = j.repository_id and r.status = 'in_progress')
              and not exists (select from public.queue_lanes l where l.user_id = j.user_id and l.paused)
            order by j.priority desc, j.id
            limit p_limit * 4
        ) due
        order by coalesce(due.repository_id, due.id), due.priority desc, due.id
    ) first;
    if candidates is null then
        return;
    end if;
    -- Two claimers, or two refs of one repository, neither wait nor collide: whoever has the row goes on.
    select array_agg(l.id) into idle
    from (
        select r.id from public.repositories r
        where r.id in (select j.repository_id from public.indexing_jobs j where j.id = any (candidates))
        order by r.id for no key update skip locked
    ) l;
    -- A new statement, so a new snapshot: what committed before we had the rows is seen here.
    return query
    with mine as (
        select j.id from public.indexing_jobs j
        where j.id = any (candidates) and j.status = 'queued'
          and (j.repository_id is null or (
                j.repository_id = any (idle)
                and not exists (select from public.indexing_jobs r
                                where r.repository_id = j.repository_id and r.status = 'in_progress')))
        order by j.priority desc, j.id limit p_limit
        for update of j skip locked
    ), leased as (
        select mine.id, nextval('public.lease_tokens') as token from mine
    ), claimed as (
        update public.indexing_jobs j
        set status = 'in_progress', attempt = j.attempt + 1, lease_token = leased.token, log_token = leased.token,
            log_sealed_at = null, worker_id = p_worker, started_at = clock_timestamp(), finished_at = null,
            cancel_requested_at = null, progress = null, updated_at = now()
        from leased where j.id = leased.id
        returning j.*
    ), events as (
        insert into public.indexing_job_events (job_id, event_type, context)
        select c.id, 'claim', jsonb_build_object('worker', p_worker, 'attempt', c.attempt, 'lease_token', c.lease_token)
        from claimed c
    ), deliveries as (
        update public.webhook_deliveries d set status = 'processing'
        from claimed c where d.job_id = c.id and d.status = 'queued'
    ), shown as (
        update public.repositories r set sync_state = 'syncing', updated_at = now()
        from claimed c where r.id = c.repository_id
    )
    select * from claimed;
end $$;

-- progress: where the attempt is. False: the token is no longer the job's.
create function queue.progress(p_job uuid, p_token bigint, p_progress jsonb) returns boolean language sql as $$
    with written as (
        update public.indexing_jobs set progress = p_progress, updated_at = now()
        where id = (select id from public.indexing_jobs where id = p_job and lease_token = p_token
                    for no key update skip locked)
    )
    select exists (select from public.indexing_jobs where id = p_job and lease_token = p_token);
$$;

-- An event of a running attempt (start, and what handlers tell). False: the token is no longer the job's. What the
-- attempt that completed the job said in its last second may still come: it is nobody else's job by then.
create function queue.tell(p_job uuid, p_token bigint, p_verb text, p_message text, p_context jsonb)
returns boolean language sql as $$
    with own as (
        select id from public.indexing_jobs
        where id = p_job and (lease_token = p_token or (status = 'completed' and log_token = p_token)) for share
    ), told as (
        insert into public.indexing_job_events (job_id, event_type, message, context)
        select own.id, p_verb, p_message, jsonb_strip_nulls(p_context) from own returning 1
    )
    select exists (select from told);
$$;

-- complete: the attempt succeeded. False: the token is no longer the job's, and nothing changed.
create function queue.complete(p_job uuid, p_token bigint, p_result jsonb) returns boolean language plpgsql as $$
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
    perform queue.show_state(repository);
    return true;
end $$;

-- Ends a job that the caller holds locked, with its deliveries. Not a verb: fail and cancel are.
create function queue.end_without_result(
    p_job uuid, p_repository uuid, p_status text, p_verb text, p_error_class text, p_message text, p_context jsonb)
returns void language plpgsql as $$
begin
    update public.indexing_jobs
    set status = p_status, error_class = p_error_class, error_message = p_message, lease_token = null,
        finished_at = clock_timestamp(), updated_at = now()
    where id = p_job;
    update public.webhook_deliveries set status = 'failed', processed_at = now(), error_message = p_message
    where job_id = p_job and status in ('received', 'queued', 'processing');
    perform queue.record(p_job, p_verb, p_message, p_context || jsonb_build_object('error_class', p_error_class));
    perform queue.show_state(p_repository, p_status = 'failed');
end $$;

-- fail: no retry helps. False: the token is no longer the job's.
create function queue.fail(p_job uuid, p_token bigint, p_error_class text, p_message text)
returns boolean language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
begin
    update public.indexing_jobs set errors = errors + 1 where id = p_job and lease_token = p_token;
    if not found then
        return false;
    end if;
    perform queue.end_without_result(
        p_job, repository, 'failed', 'fail', p_error_class, p_message, jsonb_build_object('lease_token', p_token));
    return true;
end $$;

-- retry, snooze, release, rescue: a running job goes back to queued. p_spends says which budget pays ('error',
-- 'crash', 'none'); a spent budget fails the job, a cancel that was asked for ends it, and a queued follow-up of the
-- same coalesce key takes its place. Answers what happened: the verb, 'fail', 'cancel' or 'supersede';
-- null: the token is no longer the job's.
create function queue.give_back(
    p_job uuid, p_token bigint, p_verb text, p_spends text, p_delay interval, p_error_class text, p_message text,
    p_crash_limit integer default 3, p_snooze_limit integer default 50, p_snooze_time interval default '1 day')
returns text language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
    job public.indexing_jobs;
    follow_up uuid;
    facts jsonb;
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

    if job.cancel_requested_at is not null then
        perform queue.end_without_result(p_job, repository, 'cancelled', 'cancel', 'cancelled', 'cancelled on request', facts);
        return 'cancel';
    end if;
    if (p_spends = 'error' and job.errors >= job.max_attempts)
        or (p_spends = 'crash' and job.crashes >= p_crash_limit)
        or (p_verb = 'snooze' and (job.snoozes > p_snooze_limit or job.snoozed_since < now() - p_snooze_time)) then
        perform queue.end_without_result(p_job, repository, 'failed', 'fail', p_error_class, p_message, facts);
        return 'fail';
    end if;
    loop
        follow_up := null;
        if job.coalesce_key is not null then
            select id into follow_up from public.indexing_jobs
            where coalesce_key = job.coalesce_key and status = 'queued' for update;
        end if;
        if follow_up is not null then
            update public.indexing_jobs
            set status = 'cancelled', error_class = 'superseded', error_message = 'superseded by job ' || follow_up,
                lease_token = null, finished_at = clock_timestamp(), updated_at = now()
            where id = p_job;
            update public.indexing_jobs set payload = queue.merge_payload(job.payload, payload) where id = follow_up;
            update public.webhook_deliveries set job_id = follow_up, status = 'queued'
            where job_id = p_job and status in ('received', 'queued', 'processing');
            perform queue.record(p_job, 'cancel', 'superseded',
                facts || jsonb_build_object('after', p_verb, 'superseded_by', follow_up, 'error_class', p_error_class));
            perform queue.show_state(repository);
            return 'supersede';
        end if;
        begin
            update public.indexing_jobs
            set status = 'queued', lease_token = null, worker_id = null, run_after = clock_timestamp() + p_delay,
                error_class = p_error_class, error_message = p_message, progress = null, updated_at = now()
            where id = p_job;
            exit;
        exception when unique_violation then
            null;  -- a follow-up was committed this instant: look again
        end;
    end loop;
    update public.webhook_deliveries set status = 'queued' where job_id = p_job and status = 'processing';
    perform queue.record(p_job, p_verb, p_message, facts || jsonb_build_object(
        'error_class', p_error_class, 'delay_seconds', extract(epoch from p_delay), 'spends', p_spends));
    perform queue.show_state(repository);
    return p_verb;
end $$;

-- cancel: ends a queued job at once, asks the worker of a running one. Answers 'cancelled', 'requested', the terminal
-- status it already has, or null for no such job.
create function queue.cancel(p_job uuid, p_reason text default 'cancelled on request')
returns text language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
    found_status text;
begin
    select status into found_status from public.indexing_jobs where id = p_job for update;
    if found_status = 'queued' then
        perform queue.end_without_result(p_job, repository, 'cancelled', 'cancel', 'cancelled', p_reason, '{}');
        return 'cancelled';
    elsif found_status = 'in_progress' then
        update public.indexing_jobs
        set cancel_requested_at = coalesce(cancel_requested_at, now()), updated_at = now() where id = p_job;
        return 'requested';
    end if;
    return found_status;
end $$;

-- cancel of a running job, by its worker, after the child's tree is gone. False: the token is no longer the job's.
create function queue.cancel_running(p_job uuid, p_token bigint) returns boolean language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
begin
    perform from public.indexing_jobs where id = p_job and lease_token = p_token for update;
    if not found then
        return false;
    end if;
    perform queue.end_without_result(
        p_job, repository, 'cancelled', 'cancel', 'cancelled', 'cancelled on request',
        jsonb_build_object('lease_token', p_token));
    return true;
end $$;

-- Manual retry of a failed or cancelled job; budgets start anew, token and attempt go on growing. A queued follow-up of
-- the same coalesce key does its work instead. Answers the id of the job that will run, or null when the job is not
-- failed or cancelled.
create function queue.retry_finished(p_job uuid) returns uuid language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
    job public.indexing_jobs;
    target uuid;
begin
    select * into job from public.indexing_jobs where id = p_job and status in ('failed', 'cancelled') for update;
    if not found then
        return null;
    end if;
    loop
        target := null;
        if job.coalesce_key is not null then
            select id into target from public.indexing_jobs
            where coalesce_key = job.coalesce_key and status = 'queued' for update;
        end if;
        exit when target is not null;
        begin
            update public.indexing_jobs
            set status = 'queued', errors = 0, crashes = 0, snoozes = 0, snoozed_since = null, run_after = now(),
                queued_at = now(), finished_at = null, worker_id = null, error_class = null, error_message = null,
                cancel_requested_at = null, updated_at = now()
            where id = p_job;
            target := p_job;
            exit;
        exception when unique_violation then
            null;  -- a follow-up was committed this instant: look again
        end;
    end loop;
    update public.webhook_deliveries set status = 'queued', job_id = target, error_message = null, processed_at = null
    where job_id = p_job and status = 'failed';
    perform queue.record(target, 'enqueue', 'manual retry', jsonb_build_object('retry_of', p_job));
    perform queue.show_state(repository);
    return target;
end $$;

-- renew: a worker says it lives and which tokens it holds. Answers {"known": false} when the worker is not (or no
-- longer) one of ours, else the tokens still held, those to cancel, and those released because their claim's reply
-- was lost (claimed before the last renewal and yet not held).
create function queue.renew(p_worker uuid, p_tokens bigint[], p_lease interval) returns jsonb language plpgsql as $$
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
        select id, lease_token from public.indexing_jobs
        where worker_id = p_worker and status = 'in_progress' and started_at < previous
          and lease_token <> all (p_tokens)
        order by id
    loop
        if queue.give_back(stray.id, stray.lease_token, 'release', 'none', '0', 'claim_lost',
                           'the reply to the claim was lost') is not null then
            released := released || to_jsonb(stray.lease_token);
        end if;
    end loop;
    return jsonb_build_object(
        'known', true,
        'released', released,
        'held', coalesce((select jsonb_agg(lease_token) from public.indexing_jobs
                          where worker_id = p_worker and lease_token = any (p_tokens)), '[]'),
        'cancel', coalesce((select jsonb_agg(lease_token) from public.indexing_jobs
                            where worker_id = p_worker and lease_token = any (p_tokens)
                              and cancel_requested_at is not null), '[]'));
end $$;

-- Jobs whose worker has not renewed for a whole lease. Empty unless the asking worker itself has renewed that long.
create function queue.orphans(p_worker uuid, p_lease interval, p_limit integer default 1000)
returns table (job_id uuid, lease_token bigint, worker_id uuid, excused boolean) language sql as $$
    select j.id, j.lease_token, j.worker_id, coalesce(w.state in ('draining', 'fenced', 'stopped'), false)
    from public.indexing_jobs j
    left join public.workers w on w.id = j.worker_id
    where j.status = 'in_progress'
      and (w.id is null or w.state in ('fenced', 'stopped', 'lost') or w.last_seen_at < clock_timestamp() - p_lease)
      and exists (select from public.workers me
                  where me.id = p_worker and me.state = 'running'
                    and me.renewing_since <= clock_timestamp() - p_lease
                    and me.last_seen_at > clock_timestamp() - p_lease / 2)
    order by j.id limit p_limit;
$$;

-- seal: the commit point of a job's log. False: a newer attempt has begun, or the job is not at its end. The same call
-- again answers true again, so that a lost reply cannot make the caller delete what the row names.
create function queue.seal_log(p_job uuid, p_log_token bigint, p_parts jsonb, p_bytes bigint, p_lines bigint)
returns boolean language plpgsql as $$
begin
    update public.indexing_jobs
    set log_parts = p_parts, log_bytes = p_bytes, log_lines = p_lines, log_sealed_at = now(), updated_at = now()
    where id = p_job and log_token = p_log_token and log_sealed_at is null
      and status in ('completed', 'failed', 'cancelled');
    return found or exists (
        select from public.indexing_jobs
        where id = p_job and log_token = p_log_token and log_sealed_at is not null and log_parts = p_parts);
end $$;

-- Takes over the sealing of jobs that ended without their own worker (rescued to failure, cancelled while queued, or
-- whose worker died in between): each gets a new log token, because two parties must never seal under one.
create function queue.take_unsealed(p_after interval, p_limit integer default 100)
returns setof public.indexing_jobs language sql as $$
    update public.indexing_jobs j set log_token = nextval('public.lease_tokens'), updated_at = now()
    where j.id in (
        select id from public.indexing_jobs
        where status in ('completed', 'failed', 'cancelled') and finished_at < now() - p_after
          and log_token is not null and log_sealed_at is null
        order by finished_at limit p_limit for update skip locked)
    returning j.*;
$$;

-- prune: deletes finished jobs of these statuses older than p_age, a small batch a call, never one whose log is not
-- sealed. Answers how many.
create function queue.prune(p_statuses text[], p_age interval, p_limit integer default 1000)
returns integer language sql as $$
    with old as (
        select id from public.indexing_jobs
        where status = any (p_statuses) and status in ('completed', 'failed', 'cancelled')
          and finished_at < now() - p_age and (log_sealed_at is not null or log_token is null)
        order by finished_at limit p_limit for update skip locked
    ), gone as (
        delete from public.indexing_jobs j using old where j.id = old.id returning 1
    )
    select count(*)::int from gone;
$$;

revoke all on all functions in schema queue from public;
grant execute on all functions in schema queue to service_role;
