-- Style sheets and pages are languages of their own: which language a path is in must say all that its name says of how
-- a content is read, because a content is stored once a language.

insert into idx.languages values (24, 'css'), (25, 'html');

-- What changes about a blob stands apart from it: any update of a row of idx.blobs computes the trigrams of its content
-- again, which costs more than all else. blobs.billed_by and blobs.touched_at are what an older program still writes.
create table idx.upkeep (
    blob_id bigint primary key references idx.blobs (id) on delete cascade,
    -- The job that published it first, and so paid for its tokens; null until then.
    billed_by uuid,
    -- Last time a job stored it, reused it or stopped using it: the collector's grace time counts from here.
    touched_at timestamptz not null default now()
) with (fillfactor = 50);
insert into idx.upkeep (blob_id, billed_by, touched_at) select id, billed_by, touched_at from idx.blobs;
grant all on idx.upkeep to service_role;

create function idx.begin_upkeep() returns trigger language plpgsql set search_path = '' as $$
begin
    insert into idx.upkeep (blob_id) select id from stored;
    return null;
end $$;
revoke all on function idx.begin_upkeep() from public, anon, authenticated;
create trigger every_blob_has_its_upkeep after insert on idx.blobs
    referencing new table as stored for each statement execute function idx.begin_upkeep();

-- A repository of two billion tokens is large, but not impossible.
alter table public.token_usage alter column tokens_used type bigint;

insert into public.maintenance_tasks (name, every) values ('collect', '1 hour');

-- The scope that holds a repository's contents: 0 the public pool, else its owner's; null before the first index.
alter table public.repositories add column content_scope integer;
update public.repositories r
set content_scope = (select b.scope from idx.files f join idx.blobs b on b.id = f.blob_id
                     where f.repo_no = r.repo_no limit 1);
-- Those whose contents must leave the pool; as good as always empty.
create index repositories_leaving_the_pool on public.repositories (repo_no)
    where visibility = 'private' and content_scope = 0;

-- Which branches an older parser has read: none, most of the time.
create index repository_branches_parser on public.repository_branches (parser_version) where commit is not null;
insert into public.maintenance_tasks (name, every) values ('refresh', '1 minute');
