// Search the index from a front end, as the signed-in user: everything here is narrowed to their own repositories by
// the database itself. Compiled against supabase/types/database.ts by a test.
import { createClient } from '@supabase/supabase-js'
import type { Database } from '../../supabase/types/database'

const supabase = createClient<Database>('https://<project>.supabase.co', '<publishable key>')

/** Definitions by name, best first. */
export async function symbols(query: string) {
  const { data, error } = await supabase.rpc('search_symbols', { query, max_results: 20 })
  if (error) throw error
  return data
}

/** All lines with a text, a page at a time: a row's cursor is where the next page begins. */
export async function* lines(query: string, repository: string) {
  for (let after: string | undefined; ; ) {
    const { data, error } = await supabase.rpc('search_code', { query, repository, after })
    if (error) throw error
    yield* data
    if (data.length === 0) return
    after = data[data.length - 1].cursor
  }
}

/** Repositories with what their newest job does. */
export async function repositories() {
  const { data, error } = await supabase.from('repository_status').select('name, sync_state, last_indexed_commit')
  if (error) throw error
  return data.map((row) => `${row.name}: ${row.sync_state}, at ${row.last_indexed_commit ?? 'no commit yet'}`)
}

/** Ask again every two seconds until a job has ended; Realtime tells sooner where it is switched on. */
export async function ended(job: string) {
  for (;;) {
    const { data, error } = await supabase.from('indexing_jobs').select('status, error_message').eq('id', job).single()
    if (error) throw error
    if (data.status === 'completed' || data.status === 'failed' || data.status === 'cancelled') return data
    await new Promise((resolve) => setTimeout(resolve, 2000))
  }
}

/** Be told of every change of one's own jobs; needs `alter publication supabase_realtime add table indexing_jobs`. */
export function watchJobs(changed: (job: Database['public']['Tables']['indexing_jobs']['Row']) => void) {
  type Job = Database['public']['Tables']['indexing_jobs']['Row']
  const channel = supabase
    .channel('jobs')
    .on('postgres_changes', { event: 'UPDATE', schema: 'public', table: 'indexing_jobs' }, (change) =>
      changed(change.new as Job),
    )
    .subscribe()
  return () => supabase.removeChannel(channel)
}
