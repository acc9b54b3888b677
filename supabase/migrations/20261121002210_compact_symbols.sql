-- Definitions take two thirds of the room they took. A qualified name that follows from parent and name (all but those of
-- headings and namespaces do) is null, see idx.qualname_of; what was its index is now one on parents, of which there
-- are few. Entries of the index on names are folded in case, so that one index serves both, and hold no blob: equal
-- names then share one entry.
--
-- The table is written anew and put in the old one's place, all in one transaction (56,000 definitions: half a second),
-- in which searches go on and jobs that store contents wait. Programs before this one may go on writing qualified names.
do $$
begin
    -- As many transactions as hold a blob's row lock the other table first.
    lock table idx.blobs in share row exclusive mode;
    lock table idx.symbols in share row exclusive mode;
    create table idx.compact_symbols (
        blob_id bigint not null,
        line integer not null,
        end_line integer not null,
        kind smallint not null,
        parent text collate "C",
        name text collate "C" not null check (octet_length(name) <= 512),
        -- Null: parent and name joined by a dot, or the name alone where there is no parent.
        qualname text collate "C" check (octet_length(qualname) <= 1024),
        signature text,
        doc text
    );
    insert into idx.compact_symbols
    select blob_id, line, end_line, kind, parent, name,
           nullif(qualname, idx.qualname_of(parent, name, null)), signature, doc
    from idx.symbols order by blob_id, line;
    drop table idx.symbols;
    alter table idx.compact_symbols rename to symbols;
    alter table idx.symbols rename constraint compact_symbols_name_check to symbols_name_check;
    alter table idx.symbols rename constraint compact_symbols_qualname_check to symbols_qualname_check;
    create index symbols_blob on idx.symbols (blob_id);
    create index symbols_name on idx.symbols (lower(name));
    create index symbols_parent on idx.symbols (parent) where parent is not null;
    create index symbols_qualname on idx.symbols (qualname) where qualname is not null;
    alter table idx.symbols add constraint symbols_blob_id_fkey
        foreign key (blob_id) references idx.blobs (id) on delete cascade not valid;
    revoke all on idx.symbols from public, anon, authenticated;
    grant all on idx.symbols to service_role;
end $$;
