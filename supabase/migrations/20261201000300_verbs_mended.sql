-- Five gaps between what the verbs promise (docs/queue.md) and what they left behind: a healthy publish counted as a
-- zombie's write, a log that nobody sealed, a lane that nobody woke, and two requests that were lost.

-- As before, but true for the attempt that completed the job itself, as queue.tell is: what its child said last may
-- come after its publish, and is no zombie's. The row of a job at its end stays as it is.
create or replace function queue.progress(p_job uuid, p_token bigint, p_progress jsonb) returns boolean language sql as $$
    with written as (
        update public.indexing_jobs set progress = p_progress, updated_at = now()
        where id = (select id from public.indexing_jobs where id = p_job and lease_token = p_token
                    for no key update skip locked)
    )
    select exists (
        select from public.indexing_jobs
        where id = p_job and (lease_token = p_token or (status = 'completed' and log_token = p_token)));
$$;

-- As before, but an earlier attempt may have written a log: of such jobs somebody has to seal it, else prune would take
-- them with it. First attempts, the many, cost nothing more; one that was given back before it started wrote nothing.
create or replace function queue.complete_many(p_jobs uuid[], p_tokens bigint[], p_results jsonb)
returns bigint[] language plpgsql
set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off
set plan_cache_mode to force_generic_plan set jit to off as $$
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
        returning j.id, g.token, j.attempt
    ), deliveries as (
        update public.webhook_deliveries d set status = 'processed', processed_at = now(), error_message = null
        from ended where d.job_id = ended.id and d.status in ('received', 'queued', 'processing')
    ), events as (
        insert into public.indexing_job_events (job_id, event_type, context)
        select id, 'complete', jsonb_build_object('lease_token', token) from ended
    ), unsealed as (
        insert into queue.unsealed (job_id) select id from ended
        where attempt > 1 and attempt - 1 > (
            select count(*) from public.indexing_job_events e
            where e.job_id = ended.id and e.event_type = 'release' and e.context ->> 'error_class' = 'not_started')
        on conflict (job_id) do update set ended_at = excluded.ended_at
    )
    select array_agg(token) into done from ended;
    if done is not null then
        perform queue.leave(done);
    end if;
    return coalesce(done, '{}');
end $$;

-- As before, and whoever waited for what goes is woken: jobs put aside for a repository, and a lane whose cap was
-- reached. Jobs go before waiting rows here, against the lock order: by then nobody else finds them.
create or replace function public.delete_events_of_deleted_jobs() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
    repositories uuid[];
    left_by uuid[];
    capped uuid[];
begin
    delete from public.indexing_job_events where job_id in (select id from deleted);
    with gone as (
        delete from queue.waiting where job_id in (select id from deleted where status = 'queued')
        returning repository_id, hold
    )
    select array_agg(distinct repository_id) filter (where hold is null and repository_id is not null)
    into repositories from gone;
    with gone as (
        delete from queue.running where token in (select lease_token from deleted where lease_token is not null)
        returning repository_id, user_id, slot
    )
    select array_agg(repository_id) filter (where repository_id is not null),
           array_agg(distinct user_id) filter (where slot is not null)
    into left_by, capped from gone;
    delete from queue.unsealed where job_id in (select id from deleted where log_sealed_at is null);
    repositories := repositories || left_by;
    if repositories is not null or capped is not null then
        perform queue.wake(array(
            select distinct r from unnest(repositories) r
            where not exists (select from queue.running n where n.repository_id = r)), capped);
    end if;
    return null;
end $$;

-- When a job was asked for last: as it was made, or by a push that joined it. A manual retry asks for nothing new.
create function queue.asked_at(p_job public.indexing_jobs) returns timestamptz language plpgsql stable as $$
begin
    return greatest(p_job.created_at, (p_job.payload ->> 'asked_at')::timestamptz);
exception when data_exception then  -- not one of ours: no reason to hold a job up
    return p_job.created_at;
end $$;

-- The payload of a queued job that takes over another one of its coalesce key: the fields of the one asked for last
-- win, and all else as queue.merge_payload does it. The queued one may be the older, where it was retried by hand.
create function queue.merge_requests(p_job public.indexing_jobs, p_queued public.indexing_jobs) returns jsonb
language plpgsql stable as $$
declare
    asked timestamptz := greatest(queue.asked_at(p_job), queue.asked_at(p_queued));
    merged jsonb;
begin
    merged := case when queue.asked_at(p_job) > queue.asked_at(p_queued)
                   then queue.merge_payload(p_queued.payload, p_job.payload)
                   else queue.merge_payload(p_job.payload, p_queued.payload) end - 'asked_at';
    return case when asked > p_queued.created_at then merged || jsonb_build_object('asked_at', asked) else merged end;
end $$;

-- As before, but the fields of the later request win, whichever job is queued.
create or replace function queue.supersede(
    p_job uuid, p_repository uuid, p_verb text, p_error_class text, p_context jsonb)
returns uuid language plpgsql as $$
declare
    job public.indexing_jobs;
    follow_up uuid;
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
    update public.indexing_jobs f set payload = queue.merge_requests(job, f) where f.id = follow_up;
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

-- As before, but a run that was to make way, and whose follow-up was cancelled (or removed) meanwhile, goes back to the
-- queue at no cost: it is the only one left to do what its deliveries asked for.
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
    if reason = 'superseded' then
        return queue.supersede(p_job, repository, 'cancel', null, facts) is not null
            or queue.give_back(p_job, p_token, 'release', 'none', '0', null,
                               'the job that was to take its place is gone') is not null;
    end if;
    perform queue.end_without_result(p_job, repository, 'cancelled', 'cancel', 'cancelled', reason, facts);
    return true;
end $$;

-- As before, but a queued job that does the work instead takes over the request as well, and is due as if a push had
-- joined it: budgets and our own backoff start anew, a wait that the other side asked for stays.
create or replace function queue.retry_finished(p_job uuid) returns uuid language plpgsql as $$
declare
    repository uuid := queue.lock_repository_of(p_job);
    job public.indexing_jobs;
    target uuid := p_job;
    merged jsonb;
begin
    select * into job from public.indexing_jobs where id = p_job and status in ('failed', 'cancelled') for update;
    if not found then
        return null;
    end if;
    while not queue.wait(p_job, job.user_id, job.job_type, job.priority, job.repository_id, job.coalesce_key,
                         now(), now()) loop
        select w.job_id into target from queue.waiting w where w.coalesce_key = job.coalesce_key for update;
        if found then
            select queue.merge_requests(job, q) into merged from public.indexing_jobs q where q.id = target;
            if queue.join_queued(job.coalesce_key, '{}', job.priority, now()) is not null then
                update public.indexing_jobs set payload = merged where id = target;  -- a retry is no new push
                exit;
            end if;
        end if;
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

revoke all on function queue.asked_at, queue.merge_requests from public;
grant execute on function queue.asked_at, queue.merge_requests to service_role;

-- Set once before, and forgotten when these were replaced (20261121002501, 20261122000100).
alter function queue.look set jit to off;
alter function queue.mend set jit to off;
