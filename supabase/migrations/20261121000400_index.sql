-- Schema idx: what was read out of repositories. Nothing here is granted to the API roles; they come in through
-- public.documents and the search functions, which filter by owner.

create schema idx;
revoke all on schema idx from public;
grant usage on schema idx to service_role;

-- Who shares content: 0 is the public pool, every other number one owner. Private content is never shared between
-- owners, because a shared row would tell one of them what the other has.
create table idx.scopes (
    scope integer generated always as identity primary key,
    user_id uuid not null unique
);

-- The names behind the small numbers; a test keeps them equal to worker/indexing/languages.py and classify.py.
create table idx.languages (lang smallint primary key, name text not null unique);
create table idx.skip_reasons (skip smallint primary key, name text not null unique);
create table idx.symbol_kinds (kind smallint primary key, name text not null unique);
insert into idx.languages values
    (-1, 'none'), (0, 'text'), (1, 'python'), (2, 'javascript'), (3, 'typescript'), (4, 'tsx'), (5, 'go'), (6, 'rust'), (7, 'java');
insert into idx.skip_reasons values
    (0, 'none'), (1, 'binary'), (2, 'too_large'), (3, 'lfs_pointer'), (4, 'submodule'), (5, 'symlink'),
    (6, 'generated'), (7, 'minified'), (8, 'vendored'), (9, 'poison'), (10, 'bad_path');
insert into idx.symbol_kinds values
    (0, 'other'), (1, 'function'), (2, 'method'), (3, 'class'), (4, 'interface'), (5, 'module'), (6, 'constant'),
    (7, 'variable'), (8, 'type'), (9, 'macro'), (10, 'enum'), (11, 'struct'), (12, 'trait'), (13, 'field');

create table idx.blobs (
    id bigint generated always as identity primary key,
    scope integer not null,
    oid bytea not null check (length(oid) = 20),
    lang smallint not null references idx.languages (lang),
    skip smallint not null default 0 references idx.skip_reasons (skip),
    parser_version integer not null,
    size bigint not null,
    sha256 bytea,
    tokens integer not null default 0,
    line_count integer not null default 0,
    symbol_count integer not null default 0,
    ref_count integer not null default 0,
    -- Why nothing could be read out of it, where a person should know more than the skip reason says.
    note text,
    -- The job that published it first, and so paid for its tokens; null until then.
    billed_by uuid,
    -- Last time a job stored or reused it: the collector's grace time counts from here.
    touched_at timestamptz not null default now(),
    content text,
    unique (scope, oid, lang)
);

create table idx.files (
    repo_no integer not null references public.repositories (repo_no) on delete cascade,
    branch_no smallint not null,
    path text collate "C" not null,
    blob_id bigint not null references idx.blobs (id),
    mode integer not null,
    -- Why this path is not read whatever its content is (symlink, submodule, too large, not a path that text can
    -- hold); its blob row then has the language 'none' and stands for an object nobody read.
    skip smallint not null default 0 references idx.skip_reasons (skip),
    primary key (repo_no, branch_no, path)
);
create index files_blob on idx.files (blob_id);

create table idx.symbols (
    blob_id bigint not null references idx.blobs (id) on delete cascade,
    line integer not null,
    end_line integer not null,
    kind smallint not null,
    parent text,
    name text collate "C" not null check (octet_length(name) <= 512),
    qualname text collate "C" not null check (octet_length(qualname) <= 1024),
    signature text
);
create index symbols_blob on idx.symbols (blob_id);
create index symbols_name on idx.symbols (name text_pattern_ops, blob_id);
create index symbols_qualname on idx.symbols (qualname text_pattern_ops);

-- One row a name and blob: references are bound by name when asked, so no update can leave a dangling edge.
create table idx.refs (
    blob_id bigint not null references idx.blobs (id) on delete cascade,
    kind smallint not null,
    name text collate "C" not null check (octet_length(name) <= 512),
    lines integer[] not null
);
create index refs_blob on idx.refs (blob_id);
create index refs_name on idx.refs (name, blob_id);

create table idx.imports (
    blob_id bigint not null references idx.blobs (id) on delete cascade,
    line integer not null,
    module text collate "C" not null check (octet_length(module) <= 1024),
    names text[] not null default '{}'
);
create index imports_blob on idx.imports (blob_id);

create table idx.import_edges (
    repo_no integer not null references public.repositories (repo_no) on delete cascade,
    branch_no smallint not null,
    src text collate "C" not null,
    dst text collate "C",
    module text collate "C" not null,
    line integer not null
);
create index import_edges_src on idx.import_edges (repo_no, branch_no, src);
create index import_edges_dst on idx.import_edges (repo_no, branch_no, dst);
create index import_edges_unresolved on idx.import_edges (repo_no, branch_no, module) where dst is null;

grant all on all tables in schema idx to service_role;

do $$
declare
    trgm_schema text;
begin
    select n.nspname into trgm_schema
    from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm';
    -- fastupdate on: five times faster to fill; the pending list is folded in by autovacuum.
    execute format('create index blobs_content_trgm on idx.blobs using gin (content %I.gin_trgm_ops)
                    where skip = 0 and content is not null', trgm_schema);
    begin
        alter table idx.blobs alter column content set compression lz4;
    exception when feature_not_supported then
        raise notice 'this Postgres was built without lz4; content is compressed with pglz';
    end;
end $$;
