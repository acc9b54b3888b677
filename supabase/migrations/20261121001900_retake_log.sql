-- Lines that reach a job's log after it was sealed: a machine came back, or its store answered again.

-- Takes the log of a job at its end over, sealed or not: under a new log token, because two parties must never seal
-- under one. The caller seals it anew, what was sealed first; should it die, take_unsealed finds the job.
create or replace function queue.retake_log(p_job uuid)
returns setof public.indexing_jobs language plpgsql as $$
begin
    return query
    update public.indexing_jobs j
    set log_token = nextval('public.lease_tokens'), log_sealed_at = null, updated_at = now()
    where j.id = p_job and j.status in ('completed', 'failed', 'cancelled') and j.log_token is not null
    returning j.*;
    if found then
        insert into queue.unsealed (job_id) values (p_job) on conflict (job_id) do nothing;
    end if;
end $$;

revoke all on function queue.retake_log from public;
grant execute on function queue.retake_log to service_role;
