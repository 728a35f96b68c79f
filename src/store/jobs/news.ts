import { sql } from 'kysely';
import type { Db, Tx } from '../database.ts';

/** All nodes hear what happens to jobs: `cancel`, `told` or `ended`, and their ids. */
export const NEWS_CHANNEL = 'isopod_jobs';

export type JobNews = 'cancel' | 'told' | 'ended';

/** A notification takes less than 8,000 bytes. */
const IDS_EACH = 200;

export async function tellOfJobs(tx: Db | Tx, what: JobNews, ids: readonly string[]): Promise<void> {
  for (let at = 0; at < ids.length; at += IDS_EACH) {
    const payload = `${what} ${ids.slice(at, at + IDS_EACH).join(' ')}`;
    await sql`select pg_notify(${NEWS_CHANNEL}, ${payload})`.execute(tx);
  }
}

export function newsOf(payload: string): { what: JobNews; ids: string[] } {
  const [what, ...ids] = payload.split(' ');
  return { what: what as JobNews, ids };
}
