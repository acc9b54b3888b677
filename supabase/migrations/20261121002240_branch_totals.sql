-- What a branch holds, as its last publish counted it: a push that changes nothing says it again without reading every
-- path. `generation` in it is the branch's when it was written; a program that does not write it leaves it behind.
alter table public.repository_branches add column if not exists totals jsonb;
