-- The tenant of a local installation, LOCAL_USER_ID in worker/settings.py. Safe to run again.

insert into auth.users (id, email) values ('00000000-0000-4000-8000-000000000001', 'local@localhost')
on conflict do nothing;

do $$
begin
    -- Supabase's own auth server cannot read a user whose tokens are null, and shows nobody without these.
    if exists (select from information_schema.columns
               where table_schema = 'auth' and table_name = 'users' and column_name = 'confirmation_token') then
        update auth.users
        set instance_id = '00000000-0000-0000-0000-000000000000', aud = 'authenticated', role = 'authenticated',
            confirmation_token = '', recovery_token = '', email_change = '', email_change_token_new = ''
        where id = '00000000-0000-4000-8000-000000000001' and confirmation_token is null;
    end if;
end $$;
