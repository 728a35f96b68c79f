import { sql } from 'kysely';
import { Failure } from '../../core/failure.ts';
import { failureText, type Job, type JobEvent, type JobWish, type ToldEvent } from '../../core/job.ts';
import { idsNumbered } from '../../core/job-number.ts';
import type { JobFilter, TenantJobs } from '../../core/tenant-store.ts';
import type { Db, Tx } from '../database.ts';
import { isUniqueViolation } from '../violations.ts';
import type { Added, Adder } from './adder.ts';
import type { DeskParts } from './desk.ts';
import type { Herald } from './herald.ts';
import { firstIdAt, madeAt } from './job-id.ts';
import { type JobRecord, jobOf } from './job-row.ts';
import { type News, tellOfCancel } from './news.ts';
import type { Queue } from './queue.ts';

/** Ahead of a job that waits, counted no further than this. */
const POSITION_MOST = 1_000;

export type JobsParts = DeskParts & { keepMs: number };

const NO_ARGS = '{"args":{}}';

/** All columns but those that may be long. */
const LISTED = [
  'id',
  'tenant',
  'plugin',
  'task',
  'state',
  'priority',
  'retries',
  'singleton',
  'debounce',
  'cause',
  'root',
  'created_at',
  'start_after',
  'started_at',
  'ended_at',
  'keep_until',
  'cancel_asked_at',
  'node',
  'claim',
  'attempt',
  'tries',
  'failures',
  'kills',
  'losses',
  'told',
  'progress',
  'failure',
  'report',
  'bytes',
] as const;

/** A description at the beginning of a request, as JSON. */
const DESCRIPTION = '^\\{"description":("(?:[^"\\\\]|\\\\.)*")';
/** Longer than any description. */
const HEAD_MOST = 8_192;

/** The jobs of one tenant. */
export class Jobs implements TenantJobs {
  readonly #db: Db;
  readonly #queue: Queue;
  readonly #adder: Adder;
  readonly #herald: Herald;
  readonly #tenant: string;
  readonly #keepMs: number;

  constructor(db: Db, { queue, adder, herald, keepMs }: JobsParts, tenant: string) {
    this.#db = db;
    this.#queue = queue;
    this.#adder = adder;
    this.#herald = herald;
    this.#tenant = tenant;
    this.#keepMs = keepMs;
  }

  /** Throws `queue_full`, `quota_exceeded`, `idempotency_key_reused`. */
  add(wish: JobWish): Promise<Added> {
    return this.#adder.add({ tenant: this.#tenant, wish }, this.#db);
  }

  addAll(wishes: readonly JobWish[]): Promise<Job[]> {
    return this.#adder.addAll(this.#tenant, wishes, this.#db);
  }

  /** Throws `not_found`, and `gone` for one that was made longer ago than jobs are kept. */
  async get(id: string): Promise<Job> {
    const row = await this.#rows(this.#db).where('id', '=', this.#checked(id)).executeTakeFirst();
    if (row === undefined) throw this.#absent(id);
    return jobOf(row);
  }

