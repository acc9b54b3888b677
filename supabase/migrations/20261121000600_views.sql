-- What people look at. Every view filters by owner: security_invoker ones through row-level security, documents by itself.

create view public.repository_status with (security_invoker = true) as
select r.id as repository_id, r.user_id, r.name, r.git_url, r.status, r.sync_state, r.default_branch,
       r.last_indexed_commit, r.last_indexed_at, r.index_generation,
       j.id as job_id, j.job_type, j.status as job_status, j.attempt, j.progress, j.error_class, j.error_message,
       j.queued_at, j.started_at, j.finished_at
from public.repositories r
left join lateral (
    select * from public.indexing_jobs x where x.repository_id = r.id order by x.id desc limit 1
) j on true;

create view public.queue_depth with (security_invoker = true) as
select user_id, job_type, status, count(*)::bigint as jobs, min(queued_at) as oldest_queued_at
from public.indexing_jobs
where status in ('queued', 'in_progress')
group by user_id, job_type, status;

create view public.documents with (security_barrier = true) as
select md5(f.repo_no || '|' || f.branch_no || '|' || f.path)::uuid as id,
       r.user_id, r.id as repository_id, rb.name as branch, f.path,
       regexp_replace(f.path, '^.*/', '') as title,
       b.content, encode(b.sha256, 'hex') as content_hash, array[l.name] as tags,
       jsonb_build_object('language', l.name, 'size', b.size, 'lines', b.line_count, 'tokens', b.tokens,
                          'oid', encode(b.oid, 'hex'), 'commit', rb.commit,
                          'skipped', case when f.skip <> 0 then fs.name when b.skip <> 0 then s.name end) as metadata,
       b.touched_at as created_at, rb.indexed_at as updated_at
from idx.files f
join public.repositories r on r.repo_no = f.repo_no
join public.repository_branches rb on rb.repository_id = r.id and rb.branch_no = f.branch_no
join idx.blobs b on b.id = f.blob_id
join idx.languages l on l.lang = b.lang
join idx.skip_reasons s on s.skip = b.skip
join idx.skip_reasons fs on fs.skip = f.skip
where r.user_id = (select auth.uid())
   -- As in idx.reads_everything(), written out: a view's functions are called with the rights of its reader.
   or (select coalesce(nullif(current_setting('role', true), ''), 'none') = 'service_role'
           or (coalesce(nullif(current_setting('role', true), ''), 'none') = 'none'
               and pg_has_role(session_user, (select relowner from pg_class where oid = 'idx.blobs'::regclass), 'MEMBER')));

revoke all on public.repository_status, public.queue_depth, public.documents from public, anon, authenticated;
grant select on public.repository_status, public.queue_depth, public.documents to authenticated, service_role;
