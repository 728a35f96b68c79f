import { type Insertable, type Selectable, sql } from 'kysely';
import { Failure } from '../core/failure.ts';
import { AT_ONCE, type HeldEvent, type HookPolicy, heldBecause, mergedEvents } from '../core/hook-policy.ts';
import type { HookPolicyChange, TenantEvents } from '../core/tenant-store.ts';
import type { Db, Tx } from './database.ts';
import { newJobId } from './jobs/job-id.ts';
import { assertRoomFor } from './stored-bytes.ts';
import type { HeldEventRow, HookPolicyRow } from './tables.ts';
import { changedMeanwhile, noTenant } from './tenants.ts';
import { inTransaction, lock } from './transaction.ts';
import { isForeignKeyViolation } from './violations.ts';

/** Events of a tenant that are kept at the same time. */
const HELD_MOST = 10_000;

/** How the events of one tenant set off hooks, and those that are kept. They go out in due-events.ts. */
export class Events implements TenantEvents {
  readonly #db: Db;
  readonly #tenant: string;

  constructor(db: Db, tenant: string) {
    this.#db = db;
    this.#tenant = tenant;
  }

  async policy(): Promise<HookPolicy> {
    const row = await this.#db
      .selectFrom('hook_policies')
      .selectAll()
      .where('tenant', '=', this.#tenant)
      .executeTakeFirst();
    return row === undefined ? AT_ONCE : policyOf(row);
  }

  async change(change: HookPolicyChange, revision?: number): Promise<HookPolicy> {
    try {
      return await inTransaction(this.#db, async (tx) => {
        // Made if need be, and then for us alone: nobody overwrites what another wrote.
        await tx
          .insertInto('hook_policies')
          .values({ tenant: this.#tenant, defer: null })
          .onConflict((conflict) => conflict.doNothing())
          .execute();
        const rows = tx.selectFrom('hook_policies').selectAll().where('tenant', '=', this.#tenant).forUpdate();
        const before = policyOf(await rows.executeTakeFirstOrThrow());
        if (revision !== undefined && revision !== before.revision) throw changedMeanwhile(before.revision);
        const { order, paused, defer } = { ...before, ...change };
        const row = await tx
          .updateTable('hook_policies')
          .set({
            run_order: order,
            paused,
            defer: defer === null ? null : JSON.stringify(defer),
            revision: before.revision + 1,
          })
          .where('tenant', '=', this.#tenant)
          .returningAll()
          .executeTakeFirstOrThrow();
        return policyOf(row);
      });
    } catch (error) {
      throw isForeignKeyViolation(error) ? noTenant(this.#tenant) : error;
    }
  }

  async hold(event: Omit<HeldEvent, 'dueAt'>, policy: HookPolicy): Promise<HeldEvent> {
    try {
      return await inTransaction(this.#db, async (tx) => {
        await lock(tx, eventsOf(this.#tenant));
        const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(tx);
        const now = rows[0]?.now ?? new Date();
        return (await this.#joined(tx, event, policy, now)) ?? (await this.#insert(tx, event, policy, now));
      });
    } catch (error) {
      throw isForeignKeyViolation(error) ? noTenant(this.#tenant) : error;
    }
  }

  async count(): Promise<number> {
    return await this.#count(this.#db);
  }

  /** Made one with the event of its type and object that is kept already; null where that is not to be. */
  async #joined(tx: Tx, event: Omit<HeldEvent, 'dueAt'>, { defer }: HookPolicy, now: Date): Promise<HeldEvent | null> {
    const { type, object } = event.wish;
    if (defer?.how !== 'debounce' || object === null) return null;
    const row = await tx
      .selectFrom('held_events')
      .selectAll()
      .where('tenant', '=', this.#tenant)
      .where('how', '=', 'debounce')
      .where('type', '=', type)
      .where('object', '=', object)
      .executeTakeFirst();
    if (row === undefined) return null;
    const { wish, chain } = mergedEvents(heldOf(row), event);
    const latest = row.held_at.getTime() + defer.mostMs;
    const dueAt = new Date(Math.min(now.getTime() + defer.ms, latest));
    const body = bodyOf({ wish, chain });
    await assertRoomFor(tx, this.#tenant, Buffer.byteLength(body));
    await tx.updateTable('held_events').set({ body, due_at: dueAt }).where('id', '=', row.id).execute();
    return { id: row.id, wish, chain, dueAt };
  }

  async #insert(tx: Tx, event: Omit<HeldEvent, 'dueAt'>, policy: HookPolicy, now: Date): Promise<HeldEvent> {
    const held = await this.#count(tx);
    if (held >= HELD_MOST) throw tooMany(this.#tenant, held);
    const { wish, chain } = event;
    const dueAt = await this.#dueAt(tx, policy, now);
    const values = {
      id: newJobId(now.getTime()),
      tenant: this.#tenant,
      type: wish.type,
      object: wish.object,
      how: policy.defer?.how ?? heldBecause(policy) ?? 'paused',
      body: bodyOf({ wish, chain }),
      held_at: now,
      due_at: dueAt,
    } satisfies Insertable<HeldEventRow>;
    await assertRoomFor(tx, this.#tenant, Buffer.byteLength(values.body));
    await tx.insertInto('held_events').values(values).execute();
    return { id: values.id, wish, chain, dueAt };
  }

  /** One that belongs to a batch is due when its first one is. */
  async #dueAt(tx: Tx, { defer }: HookPolicy, now: Date): Promise<Date> {
    if (defer === null) return now;
    const own = new Date(now.getTime() + defer.ms);
    if (defer.how !== 'batch') return own;
    const batch = await tx
      .selectFrom('held_events')
      .select('due_at')
      .where('tenant', '=', this.#tenant)
      .where('how', '=', 'batch')
      .where('due_at', '>', now)
      .orderBy('held_at', 'desc')
      .limit(1)
      .executeTakeFirst();
    return batch?.due_at ?? own;
  }

  async #count(db: Db): Promise<number> {
    const { count } = await db
      .selectFrom('held_events')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('tenant', '=', this.#tenant)
      .executeTakeFirstOrThrow();
    return count;
  }
}

/** What whoever keeps events of a tenant holds, or lets some go: one after the other. */
export function eventsOf(tenant: string): string {
  return `events of ${tenant}`;
}

type Body = Pick<HeldEvent, 'chain'> & { wish: Omit<HeldEvent['wish'], 'type' | 'object'> };

function bodyOf({ wish, chain }: Pick<HeldEvent, 'wish' | 'chain'>): string {
  const { type: _type, object: _object, ...rest } = wish;
  return JSON.stringify({ wish: rest, chain } satisfies Body);
}

export function heldOf({ id, type, object, body, due_at }: Selectable<HeldEventRow>): HeldEvent {
  const { wish, chain } = JSON.parse(body) as Body;
  return { id, wish: { ...wish, type, object }, chain, dueAt: due_at };
}

function policyOf({ run_order, paused, defer, revision }: Selectable<HookPolicyRow>): HookPolicy {
  return { order: run_order, paused, defer, revision };
}

function tooMany(tenant: string, before: number): Failure {
  const limit = { name: 'heldEvents', allowed: HELD_MOST, observed: before + 1, unit: 'count' } as const;
  const words = `${before} events of tenant "${tenant}" are kept already, which is as many as it may have`;
  return new Failure('queue_full', words, { limit, retryable: true, retryAfterMs: 1_000 });
}
