/**
 * How jobs come to be: written down here and in the queue in one statement, before anybody is told that they were
 * accepted. Plain ones that are asked for at the same time share it; those with a key of any kind have a transaction
 * each, as they may turn out to be there already.
 */
import { type Insertable, sql } from 'kysely';
import { Failure } from '../../core/failure.ts';
import { failureText, type Job, type JobWish } from '../../core/job.ts';
import type { Quotas } from '../../core/tenant.ts';
import { Batcher } from '../batcher.ts';
import type { Db, Tx } from '../database.ts';
import { assertRoomFor, noRoom, storedBytes } from '../stored-bytes.ts';
import type { JobRow } from '../tables.ts';
import { noTenant } from '../tenants.ts';
import { lock } from '../transaction.ts';
import { Turns } from '../turns.ts';
import { isForeignKeyViolation } from '../violations.ts';
import type { Herald } from './herald.ts';
import { JobIds } from './job-id.ts';
import { jobOf, requestText } from './job-row.ts';
import { News } from './news.ts';
import type { Queue } from './queue.ts';

export type AddAsk = { tenant: string; wish: JobWish };

/** Without a wish: for one that is kept already. */
type Asking = { tenant: string; wish?: JobWish };

/** `isNew` is false for a job that was there already under one of the keys. */
export type Added = { job: Job; isNew: boolean };

type Idempotency = NonNullable<JobWish['idempotency']>;

/** What a tenant has, and how much it may have. `own`: what waits that plugins have asked for themselves, by plugin. */
type Load = { id: string; quotas: Quotas; waiting: number; bytes: number; own: Map<string, number> };

const NOTHING = { request: '{"args":{}}', bytes: 0 };
const BATCH = 200;
/** Jobs of a tenant that wait, where it has no quota of its own: claiming goes past all of them. */
export const WAITING_MOST = 10_000;

export class Adder {
  readonly #db: Db;
  readonly #queue: Queue;
  readonly #herald: Herald;
  /** How long idempotency keys are remembered, and jobs that have ended; in ms. */
  readonly #keepMs: number;
  readonly #plain: Batcher<AddAsk, Added | Failure>;
  readonly #turns = new Turns();
  readonly #ids = new JobIds();

  constructor(db: Db, queue: Queue, herald: Herald, keepMs: number) {
    this.#db = db;
    this.#queue = queue;
    this.#herald = herald;
    this.#keepMs = keepMs;
    this.#plain = new Batcher(BATCH, (asks) => this.#addPlain(asks));
  }

  /**
   * `db` is the tenant's. Throws `queue_full`, `quota_exceeded`, `idempotency_key_reused`, `not_found` for the tenant,
   * and `concurrency_limited` where too many ask for the same key at once.
   */
  async add(ask: AddAsk, db: Db): Promise<Added> {
    const { singleton, debounce, idempotency } = ask.wish;
    if (singleton !== null || debounce !== null || idempotency !== null) return await this.#addKeyed(ask, db);
    const added = await this.#plain.do(ask);
    if (added instanceof Failure) throw added;
    return added;
  }

