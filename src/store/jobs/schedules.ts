import { type Selectable, sql } from 'kysely';
import { Failure } from '../../core/failure.ts';
import type { Schedule, ScheduleWish } from '../../core/schedule.ts';
import type { Orders, Page } from '../../core/tenant-store.ts';
import type { Db } from '../database.ts';
import type { ScheduleRow } from '../tables.ts';
import { noTenant } from '../tenants.ts';
import { inTransaction } from '../transaction.ts';
import { isForeignKeyViolation } from '../violations.ts';
import { assertMayPut, orderColumns, orderOf } from './orders.ts';
import { nextTimes } from './times.ts';

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
    const [first = null] = nextTimes(wish, new Date(), 1);
    const columns = {
      ...orderColumns(wish),
      cron: wish.cron,
      time_zone: wish.timeZone,
      missed: wish.missed,
      next_at: wish.enabled ? first : null,
    };
    try {
      return await inTransaction(this.#db, async (tx) => {
        const bytes = Buffer.byteLength(columns.request);
        const isNew = await assertMayPut(tx, { table: 'schedules', tenant: this.#tenant, id, revision, bytes });
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
        return { order: scheduleOf(row), isNew };
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
    ...orderOf(row),
    cron: row.cron,
    timeZone: row.time_zone,
    missed: row.missed,
    nextAt: row.next_at,
    lastAt: row.last_at,
    lastJob: row.last_job,
  };
}
