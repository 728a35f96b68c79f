import { DEFAULT_TENANT, TENANT_ID } from '../core/tenant.ts';
import { CHANGING, type Changing, type LiveCatalogue, Tenancy, type TenancyOptions } from './tenancy.ts';
import type { TenantFolders } from './tenant-folder.ts';

/** A change of what is kept: of which table, and of which tenant. */
export type Change = { table: string; tenant: string };

export type TenanciesOptions = Pick<
  TenancyOptions,
  'records' | 'limiter' | 'runtimes' | 'quarantine' | 'limits' | 'residentLimits' | 'residencies' | 'least' | 'plugins'
> & {
  folders: TenantFolders;
  catalogueOf(tenant: string): LiveCatalogue;
  endpoint(dir: string): ReturnType<TenancyOptions['endpoint']>;
  /** Told of a tenant of whose record something has changed, or that is gone. */
  onChange(tenant: string): void;
  /** Told of a tenant that is gone, before its folder is removed: whatever runs of it has to end. */
  onGone(tenant: string): void;
  /** Whether server plugins of the default tenant may run, where its record does not say; those of others may not. */
  servesPlugins?: boolean;
  /** So many are loaded at most, beside those that are in use. */
  most: number;
  /** One that nobody used for so long is let go of. */
  idleMs: number;
};

/** What could not be looked at is tried again after this. */
const AGAIN_MS = 1_000;
/** So many are looked at side by side when everything has to be. */
const AT_ONCE = 4;

/**
 * What is loaded of all tenants. Each is loaded when somebody asks for it, and let go of when nobody has for a while or
 * when others need the room; the default tenant stays. `hear` is told of changes on any node, and looks at just those.
 */
export class Tenancies implements AsyncDisposable {
  readonly #options: TenanciesOptions;
  readonly #loaded = new Map<string, Tenancy>();
  readonly #loading = new Map<string, Promise<Tenancy | undefined>>();
  /** Those that are gone and still have something running. */
  readonly #leaving = new Map<string, Promise<void>>();
  readonly #again = new Set<NodeJS.Timeout>();
  readonly #sweep: NodeJS.Timeout;
  #closed = false;

  private constructor(options: TenanciesOptions) {
    this.#options = options;
    this.#sweep = setInterval(() => this.#dropIdle(), Math.max(1_000, options.idleMs / 4)).unref();
  }

