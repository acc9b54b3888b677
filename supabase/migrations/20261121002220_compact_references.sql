-- References take three fifths of the room they took. Lines are text, '3,14': an array of numbers begins with 20 bytes
-- that say how it is built. Programs before this one write '{3,14}', which reads the same, see idx.lines_of. The index on
-- names holds no blob: equal names share one entry.
--
-- Written anew as the definitions were, with the same waits.
do $$
begin
    lock table idx.blobs in share row exclusive mode;
    lock table idx.refs in share row exclusive mode;
    create table idx.compact_refs (
        blob_id bigint not null,
        kind smallint not null,
        name text collate "C" not null check (octet_length(name) <= 512),
        lines text collate "C" not null
    );
    insert into idx.compact_refs
    select blob_id, kind, name, array_to_string(lines, ',') from idx.refs order by blob_id, kind, name;
    drop table idx.refs;
    alter table idx.compact_refs rename to refs;
    alter table idx.refs rename constraint compact_refs_name_check to refs_name_check;
    create index refs_blob on idx.refs (blob_id);
    create index refs_name on idx.refs (name);
    alter table idx.refs add constraint refs_blob_id_fkey
        foreign key (blob_id) references idx.blobs (id) on delete cascade not valid;
    revoke all on idx.refs from public, anon, authenticated;
    grant all on idx.refs to service_role;
end $$;

-- Nothing asks for imports by module.
drop index if exists idx.import_edges_unresolved;
