/**
 * Where nodes fetch jobs and bring back what came of them.
 *
 * A claim is written down twice, in the queue and in the row of the job, in one transaction. Whoever settles must still
 * have it: a node that was taken for lost, and was only slow, finds that the job is somebody else's by then, and what
 * it brings is dropped. So each job comes to one end, whatever happens to nodes. Of an attempt there is only ever one;
 * the number of a claim is the queue's, and begins anew where a job is put into it again.
 */
import { type RawBuilder, sql } from 'kysely';
import { Failure } from '../../core/failure.ts';
import { type Claimed, failureText, type JobCause, type JobEvent, type Settlement, wishFor } from '../../core/job.ts';
import { Batcher } from '../batcher.ts';
import type { Db, Tx } from '../database.ts';
import type { Adder } from './adder.ts';
import type { Herald } from './herald.ts';
import { claimedOf, type JobRecord, requestOf } from './job-row.ts';
import type { News } from './news.ts';
import type { Queue } from './queue.ts';

export type DeskParts = { queue: Queue; adder: Adder; herald: Herald };

export type DeskOptions = {
  /** The name of this node. */
  node: string;
  /** How long what has ended is kept. */
  keepMs: number;
};

const BATCH = 100;
/** A job that so many nodes were lost under is not given to a further one. */
const LOSSES_MOST = 3;
/** Triggers that start each other end somewhere: so many one behind the other, and so many in all after one job. */
const CHAIN_MOST = 8;
const FAN_MOST = 500;
/** Triggers that one end pulls. */
const PULLED_MOST = 20;
const SWEEP_MOST = 1_000;

type Taken = (JobRecord | { [Column in keyof JobRecord]: null }) & { queued_id: string; queued_claim: number };

export class Desk {
  readonly #db: Db;
  readonly #queue: Queue;
  readonly #adder: Adder;
  readonly #herald: Herald;
  readonly #options: DeskOptions;
  readonly #settling: Batcher<Settlement, boolean | Failure>;

  constructor(db: Db, { queue, adder, herald }: DeskParts, options: DeskOptions) {
    this.#db = db;
    this.#queue = queue;
    this.#adder = adder;
    this.#herald = herald;
    this.#options = options;
    this.#settling = new Batcher(BATCH, (settlements) => this.#settle(settlements));
  }

  /**
   * Up to `most` jobs, which are this node's from now on. `more`: there may be others. `running` is what this node has
   * of which tenants: where there are several, none of them gets more than twice of what is left to the others.
   */
  async claim(
    most: number,
    running: ReadonlyMap<string, number> = new Map(),
  ): Promise<{ claimed: Claimed[]; more: boolean }> {
    const { rows, more } = await this.#queue.claim(this.#db, { most, running }, (queued) => this.#taking(queued));
    const ours = rows.filter((row) => row.id !== null) as JobRecord[];
    const barred = ours.filter((row) => barOf(row) !== null);
    // Where this fails, the claim lapses and somebody does it then: what was claimed beside it is not to wait for that.
    if (barred.length > 0) await this.#settle(barred.map(barredOf)).catch(() => {});
    // They have ended, or their tenant is gone.
    const idle = rows.flatMap(({ id, queued_id, queued_claim }) =>
      id === null ? [{ id: queued_id, claim: queued_claim }] : [],
    );
    if (idle.length > 0) await this.#herald.during((tx) => this.#queue.end(tx, idle)).catch(() => {});
    return { claimed: ours.filter((row) => !barred.includes(row)).map(claimedOf), more: more || barred.length > 0 };
  }

