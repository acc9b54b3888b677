-- The same answers, sooner.
--
-- Of a question that takes a few milliseconds most was planning: texts of queries over eight tables, planned at every
-- call, and small SQL functions that Postgres plans anew each time they are entered. Now the statements stand still, so
-- that a connection plans each once, for any arguments (force_generic_plan); they name the order of their joins, and do
-- without the table's statistics: right after a large repository came in there are none. What is looked up is always a
-- small part of its table, hence enable_seqscan = off.
-- A definition whose qualified name follows from parent and name may have null there, and the lines of a reference may be
-- text: both are how the next files store them.

create function idx.qualname_of(p_parent text, p_name text, p_qualname text) returns text language sql immutable as $$
    select coalesce(p_qualname, p_parent || '.' || p_name, p_name);
$$;

-- Lines as numbers, from '3,14' or '{3,14}': programs before this one write the braces.
create function idx.lines_of(p_lines text) returns integer[] language sql immutable as $$
    select string_to_array(btrim(p_lines, '{}'), ',')::integer[];
$$;

-- Behind every text that begins with this one, in the order of collation "C".
create function idx.end_of_prefix(p_prefix text) returns text language sql immutable as $$
    select p_prefix || U&'\+10FFFF';
$$;

create or replace function idx.reads_everything() returns boolean language plpgsql stable set search_path = '' as $$
begin
    return coalesce(nullif(current_setting('role', true), ''), 'none') = 'service_role'
        or (coalesce(nullif(current_setting('role', true), ''), 'none') = 'none'
            and pg_catalog.pg_has_role(
                session_user,
                (select relowner from pg_catalog.pg_class where oid = 'idx.blobs'::pg_catalog.regclass), 'MEMBER'));
end $$;

create or replace function idx.owner_of_call(p_owner uuid) returns uuid language plpgsql stable set search_path = '' as $$
begin
    return case when idx.reads_everything() then p_owner else coalesce(auth.uid(), '00000000-0000-0000-0000-000000000000') end;
end $$;

-- Stable, as what it calls is: only then is it made part of the query instead of being entered for every row.
create or replace function idx.cursor_at(p_of text, variadic p_key text[]) returns text language sql stable as $$
    select translate(encode(convert_to(to_jsonb(array[p_of] || p_key)::text, 'UTF8'), 'base64'), E'+/=\n', '-_');
$$;

-- A statement for each way to ask, so that each has an index: one for all would read every repository.
create or replace function idx.branches_to_search(p_owner uuid, p_repository uuid, p_branch text)
returns table (repo_no integer, branch_no smallint, repository_id uuid, repository_name text, branch_name text, commit text)
language plpgsql stable rows 20 set search_path = '' set plan_cache_mode = force_generic_plan as $$
begin
    if p_repository is not null then
        return query
            select r.repo_no, b.branch_no, r.id, r.name, b.name, b.commit
            from public.repositories r
            join public.repository_branches b on b.repository_id = r.id
            where r.id = p_repository and (p_owner is null or r.user_id = p_owner) and (p_branch is null or b.name = p_branch)
            order by (b.commit is not null) desc, (b.name = r.settings ->> 'branch') desc nulls last,
                     (b.name = r.default_branch) desc nulls last, b.branch_no
            limit 1;
    elsif p_owner is not null then
        return query
            select distinct on (r.repo_no) r.repo_no, b.branch_no, r.id, r.name, b.name, b.commit
            from public.repositories r
            join public.repository_branches b on b.repository_id = r.id
            where r.user_id = p_owner and (p_branch is null or b.name = p_branch)
            order by r.repo_no, (b.commit is not null) desc, (b.name = r.settings ->> 'branch') desc nulls last,
                     (b.name = r.default_branch) desc nulls last, b.branch_no;
    else
        return query
            select distinct on (r.repo_no) r.repo_no, b.branch_no, r.id, r.name, b.name, b.commit
            from public.repositories r
            join public.repository_branches b on b.repository_id = r.id
            where p_branch is null or b.name = p_branch
            order by r.repo_no, (b.commit is not null) desc, (b.name = r.settings ->> 'branch') desc nulls last,
                     (b.name = r.default_branch) desc nulls last, b.branch_no;
    end if;
end $$;

-- Likeness of two texts by their trigrams, bound to the function itself: pg_trgm may be in any schema.
do $$
declare
    trgm_schema text;
