/**
 * What pg-boss does for jobs: when each is due and in which order, who has claimed it, and that the claim of a node
 * that is gone lapses. It knows ids and tenants; the rest is in our own tables. All its calls run in the transaction of
 * whoever changes those, so that both say the same.
 *
 * How many jobs of a tenant run at once is kept exactly, over all nodes: whoever claims holds a lock while it counts.
 */
import { CompiledQuery, sql } from 'kysely';
import { type GroupConcurrencyConfig, PgBoss } from 'pg-boss';
import type { Db, Tx } from '../database.ts';

const SCHEMA = 'isopod_queue';
const NAME = 'jobs';
/** Waiting nodes hear of it when there is something to claim. */
export const WAKE_CHANNEL = 'isopod_wake';

/** The claim of a node that was not heard of for so long lapses; pg-boss allows no less. */
const HEARTBEAT_S = 10;
/** How often somebody looks for such claims. */
const LOOK_S = 2;
const DAY_S = 86_400;
/** The end of retrying is our decision, never the queue's. */
const RETRIES = 100_000;
/** No bound of its own. */
const ANY_NUMBER = 1_000_000_000;
const LOCK = 'isopod claim';
const MEND = 'isopod mend';

export type Claim = { id: string; claim: number };

export class Queue implements AsyncDisposable {
  readonly #boss: PgBoss;

  private constructor(boss: PgBoss) {
    this.#boss = boss;
  }

  /** `complain` is told of what goes wrong in the queue's own housekeeping. */
  static async open(db: Db, complain: (error: unknown) => void): Promise<Queue> {
    const boss = new PgBoss({
      db: adapter(db),
      schema: SCHEMA,
      schedule: false,
      superviseIntervalSeconds: LOOK_S,
      monitorIntervalSeconds: LOOK_S,
    });
    boss.on('error', complain);
    await boss.start();
    if ((await boss.getQueue(NAME)) === null) {
      await boss.createQueue(NAME, {
        partition: true,
        retryLimit: RETRIES,
        retryDelay: 0,
        heartbeatSeconds: HEARTBEAT_S,
        expireInSeconds: DAY_S - 1,
        retentionSeconds: 365 * DAY_S,
        deleteAfterSeconds: 60,
      });
    }
    return new Queue(boss);
  }

  async add(tx: Tx, jobs: readonly { id: string; tenant: string; priority: number; startAfter: Date }[]) {
    const rows = jobs.map(({ id, tenant, priority, startAfter }) => ({
      id,
      priority,
      startAfter: startAfter.toISOString(),
      group: { id: tenant, tier: tenant },
    }));
    await this.#boss.insert(NAME, rows, { db: adapter(tx) });
    await wake(tx);
  }

  /** Up to `most` jobs that are due, in the transaction of whoever writes down that they run. */
  async claim(tx: Tx, most: number): Promise<Claim[]> {
    const limits = await this.#limits(tx);
    const options = { batchSize: most, db: adapter(tx) };
    if (limits === null) return claims(await this.#boss.fetch(NAME, options));
    // Without it, several nodes would count the same jobs and each take the last place.
    await sql`select pg_advisory_xact_lock(hashtextextended(${LOCK}, 0))`.execute(tx);
    return claims(await this.#boss.fetch(NAME, { ...options, groupConcurrency: limits }));
  }

  /** These have ended. A claim that has lapsed is left alone. */
  async end(tx: Tx, ended: readonly Claim[]): Promise<void> {
    if (ended.length > 0) await this.#boss.complete(NAME, attempts(ended), undefined, { db: adapter(tx) });
  }

  /** It is to be run again, in so many ms. */
  async again(tx: Tx, claim: Claim, delayMs: number): Promise<void> {
    await this.#boss.fail(NAME, attempts([claim]), undefined, { db: adapter(tx) });
    if (delayMs > 0) await this.move(tx, claim.id, new Date(Date.now() + delayMs));
    else await wake(tx);
  }

  /** When a job that waits is due. */
  async move(tx: Tx, id: string, startAfter: Date): Promise<void> {
    await this.#boss.update(NAME, undefined, { id, startAfter: startAfter.toISOString(), db: adapter(tx) });
  }

  /** Jobs that wait, and shall not any more. */
  async cancel(tx: Tx, ids: string[]): Promise<void> {
    if (ids.length > 0) await this.#boss.deleteJob(NAME, ids, { db: adapter(tx) });
  }

  /** Says that the node lives. Gives how many of the claims still stand. */
  async keep(claimed: readonly Claim[]): Promise<number> {
    const touched: { affected?: number } = await this.#boss.touch(NAME, attempts(claimed));
    return touched.affected ?? 0;
  }

  /** Keeps others from claiming a job that waits until the transaction ends. False: it does not wait any more. */
  async hold(tx: Tx, id: string): Promise<boolean> {
    const { rows } = await sql`
      select from ${sql.id(SCHEMA, 'job')} where name = ${NAME} and id = ${id} and state < 'active' for update
    `.execute(tx);
    return rows.length > 0;
  }

  /** Jobs that should be here and are not. */
  async strays(tx: Tx, most: number): Promise<string[]> {
    // Two nodes that find the same ones would both put them back, one of them after they were claimed.
    await sql`select pg_advisory_xact_lock(hashtextextended(${MEND}, 0))`.execute(tx);
    const { rows } = await sql<{ id: string }>`
      select id from jobs
      where state in ('waiting', 'running')
        and not exists (
          select from ${sql.id(SCHEMA, 'job')} as queued
          where queued.name = ${NAME} and queued.id = jobs.id and queued.state <= 'active'
        )
      limit ${most}
    `.execute(tx);
    return rows.map(({ id }) => id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#boss.stop({ graceful: false, close: false });
  }

  /** Bounds of single tenants; null where none has any. */
  async #limits(tx: Tx): Promise<GroupConcurrencyConfig | null> {
    const { rows } = await sql<{ id: string; most: number }>`
      select id, (quotas ->> 'jobsRunning')::int as most from tenants where quotas ->> 'jobsRunning' is not null
    `.execute(tx);
    if (rows.length === 0) return null;
    return { default: ANY_NUMBER, tiers: Object.fromEntries(rows.map(({ id, most }) => [id, most])) };
  }
}

function claims(jobs: readonly { id: string; retryCount: number }[]): Claim[] {
  return jobs.map(({ id, retryCount }) => ({ id, claim: retryCount }));
}

function attempts(claimed: readonly Claim[]): { id: string; retryCount: number }[] {
  return claimed.map(({ id, claim }) => ({ id, retryCount: claim }));
}

/** Tells all nodes that there may be something to claim. */
export async function wake(db: Db | Tx): Promise<void> {
  await sql`select pg_notify(${WAKE_CHANNEL}, '')`.execute(db);
}

/** pg-boss on our own pool, or inside of our transaction. */
function adapter(db: Db | Tx) {
  return {
    executeSql: async (text: string, values: unknown[] = []) => {
      // biome-ignore lint/suspicious/noExplicitAny: pg-boss knows its rows
      const { rows, numAffectedRows } = await db.executeQuery<any>(CompiledQuery.raw(text, values));
      return { rows, rowCount: Number(numAffectedRows ?? rows.length) };
    },
  };
}
