import { Failure } from '../core/failure.ts';
import type { Archive, Installation, InstalledPackage } from '../core/store.ts';
import type { Bundles } from './bundles.ts';
import type { Db, Tx } from './database.ts';
import { noRoom, storedBytes, unpackedBytes } from './stored-bytes.ts';
import { noTenant } from './tenants.ts';
import { inTransaction } from './transaction.ts';

/** A plugin of an archive, and where its manifest is in there. */
export type PackagedPlugin = { plugin: string; dialect: string; manifest: string };

export type InstallTerms = {
  /** What all packages of the tenant may take of a disk. */
  unpackedMost?: number;
  /** Whether a plugin that came in another archive is replaced. */
  overwrite?: boolean;
};

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

  /**
   * Archive and plugins are there for all nodes at the same moment. What was installed under their ids before is gone;
   * what else came with it stays. Throws `not_found`, `quota_exceeded`, and `conflict` where something is there that is
   * not to be overwritten.
   */
  async install(
    archive: Archive,
    plugins: readonly PackagedPlugin[],
    { unpackedMost = Number.POSITIVE_INFINITY, overwrite = true }: InstallTerms = {},
  ): Promise<Installation> {
    return await inTransaction(this.#db, async (tx) => {
      const most = await this.#quota(tx);
      const { fill } = await this.#bundles.put(tx, archive);
      const before = new Map((await this.#rows(tx)).map((row) => [row.plugin, row]));
      const there = overwrite ? undefined : plugins.find(({ plugin }) => before.has(plugin));
      if (there !== undefined) throw thereAlready(there.plugin);
      const sha256 = Buffer.from(archive.sha256, 'hex');
      const changed = plugins.filter(({ plugin, dialect, manifest }) => {
        const row = before.get(plugin);
        return row?.dialect !== dialect || row.manifest !== manifest || !row.sha256.equals(sha256);
      });
      for (const one of changed) {
        const row = { tenant: this.#tenant, sha256, ...one, installed_at: new Date() };
        await tx
          .insertInto('packages')
          .values(row)
          .onConflict((conflict) => conflict.columns(['tenant', 'plugin']).doUpdateSet(row))
          .execute();
      }
      if (changed.length > 0) await this.#assertWithin(most, unpackedMost, tx);
      await fill();
      const replaced = changed.map(({ plugin }) => plugin).filter((plugin) => before.has(plugin));
      return { changed: changed.length > 0, replaced };
    });
  }

  async list(): Promise<InstalledPackage[]> {
    const rows = await this.#rows(this.#db);
    return rows.map(({ installed_at, sha256, tree_hash, ...row }) => ({
      ...row,
      sha256: sha256.toString('hex'),
      treeHash: tree_hash?.toString('hex') ?? null,
      installedAt: installed_at,
    }));
  }

  /**
   * Whether there was one. What was set for it is kept, for when it comes back, or forgotten; what it was granted is taken
   * away, as something else may come back under its name.
   */
  async remove(plugin: string, settings: 'keep' | 'forget' = 'keep'): Promise<boolean> {
    return await inTransaction(this.#db, async (tx) => {
      const { numDeletedRows } = await tx
        .deleteFrom('packages')
        .where('tenant', '=', this.#tenant)
        .where('plugin', '=', plugin)
        .executeTakeFirstOrThrow();
      if (numDeletedRows === 0n) return false;
      await this.#clear(tx, plugin, settings === 'forget' ? ALL : GRANTED);
      return true;
    });
  }

  /** Whether there was one. All that is kept of a plugin is forgotten, whether it came in an archive or not. */
  async discard(plugin: string): Promise<boolean> {
    return await inTransaction(this.#db, async (tx) => {
      const { numDeletedRows } = await tx
        .deleteFrom('packages')
        .where('tenant', '=', this.#tenant)
        .where('plugin', '=', plugin)
        .executeTakeFirstOrThrow();
      await this.#clear(tx, plugin, ALL);
      return numDeletedRows > 0n;
    });
  }

  /** The archive of a package in the list. */
  archive({ sha256 }: Pick<InstalledPackage, 'sha256'>): Promise<Buffer> {
    return this.#bundles.get(Buffer.from(sha256, 'hex'));
  }

  async #clear(tx: Tx, plugin: string, tables: readonly OfPlugin[]): Promise<void> {
    for (const table of tables) {
      await tx.deleteFrom(table).where('tenant', '=', this.#tenant).where('plugin', '=', plugin).execute();
    }
  }

  #rows(db: Db) {
    return db
      .selectFrom('packages')
      .innerJoin('bundles', 'bundles.sha256', 'packages.sha256')
      .select(['plugin', 'dialect', 'manifest', 'packages.sha256', 'bytes', 'tree_hash', 'installed_at'])
      .where('tenant', '=', this.#tenant)
      .orderBy('plugin')
      .execute();
  }

  /** How much the tenant may keep. Its installations take turns from here on, so that each counts the one before. */
  async #quota(tx: Tx): Promise<number | null> {
    const row = await tx
      .selectFrom('tenants')
      .select('quotas')
      .where('id', '=', this.#tenant)
      .forNoKeyUpdate()
      .executeTakeFirst();
    if (row === undefined) throw noTenant(this.#tenant);
    return row.quotas.storedBytes ?? null;
  }

  async #assertWithin(most: number | null, unpackedMost: number, tx: Tx): Promise<void> {
    const unpacked = await unpackedBytes(tx, this.#tenant);
    if (unpacked > unpackedMost) throw tooMuchUnpacked(this.#tenant, unpackedMost, unpacked);
    if (most === null) return;
    const observed = await storedBytes(tx, this.#tenant);
    if (observed > most) throw noRoom(this.#tenant, most, observed);
  }
}

/** What was allowed to a plugin, and all that is kept of one beside its package. */
const GRANTED = ['grants', 'observed_hosts'] as const;
const ALL = [...GRANTED, 'plugin_states'] as const;
type OfPlugin = (typeof ALL)[number];

/** It names the plugin, for whoever knows only the archive. */
export function thereAlready(plugin: string): Failure {
  const where = [{ at: plugin, problem: 'is there already' }];
  return new Failure('conflict', `There is a plugin "${plugin}" already`, { where });
}

function tooMuchUnpacked(tenant: string, allowed: number, observed: number): Failure {
  const limit = { name: 'packages.tenantBytes', allowed, observed, unit: 'bytes' } as const;
  const words = `With this, the packages of tenant "${tenant}" would take ${observed} bytes unpacked, and may take ${allowed}: remove some`;
  return new Failure('quota_exceeded', words, { limit });
}
