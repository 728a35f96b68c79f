import { sql } from 'kysely';
import { Failure } from '../core/failure.ts';
import type { Db } from './database.ts';

/** Throws `quota_exceeded` where a tenant would have more than it may with so many bytes more. */
export async function assertRoomFor(db: Db, tenant: string, bytes: number): Promise<void> {
  const row = await db.selectFrom('tenants').select('quotas').where('id', '=', tenant).executeTakeFirst();
  const most = row?.quotas.storedBytes;
  if (typeof most !== 'number') return;
  const observed = (await storedBytes(db, tenant)) + bytes;
  if (observed > most) throw noRoom(tenant, most, observed);
}

/**
 * What a tenant has here: packages, packed and unpacked, jobs, answers, what is to be run, and events. What several tenants have
 * counts for each.
 */
export async function storedBytes(db: Db, tenant: string): Promise<number> {
  const { rows } = await sql<{ bytes: number }>`
    select coalesce((select sum(bytes) from jobs where tenant = ${tenant}), 0)::bigint
      + coalesce((
        select sum(bytes + coalesce(unpacked_bytes, 0))
        from bundles where sha256 in (select sha256 from packages where tenant = ${tenant})
      ), 0)::bigint
      + coalesce((select sum(octet_length(answer)) from idempotency_keys where tenant = ${tenant}), 0)::bigint
      + coalesce((select sum(octet_length(request)) from schedules where tenant = ${tenant}), 0)::bigint
      + coalesce((select sum(octet_length(request)) from triggers where tenant = ${tenant}), 0)::bigint
      + coalesce((select sum(octet_length(body)) from held_events where tenant = ${tenant}), 0)::bigint as bytes
  `.execute(db);
  return rows[0]?.bytes ?? 0;
}

/** What the packages of a tenant take of a disk when they are unpacked. */
export async function unpackedBytes(db: Db, tenant: string): Promise<number> {
  const { rows } = await sql<{ bytes: number }>`
    select coalesce(sum(unpacked_bytes), 0)::bigint as bytes
    from bundles where sha256 in (select sha256 from packages where tenant = ${tenant})
  `.execute(db);
  return rows[0]?.bytes ?? 0;
}

export function noRoom(tenant: string, allowed: number, observed: number): Failure {
  const limit = { name: 'quotas.storedBytes', allowed, observed, unit: 'bytes' } as const;
  const words = `With this, what is kept of tenant "${tenant}" would take ${observed} bytes, and it may have ${allowed}: delete jobs or packages`;
  return new Failure('quota_exceeded', words, { limit });
}