  async list({ states, plugin, task, before, limit }: JobFilter): Promise<Job[]> {
    // A page of them is read without what may be long.
    let query = this.#db
      .selectFrom('jobs')
      .select(LISTED)
      .where('tenant', '=', this.#tenant)
      .orderBy('id', 'desc')
      .limit(limit);
    if (states !== undefined) query = query.where('state', 'in', [...states]);
    if (plugin !== undefined) query = query.where('plugin', '=', plugin);
    if (task !== undefined) query = query.where('task', '=', task);
    if (before !== undefined) query = query.where('id', '<', before);
    return (await query.execute()).map(listed);
  }

  async numbered(number: number): Promise<Job | undefined> {
    const { first, last } = idsNumbered(number);
    const row = await this.#rows(this.#db).where('id', '>=', first).where('id', '<=', last).executeTakeFirst();
    return row === undefined ? undefined : jobOf(row);
  }

  async unended(limit: number, also?: { ids: readonly string[]; sinceMs: number }): Promise<Job[]> {
    const rows = await this.#db
      .selectFrom('jobs')
      .select(LISTED)
      // Of what may be long, the part that people read.
      .select(sql<string | null>`substring(left(request, ${HEAD_MOST}) from ${DESCRIPTION})`.as('description'))
      .where('tenant', '=', this.#tenant)
      .where(({ eb, or }) =>
        or([
          eb('state', 'in', ['waiting', 'running']),
          ...(also === undefined ? [] : [eb('id', '>=', firstIdAt(also.sinceMs))]),
          ...(also === undefined || also.ids.length === 0 ? [] : [eb('id', 'in', also.ids)]),
        ]),
      )
      .orderBy('id')
      .limit(limit)
      .execute();
    return rows.map(({ description, ...row }) => {
      const job = listed(row);
      if (description !== null) job.request.description = JSON.parse(description) as string;
      return job;
    });
  }

  /** How many of the tenant's are due before it, itself included; null unless it waits. */
  async position({ id, state, priority, startAfter }: Job): Promise<number | null> {
    if (state !== 'waiting') return null;
    const { rows } = await sql<{ ahead: number }>`
      select count(*) as ahead from (
        select from jobs
        where tenant = ${this.#tenant} and state = 'waiting' and id <> ${id}
          and start_after <= greatest(now(), ${startAfter})
          and (priority > ${priority} or (priority = ${priority} and id < ${id}))
        limit ${POSITION_MOST}
      ) as before
    `.execute(this.#db);
    return (rows[0]?.ahead ?? 0) + 1;
  }

  /**
   * One that waits is cancelled at once. One that runs is asked to stop, by whichever node runs it: its end tells how.
   * Throws `not_found`, `gone`, and `conflict` for one that has ended.
   */
  async cancel(id: string): Promise<Job> {
    this.#checked(id);
    return await this.#herald.during(async (tx, news) => {
      const waited = await this.#cancelWaiting(tx, news, id);
      if (waited !== undefined) return jobOf(waited);
      const row = await this.#rows(tx).where('id', '=', id).forUpdate().executeTakeFirst();
      if (row === undefined) throw this.#absent(id);
      if (row.state !== 'running') throw new Failure('conflict', `The job has ended already: it is ${row.state}`);
      const changed = await tx
        .updateTable('jobs')
        .set({ cancel_asked_at: row.cancel_asked_at ?? new Date() })
        .where('id', '=', id)
        .returningAll()
        .executeTakeFirstOrThrow();
      await tellOfCancel(tx, id);
      return jobOf(changed);
    }, this.#db);
  }

  /** Takes the row of the queue first, as those who claim do: so nobody waits in a circle. */
  async #cancelWaiting(tx: Tx, news: News, id: string): Promise<JobRecord | undefined> {
    const { state } = (await this.#rows(tx).where('id', '=', id).executeTakeFirst()) ?? {};
    if (state !== 'waiting' || !(await this.#queue.hold(tx, id))) return undefined;
    const now = new Date();
    const row = await tx
      .updateTable('jobs')
      .set({
        state: 'cancelled',
        cancel_asked_at: now,
        ended_at: now,
        keep_until: new Date(now.getTime() + this.#keepMs),
        failure: failureText(new Failure('cancelled', 'Cancelled while it was waiting')),
      })
      .where('id', '=', id)
      .where('state', '=', 'waiting')
      .returningAll()
      .executeTakeFirst();
    if (row === undefined) return undefined;
    await this.#queue.cancel(tx, [id]);
    news.ended.push(id);
    return row;
  }

  /** A failed or dead one is tried again, from the start. Throws `conflict` for any other. */
  async redrive(id: string): Promise<Job> {
    try {
      return await this.#herald.during((tx, news) => this.#redriveIn(tx, news, id), this.#db);
    } catch (error) {
      if (isUniqueViolation(error)) throw new Failure('conflict', 'There is another job of its key already');
      throw error;
    }
  }

  async #redriveIn(tx: Tx, news: News, id: string): Promise<Job> {
    const row = await this.#rows(tx).where('id', '=', this.#checked(id)).forUpdate().executeTakeFirst();
    if (row === undefined) throw this.#absent(id);
    if (row.state !== 'failed' && row.state !== 'dead') {
      throw new Failure('conflict', `Only a failed or dead job can be tried again, and this one is ${row.state}`);
    }
    await this.#adder.assertRoom(tx, this.#tenant);
    const now = new Date();
    const changed = await tx
      .updateTable('jobs')
      .set({
        state: 'waiting',
        start_after: now,
        ended_at: null,
        keep_until: null,
        cancel_asked_at: null,
        failures: 0,
        tries: 0,
        kills: 0,
        losses: 0,
        output: null,
        failure: null,
        report: null,
        progress: null,
        bytes: sql<number>`octet_length(request)`,
      })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    // What the queue still has of its last time.
    await this.#queue.cancel(tx, [id]);
    await this.#queue.add(tx, news, [{ id, tenant: this.#tenant, priority: row.priority, startAfter: now }]);
    return jobOf(changed);
  }

  /** Forgets one that has ended. Throws `conflict` for one that has not. */
  async remove(id: string): Promise<void> {
    const { numDeletedRows } = await this.#db
      .deleteFrom('jobs')
      .where('tenant', '=', this.#tenant)
      .where('id', '=', this.#checked(id))
      .where('state', 'not in', ['waiting', 'running'])
      .executeTakeFirstOrThrow();
    if (numDeletedRows > 0n) return;
    const { state } = await this.get(id);
    throw new Failure('conflict', `The job is ${state}: cancel it first`);
  }

  /** What it said after `after`, so many at most. */
  async events(id: string, after: number, limit: number): Promise<ToldEvent[]> {
    const rows = await this.#db
      .selectFrom('job_events')
      .innerJoin('jobs', 'jobs.id', 'job_events.job')
      .select(['seq', 'at', 'kind', 'body'])
      .where('job', '=', this.#checked(id))
      .where('tenant', '=', this.#tenant)
      .where('seq', '>', after)
      .orderBy('seq')
      .limit(limit)
      .execute();
    return rows.map(({ seq, at, kind, body }) => ({ seq, at, event: { kind, ...JSON.parse(body) } as JobEvent }));
  }

  #rows(db: Db | Tx) {
    return db.selectFrom('jobs').selectAll().where('tenant', '=', this.#tenant);
  }

  /** What is no id leads to the same answer as one that nobody has. */
  #checked(id: string): string {
    if (madeAt(id) === null) throw this.#absent(id);
    return id;
  }

  #absent(id: string): Failure {
    const at = madeAt(id);
    if (at !== null && at < Date.now() - this.#keepMs)
      return new Failure('gone', `The job "${id}" is not kept any more`);
    return new Failure('not_found', `There is no job "${id}"`);
  }
}

function listed(row: Omit<JobRecord, 'request' | 'output' | 'history'>): Job {
  return jobOf({ ...row, request: NO_ARGS, output: null, history: '[]' });
}
