-- A text search for common words ends soon, and every text search ends.
--
-- A word that is nearly everywhere ("self", "return") made Postgres read every content with it before the first row of
-- the page was known; a regular expression that the trigram index cannot look up, every content there is. Both are now
-- read from the visible files in the order of the answer, until the page is full: the same page, from some dozen files.
-- Where that takes too long (rare matches of such an expression in a large repository), what was found so far is
-- the answer, and it says so: see idx.tell_partial.

-- A file that fits a text search, and its rank.
create type idx.found_file as (
    repo_no integer, branch_no smallint, repository_id uuid, repository_name text, branch_name text, commit text,
    path text collate "C", blob_id bigint, lang smallint, rank integer);

-- An answer that is not the whole says so beside its rows: in the setting idx.search_note, for the transaction, and
-- through PostgREST as status 206 with a header.
create function idx.tell_partial(p_note text) returns void language plpgsql set search_path = '' as $$
begin
    perform set_config('idx.search_note', p_note, true),
            set_config('response.status', '206', true),
            set_config('response.headers', jsonb_build_array(jsonb_build_object('X-Search-Note', p_note))::text, true);
end $$;

-- Does a content have what is looked for? As text where that says the same as the regular expression does, at a tenth
-- of its cost.
create function idx.fits(p_content text, p_how text, p_text text, p_pattern text, p_flags text) returns boolean
language sql immutable as $$
    select case p_how when 'folded' then strpos(lower(p_content collate "C"), p_text) > 0
                      when 'text' then strpos(p_content, p_text) > 0
                      else regexp_like(p_content, p_pattern, p_flags) end;
$$;

-- Whether reading the visible files in the order of the answer fills a page sooner than reading all that the index finds:
-- judged by a hundred of them. Of a share p of n files the first reads wanted / p files, the other one p * n or more.
create function idx.is_common(
    p_who uuid, p_repository uuid, p_branch text, p_path text, p_language smallint, p_how text, p_text text,
    p_pattern text, p_flags text, p_wanted integer) returns boolean
language plpgsql stable set search_path = '' set plan_cache_mode = force_generic_plan
set enable_seqscan = off as $$
declare
    most constant integer := 400000;  -- of more files the order itself would take too long
    told record;
begin
    with v as materialized (
        select * from idx.branches_to_search(p_who, p_repository, p_branch)
    ), visible as materialized (
        select f.blob_id, hashtext(f.path) as dice
        from v join idx.files f on f.repo_no = v.repo_no and f.branch_no = v.branch_no and f.skip = 0
        where p_path is null or f.path ~ p_path
        limit most
    )
    select (select count(*) from visible) as files, s.looked_at, s.fitting into told
    from (
        select count(*)::float8 as looked_at,
               (count(*) filter (where idx.fits(b.content, p_how, p_text, p_pattern, p_flags)))::float8 as fitting
        from (select blob_id from visible order by dice limit 100) x
        join idx.blobs b on b.id = x.blob_id
        where b.skip = 0 and b.content is not null and (p_language is null or b.lang = p_language)
    ) s;
    return told.files < most and told.fitting * told.fitting * told.files > p_wanted * told.looked_at * told.looked_at;
end $$;

-- The first files of the answer, at most so many, by reading the visible files in its order. Files of one rank but for
-- whole words stand together: those with a whole word are handed out as they come, the others when all were read.
-- Until p_deadline; and for a second only, where the page could be filled but for whole words that may still come.
create function idx.files_in_order(
    p_who uuid, p_repository uuid, p_branch text, p_begun text[], p_behind boolean, p_words text[],
    p_case_sensitive boolean, p_how text, p_text text, p_pattern text, p_flags text, p_whole text, p_path text,
    p_language smallint, p_most integer, p_deadline timestamptz) returns setof idx.found_file
language plpgsql stable set search_path = '' set plan_cache_mode = force_generic_plan
set enable_seqscan = off set join_collapse_limit = 1 set from_collapse_limit = 1 as $$
declare
    hit record;
    one idx.found_file;
    later idx.found_file[] := '{}';
    cheap integer;
    given integer := 0;
    looked_at integer := 0;
    soon timestamptz;  -- counts from the first file on: putting them in order takes its time as well
    now_at timestamptz;
