import { sql } from 'kysely';
import { Failure } from '../core/failure.ts';
import type { Db } from './database.ts';

/** What a tenant has here: its packages, and what is kept of its jobs. What several tenants have counts for each. */
export async function storedBytes(db: Db, tenant: string): Promise<number> {
  const { rows } = await sql<{ bytes: number }>`
    select coalesce((select sum(bytes) from jobs where tenant = ${tenant}), 0)::bigint
      + coalesce((
        select sum(bytes) from bundles where sha256 in (select sha256 from packages where tenant = ${tenant})
      ), 0)::bigint as bytes
  `.execute(db);
  return rows[0]?.bytes ?? 0;
}

export function noRoom(tenant: string, allowed: number, observed: number): Failure {
  const limit = { name: 'quotas.storedBytes', allowed, observed, unit: 'bytes' } as const;
  const words = `With this, what is kept of tenant "${tenant}" would take ${observed} bytes, and it may have ${allowed}: delete jobs or packages`;
  return new Failure('quota_exceeded', words, { limit });
}
