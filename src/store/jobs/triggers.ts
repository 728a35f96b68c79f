import { type Selectable, sql } from 'kysely';
import { Failure } from '../../core/failure.ts';
import type { Trigger, TriggerWish } from '../../core/schedule.ts';
import type { Orders, Page } from '../../core/tenant-store.ts';
import type { Db } from '../database.ts';
import { assertRoomFor } from '../stored-bytes.ts';
import type { TriggerRow } from '../tables.ts';
import { changedMeanwhile, noTenant } from '../tenants.ts';
import { inTransaction } from '../transaction.ts';
import { isForeignKeyViolation } from '../violations.ts';
import { requestOf, requestText } from './job-row.ts';
import { refuseTooMany } from './schedules.ts';

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
      on_plugin: wish.on.plugin,
      on_task: wish.on.task,
      on_end: wish.on.end,
      plugin: wish.request.plugin,
      task: wish.request.task,
      request: requestText(wish.request),
      enabled: wish.enabled,
      priority: wish.priority,
      retries: JSON.stringify(wish.retries),
    };
    try {
      return await inTransaction(this.#db, async (tx) => {
        const before = await tx
          .selectFrom('triggers')
          .select('revision')
          .where('tenant', '=', this.#tenant)
          .where('id', '=', id)
          .forUpdate()
          .executeTakeFirst();
        if (revision !== undefined && revision !== before?.revision) throw changedMeanwhile(before?.revision ?? 0);
        if (before === undefined) await refuseTooMany(tx, 'triggers', this.#tenant);
        await assertRoomFor(tx, this.#tenant, Buffer.byteLength(columns.request));
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
        return { order: triggerOf(row), isNew: before === undefined };
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
  return {
    id: row.id,
    request: requestOf(row),
    priority: row.priority,
    retries: row.retries,
    enabled: row.enabled,
    on: { plugin: row.on_plugin, task: row.on_task, end: row.on_end },
    createdAt: row.created_at,
    revision: row.revision,
  };
}
