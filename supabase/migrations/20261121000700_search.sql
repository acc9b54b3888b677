-- Search, as functions for PostgREST and for the command line. The owner filter is inside: row-level security would
-- switch the trigram index off, because ILIKE and ~ are not leakproof.

-- True for the schema's owner (the program itself) and the service role; everybody else sees the own rows only. Reads the role in force,
-- because inside a SECURITY DEFINER function current_user is the function's owner.
create function idx.reads_everything() returns boolean language sql stable set search_path = '' as $$
    select coalesce(nullif(current_setting('role', true), ''), 'none') = 'service_role'
        or (coalesce(nullif(current_setting('role', true), ''), 'none') = 'none'
            and pg_catalog.pg_has_role(
                session_user,
                (select relowner from pg_catalog.pg_class where oid = 'idx.blobs'::pg_catalog.regclass), 'MEMBER'));
$$;

-- Whose repositories a call may see. An owner argument counts for the service alone; null there means every owner.
create function idx.owner_of_call(p_owner uuid) returns uuid language sql stable set search_path = '' as $$
    select case when idx.reads_everything() then p_owner else coalesce(auth.uid(), '00000000-0000-0000-0000-000000000000') end;
$$;

-- Symbols whose name or qualified name begins with the query (case folded only when nothing matches by case).
create function public.search_symbols(
    query text, repository uuid default null, max_results integer default 50, owner uuid default null)
returns table (repository_id uuid, path text, line integer, end_line integer, kind text, name text, qualname text,
               signature text, commit text)
language plpgsql stable security definer set search_path = '' as $$
declare
    who uuid := idx.owner_of_call(owner);
    wanted text := replace(replace(replace(query, '\', '\\'), '%', '\%'), '_', '\_') || '%';
begin
    if query is null or length(query) < 1 or length(query) > 500 then
        raise exception 'query must have 1 to 500 characters' using errcode = 'invalid_parameter_value';
    end if;
    -- The pattern stands in the text of the query: only then does the planner use the prefix index.
    return query execute format($q$
        select r.id, f.path, s.line, s.end_line, k.name, s.name::text, s.qualname::text, s.signature, rb.commit
        from idx.symbols s
        join idx.symbol_kinds k on k.kind = s.kind
        join idx.files f on f.blob_id = s.blob_id and f.skip = 0
        join public.repositories r on r.repo_no = f.repo_no
        join public.repository_branches rb on rb.repository_id = r.id and rb.branch_no = f.branch_no
        where (s.name like %L or s.qualname like %L)
          and ($1 is null or r.user_id = $1) and ($2 is null or r.id = $2)
        order by (s.name = $3) desc, length(s.name), s.name, f.path, s.line
        limit $4 $q$, wanted, wanted)
    using who, repository, query, least(greatest(max_results, 1), 1000);
end $$;

-- Lines that contain the query, ignoring case.
create function public.search_code(
    query text, repository uuid default null, max_results integer default 50, owner uuid default null)
returns table (repository_id uuid, path text, line integer, content text, commit text)
language plpgsql stable security definer set search_path = '' as $$
declare
    who uuid := idx.owner_of_call(owner);
    wanted text := '%' || replace(replace(replace(query, '\', '\\'), '%', '\%'), '_', '\_') || '%';
begin
    if query is null or length(query) < 3 or length(query) > 500 then
        raise exception 'query must have 3 to 500 characters' using errcode = 'invalid_parameter_value';
    end if;
    return query execute format($q$
        select hit.id, hit.path, l.line::int, left(l.content, 400), hit.commit
        from (
            select r.id, f.path, b.content, rb.commit
            from idx.blobs b
            join idx.files f on f.blob_id = b.id and f.skip = 0
            join public.repositories r on r.repo_no = f.repo_no
            join public.repository_branches rb on rb.repository_id = r.id and rb.branch_no = f.branch_no
            where b.skip = 0 and b.content is not null and b.content ilike %L
              and ($1 is null or r.user_id = $1) and ($2 is null or r.id = $2)
        ) hit
        cross join lateral unnest(string_to_array(hit.content, E'\n')) with ordinality l (content, line)
        where l.content ilike %L
        order by hit.path, l.line
        limit $3 $q$, wanted, wanted)
    using who, repository, least(greatest(max_results, 1), 1000);
end $$;

revoke all on function public.search_symbols(text, uuid, integer, uuid), public.search_code(text, uuid, integer, uuid),
    idx.owner_of_call(uuid), idx.reads_everything() from public, anon, authenticated;
grant execute on function public.search_symbols(text, uuid, integer, uuid), public.search_code(text, uuid, integer, uuid)
    to authenticated, service_role;
grant execute on function idx.owner_of_call(uuid), idx.reads_everything() to service_role;
