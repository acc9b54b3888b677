-- A row that somebody holds, or that raises, is one row's trouble: rescue, hand-back and renewal wait for it for a
-- moment and go on.

-- give_back, waiting at most so long for each lock; raises lock_not_available past that. The time-out ends with this
-- function: behind a transaction-mode pooler the session is another's next.
create function queue.give_back_within(
    p_patience_ms integer, p_job uuid, p_token bigint, p_verb text, p_spends text, p_error_class text, p_message text,
    p_crash_limit integer default 3)
returns text language plpgsql
set lock_timeout = '2s' as $$
begin
    -- Zero would mean for ever.
    perform set_config('lock_timeout', greatest(1, p_patience_ms)::text, true);
    return queue.give_back(p_job, p_token, p_verb, p_spends, '0', p_error_class, p_message, p_crash_limit);
end $$;

-- As before, but a stray that cannot be released now is named in "stuck", with the reason, and left to the next
-- renewal: this one counts all the same.
create or replace function queue.renew(p_worker uuid, p_tokens bigint[], p_lease interval)
returns jsonb language plpgsql
set enable_seqscan to off as $$
declare
    previous timestamptz;
    released jsonb := '[]';
    stuck jsonb := '[]';
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
        begin
            -- Ever shorter: a thousand strays that are held must not take a good part of the lease.
            if queue.give_back_within(100 / (1 + jsonb_array_length(stuck)), stray.job_id, stray.token, 'release',
                                      'none', 'claim_lost', 'the reply to the claim was lost') is not null then
                released := released || to_jsonb(stray.token);
            end if;
        exception when others then
            stuck := stuck || to_jsonb(format('job %s: %s', stray.job_id, sqlerrm));
        end;
    end loop;
    return jsonb_build_object(
        'known', true,
        'released', released,
        'stuck', stuck,
        'held', coalesce((select jsonb_agg(r.token) from queue.running r
                          where r.worker_id = p_worker and r.token = any (p_tokens)), '[]'),
        'cancel', coalesce((select jsonb_agg(r.token) from queue.running r
                            join public.indexing_jobs j on j.id = r.job_id
                            where r.worker_id = p_worker and r.token = any (p_tokens)
                              and j.cancel_requested_at is not null), '[]'));
end $$;

revoke all on function queue.give_back_within from public;
grant execute on function queue.give_back_within to service_role;
