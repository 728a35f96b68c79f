import type { InstalledPackage } from '../core/store.ts';
import type { Bundles } from './bundles.ts';
import type { Db } from './database.ts';
import { noTenant } from './tenants.ts';
import { inTransaction } from './transaction.ts';
import { isForeignKeyViolation } from './violations.ts';

/** The packages that a tenant has installed. */
export class Packages {
  readonly #db: Db;
  readonly #bundles: Bundles;
  readonly #tenant: string;

  constructor(db: Db, bundles: Bundles, tenant: string) {
    this.#db = db;
    this.#bundles = bundles;
    this.#tenant = tenant;
  }

  /** Archive and plugins are there for all nodes at the same moment. What was installed under their ids before is gone. */
  async install(archive: Buffer, plugins: readonly { plugin: string; dialect: string; root: string }[]): Promise<void> {
    await inTransaction(this.#db, async (tx) => {
      const sha256 = await this.#bundles.put(tx, archive);
      for (const one of plugins) {
        const row = { tenant: this.#tenant, sha256, ...one, installed_at: new Date() };
        await tx
          .insertInto('packages')
          .values(row)
          .onConflict((conflict) => conflict.columns(['tenant', 'plugin']).doUpdateSet(row))
          .execute();
      }
    }).catch((error) => {
      throw isForeignKeyViolation(error) ? noTenant(this.#tenant) : error;
    });
  }

  async list(): Promise<InstalledPackage[]> {
    const rows = await this.#db
      .selectFrom('packages')
      .innerJoin('bundles', 'bundles.sha256', 'packages.sha256')
      .select(['plugin', 'dialect', 'root', 'packages.sha256', 'bytes', 'installed_at'])
      .where('tenant', '=', this.#tenant)
      .orderBy('plugin')
      .execute();
    return rows.map(({ installed_at, sha256, ...row }) => ({
      ...row,
      sha256: sha256.toString('hex'),
      installedAt: installed_at,
    }));
  }

  /** Whether there was one. */
  async remove(plugin: string): Promise<boolean> {
    const { numDeletedRows } = await this.#db
      .deleteFrom('packages')
      .where('tenant', '=', this.#tenant)
      .where('plugin', '=', plugin)
      .executeTakeFirstOrThrow();
    return numDeletedRows > 0n;
  }

  /** The archive of a package in the list. */
  archive({ sha256 }: InstalledPackage): Promise<Buffer> {
    return this.#bundles.get(Buffer.from(sha256, 'hex'));
  }
}
