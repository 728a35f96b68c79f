import { sql } from 'kysely';
import type { Failure } from '../core/failure.ts';
import type { HeldEvent } from '../core/hook-policy.ts';
import type { JobWish } from '../core/job.ts';
import type { Db, Tx } from './database.ts';
import { eventsOf, heldOf } from './events.ts';
import type { Adder } from './jobs/adder.ts';
import type { Herald } from './jobs/herald.ts';
import type { News } from './jobs/news.ts';

/** The jobs that an event leads to, and those that it may not lead to, which are written down as failed. */
export type Led = { wishes: readonly JobWish[]; refused: readonly { wish: JobWish; failure: Failure }[] };

/**
 * Events whose time has come become jobs. Which ones is not known here: whoever knows the hooks of a tenant says it in
 * the middle of the transaction that takes the event away and adds its jobs. Of a tenant they go out one after the
 * other, in the order in which they came, whichever node does it; and only while there is room for their jobs.
 */
export class DueEvents {
  readonly #db: Db;
  readonly #herald: Herald;
  readonly #adder: Adder;

  constructor(db: Db, { herald, adder }: { herald: Herald; adder: Adder }) {
    this.#db = db;
    this.#herald = herald;
    this.#adder = adder;
  }

  /** The tenants that have some, so many at most: whose have waited for the longest first. */
  async tenants(now: Date, most: number): Promise<string[]> {
    const { rows } = await sql<{ tenant: string }>`
      select tenant from held_events
      where due_at <= ${now}
        and not exists (select from hook_policies as p where p.tenant = held_events.tenant and p.paused)
      group by tenant order by min(due_at) limit ${most}
    `.execute(this.#db);
    return rows.map(({ tenant }) => tenant);
  }

  /** Lets the next one go. False: there is none, its jobs have to wait for room, or another node is at it. */
  async release(tenant: string, now: Date, lead: (event: HeldEvent) => Led): Promise<boolean> {
    return await this.#herald.during((tx, news) => this.#releaseIn(tx, news, tenant, now, lead));
  }

  async #releaseIn(tx: Tx, news: News, tenant: string, now: Date, lead: (event: HeldEvent) => Led): Promise<boolean> {
    const { rows } = await sql<{ mine: boolean }>`
      select pg_try_advisory_xact_lock(hashtextextended(${eventsOf(tenant)}, 0)) as mine
    `.execute(tx);
    if (rows[0]?.mine !== true) return false;
    const row = await tx
      .selectFrom('held_events')
      .selectAll()
      .where('tenant', '=', tenant)
      .where('due_at', '<=', now)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(selectFrom('hook_policies').select('tenant').where('tenant', '=', tenant).where('paused', '=', true)),
        ),
      )
      .orderBy('held_at')
      .orderBy('id')
      .limit(1)
      .executeTakeFirst();
    if (row === undefined) return false;
    const { wishes, refused } = lead(heldOf(row));
    if (!(await this.#adder.addWhereRoom(tx, news, tenant, wishes))) return false;
    for (const { wish, failure } of refused) await this.#adder.addRefused(tx, tenant, wish, failure);
    await tx.deleteFrom('held_events').where('id', '=', row.id).execute();
    return true;
  }
}