begin
    for hit in
        with v as materialized (
            select * from idx.branches_to_search(p_who, p_repository, p_branch)
        ), defining as materialized (
            select distinct s.blob_id from unnest(p_words) w (word)
            join idx.symbols s on lower(s.name) = lower(w.word collate "C")
            where not p_case_sensitive or s.name = w.word
        ), file as materialized (
            select o.*, count(*) over () as files from (
                select v.*, f.path, f.blob_id,
                       idx.place_of(f.path) * 4 + 3
                       - case when f.blob_id in (select d.blob_id from defining d) then 2 else 0 end
                       - case when regexp_like(regexp_replace(f.path, '^.*/', ''), p_pattern, p_flags) then 1 else 0 end as cheap
                from v join idx.files f on f.repo_no = v.repo_no and f.branch_no = v.branch_no and f.skip = 0
                where p_path is null or f.path ~ p_path
            ) o
            where p_begun is null or o.cheap >= p_begun[1]::int / 2
            order by o.cheap, o.path, o.repo_no, o.branch_no
        )
        -- No order here: the files come as they were put, and their contents are read one after the other.
        select f.*, c.lang, c.fits, c.is_whole
        from file f
        cross join lateral (
            select b.lang, x.fits, case when x.fits then regexp_like(b.content, p_whole, p_flags) end as is_whole
            from idx.blobs b
            cross join lateral (select idx.fits(b.content, p_how, p_text, p_pattern, p_flags) as fits offset 0) x
            where b.id = f.blob_id and b.skip = 0 and b.content is not null and (p_language is null or b.lang = p_language)
            offset 0
        ) c
    loop
        if hit.cheap is distinct from cheap then
            return query select * from unnest(later) l limit p_most - given;
            given := given + cardinality(later);
            exit when given >= p_most;
            cheap := hit.cheap;
            later := '{}';
        end if;
        looked_at := looked_at + 1;
        soon := coalesce(soon, clock_timestamp() + interval '1 second');
        if hit.fits then
            one := (hit.repo_no, hit.branch_no, hit.repository_id, hit.repository_name, hit.branch_name, hit.commit,
                    hit.path, hit.blob_id, hit.lang, hit.cheap * 2 + case when hit.is_whole then 0 else 1 end);
            if p_begun is null
               or (one.rank, one.path, one.repo_no, one.branch_no) > (p_begun[1]::int, p_begun[2], p_begun[3]::int, p_begun[4]::int)
               or (not p_behind and (one.rank, one.path, one.repo_no, one.branch_no)
                                    = (p_begun[1]::int, p_begun[2], p_begun[3]::int, p_begun[4]::int)) then
                if hit.is_whole then
                    return next one;
                    given := given + 1;
                    exit when given >= p_most;
                elsif cardinality(later) < p_most then
                    later := later || one;
                end if;
            end if;
        end if;
        now_at := clock_timestamp();
        if now_at > p_deadline or (now_at > soon and given + cardinality(later) >= p_most) then
            perform idx.tell_partial(format(
                'The answer is not the whole: %s of %s files could be looked at in the time that a search has. '
                || 'Give more of the text, or narrow it by path, language or repository.', looked_at, hit.files));
            exit;
        end if;
    end loop;
    if given < p_most then
        return query select * from unnest(later) l limit p_most - given;
    end if;
end $$;


-- Code. Files in this order: own code, tests, vendored code; of these those first that have the most of: a definition
-- of a word of the query (4), the query in the file's name (2), the query as whole words (1); then by path. Lines of a
-- file: definitions, whole words, the rest.
--
-- Ranked in two steps: place, definitions and names of files are stored or short; whole words, for which a content is
-- read again, are looked for only in the ranks that the page reaches. Each file has at least one line with the text, so
-- no more files than lines are opened, and mostly far fewer. (A regular expression may fit a file and none of its lines.)
-- That is for what the trigram index finds in few contents; what is common is read in the order of the answer.
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
    who uuid := idx.owner_of_call(owner);
    few constant integer := 300;
    known bigint[];
    in_order boolean := true;
    deadline timestamptz := clock_timestamp() + 1000
        * coalesce(nullif(current_setting('idx.search_ms', true), '')::float8, 5000) * interval '1 microsecond';
    at_a_time integer := wanted + 1;
    came integer;
    last text[] := begun;
    hits refcursor;
    hit record;
    lines text[];
    given integer := 0;
    added integer;
