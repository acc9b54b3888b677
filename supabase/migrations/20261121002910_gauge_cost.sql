-- Counting a long queue takes its time, and shall not take a worker's: however long, it takes a twentieth of the time.

alter table queue.gauge_cache add column if not exists took interval not null default '0 seconds';

-- gauges: as before; where a count takes long it stands for longer than p_window, for at most five minutes. A window of
-- nothing asks for a count made now. `age_seconds` says how old it is.
create or replace function queue.gauges(p_window interval, p_tenants integer default 10) returns jsonb language plpgsql
set search_path = '' as $$
declare
    newest queue.gauge_cache;
    began timestamptz;
    counted jsonb;
begin
    select * into newest from queue.gauge_cache;
    if newest.taken_at is null or newest.taken_at <= clock_timestamp() - p_window then
        select * into newest from queue.gauge_cache c
        where c.taken_at <= clock_timestamp() - p_window
          and (p_window <= interval '0'
               or c.taken_at <= clock_timestamp() - least(c.took * 20, interval '5 minutes'))
        for update skip locked;
        if found then
            began := clock_timestamp();
            counted := queue.count_gauges(p_tenants);
            update queue.gauge_cache
            set taken_at = clock_timestamp(), took = clock_timestamp() - began, gauges = counted;
            return counted || '{"age_seconds": 0}';
        end if;
        select * into newest from queue.gauge_cache;
        if newest.gauges = '{}' then  -- the very first count is still under way elsewhere
            return queue.count_gauges(p_tenants) || '{"age_seconds": 0}';
        end if;
    end if;
    return newest.gauges || jsonb_build_object('age_seconds', queue.seconds_since(newest.taken_at));
end $$;