  /**
   * In the transaction of whoever has a reason for it. What is too much is written down as failed: there is nobody to
   * be refused, and somebody may look for it.
   */
  async addIn(tx: Tx, news: News, tenant: string, wishes: readonly JobWish[]): Promise<Job[]> {
    if (wishes.length === 0) return [];
    const asks = wishes.map((wish) => ({ tenant, wish }));
    const refusals = await this.#refusals(tx, asks);
    const jobs = await this.#insert(
      tx,
      news,
      asks.filter((_, at) => refusals[at] === null),
    );
    for (const [at, refusal] of refusals.entries()) {
      if (refusal !== null) jobs.push(await this.addRefused(tx, tenant, wishes[at] as JobWish, refusal));
    }
    return jobs;
  }

  /** One that is not to be run: for whoever looks for it. What it was to run with is not kept, as there is no room for it. */
  async addRefused(tx: Tx, tenant: string, wish: JobWish, failure: Failure): Promise<Job> {
    const now = new Date();
    const ended = { state: 'failed' as const, ended_at: now, keep_until: new Date(now.getTime() + this.#keepMs) };
    const row = { ...this.#rowOf(tenant, wish), ...NOTHING, ...ended, failure: failureText(failure) };
    return jobOf(await tx.insertInto('jobs').values(row).returningAll().executeTakeFirstOrThrow());
  }

  /** All of them or none. Throws `queue_full`, `quota_exceeded`, and `not_found` for the tenant. `db` is the tenant's. */
  async addAll(tenant: string, wishes: readonly JobWish[], db: Db): Promise<Job[]> {
    if (wishes.length === 0) return [];
    const asks = wishes.map((wish) => ({ tenant, wish }));
    try {
      return await this.#herald.during(async (tx, news) => {
        for (const refusal of await this.#refusals(tx, asks)) if (refusal !== null) throw refusal;
        return await this.#insert(tx, news, asks);
      }, db);
    } catch (error) {
      throw isForeignKeyViolation(error) ? noTenant(tenant) : error;
    }
  }

  /**
   * All of them where there is room for all, else none: then there may be later. Those that are more than may ever wait
   * are not waited with: what fits now is added, and the rest written down as failed.
   */
  async addWhereRoom(tx: Tx, news: News, tenant: string, wishes: readonly JobWish[]): Promise<boolean> {
    if (wishes.length === 0) return true;
    const refusals = await this.#refusals(
      tx,
      wishes.map((wish) => ({ tenant, wish })),
    );
    const fitting = refusals.findIndex((one) => one !== null);
    const { code, details } = refusals[fitting] ?? {};
    const isTooMany = code === 'queue_full' && wishes.length > (details?.limit?.allowed ?? Number.POSITIVE_INFINITY);
    if (fitting !== -1 && !(isTooMany && fitting > 0)) return false;
    await this.addIn(tx, news, tenant, wishes);
    return true;
  }

  /** Throws `queue_full` and `quota_exceeded` where one more of the tenant cannot wait. */
  async assertRoom(tx: Tx, tenant: string): Promise<void> {
    const [refusal] = await this.#refusals(tx, [{ tenant }]);
    if (refusal instanceof Failure) throw refusal;
  }

  /** Keeps others from adding for these tenants until the transaction ends; in one order, or two would wait for each other. */
  async hold(tx: Tx, tenants: readonly string[]): Promise<void> {
    await lock(tx, ...[...new Set(tenants)].sort().map((tenant) => `jobs of ${tenant}`));
  }

  async #addPlain(asks: AddAsk[]): Promise<(Added | Failure)[]> {
    try {
      const loads = await this.#loads(this.#db, asks);
      if (loads.some(isBounded)) {
        return await this.#herald.during(
          async (tx, news) => this.#addWhere(tx, news, asks, await this.#refusals(tx, asks)),
          this.#db,
        );
      }
      const news = new News();
      const added = await this.#addWhere(this.#db, news, asks, refusalsOf(asks, loads));
      this.#herald.tell(news);
      return added;
    } catch (error) {
      if (error instanceof Failure && error.code === 'overloaded') throw error;
      if (asks.length === 1)
        return [Failure.from(isForeignKeyViolation(error) ? noTenant(asks[0]?.tenant ?? '') : error)];
      // A tenant was removed meanwhile, say: the others are not to suffer for it.
      const alone: (Added | Failure)[] = [];
      for (const ask of asks) alone.push(...(await this.#addPlain([ask])));
      return alone;
    }
  }

  /** Those that are not refused. */
  async #addWhere(
    db: Db,
    news: News,
    asks: readonly AddAsk[],
    refusals: readonly (Failure | null)[],
  ): Promise<(Added | Failure)[]> {
    const jobs = await this.#insert(
      db,
      news,
      asks.filter((_, at) => refusals[at] === null),
    );
    let next = 0;
    return refusals.map((refusal) => refusal ?? { job: jobs[next++] as Job, isNew: true });
  }

  async #addKeyed(ask: AddAsk, db: Db): Promise<Added> {
    const { tenant, wish } = ask;
    const { singleton, debounce, idempotency } = wish;
    // Whoever waits for a lock has a connection meanwhile; whoever waits here has none.
    using _turn = await this.#turns.take([
      ...(idempotency === null ? [] : [`idempotency key ${tenant} ${idempotency.key}`]),
      ...[singleton, debounce].flatMap((key) => (key === null ? [] : [`job key ${tenant} ${key}`])),
    ]);
    try {
      return await this.#herald.during(async (tx, news) => {
        const known = idempotency === null ? null : await this.#known(tx, tenant, idempotency);
        if (known !== null) return { job: known, isNew: false };
        for (const key of [singleton, debounce]) if (key !== null) await lock(tx, `job key ${tenant} ${key}`);
        const there = (await this.#single(tx, tenant, singleton)) ?? (await this.#postponed(tx, tenant, wish));
        if (there === null) {
          const [refusal] = await this.#refusals(tx, [ask]);
          if (refusal instanceof Failure) throw refusal;
        }
        const job = there ?? ((await this.#insert(tx, news, [ask]))[0] as Job);
        if (idempotency !== null) await this.#remember(tx, tenant, idempotency, job.id);
        return { job, isNew: there === null };
      }, db);
    } catch (error) {
      throw isForeignKeyViolation(error) ? noTenant(tenant) : error;
    }
  }

  /** The job that was made under the key before; null where there is none: nobody else makes one until the transaction ends. */
  async #known(tx: Tx, tenant: string, { key, hash }: Idempotency): Promise<Job | null> {
    await lock(tx, `idempotency key ${tenant} ${key}`);
    const row = await tx
      .selectFrom('idempotency_keys')
      .select(['request_hash', 'job', 'expires_at'])
      .where('tenant', '=', tenant)
      .where('key', '=', key)
      .executeTakeFirst();
    if (row === undefined || row.expires_at.getTime() <= Date.now()) return null;
    if (!row.request_hash.equals(hash)) throw reused();
    if (row.job === null) throw new Failure('conflict', 'The key was used for a call that did not make a job');
    const job = await tx.selectFrom('jobs').selectAll().where('id', '=', row.job).executeTakeFirst();
    if (job === undefined) throw new Failure('gone', 'The job that was made under this key is not kept any more');
    return jobOf(job);
  }

  async #remember(tx: Tx, tenant: string, { key, hash }: Idempotency, job: string): Promise<void> {
    const expires_at = new Date(Date.now() + this.#keepMs);
    const values = { tenant, key, request_hash: hash, job, status: null, answer: null, expires_at };
    await tx
      .insertInto('idempotency_keys')
      .values(values)
      .onConflict((conflict) => conflict.columns(['tenant', 'key']).doUpdateSet(values))
      .execute();
  }

  async #single(tx: Tx, tenant: string, key: string | null): Promise<Job | null> {
    if (key === null) return null;
    const row = await tx
      .selectFrom('jobs')
      .selectAll()
      .where('tenant', '=', tenant)
      .where('singleton', '=', key)
      .where('state', 'in', ['waiting', 'running'])
      .executeTakeFirst();
    return row === undefined ? null : jobOf(row);
  }

  /** The one that waits under the debounce key, which is now to run what was asked for last, and later. */
  async #postponed(
    tx: Tx,
    tenant: string,
    { debounce, request, start, priority, retries }: JobWish,
  ): Promise<Job | null> {
    if (debounce === null) return null;
    const waiting = await tx
      .selectFrom('jobs')
      .select('id')
      .where('tenant', '=', tenant)
      .where('debounce', '=', debounce)
      .where('state', '=', 'waiting')
      .executeTakeFirst();
    // The row of the queue first, as those who claim do: so nobody waits in a circle.
    if (waiting === undefined || !(await this.#queue.hold(tx, waiting.id))) return null;
    const startAfter = dueAt(start);
    const text = requestText(request);
    await assertRoomFor(tx, tenant, Buffer.byteLength(text));
    const row = await tx
      .updateTable('jobs')
      .set({
        plugin: request.plugin,
        task: request.task,
        request: text,
        bytes: Buffer.byteLength(text),
        start_after: startAfter,
        priority,
        retries: JSON.stringify(retries),
      })
      .where('id', '=', waiting.id)
      .where('state', '=', 'waiting')
      .returningAll()
      .executeTakeFirst();
    if (row === undefined) return null;
    await this.#queue.move(tx, row.id, startAfter);
    return jobOf(row);
  }

  /**
   * For each ask, why it is refused, or null. Where a tenant has a quota, the count is exact: nobody else adds for it
   * until the transaction ends. The bound that all have is there for the sake of the queue, and several who add at the
   * same time may go past it.
   */
  async #refusals(tx: Tx, asks: readonly Asking[]): Promise<(Failure | null)[]> {
    const tenants = tenantsOf(asks);
    const loads = await this.#loads(tx, asks);
    if (!loads.some(isBounded)) return refusalsOf(asks, loads);
    await lock(tx, ...tenants.map((tenant) => `jobs of ${tenant}`));
    return refusalsOf(asks, await this.#loads(tx, asks));
  }

  async #loads(db: Db, asks: readonly Asking[]): Promise<Load[]> {
    const tenants = tenantsOf(asks);
    const rows = await db
      .selectFrom('tenants')
      .select(['id', 'quotas'])
      .select((of) =>
        of
          .selectFrom('jobs')
          .select(({ fn }) => fn.countAll<number>().as('waiting'))
          .whereRef('jobs.tenant', '=', 'tenants.id')
          .where('state', '=', 'waiting')
          .as('waiting'),
      )
      .where('id', 'in', tenants)
      .execute();
    const loads: Load[] = [];
    for (const { id, quotas, waiting } of rows) {
      const bytes = typeof quotas.storedBytes === 'number' ? await storedBytes(db, id) : 0;
      loads.push({ id, quotas, waiting: waiting ?? 0, bytes, own: new Map() });
    }
    const counted = asks.filter(({ wish }) => typeof wish?.ownMost === 'number');
    if (counted.length > 0) await this.#countOwn(db, counted, loads);
    return loads;
  }

  async #countOwn(db: Db, asks: readonly Asking[], loads: readonly Load[]): Promise<void> {
    const plugins = [...new Set(asks.flatMap(({ wish }) => wish?.request.plugin ?? []))];
    const rows = await db
      .selectFrom('jobs')
      .select(['tenant', 'plugin'])
      .select(({ fn }) => fn.countAll<number>().as('waiting'))
      .where('tenant', 'in', tenantsOf(asks))
      .where('state', '=', 'waiting')
      .where('plugin', 'in', plugins)
      .where(sql`cause ->> 'plugin'`, '=', sql.ref('plugin'))
      .groupBy(['tenant', 'plugin'])
      .execute();
    const byId = new Map(loads.map((load) => [load.id, load]));
    for (const { tenant, plugin, waiting } of rows) byId.get(tenant)?.own.set(plugin, waiting);
  }

  /** In one statement: it needs no transaction of its own. */
  async #insert(db: Db, news: News, asks: readonly AddAsk[]): Promise<Job[]> {
    if (asks.length === 0) return [];
    const rows = asks.map(({ tenant, wish }) => this.#rowOf(tenant, wish));
    const queued = rows.map(({ id, tenant, priority, start_after }) => ({
      id,
      tenant,
      priority,
      startAfter: start_after,
    }));
    const made = await this.#queue.add(db, news, queued, (insert) =>
      db
        .with('queued', () => sql`(${insert})`)
        .insertInto('jobs')
        .values(rows)
        .returningAll(),
    );
    return made.map(jobOf);
  }

  #rowOf(tenant: string, wish: JobWish) {
    const { request, priority, retries, start, singleton, debounce, cause } = wish;
    const text = requestText(request);
    return {
      id: this.#ids.next(Date.now()),
      tenant,
      plugin: request.plugin,
      task: request.task,
      request: text,
      priority,
      retries: JSON.stringify(retries),
      singleton,
      debounce,
      cause: cause === null ? null : JSON.stringify(cause),
      root: cause !== null && 'root' in cause ? cause.root : null,
      start_after: dueAt(start),
      bytes: Buffer.byteLength(text),
    } satisfies Insertable<JobRow>;
  }
}

