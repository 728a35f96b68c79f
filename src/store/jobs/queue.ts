/**
 * What pg-boss does for jobs: when each is due and in which order, who has claimed it, and that the claim of a node
 * that is gone lapses. It knows ids and tenants; the rest is in our own tables. All its calls run in the transaction of
 * whoever changes those, so that both say the same.
 *
 * How many jobs of a tenant run at once is kept exactly, over all nodes: whoever claims holds a lock while it counts.
 */
import { type CompiledQuery, type RawBuilder, sql } from 'kysely';
import { type GroupConcurrencyConfig, PgBoss } from 'pg-boss';
import { mayTake } from '../../core/fairness.ts';
import type { Db, Tx } from '../database.ts';
import { inTransaction, inTurn, lock } from '../transaction.ts';
import type { News } from './news.ts';

const SCHEMA = 'isopod_queue';
const NAME = 'jobs';

/** The claim of a node that was not heard of for so long lapses; pg-boss allows no less. */
const HEARTBEAT_S = 10;
/** How often somebody looks for such claims. */
const LOOK_S = 1;
const DAY_S = 86_400;
/** The end of retrying is our decision, never the queue's. */
const RETRIES = 100_000;
const OPTIONS = {
  partition: true,
  retryLimit: RETRIES,
  retryDelay: 0,
  heartbeatSeconds: HEARTBEAT_S,
  expireInSeconds: DAY_S - 1,
  retentionSeconds: 365 * DAY_S,
  deleteAfterSeconds: 60,
} as const;
/** No bound of its own. */
const ANY_NUMBER = 1_000_000_000;
const LOCK = 'isopod claim';
const MEND = 'isopod mend';
const START = 'isopod start';

export type Claim = { id: string; claim: number };

type Queued = { id: string; tenant: string; priority: number; startAfter: Date };

type Statement = RawBuilder<unknown>;

/** A statement of ours with one of the queue in its `with`, the only place for one that changes rows. */
type Within<R> = (queued: Statement) => { compile(db: Db | Tx): CompiledQuery<R> };

export class Queue implements AsyncDisposable {
  readonly #db: Db;
  readonly #boss: PgBoss;

  private constructor(db: Db, boss: PgBoss) {
    this.#db = db;
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
    // It makes its tables, and takes it for an error when somebody else does.
    await inTurn(db, START, async () => {
      await boss.start();
      if ((await boss.getQueue(NAME)) === null) await boss.createQueue(NAME, OPTIONS);
    });
    return new Queue(db, boss);
  }

  /** In the same statement as `within`, where there is one, whose rows come back. */
  async add<R = never>(db: Db, news: News, jobs: readonly Queued[], within?: Within<R>): Promise<R[]> {
    const rows = jobs.map(({ id, tenant, priority, startAfter }) => ({
      id,
      priority,
      startAfter: startAfter.toISOString(),
      group: { id: tenant, tier: tenant },
    }));
    const part = adapter(db, within);
    await this.#boss.insert(NAME, rows, { db: part });
    news.wake = true;
    return part.rows;
  }

  /**
   * Claims up to `most` jobs that are due. `within` writes down in the same statement that they run: it is given rows of
   * `id` and `"retryCount"`, and its own rows, one for each claim, are what comes back. `more`: there may be others.
   */
  async claim<R>(db: Db, room: Room, within: Within<R>): Promise<{ rows: R[]; more: boolean }> {
    const { limits, several } = await this.#bounds(db);
    const { batchSize, ignoreGroups } = several ? portionOf(room) : { batchSize: room.most, ignoreGroups: null };
    if (limits === null) {
      const part = adapter(db, within);
      await this.#boss.fetch(NAME, { batchSize, ignoreGroups, db: part });
      return { rows: part.rows, more: several ? part.rows.length > 0 : part.rows.length === batchSize };
    }
    return await inTransaction(db, async (tx) => {
      // Without it, several nodes would count the same jobs and each take the last place.
      await lock(tx, LOCK);
      const part = adapter(tx, within);
      await this.#boss.fetch(NAME, { batchSize, ignoreGroups, db: part, groupConcurrency: limits });
      // It looks at no more than `most`, of which those above a bound are left: others may be behind them.
      return { rows: part.rows, more: part.rows.length > 0 };
    });
  }

