-- Sealing a large log may take longer than the pause after which it is taken over: each take leaves the next one twice
-- the time, so that whoever seals comes to an end some time, instead of everybody losing the log to the next.

alter table queue.unsealed
    add column if not exists takes smallint not null default 0,
    add column if not exists taken_at timestamptz;

-- As before, but not what was taken over of late.
create or replace function queue.take_unsealed(p_after interval, p_limit integer default 100)
returns setof public.indexing_jobs language sql as $$
    with old as materialized (
        select j.id from queue.unsealed u join public.indexing_jobs j on j.id = u.job_id
        where u.ended_at < now() - p_after
          and (u.taken_at is null or u.taken_at < now() - p_after * power(2, least(u.takes, 10)))
          and j.status in ('completed', 'failed', 'cancelled')
          and j.log_token is not null and j.log_sealed_at is null
        order by u.ended_at limit p_limit for update of j skip locked
    ), taken as (
        update queue.unsealed u set takes = least(u.takes + 1, 100), taken_at = now()
        from old where u.job_id = old.id
    )
    update public.indexing_jobs j set log_token = nextval('public.lease_tokens'), updated_at = now()
    from old where j.id = old.id
    returning j.*;
$$;
