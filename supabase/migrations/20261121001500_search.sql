-- Search, references, callers, impact, outline and files, as functions for PostgREST and for the command line.
--
-- Each filters by owner itself (row-level security would switch the trigram index off), looks at one branch of each
-- repository, names repository and indexed commit in every row, and gives every row a cursor: `after` goes on behind it.
-- The first four arguments and the first columns of search_symbols and search_code are those of programs before this.
-- The predicates that an index serves stand in the text of the query: as parameters they would lose it.
-- statement_timeout of a function counts where the caller heeds it, as PostgREST does; in Postgres itself the running
-- statement keeps the time limit that it was started with, so any other caller sets its own.

-- One branch of each repository that a call may see: the named one; else the tracked one if it is indexed, then the
-- default branch, then the oldest.
create function idx.branches_to_search(p_owner uuid, p_repository uuid, p_branch text)
returns table (repo_no integer, branch_no smallint, repository_id uuid, repository_name text, branch_name text, commit text)
language sql stable rows 20 set search_path = '' as $$
    select distinct on (r.repo_no) r.repo_no, b.branch_no, r.id, r.name, b.name, b.commit
    from public.repositories r
    join public.repository_branches b on b.repository_id = r.id
    where (p_owner is null or r.user_id = p_owner)
      and (p_repository is null or r.id = p_repository)
      and (p_branch is null or b.name = p_branch)
    order by r.repo_no, (b.commit is not null) desc, (b.name = r.settings ->> 'branch') desc nulls last,
             (b.name = r.default_branch) desc nulls last, b.branch_no;
$$;

-- What is found in other people's code comes last, what is found in tests before that.
create function idx.place_of(p_path text) returns integer language sql immutable as $$
    select case
        when p_path ~ '(^|/)(vendor|vendored|third[_-]?party|node_modules|bower_components|site-packages|external|dist)/' then 2
        when p_path ~ '(^|/)(tests?|testing|testdata|fixtures|specs?|__tests__)/|(^|/)test_[^/]*$|[._-](tests?|spec)\.[^/]+$' then 1
        else 0 end;
$$;

-- A glob as a regular expression. As in .gitignore: without a slash it fits a name at any depth, with one it counts from
-- the top; ** stands for any folders, and what fits a folder fits everything below it.
create function idx.glob_regex(p_glob text) returns text language plpgsql immutable set search_path = '' as $$
declare
    glob text := btrim(p_glob, '/');
    made text := '';
    part text;
begin
    if glob = '' or length(p_glob) > 500 then
        raise exception 'a path filter must have 1 to 500 characters' using errcode = 'invalid_parameter_value';
    end if;
    for part in select m[1] from regexp_matches(glob, '(\*\*/|/\*\*$|\*\*|\*|\?|[^*?/]+|/)', 'g') m loop
        made := made || case part
            when '**/' then '(?:.*/)?'
            when '/**' then '/.*'
            when '**' then '.*'
            when '*' then '[^/]*'
            when '?' then '[^/]'
            else regexp_replace(part, '([][\\^$.|+(){}])', '\\\1', 'g') end;
    end loop;
    return case when position('/' in glob) > 0 or left(p_glob, 1) = '/' then '^' else '(?:^|/)' end
        || made || case when right(p_glob, 1) = '/' then '/' else '(?:/|$)' end;
end $$;

create function idx.language_number(p_name text) returns smallint
language plpgsql stable set search_path = '' as $$
declare
    found_number smallint := (select lang from idx.languages where name = lower(p_name));
begin
    if found_number is null and p_name is not null then
        raise exception 'there is no language "%": there are %', p_name,
            (select string_agg(name, ', ' order by lang) from idx.languages where lang >= 0)
            using errcode = 'invalid_parameter_value';
    end if;
    return found_number;
end $$;

create function idx.symbol_kind_number(p_name text) returns smallint
language plpgsql stable set search_path = '' as $$
declare
    found_number smallint := (select kind from idx.symbol_kinds where name = lower(p_name));
begin
    if found_number is null and p_name is not null then
        raise exception 'there is no kind "%": there are %', p_name,
            (select string_agg(name, ', ' order by kind) from idx.symbol_kinds) using errcode = 'invalid_parameter_value';
    end if;
    return found_number;
end $$;