  /** Writes down what the queue has given us. Its rows are without a job where there is none any more to be run. */
  #taking(queued: RawBuilder<unknown>): RawBuilder<Taken> {
    return sql`
      with queued as (${queued}), taken as (
        update jobs set
          state = 'running', started_at = now(), node = ${this.#options.node}, claim = queued."retryCount",
          attempt = attempt + 1, tries = tries + 1, losses = losses + (jobs.state = 'running')::int
        from queued
        where jobs.id = queued.id and jobs.state in ('waiting', 'running')
        returning jobs.*
      )
      select taken.*, queued.id as queued_id, queued."retryCount" as queued_claim
      from queued left join taken on taken.id = queued.id
    `;
  }

  /** Whether it was still this node's to settle. */
  async settle(settlement: Settlement): Promise<boolean> {
    const settled = await this.#settling.do(settlement);
    if (settled instanceof Failure) throw settled;
    return settled;
  }

  /** What a running plugin has said. Gives how many events the job has now; null where it is not this node's any more. */
  async tell(claimed: Claimed, events: readonly JobEvent[], progress: number | null): Promise<number | null> {
    return await this.#herald.during(async (tx, news) => {
      const row = await tx
        .updateTable('jobs')
        .set({
          told: sql<number>`told + ${events.length}`,
          bytes: sql<number>`bytes + ${bytesOf(events)}`,
          ...(progress === null ? {} : { progress }),
        })
        .where('id', '=', claimed.id)
        .where('attempt', '=', claimed.attempt)
        .where('node', '=', this.#options.node)
        .where('state', '=', 'running')
        .returning('told')
        .executeTakeFirst();
      if (row === undefined) return null;
      await insertEvents(tx, [{ claimed, events, last: row.told }]);
      news.told.push(claimed.id);
      return row.told;
    });
  }

  /** Says that this node lives and still runs them. Gives the ids of those that it has lost. */
  async keep(running: readonly Claimed[]): Promise<string[]> {
    if (running.length === 0) return [];
    if ((await this.#queue.keep(running)) === running.length) return [];
    const rows = await this.#db
      .selectFrom('jobs')
      .select(['id', 'attempt', 'node', 'state'])
      .where(
        'id',
        'in',
        running.map(({ id }) => id),
      )
      .execute();
    const held = new Map(rows.map((row) => [row.id, row]));
    return running
      .filter(({ id, attempt }) => {
        const row = held.get(id);
        return (
          row === undefined || row.attempt !== attempt || row.node !== this.#options.node || row.state !== 'running'
        );
      })
      .map(({ id }) => id);
  }

  /** Of the jobs that run here, those whose end somebody has asked for while we did not hear it. */
  async cancelled(running: readonly Claimed[]): Promise<string[]> {
    if (running.length === 0) return [];
    const ids = running.map(({ id }) => id);
    const rows = await this.#db
      .selectFrom('jobs')
      .select('id')
      .where('id', 'in', ids)
      .where('cancel_asked_at', 'is not', null)
      .execute();
    return rows.map(({ id }) => id);
  }

  /** Forgets what was kept for long enough. Gives the number of jobs. */
  async sweep(): Promise<number> {
    const { numDeletedRows } = await this.#db
      .deleteFrom('jobs')
      .where('id', 'in', (query) =>
        query.selectFrom('jobs').select('id').where('keep_until', '<', new Date()).limit(SWEEP_MOST),
      )
      .executeTakeFirstOrThrow();
    await this.#queue.forget(SWEEP_MOST);
    await this.#db.deleteFrom('idempotency_keys').where('expires_at', '<', new Date()).execute();
    return Number(numDeletedRows);
  }

  /**
   * Gives the queue back what it does not know of: after a restore from a backup, say. A job is never lost as long as
   * its row is there. Gives how many there were.
   */
  async mend(): Promise<number> {
    return await this.#herald.during(async (tx, news) => {
      const ids = await this.#queue.strays(tx, SWEEP_MOST);
      if (ids.length === 0) return 0;
      // One that has ended in the meantime is left alone.
      const held = await tx
        .selectFrom('jobs')
        .select(['id', 'tenant', 'priority', 'start_after'])
        .where('id', 'in', ids)
        .where('state', 'in', ['waiting', 'running'])
        .forUpdate()
        .execute();
      await this.#queue.cancel(
        tx,
        held.map(({ id }) => id),
      );
      await this.#queue.add(
        tx,
        news,
        held.map(({ id, tenant, priority, start_after }) => ({ id, tenant, priority, startAfter: start_after })),
      );
      return held.length;
    });
  }

  async #settle(settlements: Settlement[]): Promise<(boolean | Failure)[]> {
    try {
      const settled = await this.#herald.during((tx, news) => this.#settleIn(tx, news, settlements));
      return settlements.map(({ claimed }) => settled.has(claimed.id));
    } catch (error) {
      if (error instanceof Failure && error.code === 'overloaded') throw error;
      if (settlements.length === 1) return [Failure.from(error)];
      // One of them cannot be written down: the others are not to suffer for it.
      const alone: (boolean | Failure)[] = [];
      for (const settlement of settlements) alone.push(...(await this.#settle([settlement])));
      return alone;
    }
  }

  async #settleIn(tx: Tx, news: News, settlements: readonly Settlement[]): Promise<Set<string>> {
    const { node, keepMs } = this.#options;
    const rows = await sql<{ id: string; told: number; pulls: boolean }>`
      with settled as (update jobs set
        state = brought.state, failures = brought.failures, kills = brought.kills, history = brought.history,
        told = jobs.told + brought.told, progress = coalesce(brought.progress, jobs.progress),
        output = brought.output, failure = brought.failure, report = brought.report,
        ended_at = case when brought.state <> 'waiting' then now() end,
        keep_until = case when brought.state <> 'waiting' then now() + ${keepMs} * interval '1 ms' end,
        start_after = case when brought.state = 'waiting' then now() + brought.again * interval '1 ms' else jobs.start_after end,
        bytes = jobs.bytes + brought.bytes
      from json_to_recordset(${JSON.stringify(settlements.map(brought))}::text::json) as brought (
        id uuid, attempt int, state text, failures int, kills int, history text, told int, progress double precision,
        output text, failure text, report text, again double precision, bytes bigint
      )
      where jobs.id = brought.id and jobs.attempt = brought.attempt and jobs.node = ${node} and jobs.state = 'running'
      returning jobs.id, jobs.told, jobs.tenant, jobs.plugin)
      select id, told, exists (
        select from triggers where triggers.tenant = settled.tenant and on_plugin = settled.plugin and enabled
      ) as pulls from settled
    `.execute(tx);
    const told = new Map(rows.rows.map((row) => [row.id, row.told]));
    const settled = settlements.filter(({ claimed }) => told.has(claimed.id));
    const ended = settled.filter(({ result }) => 'state' in result);
    await insertEvents(
      tx,
      settled.map(({ claimed, events }) => ({ claimed, events, last: told.get(claimed.id) ?? 0 })),
    );
    await this.#queue.end(
      tx,
      ended.map(({ claimed }) => claimed),
    );
    for (const { claimed, result } of settled) {
      if ('againMs' in result) await this.#queue.again(tx, news, claimed, result.againMs);
    }
    if (rows.rows.some(({ pulls }) => pulls)) await this.#pullTriggers(tx, news, ended);
    const ids = (some: readonly Settlement[]) => some.map(({ claimed }) => claimed.id);
    news.ended.push(...ids(ended));
    news.told.push(...ids(settled.filter((one) => !ended.includes(one))));
    return new Set(told.keys());
  }

  /** What is to be run because something else has ended, in the same transaction as that end. */
  async #pullTriggers(tx: Tx, news: News, ended: readonly Settlement[]): Promise<void> {
    if (ended.length === 0) return;
    const triggers = await tx
      .selectFrom('triggers')
      // What they run with is read of those that are pulled.
      .select(['tenant', 'id', 'on_plugin', 'on_task', 'on_end'])
      .where('enabled', '=', true)
      .where('tenant', 'in', [...new Set(ended.map(({ claimed }) => claimed.tenant))])
      .where('on_plugin', 'in', [...new Set(ended.map(({ claimed }) => claimed.request.plugin))])
      .orderBy('id')
      .execute();
    if (triggers.length === 0) return;
    await this.#adder.hold(
      tx,
      triggers.map(({ tenant }) => tenant),
    );
    const causes = await tx
      .selectFrom('jobs')
      .select(['id', 'cause'])
      .where(
        'id',
        'in',
        ended.map(({ claimed }) => claimed.id),
      )
      .execute();
    const before = new Map(causes.map(({ id, cause }) => [id, cause]));
    for (const { claimed, result } of ended) {
      if (!('state' in result) || result.state === 'cancelled') continue;
      const cause = before.get(claimed.id) ?? null;
      const depth = depthOf(cause) + 1;
      const root = cause !== null && 'root' in cause ? cause.root : claimed.id;
      const { plugin, task } = claimed.request;
      const end = result.state === 'succeeded' ? 'succeeded' : 'failed';
      let pulled = 0;
      for (const trigger of triggers) {
        if (pulled === PULLED_MOST) break;
        if (trigger.tenant !== claimed.tenant || trigger.on_plugin !== plugin) continue;
        if (trigger.on_task !== null && trigger.on_task !== task) continue;
        if (trigger.on_end !== 'any' && trigger.on_end !== end) continue;
        if (pulled === 0 && (await this.#isFanned(tx, root))) break;
        pulled += 1;
        const order = await tx
          .selectFrom('triggers')
          .select(['plugin', 'task', 'request', 'priority', 'retries'])
          .where('tenant', '=', trigger.tenant)
          .where('id', '=', trigger.id)
          .executeTakeFirst();
        if (order === undefined) continue;
        const { priority, retries } = order;
        // A circle of hooks that leads through a trigger is one, too.
        const { chain } = claimed.request;
        const wish = wishFor(chain === undefined ? requestOf(order) : { ...requestOf(order), chain }, {
          priority,
          retries,
          cause: { trigger: trigger.id, job: claimed.id, depth, root },
        });
        const [job] = await this.#adder.addIn(tx, news, claimed.tenant, [wish]);
        if (job?.state === 'waiting' && depth > CHAIN_MOST) await this.#endLoop(tx, job.id, trigger.id, depth);
      }
    }
  }

  /** Whether one job has led to as many others as it may. */
  async #isFanned(tx: Tx, root: string): Promise<boolean> {
    const rows = await tx.selectFrom('jobs').select('id').where('root', '=', root).limit(FAN_MOST).execute();
    return rows.length === FAN_MOST;
  }

  /** It is written down, so that somebody sees it, and not run. */
  async #endLoop(tx: Tx, id: string, trigger: string, depth: number): Promise<void> {
    const failure = new Failure('hook_loop', `Triggers start each other in a circle: "${trigger}" is number ${depth}`, {
      limit: { name: 'triggerDepth', allowed: CHAIN_MOST, observed: depth, unit: 'count' },
    });
    await this.#queue.cancel(tx, [id]);
    await tx
      .updateTable('jobs')
      .set({
        state: 'failed',
        ended_at: new Date(),
        keep_until: new Date(Date.now() + this.#options.keepMs),
        failure: failureText(failure),
      })
      .where('id', '=', id)
      .execute();
  }
}

