import { backup, restore } from './backup.ts';
import { Bundles } from './bundles.ts';
import { Database, type DatabaseOptions } from './database.ts';
import { Packages } from './packages.ts';
import { PluginStates } from './plugin-states.ts';
import { Tenants } from './tenants.ts';

/** What one tenant has. There is no other door to it. */
export class TenantStore {
  readonly tenant: string;
  readonly pluginStates: PluginStates;
  readonly packages: Packages;

  constructor(database: Database, bundles: Bundles, tenant: string) {
    this.tenant = tenant;
    this.packages = new Packages(database.db, bundles, tenant);
    this.pluginStates = new PluginStates(database.db, tenant);
  }
}

/** What is kept: the tenants, and for each of them a store of its own. */
export class Store implements AsyncDisposable {
  readonly tenants: Tenants;
  readonly bundles: Bundles;
  readonly #database: Database;

  private constructor(database: Database) {
    this.#database = database;
    this.tenants = new Tenants(database.db);
    this.bundles = new Bundles(database.db);
  }

  static async open(options: DatabaseOptions): Promise<Store> {
    return new Store(await Database.open(options));
  }

  /** Why nothing can be looked up or kept now, in words; null where it can. */
  get trouble(): string | null {
    return this.#database.listener.isUp ? null : 'The database cannot be reached';
  }

  of(tenant: string): TenantStore {
    return new TenantStore(this.#database, this.bundles, tenant);
  }

  /**
   * Tells what has changed, on whichever node: the table and the tenant; `undefined` when changes may have gone
   * unheard, so that everything has to be looked at again.
   */
  onChange(hear: (change: { table: string; tenant: string } | undefined) => void): Promise<Disposable> {
    return this.#database.listener.listen(
      'isopod_changes',
      (payload) => {
        const [table = '', tenant = ''] = payload.split(' ');
        hear({ table, tenant });
      },
      () => hear(undefined),
    );
  }

  /** Writes all that is kept to a file; see backup.ts. */
  backup(file: string): Promise<number> {
    return backup(this.#database.db, file);
  }

  /** Puts such a file back into a store that holds nothing yet. */
  restore(file: string, say: (what: string) => void = () => {}): Promise<number> {
    return restore(this.#database.db, file, say);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database[Symbol.asyncDispose]();
  }
}