-- A place in an answer's order as opaque text that an address may hold, and back. `p_of` says which answer it belongs to.
create function idx.cursor_at(p_of text, variadic p_key text[]) returns text language sql immutable as $$
    select translate(encode(convert_to(to_jsonb(array[p_of] || p_key)::text, 'UTF8'), 'base64'), E'+/=\n', '-_');
$$;

create function idx.key_of_cursor(p_of text, p_cursor text) returns text[]
language plpgsql immutable set search_path = '' as $$
declare
    found_key text[];
begin
    if p_cursor is null then
        return null;
    end if;
    begin
        select array_agg(e order by n) into found_key
        from jsonb_array_elements_text(convert_from(decode(rpad(
            translate(p_cursor, '-_', '+/'), (length(p_cursor) + 3) / 4 * 4, '='), 'base64'), 'UTF8')::jsonb)
            with ordinality a (e, n);
    exception when others then
        found_key := null;
    end;
    if found_key is null or found_key[1] is distinct from p_of then
        raise exception 'after must be the cursor of a row of an earlier answer to the same question'
            using errcode = 'invalid_parameter_value';
    end if;
    return found_key[2:];
end $$;

create function idx.like_pattern(p_text text) returns text language sql immutable as $$
    select replace(replace(replace(p_text, '\', '\\'), '%', '\%'), '_', '\_');
$$;

-- Filters that every search has, as text of a query with files f and blobs b.
create function idx.file_filter(p_glob text, p_language text) returns text
language sql stable set search_path = '' as $$
    select case when p_glob is null then '' else format(' and f.path ~ %L', idx.glob_regex(p_glob)) end
        || case when p_language is null then '' else format(' and b.lang = %s', idx.language_number(p_language)) end;
$$;

-- Names that begin with this text whatever their case, as text of a query with symbols s: the spellings of the first
-- letters are what the index on names serves.
create function idx.folded_prefix(p_text text, p_letters integer) returns text
language plpgsql immutable set search_path = '' as $$
declare
    spelled text[] := array[''];
    letter text;
begin
    foreach letter in array regexp_split_to_array(left(p_text, p_letters), '') loop
        spelled := (select array_agg(distinct v || l) from unnest(spelled) v, unnest(array[lower(letter), upper(letter)]) l);
    end loop;
    return (select '(' || string_agg(format('s.name like %L', idx.like_pattern(v) || '%'), ' or ') || ')'
            from unnest(spelled) v);
end $$;

create function idx.checked_text(p_what text, p_text text, p_least integer) returns text
language plpgsql immutable set search_path = '' as $$
begin
    if p_text is null or length(p_text) < p_least or length(p_text) > 500 then
        raise exception '% must have % to 500 characters', p_what, p_least using errcode = 'invalid_parameter_value';
    end if;
    return p_text;
end $$;

-- A regular expression of Postgres in which ^ and $ mean lines and . stays within one, and in which \b is the edge of a
-- word, as everywhere else; refused if it is none.
create function idx.checked_regex(p_regex text) returns text
language plpgsql immutable set search_path = '' as $$
declare
    made text := regexp_replace(p_regex, '(?<!\\)((?:\\\\)*)\\b', '\1\\y', 'g');
begin
    if p_regex ~ '^(\*\*\*|\(\?[a-z]+\))' then
        raise exception 'the regular expression must not begin with options: use case_sensitive'
            using errcode = 'invalid_parameter_value';
    end if;
    perform '' ~ ('(?n)' || made);
    return made;
exception when invalid_regular_expression then
    raise exception 'the regular expression is not valid: %', replace(sqlerrm, 'invalid regular expression: ', '')
        using errcode = 'invalid_parameter_value';
end $$;

-- Code. Files in this order: own code, tests, vendored code; of these those first that have the most of: a definition
-- of a word of the query (4), the query in the file's name (2), the query as whole words (1); then by path. Lines of a
-- file: definitions, whole words, the rest.
drop function public.search_code(text, uuid, integer, uuid);
create function public.search_code(
    query text, repository uuid default null, max_results integer default 50, owner uuid default null,
    regex boolean default false, case_sensitive boolean default false, path_glob text default null,
    language text default null, branch text default null, context integer default 0,
    max_per_file integer default 10, after text default null)
returns table (
    repository_id uuid, path text, line integer, content text, commit text, repository_name text, branch_name text,
    language_name text, match_start integer, match_length integer, is_definition boolean, matching_lines integer,
    lines_before text[], lines_after text[], cursor text)
language plpgsql stable security definer set search_path = '' set statement_timeout = '10s' as $$
declare
    asked text := idx.checked_text('query', query, 3);
    wanted integer := least(greatest(coalesce(max_results, 50), 1), 1000);
    around integer := least(greatest(coalesce(context, 0), 0), 20);
    a_file integer := least(greatest(coalesce(max_per_file, 10), 1), 1000);
    begun text[] := idx.key_of_cursor('code', after);
    flags text := case when case_sensitive then 'c' else 'i' end;
    literal text := regexp_replace(query, '([][\\^$.|?*+(){}])', '\\\1', 'g');
    pattern text;
    whole text;
    matches text;
    words text[];
    defines text;
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
        -- ~* looks through the candidates half again as fast as ILIKE, and the trigram index serves both.
        matches := case when case_sensitive then format('like %L', '%' || idx.like_pattern(asked) || '%')
                        else format('~* %L', literal) end;
    end if;
    words := array(
        select distinct m[1]
        from regexp_matches(case when regex then regexp_replace(asked, '\\.', ' ', 'g') else asked end, '[[:alpha:]_]\w{2,}', 'g') m
        limit 5);
    defines := coalesce(
        (select string_agg(
            case when case_sensitive then format('s.name = %L', w)
                 else format('(%s and lower(s.name) = lower(%L))', idx.folded_prefix(w, 3), w) end, ' or ')
         from unnest(words) w), 'false');

    for hit in execute format($q$
        select k.rank, f.path, v.*, b.id as blob_id, l.name as language_name
        from idx.blobs b
        join idx.files f on f.blob_id = b.id and f.skip = 0
        join idx.branches_to_search($1, $2, $3) v on v.repo_no = f.repo_no and v.branch_no = f.branch_no
        join idx.languages l on l.lang = b.lang
        cross join lateral (
            select idx.place_of(f.path) * 8 + 7
                - case when b.id in (select s.blob_id from idx.symbols s where %s) then 4 else 0 end
                - case when regexp_like(regexp_replace(f.path, '^.*/', ''), %L, %L) then 2 else 0 end
                - case when regexp_like(b.content, %L, %L) then 1 else 0 end as rank
            offset 0
        ) k
        where b.skip = 0 and b.content is not null and b.content %s %s
          and ($4 is null or (k.rank, f.path, f.repo_no, f.branch_no) >= ($4[1]::int, $4[2], $4[3]::int, $4[4]::int))
        order by k.rank, f.path, f.repo_no, f.branch_no $q$,
        defines, pattern, flags, whole, flags, matches, idx.file_filter(path_glob, language))
    using idx.owner_of_call(owner), repository, branch, begun
    loop
        lines := (select string_to_array(b.content, E'\n') from idx.blobs b where b.id = hit.blob_id);
        return query execute format($q$
            select $1, $2, m.n, substr(m.t, 1 + p.shift, 400), $3, $4, $5, $6, p.start - p.shift,
                   least(p.behind - p.start, 401 - p.start + p.shift), m.place = 0, m.total,
                   array(select left(rtrim(x.t, E'\r'), 400)
                         from unnest($7[greatest(m.n - $8, 1):m.n - 1]) with ordinality x (t, n) order by x.n),
                   array(select left(rtrim(x.t, E'\r'), 400)
                         from unnest($7[m.n + 1:m.n + $8]) with ordinality x (t, n) order by x.n),
                   idx.cursor_at('code', $9::text, $2, $10::text, $11::text, m.place::text, m.n::text)
            from (
                select o.*, count(*) over ()::int as total
                from (
                    select rtrim(a.t, E'\r') as t, a.n::int as n,
                           case when a.n in (select s.line from idx.symbols s where s.blob_id = $12 and (%s)) then 0
                                when regexp_like(a.t, $13, $14) then 1 else 2 end as place
                    from unnest($7) with ordinality a (t, n)
                    where a.t %s
                ) o
                order by o.place, o.n limit $15
            ) m
            cross join lateral (
                select i.start, i.behind, case when i.start > 300 then i.start - 101 else 0 end as shift
                from (select nullif(regexp_instr(m.t, $16, 1, 1, 0, $14), 0) as start,
                             nullif(regexp_instr(m.t, $16, 1, 1, 1, $14), 0) as behind) i
            ) p
            where $17 is null or (m.place, m.n) > ($17[5]::int, $17[6]::int)
            order by m.place, m.n limit $18 $q$, defines, matches)
        using hit.repository_id, hit.path, hit.commit, hit.repository_name, hit.branch_name, hit.language_name, lines,
              around, hit.rank, hit.repo_no, hit.branch_no, hit.blob_id, whole, flags, a_file, pattern,
              case when begun[1:4] = array[hit.rank::text, hit.path, hit.repo_no::text, hit.branch_no::text] then begun end,
              wanted - given;
        get diagnostics added = row_count;
        given := given + added;
        exit when given >= wanted;
    end loop;
end $$;

-- Definitions. Mode prefix (names and qualified names that begin with the query; case folded only when nothing matches
-- by case), exact, or fuzzy: the first letter counts, then the query's letters in their order or three tenths of its
-- trigrams. A trigram index on names would let the first letter go; it cost a fifth of what the one on contents costs.
drop function public.search_symbols(text, uuid, integer, uuid);
create function public.search_symbols(
    query text, repository uuid default null, max_results integer default 50, owner uuid default null,
    mode text default 'prefix', symbol_kind text default null, language text default null,
    path_glob text default null, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, line integer, end_line integer, kind text, name text, qualname text, signature text,
    commit text, doc text, parent text, repository_name text, branch_name text, language_name text, cursor text)
language plpgsql stable security definer set search_path = '' set statement_timeout = '10s' as $$
declare
    asked text := idx.checked_text('query', query, 1);
    begins text := idx.like_pattern(query) || '%';
    begun text[] := idx.key_of_cursor('symbols', after);
    folded boolean := coalesce(begun[1] = 'folded', false);
    trgm text := (select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
                  where e.extname = 'pg_trgm');
    matches text;
    rank text;
    added integer;
begin
    if mode is null or mode not in ('prefix', 'exact', 'fuzzy') then
        raise exception 'mode must be prefix, exact or fuzzy' using errcode = 'invalid_parameter_value';
    end if;
    loop
        rank := format('case when s.name = %L then 0 when s.qualname = %1$L then 1 when lower(s.name) = lower(%1$L) then 2
                        when s.name like %L then 3 when s.name ilike %2$L then 4 else 5 end', asked, begins);
        if mode = 'exact' then
            matches := format('(s.name = %L or s.qualname = %1$L)', asked);
        elsif mode = 'fuzzy' then
            -- The case looks superfluous: it makes Postgres try the first letters before what costs more.
            matches := format('(%s or %s)', idx.folded_prefix(asked, 1), idx.folded_prefix('_' || asked, 2));
            matches := format('%s and case when %1$s then s.name ~* %L or %I.similarity(s.name, %L) >= 0.3 end', matches,
                (select string_agg(regexp_replace(l, '([][\\^$.|?*+(){}])', '\\\1'), '.*' order by n)
                 from regexp_split_to_table(asked, '') with ordinality a (l, n)), trgm, asked);
            rank := format('case when lower(s.name) = lower(%L) then 0 when s.name ilike %L then 1
                            else 2 + round(100 * (1 - %I.similarity(s.name, %1$L)))::int end', asked, begins, trgm);
        elsif folded then
            matches := format('%s and s.name ilike %L', idx.folded_prefix(asked, 3), begins);
        else
            matches := format('(s.name like %L or s.qualname like %1$L)', begins);
        end if;
        return query execute format($q$
            select o.repository_id, o.path, o.line, o.end_line, o.kind, o.name, o.qualname, o.signature, o.commit, o.doc,
                   o.parent, o.repository_name, o.branch_name, o.language_name,
                   idx.cursor_at('symbols', $4, o.rank::text, length(o.name)::text, o.name, o.path, o.repo_no::text,
                                 o.branch_no::text, o.line::text, o.qualname)
            from (
                select v.*, f.path, s.line, s.end_line, k.name as kind, s.name::text, s.qualname::text, s.signature, s.doc,
                       s.parent, l.name as language_name,
                       -- Headings and keys come behind code of the same rank.
                       (%s) * 4 + case when k.name in ('heading', 'key') then 3 else idx.place_of(f.path) end as rank
                from idx.symbols s
                join idx.symbol_kinds k on k.kind = s.kind
                join idx.blobs b on b.id = s.blob_id
                join idx.languages l on l.lang = b.lang
                join idx.files f on f.blob_id = s.blob_id and f.skip = 0
                join idx.branches_to_search($1, $2, $3) v on v.repo_no = f.repo_no and v.branch_no = f.branch_no
                where %s and ($5 is null or s.kind = $5) %s
            ) o
            where $6 is null or (o.rank, length(o.name), o.name collate "C", o.path, o.repo_no, o.branch_no, o.line, o.qualname)
                > ($6[2]::int, $6[3]::int, $6[4], $6[5], $6[6]::int, $6[7]::int, $6[8]::int, $6[9])
            order by o.rank, length(o.name), o.name collate "C", o.path, o.repo_no, o.branch_no, o.line, o.qualname
            limit $7 $q$, rank, matches, idx.file_filter(path_glob, language))
        using idx.owner_of_call(owner), repository, branch, case when folded then 'folded' else mode end,
              idx.symbol_kind_number(symbol_kind), begun, least(greatest(coalesce(max_results, 50), 1), 1000);
        get diagnostics added = row_count;
        exit when added > 0 or after is not null or folded or mode <> 'prefix';
        folded := true;
    end loop;
end $$;

-- Where a name is used: called, used as a class, type or constant, extended or implemented. Bound by name alone.
create function public.find_references(
    name text, repository uuid default null, max_results integer default 50, owner uuid default null,
    path_glob text default null, language text default null, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, line integer, kind text, content text, commit text, repository_name text,
    branch_name text, language_name text, cursor text)
language plpgsql stable security definer set search_path = '' set statement_timeout = '10s' as $$
begin
    return query execute format($q$
        select o.repository_id, o.path, o.line, (array['call', 'use', 'implementation'])[o.kind + 1],
               left(rtrim(split_part(b.content, E'\n', o.line), E'\r'), 400), o.commit, o.repository_name, o.branch_name,
               o.language_name,
               idx.cursor_at('references', o.place::text, o.path, o.repo_no::text, o.branch_no::text, o.line::text, o.kind::text)
        from (
            select v.*, f.path, r.kind, r.blob_id, n.line, l.name as language_name, k.place
            from idx.refs r
            join idx.blobs b on b.id = r.blob_id
            join idx.languages l on l.lang = b.lang
            join idx.files f on f.blob_id = r.blob_id and f.skip = 0
            join idx.branches_to_search($1, $2, $3) v on v.repo_no = f.repo_no and v.branch_no = f.branch_no
            cross join lateral (select idx.place_of(f.path) as place offset 0) k
            cross join lateral unnest(r.lines) n (line)
            where r.name = %L %s
              and ($4 is null or (k.place, f.path, f.repo_no, f.branch_no, n.line, r.kind)
                                 > ($4[1]::int, $4[2], $4[3]::int, $4[4]::int, $4[5]::int, $4[6]::int))
            order by k.place, f.path, f.repo_no, f.branch_no, n.line, r.kind
            limit $5
        ) o
        join idx.blobs b on b.id = o.blob_id
        order by o.place, o.path, o.repo_no, o.branch_no, o.line, o.kind $q$,
        idx.checked_text('name', name, 1), idx.file_filter(path_glob, language))
    using idx.owner_of_call(owner), repository, branch, idx.key_of_cursor('references', after),
          least(greatest(coalesce(max_results, 50), 1), 1000);
end $$;

-- Who calls a name: the smallest definition around each call, with the lines of its calls. Where a call stands outside
-- every definition, kind and names are null and `line` is that of the first such call of the file.
create function public.find_callers(
    name text, repository uuid default null, max_results integer default 50, owner uuid default null,
    path_glob text default null, language text default null, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, line integer, end_line integer, kind text, caller text, qualname text,
    signature text, call_lines integer[], content text, commit text, repository_name text, branch_name text,
    language_name text, cursor text)
language plpgsql stable security definer set search_path = '' set statement_timeout = '10s' as $$
begin
    return query execute format($q$
        select o.repository_id, o.path, o.at, o.end_line, k.name, o.name, o.qualname, o.signature, o.call_lines,
               left(rtrim(split_part(b.content, E'\n', o.call_lines[1]), E'\r'), 400), o.commit, o.repository_name,
               o.branch_name, o.language_name,
               idx.cursor_at('callers', o.place::text, o.path, o.repo_no::text, o.branch_no::text, o.at::text,
                             coalesce(o.qualname, ''))
        from (
            select c.*, coalesce(c.line, c.call_lines[1]) as at
            from (
                select v.repository_id, v.repository_name, v.branch_name, v.commit, f.repo_no, f.branch_no, f.path,
                       r.blob_id, l.name as language_name, p.place, d.line, d.end_line, d.kind, d.name::text,
                       d.qualname::text, d.signature, array_agg(n.line order by n.line) as call_lines
                from idx.refs r
                join idx.blobs b on b.id = r.blob_id
                join idx.languages l on l.lang = b.lang
                join idx.files f on f.blob_id = r.blob_id and f.skip = 0
                join idx.branches_to_search($1, $2, $3) v on v.repo_no = f.repo_no and v.branch_no = f.branch_no
                cross join lateral (select idx.place_of(f.path) as place offset 0) p
                cross join lateral unnest(r.lines) n (line)
                left join lateral (
                    select s.line, s.end_line, s.kind, s.name, s.qualname, s.signature
                    from idx.symbols s
                    where s.blob_id = r.blob_id and s.line <= n.line and s.end_line >= n.line
                    order by s.end_line - s.line, s.line desc, s.qualname limit 1
                ) d on true
                where r.name = %L and r.kind = 0 %s
                group by v.repository_id, v.repository_name, v.branch_name, v.commit, f.repo_no, f.branch_no, f.path,
                         r.blob_id, l.name, p.place, d.line, d.end_line, d.kind, d.name, d.qualname, d.signature
            ) c
            where $4 is null
               or (c.place, c.path, c.repo_no, c.branch_no, coalesce(c.line, c.call_lines[1]), coalesce(c.qualname, ''))
                  > ($4[1]::int, $4[2], $4[3]::int, $4[4]::int, $4[5]::int, $4[6] collate "C")
            order by c.place, c.path, c.repo_no, c.branch_no, coalesce(c.line, c.call_lines[1]), coalesce(c.qualname, '') collate "C"
            limit $5
        ) o
        join idx.blobs b on b.id = o.blob_id
        left join idx.symbol_kinds k on k.kind = o.kind
        order by o.place, o.path, o.repo_no, o.branch_no, o.at, coalesce(o.qualname, '') collate "C" $q$,
        idx.checked_text('name', name, 1), idx.file_filter(path_glob, language))
    using idx.owner_of_call(owner), repository, branch, idx.key_of_cursor('callers', after),
          least(greatest(coalesce(max_results, 50), 1), 1000);
end $$;

-- What an import of one of these files may name: the file itself, or its folder (a Go package).
create function idx.import_targets(p_paths text[]) returns text[] language sql immutable set search_path = '' as $$
    select array(
        select p from unnest(p_paths) p
        union
        select coalesce(substring(p from '^.*/'), '/') from unnest(p_paths) p);
$$;

-- Which files a change of this one may reach, through their imports and those of who imports them: breadth first, each
-- file once, with its distance and with the import that leads to it.
create function public.impact(
    file_path text, repository uuid default null, max_results integer default 200, owner uuid default null,
    max_depth integer default 5, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, distance integer, via text, module text, line integer, commit text,
    repository_name text, branch_name text, cursor text)
language plpgsql stable security definer set search_path = '' set statement_timeout = '10s' as $$
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
                from unnest(edge) t
                join idx.import_edges e on e.repo_no = place.repo_no and e.branch_no = place.branch_no and e.dst = t
                where e.src <> all (seen));
            exit when reached = '{}';
            return query
                select place.repository_id, n.src::text, depth, n.dst::text, n.module::text, n.line, place.commit,
                       place.repository_name, place.branch_name,
                       idx.cursor_at('impact', place.repo_no::text, depth::text, n.src)
                from (
                    select distinct on (e.src) e.src, e.dst, e.module, e.line
                    from unnest(edge) t
                    join idx.import_edges e on e.repo_no = place.repo_no and e.branch_no = place.branch_no and e.dst = t
                    where e.src = any (reached)
                    order by e.src, e.dst, e.line
                ) n
                where begun is null
                   or (place.repo_no, depth, n.src) > (begun[1]::int, begun[2]::int, begun[3])
                order by n.src limit wanted;
            get diagnostics added = row_count;
            wanted := wanted - added;
            if wanted = 0 then
                return;
            end if;
            edge := idx.import_targets(reached);
            seen := seen || reached;
        end loop;
    end loop;
end $$;

-- The definitions of one file in their order; depth 0 is the outermost.
create function public.outline(
    file_path text, repository uuid default null, max_results integer default 1000, owner uuid default null,
    branch text default null, after text default null)
returns table (
    repository_id uuid, path text, depth integer, line integer, end_line integer, kind text, name text, qualname text,
    parent text, signature text, doc text, commit text, repository_name text, branch_name text, cursor text)
language plpgsql stable security definer set search_path = '' set statement_timeout = '10s' as $$
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
        select v.*, s.line, s.end_line, k.name as kind, s.name::text, s.qualname::text, s.parent, s.signature, s.doc
        from idx.branches_to_search(idx.owner_of_call(owner), repository, branch) v
        join idx.files f on f.repo_no = v.repo_no and f.branch_no = v.branch_no and f.path = asked and f.skip = 0
        join idx.symbols s on s.blob_id = f.blob_id
        join idx.symbol_kinds k on k.kind = s.kind
        order by v.repo_no, s.line, s.end_line desc, s.qualname
    loop
        if place <> symbol.repo_no then
            place := symbol.repo_no;
            number := 0;
            around := '{}';
        end if;
        number := number + 1;
        -- A definition is inside the last one before it that bears its parent's name; a parent that is not in the file
        -- (a type defined elsewhere) leaves it outermost.
        around := around[1:coalesce(array_position(around, symbol.parent), 0)];
        if begun is null or (place, number) > (begun[1]::int, begun[2]::int) then
            return query
                select symbol.repository_id, asked, cardinality(around), symbol.line, symbol.end_line, symbol.kind, symbol.name,
                       symbol.qualname, symbol.parent, symbol.signature, symbol.doc, symbol.commit, symbol.repository_name,
                       symbol.branch_name, idx.cursor_at('outline', place::text, number::text);
            wanted := wanted - 1;
            exit when wanted = 0;
        end if;
        around := around || symbol.qualname;
    end loop;
end $$;

-- Files without their content (that is in the view documents): what is indexed, and what was left out and why.
create function public.list_documents(
    repository uuid default null, max_results integer default 200, owner uuid default null,
    path_glob text default null, language text default null, branch text default null, after text default null)
returns table (
    repository_id uuid, path text, language_name text, size bigint, lines integer, tokens integer, skipped text,
    note text, oid text, commit text, repository_name text, branch_name text, cursor text)
language plpgsql stable security definer set search_path = '' set statement_timeout = '10s' as $$
begin
    return query execute format($q$
        select v.repository_id, d.path::text, l.name, d.size, d.line_count, d.tokens, nullif(s.name, 'none'), d.note,
               encode(d.oid, 'hex'), v.commit, v.repository_name, v.branch_name,
               idx.cursor_at('documents', v.repo_no::text, d.path)
        from idx.branches_to_search($1, $2, $3) v
        -- Of each branch no more paths than are wanted, in the order of its index.
        cross join lateral (
            select f.path, b.*, case when f.skip <> 0 then f.skip else b.skip end as why
            from idx.files f
            join idx.blobs b on b.id = f.blob_id
            where f.repo_no = v.repo_no and f.branch_no = v.branch_no
              and ($4 is null or f.path > case when v.repo_no = $4[1]::int then $4[2] else '' end) %s
            order by f.path
            limit $5
        ) d
        join idx.languages l on l.lang = d.lang
        join idx.skip_reasons s on s.skip = d.why
        where $4 is null or v.repo_no >= $4[1]::int
        order by v.repo_no, d.path
        limit $5 $q$, idx.file_filter(path_glob, language))
    using idx.owner_of_call(owner), repository, branch, idx.key_of_cursor('documents', after),
          least(greatest(coalesce(max_results, 200), 1), 1000);
end $$;

do $$
declare
    made regprocedure;
begin
    for made in
        select p.oid from pg_proc p
        where p.pronamespace = 'idx'::regnamespace
           or (p.pronamespace = 'public'::regnamespace and p.proname in ('search_code', 'search_symbols',
               'find_references', 'find_callers', 'impact', 'outline', 'list_documents'))
    loop
        execute format('revoke all on function %s from public, anon, authenticated', made);
        execute format('grant execute on function %s to service_role', made);
        if made::text !~ '^idx\.' then
            execute format('grant execute on function %s to authenticated', made);
        end if;
    end loop;
end $$;
