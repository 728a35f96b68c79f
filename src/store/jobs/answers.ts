import { Failure } from '../../core/failure.ts';
import type { KeptAnswer, TenantAnswers } from '../../core/tenant-store.ts';
import type { Db } from '../database.ts';
import { assertRoomFor } from '../stored-bytes.ts';
import { noTenant } from '../tenants.ts';
import { inTransaction, lock } from '../transaction.ts';
import { isForeignKeyViolation } from '../violations.ts';
import { reused } from './adder.ts';

/** Answers of calls that somebody waited for, under the keys of their callers. */
export class Answers implements TenantAnswers {
  readonly #db: Db;
  readonly #tenant: string;
  readonly #keepMs: number;

  constructor(db: Db, tenant: string, keepMs: number) {
    this.#db = db;
    this.#tenant = tenant;
    this.#keepMs = keepMs;
  }

  async begin(key: string, hash: Buffer, leaseMs: number): Promise<KeptAnswer | null> {
    try {
      return await inTransaction(this.#db, async (tx) => {
        await lock(tx, `idempotency key ${this.#tenant} ${key}`);
        const row = await tx
          .selectFrom('idempotency_keys')
          .selectAll()
          .where('tenant', '=', this.#tenant)
          .where('key', '=', key)
          .executeTakeFirst();
        if (row !== undefined && row.expires_at.getTime() > Date.now()) {
          if (!row.request_hash.equals(hash)) throw reused();
          if (row.status !== null && row.answer !== null) return { status: row.status, text: row.answer };
          const words = row.job === null ? 'The call with this key is still running' : 'The key was used for a job';
          throw new Failure('conflict', words, { retryAfterMs: 1_000 });
        }
        await assertRoomFor(tx, this.#tenant, 0);
        const values = {
          tenant: this.#tenant,
          key,
          request_hash: hash,
          job: null,
          status: null,
          answer: null,
          // Should this node be lost, the key is free again then.
          expires_at: new Date(Date.now() + leaseMs),
        };
        await tx
          .insertInto('idempotency_keys')
          .values(values)
          .onConflict((conflict) => conflict.columns(['tenant', 'key']).doUpdateSet(values))
          .execute();
        return null;
      });
    } catch (error) {
      throw isForeignKeyViolation(error) ? noTenant(this.#tenant) : error;
    }
  }

  async keep(key: string, { status, text }: KeptAnswer): Promise<void> {
    await this.#db
      .updateTable('idempotency_keys')
      .set({ status, answer: text, expires_at: new Date(Date.now() + this.#keepMs) })
      .where('tenant', '=', this.#tenant)
      .where('key', '=', key)
      .execute();
  }

  async drop(key: string): Promise<void> {
    await this.#db
      .deleteFrom('idempotency_keys')
      .where('tenant', '=', this.#tenant)
      .where('key', '=', key)
      .where('status', 'is', null)
      .execute();
  }
}