  /** Resolves when the default tenant is loaded. */
  static async open(options: TenanciesOptions): Promise<Tenancies> {
    const tenancies = new Tenancies(options);
    try {
      if ((await tenancies.find(DEFAULT_TENANT)) !== undefined) return tenancies;
      throw new Error(`There is no tenant "${DEFAULT_TENANT}" in the database`);
    } catch (error) {
      await tenancies[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** At once where the tenant is loaded; undefined where there is no such tenant. */
  find(id: string): Tenancy | undefined | Promise<Tenancy | undefined> {
    return this.#loaded.get(id) ?? this.#loading.get(id) ?? (TENANT_ID.test(id) ? this.#load(id) : undefined);
  }

  /** What is loaded of it now, without loading it. */
  loaded(id: string): Tenancy | undefined {
    return this.#loaded.get(id);
  }

  /** Whether this is what is loaded of its tenant now. */
  has(tenancy: Tenancy): boolean {
    return this.#loaded.get(tenancy.id) === tenancy;
  }

  /** What is loaded now of the tenant that it was loaded of; undefined where that one is gone, whoever has its name. */
  async again(tenancy: Tenancy): Promise<Tenancy | undefined> {
    // Whoever asks may be what its end waits for.
    if (tenancy.isGone) return undefined;
    const now = await this.find(tenancy.id);
    return now?.isOf(tenancy.tenant) === true ? now : undefined;
  }

  /** The tenant that is always there. */
  get default(): Tenancy {
    const tenancy = this.#loaded.get(DEFAULT_TENANT);
    if (tenancy === undefined) throw new Error('The default tenant is not loaded');
    return tenancy;
  }

  /** How many are loaded now. */
  get size(): number {
    return this.#loaded.size;
  }

  /** How many plugins the loaded ones have. */
  get plugins(): number {
    let sum = 0;
    for (const { catalogue } of this.#loaded.values()) sum += catalogue.plugins.size;
    return sum;
  }

  /** Told of a change, on whichever node it was made; `undefined` when everything has to be looked at again. */
  hear(change: Change | undefined): void {
    if (change === undefined) {
      void this.#lookAtAll();
      return;
    }
    const what = CHANGING.find((one) => one === change.table);
    if (what !== undefined) void this.#persist(() => this.refresh(change.tenant, what));
  }

  /** Resolves when a change of a tenant, made before the call, is known here. Nothing is left of one that is gone. */
  async refresh(id: string, ...what: readonly Changing[]): Promise<void> {
    await this.#refreshLoaded(id, ...what);
    if (what.includes('tenants') && !this.#loaded.has(id)) await this.#cleanUp(id);
  }

  /**
   * The same for a change that was made here. It does not fail, as what it is about has been done: what cannot be looked
   * at now is looked at later.
   */
  async learn(id: string, ...what: readonly Changing[]): Promise<void> {
    await this.#persist(() => this.refresh(id, ...what));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearInterval(this.#sweep);
    for (const timer of this.#again) clearTimeout(timer);
    await Promise.allSettled(this.#loading.values());
    await Promise.allSettled([...this.#loaded.values()].map((one) => one[Symbol.asyncDispose]()));
  }

  // ── coming ────────────────────────────────────────────────────────────────────────────────────────────────────

  #load(id: string): Promise<Tenancy | undefined> {
    const loading = this.#open(id).finally(() => this.#loading.delete(id));
    this.#loading.set(id, loading);
    return loading;
  }

  async #open(id: string): Promise<Tenancy | undefined> {
    const { records, folders, catalogueOf, endpoint, servesPlugins = false } = this.#options;
    await this.#leaving.get(id);
    const tenant = await records.tenant(id);
    if (tenant === undefined) return undefined;
    const dir = await folders.open(tenant);
    const states = await records.states(id);
    const grants = await records.grants?.(id);
    const hookPolicy = await records.hookPolicy?.(id);
    const catalogue = catalogueOf(id);
    await catalogue.reload();
    const tenancy: Tenancy = new Tenancy({
      ...this.#options,
      tenant,
      states,
      grants,
      hookPolicy,
      dir,
      catalogue,
      servesPlugins: servesPlugins && id === DEFAULT_TENANT,
      endpoint: () => endpoint(dir),
      changed: () => this.#options.onChange(id),
      gone: () => this.#leave(tenancy),
    });
    this.#loaded.set(id, tenancy);
    this.#options.residencies?.settle(tenancy);
    this.#makeRoom();
    return tenancy;
  }

  // ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────

  async #refreshLoaded(id: string, ...what: readonly Changing[]): Promise<void> {
    // One that is being loaded may have passed what has changed.
    const tenancy = this.#loaded.get(id) ?? (await this.#loading.get(id)?.catch(() => undefined));
    await tenancy?.refresh(...what);
    await this.#leaving.get(id);
  }

  async #persist(look: () => Promise<void>): Promise<void> {
    try {
      await look();
    } catch {
      // What was known stays in use until the database answers again.
      if (this.#closed) return;
      const timer = setTimeout(() => {
        this.#again.delete(timer);
        void this.#persist(look);
      }, AGAIN_MS).unref();
      this.#again.add(timer);
    }
  }

  /**
   * Last used first. No folder is removed: that a tenant is not in the database may be the database's fault, and whoever
   * gets its name later does not get its folder.
   */
  async #lookAtAll(): Promise<void> {
    const loaded = [...this.#loaded.values()].sort((one, other) => other.usedAt - one.usedAt).map(({ id }) => id);
    const ids = [...new Set([...this.#loading.keys(), ...loaded])].values();
    const some = async () => {
      for (const id of ids) await this.#persist(() => this.#refreshLoaded(id, ...CHANGING));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, some));
  }

  // ── going ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #leave(tenancy: Tenancy): Promise<void> {
    const { id } = tenancy;
    if (this.#loaded.get(id) === tenancy) this.#loaded.delete(id);
    const { quarantine, onChange, onGone } = this.#options;
    const leaving = (async () => {
      onGone(id);
      onChange(id);
      await tenancy.whenIdle();
      await tenancy[Symbol.asyncDispose]();
      quarantine.forgetAll(id);
    })().finally(() => this.#leaving.delete(id));
    this.#leaving.set(id, leaving);
    await leaving;
  }

  async #cleanUp(id: string): Promise<void> {
    const { folders, records } = this.#options;
    if (!TENANT_ID.test(id) || !(await folders.has(id)) || (await records.tenant(id)) !== undefined) return;
    if (!this.#loaded.has(id) && !this.#loading.has(id)) await folders.remove(id);
  }

  #makeRoom(): void {
    const over = this.#loaded.size - this.#options.most;
    if (over <= 0) return;
    const idle = [...this.#loaded.values()].filter((one) => !one.inUse && one.id !== DEFAULT_TENANT);
    idle.sort((one, other) => one.usedAt - other.usedAt);
    // Never the one that was just loaded for somebody.
    for (const tenancy of idle.slice(0, -1).slice(0, over)) this.#drop(tenancy);
  }

  #dropIdle(): void {
    const since = performance.now() - this.#options.idleMs;
    for (const tenancy of this.#loaded.values()) {
      if (tenancy.usedAt < since && !tenancy.inUse && tenancy.id !== DEFAULT_TENANT) this.#drop(tenancy);
    }
  }

  #drop(tenancy: Tenancy): void {
    this.#loaded.delete(tenancy.id);
    void tenancy[Symbol.asyncDispose]();
  }
}