begin
    select n.nspname into trgm_schema
    from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm';
    execute format('create function idx.likeness(p_one text, p_other text) returns real language sql immutable
                    begin atomic select %I.similarity(p_one, p_other); end', trgm_schema);
end $$;

-- Definitions. Mode prefix (names and qualified names that begin with the query; case folded only when nothing matches
-- by case), exact, or fuzzy: the first letter counts, then the query's letters in their order or three tenths of its
-- trigrams. The best ranks are looked up first: where they fill the page, what only begins so is never read.
create or replace function public.search_symbols(
    query text, repository uuid default null, max_results integer default 50, owner uuid default null,
    mode text default 'prefix', symbol_kind text default null, language text default null,
    path_glob text default null, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, line integer, end_line integer, kind text, name text, qualname text, signature text,
    commit text, doc text, parent text, repository_name text, branch_name text, language_name text, cursor text)
language plpgsql stable security definer
set search_path = '' set statement_timeout = '10s' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set join_collapse_limit = 1 set from_collapse_limit = 1 as $$
#variable_conflict use_column
declare
    asked text := idx.checked_text('query', query, 1);
    low text := lower(asked collate "C");
    begun text[] := idx.key_of_cursor('symbols', after);
    -- Each '.' of the query may be where a parent ends and a name begins.
    dots integer[] := case when position('.' in asked) > 0 then array(
        select n from generate_series(2, length(asked)) n where substr(asked, n, 1) = '.') else '{}' end;
    letters text := case when mode = 'fuzzy' then (
        select string_agg(regexp_replace(l, '([][\\^$.|?*+(){}])', '\\\1'), '.*' order by n)
        from regexp_split_to_table(asked, '') with ordinality a (l, n)) end;
    only_kind smallint := idx.symbol_kind_number(symbol_kind);
    only_language smallint := idx.language_number(language);
    only_path text := case when path_glob is not null then idx.glob_regex(path_glob) end;
    who uuid := idx.owner_of_call(owner);
    wanted integer := least(greatest(coalesce(max_results, 50), 1), 1000);
    given integer := 0;
    added integer;
    step text;
    steps text[];
begin
    if mode is null or mode not in ('prefix', 'exact', 'fuzzy') then
        raise exception 'mode must be prefix, exact or fuzzy' using errcode = 'invalid_parameter_value';
    end if;
    steps := case
        when begun[1] = 'folded' then array['folded']
        when mode <> 'prefix' then array[mode]
        when begun[2]::int / 4 > 2 then array['rest']
        when begun is not null then array['best', 'rest']
        else array['best', 'rest', 'folded'] end;
    foreach step in array steps loop
        exit when given >= wanted or (step = 'folded' and given > 0);
        return query
            with v as materialized (
                select * from idx.branches_to_search(who, repository, branch)
            ), candidate as (
                -- The name itself, in any case.
                select s.* from idx.symbols s
                where step in ('best', 'exact') and lower(s.name) = low
                  and (s.name = asked or starts_with(idx.qualname_of(s.parent, s.name, s.qualname), asked))
                union all
                -- The qualified name itself: as stored, or as parent and name.
                select s.* from idx.symbols s
                where step in ('best', 'exact') and s.qualname = asked and lower(s.name) <> low
                union all
                select s.* from unnest(dots) d (dot)
                join idx.symbols s on lower(s.name) = substr(low, d.dot + 1) and s.name = substr(asked, d.dot + 1)
                                  and s.parent = left(asked, d.dot - 1)
                where step in ('best', 'exact') and s.qualname is null
                union all
                -- Names that begin so.
                select s.* from idx.symbols s
                where step = 'rest' and lower(s.name) >= low and lower(s.name) < idx.end_of_prefix(low)
                  and starts_with(s.name, asked)
                union all
                -- Qualified names that begin so: as stored, by the parent, or by a parent and the name's beginning.
                select s.* from idx.symbols s
                where step = 'rest' and s.qualname >= asked and s.qualname < idx.end_of_prefix(asked)
                  and starts_with(s.qualname, asked) and not starts_with(s.name, asked)
                union all
                select s.* from idx.symbols s
                where step = 'rest' and s.parent >= asked collate "C" and s.parent < idx.end_of_prefix(asked) collate "C"
                  and starts_with(s.parent, asked) and s.qualname is null and not starts_with(s.name, asked)
                union all
                select s.* from unnest(dots) d (dot)
                join idx.symbols s on s.parent = left(asked, d.dot - 1) and starts_with(s.name, substr(asked, d.dot + 1))
                where step = 'rest' and s.qualname is null and not starts_with(s.name, asked)
                union all
                select s.* from idx.symbols s
                where step = 'folded' and lower(s.name) >= low and lower(s.name) < idx.end_of_prefix(low)
                union all
                select s.* from unnest(array[left(low, 1), '_' || left(low, 1)]) b (begins)
                join idx.symbols s on lower(s.name) >= b.begins and lower(s.name) < idx.end_of_prefix(b.begins)
                where step = 'fuzzy' and (s.name ~* letters or idx.likeness(s.name, asked) >= 0.3)
            ), m as materialized (
                select c.*, idx.qualname_of(c.parent, c.name, c.qualname) as full_name,
                    case when step = 'fuzzy' then
                        case when lower(c.name) = low then 0 when starts_with(lower(c.name), low) then 1
                             else 2 + round(100 * (1 - idx.likeness(c.name, asked)))::int end
                    else
                        case when c.name = asked then 0 when idx.qualname_of(c.parent, c.name, c.qualname) = asked then 1
                             when lower(c.name) = low then 2 when starts_with(c.name, asked) then 3
                             when starts_with(lower(c.name), low) then 4 else 5 end
                    end as points
                from candidate c
                where only_kind is null or c.kind = only_kind
            ), place as materialized (
                select v.*, f.path, f.blob_id, idx.place_of(f.path) as place
                from (select distinct m.blob_id from m) d
                join idx.files f on f.blob_id = d.blob_id and f.skip = 0
                join v on v.repo_no = f.repo_no and v.branch_no = f.branch_no
                where (only_path is null or f.path ~ only_path)
                  and (only_language is null
                       or exists (select from idx.blobs b where b.id = f.blob_id and b.lang = only_language))
            ), page as materialized (
                select o.* from (
                    -- Headings (14) and keys (15) come behind code of the same rank.
                    select p.*, m.line, m.end_line, m.kind, m.parent, m.name, m.full_name, m.signature, m.doc,
                           m.points * 4 + case when m.kind in (14, 15) then 3 else p.place end as rank
                    from m join place p on p.blob_id = m.blob_id
                    where step <> 'rest' or m.points > 2
                ) o
                where (step <> 'exact' or o.rank < 8)
                  and (begun is null or (o.rank, length(o.name), o.name collate "C", o.path, o.repo_no, o.branch_no, o.line, o.full_name collate "C")
                       > (begun[2]::int, begun[3]::int, begun[4], begun[5], begun[6]::int, begun[7]::int, begun[8]::int, begun[9]))
                order by o.rank, length(o.name), o.name collate "C", o.path, o.repo_no, o.branch_no, o.line, o.full_name collate "C"
                limit wanted - given
            )
            select o.repository_id, o.path::text, o.line, o.end_line, k.name, o.name::text, o.full_name::text, o.signature,
                   o.commit, o.doc, o.parent::text, o.repository_name, o.branch_name, l.name,
                   idx.cursor_at('symbols', case when step = 'folded' then step else mode end, o.rank::text,
                                 length(o.name)::text, o.name, o.path, o.repo_no::text, o.branch_no::text, o.line::text,
                                 o.full_name)
            from page o
            join idx.symbol_kinds k on k.kind = o.kind
            join idx.blobs b on b.id = o.blob_id
            join idx.languages l on l.lang = b.lang
            order by o.rank, length(o.name), o.name collate "C", o.path, o.repo_no, o.branch_no, o.line, o.full_name collate "C";
        get diagnostics added = row_count;
        given := given + added;
    end loop;
end $$;

-- Where a name is used: called, used as a class, type or constant, extended or implemented. Bound by name alone. Every
-- row of a file has at least one line: of the files in their order no more are opened than the page has rows.
create or replace function public.find_references(
    name text, repository uuid default null, max_results integer default 50, owner uuid default null,
    path_glob text default null, language text default null, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, line integer, kind text, content text, commit text, repository_name text,
    branch_name text, language_name text, cursor text)
language plpgsql stable security definer
set search_path = '' set statement_timeout = '10s' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set join_collapse_limit = 1 set from_collapse_limit = 1 as $$
#variable_conflict use_column
declare
    asked text := idx.checked_text('name', name, 1);
    begun text[] := idx.key_of_cursor('references', after);
    only_language smallint := idx.language_number(language);
    only_path text := case when path_glob is not null then idx.glob_regex(path_glob) end;
    who uuid := idx.owner_of_call(owner);
    wanted integer := least(greatest(coalesce(max_results, 50), 1), 1000);
begin
    return query
        with v as materialized (
            select * from idx.branches_to_search(who, repository, branch)
        ), use as materialized (
            select v.*, f.path, r.kind, r.blob_id, r.lines::text as lines, idx.place_of(f.path) as place
            from idx.refs r
            join idx.files f on f.blob_id = r.blob_id and f.skip = 0
            join v on v.repo_no = f.repo_no and v.branch_no = f.branch_no
            where r.name = asked
              and (only_path is null or f.path ~ only_path)
              and (only_language is null
                   or exists (select from idx.blobs b where b.id = f.blob_id and b.lang = only_language))
        ), first_files as (
            -- Of the file of the cursor every kind may be behind us: three rows more.
            select u.* from use u
            where begun is null
               or (u.place, u.path, u.repo_no, u.branch_no) >= (begun[1]::int, begun[2], begun[3]::int, begun[4]::int)
            order by u.place, u.path, u.repo_no, u.branch_no
            fetch first (wanted + 3) rows with ties
        ), page as materialized (
            select u.*, n.line
            from first_files u
            cross join lateral unnest(idx.lines_of(u.lines)) n (line)
            where begun is null
               or (u.place, u.path, u.repo_no, u.branch_no, n.line, u.kind)
                  > (begun[1]::int, begun[2], begun[3]::int, begun[4]::int, begun[5]::int, begun[6]::int)
            order by u.place, u.path, u.repo_no, u.branch_no, n.line, u.kind
            limit wanted
        ), text as materialized (
            select b.id, b.lang, string_to_array(b.content, E'\n') as lines
            from (select distinct p.blob_id from page p) d join idx.blobs b on b.id = d.blob_id
        )
        select o.repository_id, o.path::text, o.line, (array['call', 'use', 'implementation'])[o.kind + 1],
               left(rtrim(t.lines[o.line], E'\r'), 400), o.commit, o.repository_name, o.branch_name, l.name,
               idx.cursor_at('references', o.place::text, o.path, o.repo_no::text, o.branch_no::text, o.line::text, o.kind::text)
        from page o
        join text t on t.id = o.blob_id
        join idx.languages l on l.lang = t.lang
        order by o.place, o.path, o.repo_no, o.branch_no, o.line, o.kind;
end $$;

-- Who calls a name: the smallest definition around each call, with the lines of its calls. Where a call stands outside
-- every definition, kind and names are null and `line` is that of the first such call of the file.
create or replace function public.find_callers(
    name text, repository uuid default null, max_results integer default 50, owner uuid default null,
    path_glob text default null, language text default null, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, line integer, end_line integer, kind text, caller text, qualname text,
    signature text, call_lines integer[], content text, commit text, repository_name text, branch_name text,
    language_name text, cursor text)
language plpgsql stable security definer
set search_path = '' set statement_timeout = '10s' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set join_collapse_limit = 1 set from_collapse_limit = 1 as $$
#variable_conflict use_column
declare
    asked text := idx.checked_text('name', name, 1);
    begun text[] := idx.key_of_cursor('callers', after);
    only_language smallint := idx.language_number(language);
    only_path text := case when path_glob is not null then idx.glob_regex(path_glob) end;
    who uuid := idx.owner_of_call(owner);
    wanted integer := least(greatest(coalesce(max_results, 50), 1), 1000);
begin
    return query
        with v as materialized (
            select * from idx.branches_to_search(who, repository, branch)
        ), use as materialized (
            select v.*, f.path, r.blob_id, r.lines::text as lines, idx.place_of(f.path) as place
            from idx.refs r
            join idx.files f on f.blob_id = r.blob_id and f.skip = 0
            join v on v.repo_no = f.repo_no and v.branch_no = f.branch_no
            where r.name = asked and r.kind = 0
              and (only_path is null or f.path ~ only_path)
              and (only_language is null
                   or exists (select from idx.blobs b where b.id = f.blob_id and b.lang = only_language))
        ), first_files as (
            select u.* from use u
            where begun is null
               or (u.place, u.path, u.repo_no, u.branch_no) >= (begun[1]::int, begun[2], begun[3]::int, begun[4]::int)
            order by u.place, u.path, u.repo_no, u.branch_no
            fetch first (wanted + 1) rows with ties
        ), page as materialized (
            select c.*, coalesce(c.line, c.call_lines[1]) as at
            from (
                select u.repository_id, u.repository_name, u.branch_name, u.commit, u.repo_no, u.branch_no, u.path,
                       u.blob_id, u.place, d.line, d.end_line, d.kind, d.name, d.full_name, d.signature,
                       array_agg(n.line order by n.line) as call_lines
                from first_files u
                cross join lateral unnest(idx.lines_of(u.lines)) n (line)
                left join lateral (
                    select s.line, s.end_line, s.kind, s.name, s.signature,
                           idx.qualname_of(s.parent, s.name, s.qualname) collate "C" as full_name
                    from idx.symbols s
                    where s.blob_id = u.blob_id and s.line <= n.line and s.end_line >= n.line
                    order by s.end_line - s.line, s.line desc, idx.qualname_of(s.parent, s.name, s.qualname) collate "C"
                    limit 1
                ) d on true
                group by u.repository_id, u.repository_name, u.branch_name, u.commit, u.repo_no, u.branch_no, u.path,
                         u.blob_id, u.place, d.line, d.end_line, d.kind, d.name, d.full_name, d.signature
            ) c
            where begun is null
               or (c.place, c.path, c.repo_no, c.branch_no, coalesce(c.line, c.call_lines[1]), coalesce(c.full_name, '') collate "C")
                  > (begun[1]::int, begun[2], begun[3]::int, begun[4]::int, begun[5]::int, begun[6])
            order by c.place, c.path, c.repo_no, c.branch_no, coalesce(c.line, c.call_lines[1]), coalesce(c.full_name, '') collate "C"
            limit wanted
        ), text as materialized (
            select b.id, b.lang, string_to_array(b.content, E'\n') as lines
            from (select distinct p.blob_id from page p) d join idx.blobs b on b.id = d.blob_id
        )
        select o.repository_id, o.path::text, o.at, o.end_line, k.name, o.name::text, o.full_name::text, o.signature,
               o.call_lines, left(rtrim(t.lines[o.call_lines[1]], E'\r'), 400), o.commit, o.repository_name,
               o.branch_name, l.name,
               idx.cursor_at('callers', o.place::text, o.path, o.repo_no::text, o.branch_no::text, o.at::text,
                             coalesce(o.full_name, ''))
        from page o
        join text t on t.id = o.blob_id
        join idx.languages l on l.lang = t.lang
        left join idx.symbol_kinds k on k.kind = o.kind
        order by o.place, o.path, o.repo_no, o.branch_no, o.at, coalesce(o.full_name, '') collate "C";
end $$;

-- Which files a change of this one may reach, through their imports and those of who imports them: breadth first, each
-- file once, with its distance and with the import that leads to it.
create or replace function public.impact(
    file_path text, repository uuid default null, max_results integer default 200, owner uuid default null,
    max_depth integer default 5, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, distance integer, via text, module text, line integer, commit text,
    repository_name text, branch_name text, cursor text)
language plpgsql stable security definer
set search_path = '' set statement_timeout = '10s' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set join_collapse_limit = 1 as $$
#variable_conflict use_column
declare
    asked text := idx.checked_text('file_path', file_path, 1);
    begun text[] := idx.key_of_cursor('impact', after);
    wanted integer := least(greatest(coalesce(max_results, 200), 1), 1000);
    deepest integer := least(greatest(coalesce(max_depth, 5), 1), 100);
    place record;
    seen text[];
    edge text[];
    reached text[];
    depth integer;
    added integer;
begin
    for place in
        select v.*
        from idx.branches_to_search(idx.owner_of_call(owner), repository, branch) v
        join idx.files f on f.repo_no = v.repo_no and f.branch_no = v.branch_no and f.path = asked
        where begun is null or v.repo_no >= begun[1]::int
        order by v.repo_no
    loop
        seen := array[asked];
        edge := idx.import_targets(seen);
        for depth in 1 .. deepest loop
            reached := array(
                select distinct e.src
                from unnest(edge) t (dst)
                -- The offset keeps the targets apart: for the sake of an order Postgres would read all of the branch.
                cross join lateral (
                    select i.src from idx.import_edges i
                    where i.repo_no = place.repo_no and i.branch_no = place.branch_no and i.dst = t.dst offset 0
                ) e
                where e.src <> all (seen));
            exit when reached = '{}';
            if begun is null or place.repo_no > begun[1]::int or depth >= begun[2]::int then
                return query
                    select place.repository_id, n.src::text, depth, n.dst::text, n.module::text, n.line, place.commit,
                           place.repository_name, place.branch_name,
                           idx.cursor_at('impact', place.repo_no::text, depth::text, n.src)
                    from (
                        -- Of the files in their order no more than the page has rows; then the best edge of each.
                        select r.src from unnest(reached) r (src)
                        where begun is null or (place.repo_no, depth, r.src collate "C") > (begun[1]::int, begun[2]::int, begun[3])
                        order by r.src collate "C" limit wanted
                    ) p
                    cross join lateral (
                        select e.src, e.dst, e.module, e.line
                        from idx.import_edges e
                        where e.repo_no = place.repo_no and e.branch_no = place.branch_no and e.src = p.src
                          and e.dst = any (edge)
                        order by e.dst, e.line, e.module limit 1
                    ) n
                    order by n.src;
                get diagnostics added = row_count;
                wanted := wanted - added;
                if wanted = 0 then
                    return;
                end if;
            end if;
            edge := idx.import_targets(reached);
            seen := seen || reached;
        end loop;
    end loop;
end $$;

-- The definitions of one file in their order; depth 0 is the outermost.
create or replace function public.outline(
    file_path text, repository uuid default null, max_results integer default 1000, owner uuid default null,
    branch text default null, after text default null)
returns table (
    repository_id uuid, path text, depth integer, line integer, end_line integer, kind text, name text, qualname text,
    parent text, signature text, doc text, commit text, repository_name text, branch_name text, cursor text)
language plpgsql stable security definer
set search_path = '' set statement_timeout = '10s' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set join_collapse_limit = 1 as $$
#variable_conflict use_column
declare
    asked text := idx.checked_text('file_path', file_path, 1);
    begun text[] := idx.key_of_cursor('outline', after);
    wanted integer := least(greatest(coalesce(max_results, 1000), 1), 10000);
    around text[];
    place integer := 0;
    number integer := 0;
    symbol record;
begin
    for symbol in
        select v.*, s.line, s.end_line, k.name as kind, s.name::text, s.parent, s.signature, s.doc,
               idx.qualname_of(s.parent, s.name, s.qualname) as qualname
        from idx.branches_to_search(idx.owner_of_call(owner), repository, branch) v
        join idx.files f on f.repo_no = v.repo_no and f.branch_no = v.branch_no and f.path = asked and f.skip = 0
        join idx.symbols s on s.blob_id = f.blob_id
        join idx.symbol_kinds k on k.kind = s.kind
        order by v.repo_no, s.line, s.end_line desc, idx.qualname_of(s.parent, s.name, s.qualname) collate "C"
    loop
        if place <> symbol.repo_no then
            place := symbol.repo_no;
            number := 0;
            around := '{}';
        end if;
        number := number + 1;
        -- A definition is inside the last one before it that bears its parent's name; a parent that is not in the file
        -- (a type defined elsewhere) leaves it outermost.
        around := around[1:coalesce(array_position(around, symbol.parent::text), 0)];
        if begun is null or (place, number) > (begun[1]::int, begun[2]::int) then
            return query
                select symbol.repository_id, asked, cardinality(around), symbol.line, symbol.end_line, symbol.kind, symbol.name,
                       symbol.qualname::text, symbol.parent::text, symbol.signature, symbol.doc, symbol.commit,
                       symbol.repository_name, symbol.branch_name, idx.cursor_at('outline', place::text, number::text);
            wanted := wanted - 1;
            exit when wanted = 0;
        end if;
        around := around || symbol.qualname::text;
    end loop;
end $$;

-- Files without their content (that is in the view documents): what is indexed, and what was left out and why.
create or replace function public.list_documents(
    repository uuid default null, max_results integer default 200, owner uuid default null,
    path_glob text default null, language text default null, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, language_name text, size bigint, lines integer, tokens integer, skipped text,
    note text, oid text, commit text, repository_name text, branch_name text, cursor text)
language plpgsql stable security definer
set search_path = '' set statement_timeout = '10s' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set join_collapse_limit = 1 set from_collapse_limit = 1 as $$
#variable_conflict use_column
declare
    begun text[] := idx.key_of_cursor('documents', after);
    only_language smallint := idx.language_number(language);
    only_path text := case when path_glob is not null then idx.glob_regex(path_glob) end;
    who uuid := idx.owner_of_call(owner);
    wanted integer := least(greatest(coalesce(max_results, 200), 1), 1000);
begin
    return query
        select v.repository_id, d.path::text, l.name, d.size, d.line_count, d.tokens, nullif(s.name, 'none'), d.note,
               encode(d.oid, 'hex'), v.commit, v.repository_name, v.branch_name,
               idx.cursor_at('documents', v.repo_no::text, d.path)
        from idx.branches_to_search(who, repository, branch) v
        -- Of each branch no more paths than are wanted, in the order of its index.
        cross join lateral (
            select f.path, b.size, b.line_count, b.tokens, b.note, b.oid, b.lang,
                   case when f.skip <> 0 then f.skip else b.skip end as why
            from idx.files f
            join idx.blobs b on b.id = f.blob_id
            where f.repo_no = v.repo_no and f.branch_no = v.branch_no
              and (only_path is null or f.path ~ only_path) and (only_language is null or b.lang = only_language)
              and f.path > coalesce(case when v.repo_no = begun[1]::int then begun[2] end, '')
            order by f.path
            limit wanted
        ) d
        join idx.languages l on l.lang = d.lang
        join idx.skip_reasons s on s.skip = d.why
        where begun is null or v.repo_no >= begun[1]::int
        order by v.repo_no, d.path
        limit wanted;
end $$;

-- True where every text that fits certainly holds three letters or digits in a row, which the trigram index looks up;
-- false where that is not plain to see. Of a regular expression what stands outside of brackets and groups counts.
create function idx.has_trigram(p_text text, p_is_regex boolean) returns boolean
language plpgsql immutable set search_path = '' as $$
declare
    plain text := p_text;
begin
    if not p_is_regex then
        return p_text ~ '[[:alnum:]]{3}';
    elsif p_text ~ '\\[xuUc0]' then
        return false;
    end if;
    plain := regexp_replace(plain, '\\.', ' ', 'g');
    plain := regexp_replace(plain, '\[\^?\]?[^]]*\]', ' ', 'g');
    for depth in 1 .. 3 loop
        plain := regexp_replace(plain, '\([^()]*\)', ' ', 'g');
    end loop;
    return plain !~ '[|()[]' and plain ~ '[[:alnum:]]{3}([[:alnum:]]|$|[^*?{])';
end $$;

-- Code. Files in this order: own code, tests, vendored code; of these those first that have the most of: a definition
-- of a word of the query (4), the query in the file's name (2), the query as whole words (1); then by path. Lines of a
-- file: definitions, whole words, the rest.
--
-- Ranked in two steps: place, definitions and names of files are stored or short; whole words, for which a content is
-- read again, are looked for only in the ranks that the page reaches. Each file has at least one line with the text, so
-- no more files than lines are opened, and mostly far fewer. (A regular expression may fit a file and none of its lines.)
create or replace function public.search_code(
    query text, repository uuid default null, max_results integer default 50, owner uuid default null,
    regex boolean default false, case_sensitive boolean default false, path_glob text default null,
    language text default null, branch text default null, context integer default 0,
    max_per_file integer default 10, after text default null)
returns table (
    repository_id uuid, path text, line integer, content text, commit text, repository_name text, branch_name text,
    language_name text, match_start integer, match_length integer, is_definition boolean, matching_lines integer,
    lines_before text[], lines_after text[], cursor text)
language plpgsql stable security definer
set search_path = '' set statement_timeout = '10s' set plan_cache_mode = force_generic_plan
set enable_seqscan = off as $$
#variable_conflict use_column
declare
    asked text := idx.checked_text('query', query, 3);
    wanted integer := least(greatest(coalesce(max_results, 50), 1), 1000);
    around integer := least(greatest(coalesce(context, 0), 0), 20);
    a_file integer := least(greatest(coalesce(max_per_file, 10), 1), 1000);
    begun text[] := idx.key_of_cursor('code', after);
    flags text := case when case_sensitive then 'c' else 'i' end;
    literal text := regexp_replace(query, '([][\\^$.|?*+(){}])', '\\\1', 'g');
    only_language smallint := idx.language_number(language);
    only_path text := case when path_glob is not null then idx.glob_regex(path_glob) end;
    pattern text;
    whole text;
    matches text;
    words text[];
    -- How a line is looked at: as text where that says the same as the regular expression does, at a tenth of its cost.
    how text := case when regex then 'regex' when case_sensitive then 'text' when query ~ '[^\x01-\x7f]' then 'regex' else 'folded' end;
    low text := lower(query collate "C");
    hit record;
    lines text[];
    given integer := 0;
    added integer;
begin
    if regex then
        asked := idx.checked_regex(asked);
        pattern := '(?n)' || asked;
        whole := '(?n)\m(?:' || asked || ')\M';
        matches := format('%s %L', case when case_sensitive then '~' else '~*' end, pattern);
    else
        if asked ~ '[\n\r]' then
            raise exception 'query must be one line' using errcode = 'invalid_parameter_value';
        end if;
        pattern := '***=' || asked;
        whole := case when asked ~ '^\w' then '\m' else '' end || literal || case when asked ~ '\w$' then '\M' else '' end;
        matches := case when case_sensitive then format('like %L', '%' || idx.like_pattern(asked) || '%')
                        else format('~* %L', literal) end;
    end if;
    words := array(
        select distinct m[1]
        from regexp_matches(case when regex then regexp_replace(asked, '\\.', ' ', 'g') else asked end, '[[:alpha:]_]\w{2,}', 'g') m
        limit 5);

    -- The text to look for stands in the query itself: as a parameter it would hide from the planner whether the trigram
    -- index can look it up. What it cannot is read from the files that are visible, not from everybody's contents.
    for hit in execute format($q$
        with v as materialized (
            select * from idx.branches_to_search($1, $2, $3)
        ), fits as %s (
            select b.id, b.lang from idx.blobs b where b.skip = 0 and b.content is not null and b.content %s
        ), defining as materialized (
            select distinct s.blob_id from unnest($5) w (word) join idx.symbols s on lower(s.name) = lower(w.word collate "C")
            where not $6 or s.name = w.word
        ), file as materialized (
            select v.*, f.path, f.blob_id, b.lang,
                   idx.place_of(f.path) * 4 + 3
                   - case when f.blob_id in (select d.blob_id from defining d) then 2 else 0 end
                   - case when regexp_like(regexp_replace(f.path, '^.*/', ''), $7, $8) then 1 else 0 end as cheap
            from fits b
            join idx.files f on f.blob_id = b.id and f.skip = 0
            join v on v.repo_no = f.repo_no and v.branch_no = f.branch_no
            where ($10 is null or f.path ~ $10) and ($11 is null or b.lang = $11)
        ), reached as (
            -- Files ahead of a rank that the page begins or ends in are counted with what is behind the cursor alone.
            select c.* from (
                select f.*, count(*) over (order by f.cheap) - count(*) over (partition by f.cheap)
                            - count(*) filter (where f.cheap = $4[1]::int / 2) over () as ahead
                from file f
                where $4 is null or f.cheap >= $4[1]::int / 2
            ) c
            where c.ahead <= $12
        )
        select o.*, l.name as language_name
        from (
            select c.*, c.cheap * 2 + 1 - case when w.is_there then 1 else 0 end as rank
            from reached c
            cross join lateral (
                select regexp_like(b.content, $9, $8) as is_there from idx.blobs b where b.id = c.blob_id offset 0
            ) w
        ) o
        join idx.languages l on l.lang = o.lang
        where $4 is null or (o.rank, o.path, o.repo_no, o.branch_no) >= ($4[1]::int, $4[2], $4[3]::int, $4[4]::int)
        order by o.rank, o.path, o.repo_no, o.branch_no
        limit $12 + 1 $q$,
        case when idx.has_trigram(asked, regex) then 'materialized' else 'not materialized' end, matches)
    using idx.owner_of_call(owner), repository, branch, begun, words, case_sensitive, pattern, flags, whole, only_path,
          only_language, case when regex then 1000000000 else wanted end
    loop
        lines := (select string_to_array(b.content, E'\n') from idx.blobs b where b.id = hit.blob_id);
        return query
            select hit.repository_id, hit.path::text, m.n, substr(m.t, 1 + p.shift, 400), hit.commit, hit.repository_name,
                   hit.branch_name, hit.language_name, p.start - p.shift,
                   least(p.behind - p.start, 401 - p.start + p.shift), m.place = 0, m.total,
                   case when around = 0 then '{}' else array(
                       select left(rtrim(x.t, E'\r'), 400)
                       from unnest(lines[greatest(m.n - around, 1):m.n - 1]) with ordinality x (t, n) order by x.n) end,
                   case when around = 0 then '{}' else array(
                       select left(rtrim(x.t, E'\r'), 400)
                       from unnest(lines[m.n + 1:m.n + around]) with ordinality x (t, n) order by x.n) end,
                   idx.cursor_at('code', hit.rank::text, hit.path, hit.repo_no::text, hit.branch_no::text, m.place::text, m.n::text)
            from (
                select o.*, count(*) over ()::int as total
                from (
                    select rtrim(a.t, E'\r') as t, a.n::int as n,
                           case when a.n in (
                                    select s.line from idx.symbols s, unnest(words) w (word)
                                    where s.blob_id = hit.blob_id and lower(s.name) = lower(w.word collate "C")
                                      and (not case_sensitive or s.name = w.word)) then 0
                                when regexp_like(a.t, whole, flags) then 1 else 2 end as place
                    from unnest(lines) with ordinality a (t, n)
                    where case how when 'folded' then strpos(lower(a.t collate "C"), low) > 0
                                   when 'text' then strpos(a.t, asked) > 0
                                   else regexp_like(a.t, pattern, flags) end
                ) o
                order by o.place, o.n limit a_file
            ) m
            cross join lateral (
                select i.start, i.behind, case when i.start > 300 then i.start - 101 else 0 end as shift
                from (select nullif(regexp_instr(m.t, pattern, 1, 1, 0, flags), 0) as start,
                             nullif(regexp_instr(m.t, pattern, 1, 1, 1, flags), 0) as behind) i
            ) p
            where begun is null
               or begun[1:4] is distinct from array[hit.rank::text, hit.path::text, hit.repo_no::text, hit.branch_no::text]
               or (m.place, m.n) > (begun[5]::int, begun[6]::int)
            order by m.place, m.n limit wanted - given;
        get diagnostics added = row_count;
        given := given + added;
        exit when given >= wanted;
    end loop;
end $$;

do $$
declare
    made regprocedure;
begin
    for made in
        select p.oid from pg_proc p
        where p.pronamespace = 'idx'::regnamespace
          and p.proname in ('qualname_of', 'lines_of', 'end_of_prefix', 'likeness', 'has_trigram')
    loop
        execute format('revoke all on function %s from public, anon, authenticated', made);
        execute format('grant execute on function %s to service_role', made);
    end loop;
end $$;
