import { sql } from 'kysely';
import type { Tx } from '../database.ts';

/** All nodes hear what happens to jobs: `cancel`, `told` or `ended`, and their ids. */
export const NEWS_CHANNEL = 'isopod_jobs';
/** And that there is something to claim. */
export const WAKE_CHANNEL = 'isopod_wake';

export type JobNews = 'cancel' | 'told' | 'ended';

/** A notification takes less than 8,000 bytes. */
const IDS_EACH = 200;

/** What there is to tell of one transaction. */
export class News {
  wake = false;
  readonly told: string[] = [];
  readonly ended: string[] = [];

  get isEmpty(): boolean {
    return !this.wake && this.told.length === 0 && this.ended.length === 0;
  }

  add({ wake, told, ended }: News): void {
    this.wake ||= wake;
    this.told.push(...told);
    this.ended.push(...ended);
  }

  /** As notifications. */
  get notes(): { channel: string; payload: string }[] {
    const payloads = [...payloadsOf('ended', this.ended), ...payloadsOf('told', this.told)];
    const notes = payloads.map((payload) => ({ channel: NEWS_CHANNEL, payload }));
    return this.wake ? [...notes, { channel: WAKE_CHANNEL, payload: '' }] : notes;
  }
}

/** That a job is to be stopped must not get lost, so it is said in the transaction that writes it down. */
export async function tellOfCancel(tx: Tx, id: string): Promise<void> {
  const [payload] = payloadsOf('cancel', [id]);
  await sql`select pg_notify(${NEWS_CHANNEL}, ${payload})`.execute(tx);
}

export function newsOf(payload: string): { what: JobNews; ids: string[] } {
  const [what, ...ids] = payload.split(' ');
  return { what: what as JobNews, ids };
}

function payloadsOf(what: JobNews, ids: readonly string[]): string[] {
  const payloads: string[] = [];
  for (let at = 0; at < ids.length; at += IDS_EACH) payloads.push(`${what} ${ids.slice(at, at + IDS_EACH).join(' ')}`);
  return payloads;
}
