import { type Selectable, sql } from 'kysely';
import { Failure } from '../../core/failure.ts';
import type { Trigger, TriggerWish } from '../../core/schedule.ts';
import type { Orders, Page } from '../../core/tenant-store.ts';
import type { Db } from '../database.ts';
import type { TriggerRow } from '../tables.ts';
import { noTenant } from '../tenants.ts';
import { inTransaction } from '../transaction.ts';
import { isForeignKeyViolation } from '../violations.ts';
import { assertMayPut, orderColumns, orderOf } from './orders.ts';

/** The triggers of one tenant. They are pulled where jobs end, in desk.ts. */
export class Triggers implements Orders<TriggerWish, Trigger> {
  readonly #db: Db;
  readonly #tenant: string;

  constructor(db: Db, tenant: string) {
    this.#db = db;
    this.#tenant = tenant;
  }

  /** Makes it or replaces it. With `revision`, only if that is still the newest: else `conflict`. */
  async put(id: string, wish: TriggerWish, revision?: number): Promise<{ order: Trigger; isNew: boolean }> {
    const columns = {
      ...orderColumns(wish),
      on_plugin: wish.on.plugin,
      on_task: wish.on.task,
      on_end: wish.on.end,
    };
    try {
      return await inTransaction(this.#db, async (tx) => {
        const bytes = Buffer.byteLength(columns.request);
        const isNew = await assertMayPut(tx, { table: 'triggers', tenant: this.#tenant, id, revision, bytes });
        const row = await tx
          .insertInto('triggers')
          .values({ tenant: this.#tenant, id, ...columns })
          .onConflict((conflict) =>
            conflict
              .columns(['tenant', 'id'])
              .doUpdateSet({ ...columns, revision: sql<number>`triggers.revision + 1` }),
          )
          .returningAll()
          .executeTakeFirstOrThrow();
        return { order: triggerOf(row), isNew };
      });
    } catch (error) {
      throw isForeignKeyViolation(error) ? noTenant(this.#tenant) : error;
    }
  }

  async list({ after, limit }: Page): Promise<Trigger[]> {
    const rows = await this.#rows().where('id', '>', after).orderBy('id').limit(limit).execute();
    return rows.map(triggerOf);
  }

  /** Throws `not_found`. */
  async get(id: string): Promise<Trigger> {
    const row = await this.#rows().where('id', '=', id).executeTakeFirst();
    if (row === undefined) throw new Failure('not_found', `There is no trigger "${id}"`);
    return triggerOf(row);
  }

  /** Throws `not_found`. */
  async remove(id: string): Promise<void> {
    const { numDeletedRows } = await this.#db
      .deleteFrom('triggers')
      .where('tenant', '=', this.#tenant)
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
    if (numDeletedRows === 0n) throw new Failure('not_found', `There is no trigger "${id}"`);
  }

  #rows() {
    return this.#db.selectFrom('triggers').selectAll().where('tenant', '=', this.#tenant);
  }
}

function triggerOf(row: Selectable<TriggerRow>): Trigger {
  return { ...orderOf(row), on: { plugin: row.on_plugin, task: row.on_task, end: row.on_end } };
}