export function reused(): Failure {
  return new Failure('idempotency_key_reused', 'This Idempotency-Key was used for another request');
}

function tenantsOf(asks: readonly Asking[]): string[] {
  return [...new Set(asks.map(({ tenant }) => tenant))].sort();
}

function isBounded({ quotas }: Load): boolean {
  return typeof quotas.jobsWaiting === 'number' || typeof quotas.storedBytes === 'number';
}

function refusalsOf(asks: readonly Asking[], loads: readonly Load[]): (Failure | null)[] {
  const byId = new Map(loads.map((load) => [load.id, { ...load, own: new Map(load.own) }]));
  return asks.map(({ tenant, wish }) => {
    const load = byId.get(tenant);
    if (load === undefined) return noTenant(tenant);
    const { quotas, waiting } = load;
    const most = quotas.jobsWaiting ?? WAITING_MOST;
    if (waiting >= most) return tooMany(tenant, most, waiting);
    if (typeof wish?.ownMost === 'number') {
      const { plugin } = wish.request;
      const before = load.own.get(plugin) ?? 0;
      if (before >= wish.ownMost) return tooManyOwn(plugin, wish.ownMost, before);
      load.own.set(plugin, before + 1);
    }
    if (typeof quotas.storedBytes === 'number') {
      load.bytes += wish === undefined ? 0 : Buffer.byteLength(requestText(wish.request));
      if (load.bytes > quotas.storedBytes) return noRoom(tenant, quotas.storedBytes, load.bytes);
    }
    load.waiting += 1;
    return null;
  });
}

function dueAt(start: JobWish['start']): Date {
  // What was due long ago is due now: the database has no year 0.
  return 'at' in start ? new Date(Math.max(Date.now(), start.at.getTime())) : new Date(Date.now() + start.delayMs);
}

function tooManyOwn(plugin: string, allowed: number, before: number): Failure {
  const limit = { name: 'residents.ownJobs', allowed, observed: before + 1, unit: 'count' } as const;
  const words = `${before} jobs that plugin "${plugin}" has asked for itself are waiting, which is as many as it may have`;
  return new Failure('queue_full', words, { limit, retryable: true, retryAfterMs: 1_000 });
}

function tooMany(tenant: string, allowed: number, before: number): Failure {
  const limit = { name: 'quotas.jobsWaiting', allowed, observed: before + 1, unit: 'count' } as const;
  const words = `${before} jobs of tenant "${tenant}" are waiting, which is as many as it may have; this one would be at position ${before + 1}`;
  return new Failure('queue_full', words, { limit, retryable: true, retryAfterMs: 1_000 });
}