  /** These have ended. A claim that has lapsed is left alone. */
  async end(tx: Tx, ended: readonly Claim[]): Promise<void> {
    if (ended.length > 0) await this.#boss.complete(NAME, attempts(ended), undefined, { db: adapter(tx) });
  }

  /** It is to be run again, in so many ms. */
  async again(tx: Tx, news: News, claim: Claim, delayMs: number): Promise<void> {
    await this.#boss.fail(NAME, attempts([claim]), undefined, { db: adapter(tx) });
    if (delayMs > 0) await this.move(tx, claim.id, new Date(Date.now() + delayMs));
    else news.wake = true;
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
    await lock(tx, MEND);
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

  /** What is left here of jobs that are not there any more: their tenant was removed. */
  async forget(most: number): Promise<void> {
    await sql`
      delete from ${sql.id(SCHEMA, 'job')} where name = ${NAME} and id in (
        select queued.id from ${sql.id(SCHEMA, 'job')} as queued
        where queued.name = ${NAME} and queued.state < 'active'
          and not exists (select from jobs where jobs.id = queued.id)
        limit ${most}
      )
    `.execute(this.#db);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#boss.stop({ graceful: false, close: false });
  }

  /** Bounds of single tenants, null where none has any; and whether there are several tenants. */
  async #bounds(db: Db): Promise<{ limits: GroupConcurrencyConfig | null; several: boolean }> {
    const { rows } = await sql<{ tiers: Record<string, number> | null; tenants: number }>`
      select count(*) as tenants, jsonb_object_agg(id, least((quotas ->> 'jobsRunning')::numeric, ${ANY_NUMBER}))
        filter (where quotas ->> 'jobsRunning' is not null) as tiers
      from tenants
    `.execute(db);
    const { tiers = null, tenants = 0 } = rows[0] ?? {};
    return { limits: tiers === null ? null : { default: ANY_NUMBER, tiers }, several: tenants > 1 };
  }
}

/** Places for `most`, on a node that runs so many of each tenant already. */
export type Room = { most: number; running: ReadonlyMap<string, number> };

/** How many to claim at once, and whom to pass over, so that the next tenant that comes finds a place. */
function portionOf({ most, running }: Room): { batchSize: number; ignoreGroups: string[] | null } {
  const full = [...running].filter(([, mine]) => !mayTake(mine, most)).map(([tenant]) => tenant);
  return { batchSize: Math.max(1, Math.floor((most * 2) / 3)), ignoreGroups: full.length === 0 ? null : full };
}

function attempts(claimed: readonly Claim[]): { id: string; retryCount: number }[] {
  return claimed.map(({ id, claim }) => ({ id, retryCount: claim }));
}

/** pg-boss on our own pool, or inside of our transaction; or as a part of a statement of ours, whose rows are kept. */
function adapter<R = never>(db: Db | Tx, within?: Within<R>) {
  const rows: R[] = [];
  return {
    rows,
    executeSql: async (text: string, values: unknown[] = []) => {
      const queued = statement(text, values);
      if (within !== undefined) {
        rows.push(...(await db.executeQuery(within(queued).compile(db))).rows);
        return { rows: [], rowCount: rows.length };
      }
      // biome-ignore lint/suspicious/noExplicitAny: pg-boss knows its rows
      const { rows: own, numAffectedRows } = await db.executeQuery<any>(queued.compile(db));
      return { rows: own, rowCount: Number(numAffectedRows ?? own.length) };
    },
  };
}

/** A text with `$1` in it as something that can be a part of another. */
function statement(text: string, values: readonly unknown[]): Statement {
  const parts = text.split(/\$(\d+)/);
  return sql.join(
    parts.map((part, at) => (at % 2 === 0 ? sql.raw(part) : sql.val(values[Number(part) - 1]))),
    sql.raw(''),
  );
}
