/** What schedules and triggers have in common: what they run, and who may write them. */
import type { Selectable } from 'kysely';
import { Failure } from '../../core/failure.ts';
import type { Order } from '../../core/schedule.ts';
import type { Tx } from '../database.ts';
import { assertRoomFor } from '../stored-bytes.ts';
import type { ScheduleRow, TriggerRow } from '../tables.ts';
import { changedMeanwhile } from '../tenants.ts';
import { requestOf, requestText } from './job-row.ts';

/** So many of each a tenant has at most. */
const ORDERS_MOST = 1_000;

export function orderColumns({ request, enabled, priority, retries }: Order) {
  const { plugin, task } = request;
  return { plugin, task, request: requestText(request), enabled, priority, retries: JSON.stringify(retries) };
}

export function orderOf(row: Selectable<ScheduleRow> | Selectable<TriggerRow>) {
  const { id, priority, retries, enabled, created_at, revision } = row;
  return { id, request: requestOf(row), priority, retries, enabled, createdAt: created_at, revision };
}

type Put = {
  table: 'schedules' | 'triggers';
  tenant: string;
  id: string;
  /** What the caller has seen, where that matters. */
  revision: number | undefined;
  /** What is kept of it. */
  bytes: number;
};

/** Whether it is new. Throws `conflict`, and `quota_exceeded`; nobody else changes it until the transaction ends. */
export async function assertMayPut(tx: Tx, { table, tenant, id, revision, bytes }: Put): Promise<boolean> {
  const before = await tx
    .selectFrom(table)
    .select('revision')
    .where('tenant', '=', tenant)
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  if (revision !== undefined && revision !== before?.revision) throw changedMeanwhile(before?.revision ?? 0);
  if (before === undefined) await refuseTooMany(tx, table, tenant);
  await assertRoomFor(tx, tenant, bytes);
  return before === undefined;
}

async function refuseTooMany(tx: Tx, table: Put['table'], tenant: string): Promise<void> {
  const { count } = await tx
    .selectFrom(table)
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('tenant', '=', tenant)
    .executeTakeFirstOrThrow();
  if (count < ORDERS_MOST) return;
  const limit = { name: table, allowed: ORDERS_MOST, observed: count + 1, unit: 'count' } as const;
  throw new Failure('quota_exceeded', `A tenant may have ${ORDERS_MOST} ${table}`, { limit });
}
