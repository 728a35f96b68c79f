import { hash } from 'node:crypto';
import { sql } from 'kysely';
import { Failure } from '../core/failure.ts';
import type { Db, Tx } from './database.ts';
import { isForeignKeyViolation } from './violations.ts';

/** Large enough to be few, small enough not to fill memory; measured in PostgreSQL's favour. */
const CHUNK_BYTES = 1024 * 1024;

/** Archives by what is in them. Whoever installs the same one twice keeps it once. */
export class Bundles {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  /** Keeps an archive, in the transaction of whoever refers to it. Gives its name: the SHA-256 of its bytes. */
  async put(tx: Tx, archive: Buffer): Promise<Buffer> {
    const sha256 = hash('sha256', archive, 'buffer');
    const chunks = Math.ceil(archive.length / CHUNK_BYTES);
    const { isNew } = await tx
      .insertInto('bundles')
      .values({ sha256, bytes: archive.length, chunks })
      // Changes nothing, and holds on to one that is there, so that nobody removes it under our hands.
      .onConflict((conflict) => conflict.column('sha256').doUpdateSet({ bytes: archive.length }))
      .returning(sql<boolean>`xmax = 0`.as('isNew'))
      .executeTakeFirstOrThrow();
    if (!isNew) return sha256;
    for (let number = 0; number < chunks; number += 1) {
      const bytes = archive.subarray(number * CHUNK_BYTES, (number + 1) * CHUNK_BYTES);
      await tx.insertInto('bundle_chunks').values({ sha256, number, bytes }).execute();
    }
    return sha256;
  }

  /** The archive, checked against its name. Throws `not_found`, and `internal` where what is kept is not what was. */
  async get(sha256: Buffer): Promise<Buffer> {
    const bundle = await this.#db.selectFrom('bundles').selectAll().where('sha256', '=', sha256).executeTakeFirst();
    if (bundle === undefined) throw new Failure('not_found', `There is no package ${sha256.toString('hex')}`);
    const archive = Buffer.allocUnsafe(bundle.bytes);
    let at = 0;
    for (let number = 0; number < bundle.chunks; number += 1) {
      const chunk = await this.#db
        .selectFrom('bundle_chunks')
        .select('bytes')
        .where('sha256', '=', sha256)
        .where('number', '=', number)
        .executeTakeFirst();
      at += chunk?.bytes.copy(archive, at) ?? 0;
    }
    if (at !== archive.length || !hash('sha256', archive, 'buffer').equals(sha256)) {
      throw new Failure('internal', `The package ${sha256.toString('hex')} is damaged in the database`);
    }
    return archive;
  }

  /** Removes those that no tenant has any more, and gives how many there were. */
  async removeUnused(): Promise<number> {
    try {
      const { numDeletedRows } = await this.#db
        .deleteFrom('bundles')
        .where(({ not, exists, selectFrom }) =>
          not(exists(selectFrom('packages').select('sha256').whereRef('packages.sha256', '=', 'bundles.sha256'))),
        )
        .executeTakeFirstOrThrow();
      return Number(numDeletedRows);
    } catch (error) {
      // Somebody has installed one of them at this very moment. There will be a next time.
      if (isForeignKeyViolation(error)) return 0;
      throw error;
    }
  }
}
