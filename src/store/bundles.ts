import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { Failure } from '../core/failure.ts';
import type { Archive } from '../core/store.ts';
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

  /**
   * Keeps an archive, in the transaction of whoever refers to it. `fill` writes its bytes, where they are not there: by
   * then others may have found out that it may not be kept after all.
   */
  async put(tx: Tx, { sha256: hex, bytes, treeHash, unpackedBytes }: Archive): Promise<{ fill(): Promise<void> }> {
    const sha256 = Buffer.from(hex, 'hex');
    const chunks = Math.ceil(bytes.length / CHUNK_BYTES);
    const unpacked = { tree_hash: Buffer.from(treeHash, 'hex'), unpacked_bytes: unpackedBytes };
    const { isNew } = await tx
      .insertInto('bundles')
      .values({ sha256, bytes: bytes.length, chunks, ...unpacked })
      // Also holds on to one that is there, so that nobody removes it under our hands.
      .onConflict((conflict) => conflict.column('sha256').doUpdateSet(unpacked))
      .returning(sql<boolean>`xmax = 0`.as('isNew'))
      .executeTakeFirstOrThrow();
    return {
      fill: async () => {
        for (let number = 0; isNew && number < chunks; number += 1) {
          const chunk = bytes.subarray(number * CHUNK_BYTES, (number + 1) * CHUNK_BYTES);
          await tx.insertInto('bundle_chunks').values({ sha256, number, bytes: chunk }).execute();
        }
      },
    };
  }

  /** The archive, checked against its name. Throws `not_found`, and `internal` where what is kept is not what was. */
  async get(sha256: Buffer): Promise<Buffer> {
    const bundle = await this.#db.selectFrom('bundles').selectAll().where('sha256', '=', sha256).executeTakeFirst();
    if (bundle === undefined) throw new Failure('not_found', `There is no package ${sha256.toString('hex')}`);
    // Not of the pool: it is handed over to a thread.
    const archive = Buffer.allocUnsafeSlow(bundle.bytes);
    // Piece by piece, since all at once would hold everybody up.
    const digest = createHash('sha256');
    let at = 0;
    for (let number = 0; number < bundle.chunks; number += 1) {
      const chunk = await this.#db
        .selectFrom('bundle_chunks')
        .select('bytes')
        .where('sha256', '=', sha256)
        .where('number', '=', number)
        .executeTakeFirst();
      if (chunk === undefined) break;
      digest.update(chunk.bytes);
      at += chunk.bytes.copy(archive, at);
    }
    if (at !== archive.length || !digest.digest().equals(sha256)) {
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