begin
    perform set_config('idx.search_note', '', true);
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

    -- What the index finds in few contents is read from those. The text to look for stands in the query itself: as a
    -- parameter it would hide from the planner that the trigram index can look it up. A materialized part of a query is
    -- planned for all its rows, and read only as far as is asked for.
    if idx.has_trigram(asked, regex) then
        execute format($q$
            with fits as materialized (
                select b.id from idx.blobs b where b.skip = 0 and b.content is not null and b.content %s
            )
            select array(select f.id from fits f limit $1) $q$, matches)
        into known using few + 1;
        in_order := cardinality(known) > few
            and idx.is_common(who, repository, branch, only_path, only_language, how, case how when 'folded' then low else asked end,
                              pattern, flags, wanted);
    end if;
    if in_order then
        -- A regular expression may fit a file and none of its lines: then more files are asked for.
        open hits for select * from idx.files_in_order(
            who, repository, branch, begun, false, words, case_sensitive, how, case how when 'folded' then low else asked end,
            pattern, flags, whole, only_path, only_language, at_a_time, deadline);
    else
        open hits for execute format($q$
        with v as materialized (
            select * from idx.branches_to_search($1, $2, $3)
        ), fits as materialized (
            select b.id, b.lang from idx.blobs b where b.skip = 0 and b.content is not null and %s
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
        select o.*
        from (
            select c.*, c.cheap * 2 + 1 - case when w.is_there then 1 else 0 end as rank
            from reached c
            cross join lateral (
                select regexp_like(b.content, $9, $8) as is_there from idx.blobs b where b.id = c.blob_id offset 0
            ) w
        ) o
        where $4 is null or (o.rank, o.path, o.repo_no, o.branch_no) >= ($4[1]::int, $4[2], $4[3]::int, $4[4]::int)
        order by o.rank, o.path, o.repo_no, o.branch_no
        limit $12 + 1 $q$,
        case when cardinality(known) <= few then 'b.id = any ($13)' else 'b.content ' || matches end)
        using who, repository, branch, begun, words, case_sensitive, pattern, flags, whole, only_path,
              only_language, case when regex then 1000000000 else wanted end, known;
    end if;

    came := 0;
    loop
        fetch hits into hit;
        if not found then
            close hits;
            exit when not in_order or came < at_a_time;
            open hits for select * from idx.files_in_order(
                who, repository, branch, last, true, words, case_sensitive, how,
                case how when 'folded' then low else asked end, pattern, flags, whole, only_path, only_language, at_a_time,
                deadline);
            came := 0;
            continue;
        end if;
        came := came + 1;
        last := array[hit.rank::text, hit.path::text, hit.repo_no::text, hit.branch_no::text];
        lines := (select string_to_array(b.content, E'\n') from idx.blobs b where b.id = hit.blob_id);
        return query
            select hit.repository_id, hit.path::text, m.n, substr(m.t, 1 + p.shift, 400), hit.commit, hit.repository_name,
                   hit.branch_name, (select l.name from idx.languages l where l.lang = hit.lang), p.start - p.shift,
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
    if given = 0 and begun is null and current_setting('idx.search_note', true) <> '' then
        raise exception using errcode = 'query_canceled', message = 'the search was too slow',
            detail = replace(current_setting('idx.search_note', true), 'The answer is not the whole', 'Nothing found so far');
    end if;
end $$;

do $$
declare
    made regprocedure;
begin
    for made in
        select p.oid from pg_proc p
        where p.pronamespace = 'idx'::regnamespace
          and p.proname in ('tell_partial', 'fits', 'is_common', 'files_in_order')
    loop
        execute format('revoke all on function %s from public, anon, authenticated', made);
        execute format('grant execute on function %s to service_role', made);
    end loop;
end $$;
