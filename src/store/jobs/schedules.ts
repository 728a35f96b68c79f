import { type Selectable, sql } from 'kysely';
import { Failure } from '../../core/failure.ts';
import type { Schedule, ScheduleWish } from '../../core/schedule.ts';
import type { Orders, Page } from '../../core/tenant-store.ts';
import type { Db } from '../database.ts';
import { assertRoomFor } from '../stored-bytes.ts';
import type { ScheduleRow } from '../tables.ts';
import { changedMeanwhile, noTenant } from '../tenants.ts';
import { inTransaction } from '../transaction.ts';
import { isForeignKeyViolation } from '../violations.ts';
import { requestOf, requestText } from './job-row.ts';
import { nextTimes } from './times.ts';

/** So many a tenant has at most. */
export const ORDERS_MOST = 1_000;

/** The schedules of one tenant. */
export class Schedules implements Orders<ScheduleWish, Schedule> {
  readonly #db: Db;
  readonly #tenant: string;

  constructor(db: Db, tenant: string) {
    this.#db = db;
    this.#tenant = tenant;
  }

  /**
   * Makes it or replaces it. With `revision`, only if that is still the newest: else `conflict`. Throws
   * `invalid_request` for a timetable that is none.
   */
  async put(id: string, wish: ScheduleWish, revision?: number): Promise<{ order: Schedule; isNew: boolean }> {
    const [next_at = null] = wish.enabled ? nextTimes(wish, new Date(), 1) : nextTimes(wish, new Date(), 1).slice(1);
    const columns = {
      plugin: wish.request.plugin,
      task: wish.request.task,
      request: requestText(wish.request),
      cron: wish.cron,
      time_zone: wish.timeZone,
      missed: wish.missed,
      enabled: wish.enabled,
      priority: wish.priority,
      retries: JSON.stringify(wish.retries),
      next_at,
    };
    try {
      return await inTransaction(this.#db, async (tx) => {
        const before = await tx
          .selectFrom('schedules')
          .select('revision')
          .where('tenant', '=', this.#tenant)
          .where('id', '=', id)
          .forUpdate()
          .executeTakeFirst();
        if (revision !== undefined && revision !== before?.revision) throw changedMeanwhile(before?.revision ?? 0);
        if (before === undefined) await refuseTooMany(tx, 'schedules', this.#tenant);
        await assertRoomFor(tx, this.#tenant, Buffer.byteLength(columns.request));
        const row = await tx
          .insertInto('schedules')
          .values({ tenant: this.#tenant, id, ...columns })
          .onConflict((conflict) =>
            conflict
              .columns(['tenant', 'id'])
              .doUpdateSet({ ...columns, revision: sql<number>`schedules.revision + 1` }),
          )
          .returningAll()
          .executeTakeFirstOrThrow();
        return { order: scheduleOf(row), isNew: before === undefined };
      });
    } catch (error) {
      throw isForeignKeyViolation(error) ? noTenant(this.#tenant) : error;
    }
  }

  async list({ after, limit }: Page): Promise<Schedule[]> {
    const rows = await this.#rows().where('id', '>', after).orderBy('id').limit(limit).execute();
    return rows.map(scheduleOf);
  }

  /** Throws `not_found`. */
  async get(id: string): Promise<Schedule> {
    const row = await this.#rows().where('id', '=', id).executeTakeFirst();
    if (row === undefined) throw new Failure('not_found', `There is no schedule "${id}"`);
    return scheduleOf(row);
  }

  /** Throws `not_found`. Jobs that it has made stay. */
  async remove(id: string): Promise<void> {
    const { numDeletedRows } = await this.#db
      .deleteFrom('schedules')
      .where('tenant', '=', this.#tenant)
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    if (numDeletedRows === 0n) throw new Failure('not_found', `There is no schedule "${id}"`);
  }

  #rows() {
    return this.#db.selectFrom('schedules').selectAll().where('tenant', '=', this.#tenant);
  }
}

export function scheduleOf(row: Selectable<ScheduleRow>): Schedule {
  return {
    id: row.id,
    request: requestOf(row),
    priority: row.priority,
    retries: row.retries,
    enabled: row.enabled,
    cron: row.cron,
    timeZone: row.time_zone,
    missed: row.missed,
    nextAt: row.next_at,
    lastAt: row.last_at,
    lastJob: row.last_job,
    createdAt: row.created_at,
    revision: row.revision,
  };
}

export async function refuseTooMany(tx: Db, table: 'schedules' | 'triggers', tenant: string): Promise<void> {
  const { count } = await tx
    .selectFrom(table)
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('tenant', '=', tenant)
    .executeTakeFirstOrThrow();
  if (count < ORDERS_MOST) return;
  const limit = { name: table, allowed: ORDERS_MOST, observed: count + 1, unit: 'count' } as const;
  throw new Failure('quota_exceeded', `A tenant may have ${ORDERS_MOST} ${table}`, { limit });
}