function depthOf(cause: JobCause | null): number {
  return cause !== null && 'depth' in cause ? cause.depth : 0;
}

/** What a claim is settled with before anything is run: somebody has cancelled it, or nodes keep dying under it. */
function barredOf(row: JobRecord): Settlement {
  const failure = barOf(row) as Failure;
  const claimed = claimedOf(row);
  const { failures, kills, history } = claimed;
  const state = failure.code === 'cancelled' ? 'cancelled' : 'dead';
  const result = { state, output: null, failure, report: null } as const;
  return { claimed, events: [], progress: null, failures, kills, history, result };
}

function barOf({ cancel_asked_at, losses }: JobRecord): Failure | null {
  if (cancel_asked_at !== null) return new Failure('cancelled', 'Cancelled before it was run again');
  if (losses < LOSSES_MOST) return null;
  const limit = { name: 'losses', allowed: LOSSES_MOST - 1, observed: losses, unit: 'count' } as const;
  return new Failure('executor_lost', `${losses} nodes were lost while they ran it; it is parked`, { limit });
}

/** As the statement takes it. */
function brought({ claimed, events, progress, failures, kills, history, result }: Settlement) {
  const end = 'state' in result ? result : { state: 'waiting', output: null, failure: null, report: null };
  const output = end.output;
  const failure = end.failure === null ? null : failureText(end.failure);
  const report = end.report === null ? null : JSON.stringify(end.report);
  return {
    id: claimed.id,
    attempt: claimed.attempt,
    state: end.state,
    failures,
    kills,
    history: JSON.stringify(history),
    told: events.length,
    progress,
    output,
    failure,
    report,
    again: 'againMs' in result ? result.againMs : null,
    bytes:
      bytesOf(events) +
      [output, failure, report].reduce((sum, text) => sum + (text === null ? 0 : Buffer.byteLength(text)), 0),
  };
}

function bytesOf(events: readonly JobEvent[]): number {
  return events.reduce((sum, event) => sum + Buffer.byteLength(JSON.stringify(event)), 0);
}

/** `last` is the number of the last of them. */
async function insertEvents(
  tx: Tx,
  told: readonly { claimed: Claimed; events: readonly JobEvent[]; last: number }[],
): Promise<void> {
  const rows = told.flatMap(({ claimed, events, last }) =>
    events.map(({ kind, ...body }, at) => ({
      job: claimed.id,
      seq: last - events.length + at + 1,
      kind,
      body: JSON.stringify(body),
    })),
  );
  if (rows.length > 0) await tx.insertInto('job_events').values(rows).execute();
}
