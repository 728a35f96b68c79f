import { type Selectable, sql } from 'kysely';
import { Failure } from '../core/failure.ts';
import type { Dialect } from '../core/plugin.ts';
import { type KnownPlugin, type PluginSource, type PluginState, UNTOUCHED } from '../core/store.ts';
import type { Db, Tx } from './database.ts';
import type { PluginStateRow } from './tables.ts';
import { changedMeanwhile, noTenant } from './tenants.ts';
import { inTransaction } from './transaction.ts';
import { isForeignKeyViolation } from './violations.ts';

/** What a tenant has set for its plugins, and what is remembered of them. A plugin without a row is as its format has it. */
export class PluginStates {
  readonly #db: Db;
  readonly #tenant: string;

  constructor(db: Db, tenant: string) {
    this.#db = db;
    this.#tenant = tenant;
  }

  async get(plugin: string): Promise<PluginState> {
    const row = await this.#db
      .selectFrom('plugin_states')
      .select([...COLUMNS])
      .where('tenant', '=', this.#tenant)
      .where('plugin', '=', plugin)
      .executeTakeFirst();
    return row === undefined ? UNTOUCHED : stateOf(row);
  }

  /** Those that differ from what a plugin is by itself. */
  async all(): Promise<Map<string, PluginState>> {
    const rows = await this.#db
      .selectFrom('plugin_states')
      .select(['plugin', ...COLUMNS])
      .where('tenant', '=', this.#tenant)
      .execute();
    return new Map(rows.map(({ plugin, ...row }) => [plugin, stateOf(row)]));
  }

  enable(plugin: string, enabled: boolean): Promise<PluginState> {
    return this.#change(plugin, undefined, (state) => ({
      ...state,
      enabled,
      everEnabled: state.everEnabled || enabled,
    }));
  }

  /** What is remembered of it. Nothing of what was set changes, nor its revision. */
  know(plugin: string, known: KnownPlugin): Promise<void> {
    return this.#know(plugin, () => known);
  }

  /** The same of what lies in its folder; what its code has told and where it came from stays. */
  knowFound(plugin: string, found: Pick<KnownPlugin, 'dialect' | 'portrait'>): Promise<void> {
    return this.#know(plugin, (before) => {
      if (before !== null && before.dialect === found.dialect && before.isLoaded) return before;
      return { ...found, isLoaded: false, source: before?.source ?? null };
    });
  }

  /** Only where it came from. */
  knowSource(plugin: string, dialect: Dialect, source: PluginSource | null): Promise<void> {
    return this.#know(plugin, (before) => ({ ...(before ?? { dialect, portrait: null, isLoaded: false }), source }));
  }

  /** What came from a repository came from nowhere, but for these of it. Whether there was any. */
  async disown(repo: number, kept: readonly string[] = []): Promise<boolean> {
    const { numAffectedRows = 0n } = await sql`
      update plugin_states set known = jsonb_set(known, '{source}', 'null'), updated_at = now()
      where tenant = ${this.#tenant} and known -> 'source' -> 'repo' = to_jsonb(${repo}::integer)
        and not known -> 'source' ->> 'slug' = any(${[...kept]}::text[])`.execute(this.#db);
    return numAffectedRows > 0n;
  }

  /** The same of what its code has told; where it came from stays. */
  knowLoaded(plugin: string, known: Pick<KnownPlugin, 'dialect' | 'portrait'>): Promise<void> {
    return this.#know(plugin, (before) => ({ ...known, isLoaded: true, source: before?.source ?? null }));
  }

  /**
   * All settings: these, or what is made of those that are stored when nobody else can change them. With `revision`, only
   * if that is still the newest: else `conflict`.
   */
  replace(plugin: string, settings: Settings | Change, revision?: number): Promise<PluginState> {
    return this.#change(plugin, revision, (state) => ({ ...state, settings: changed(state, settings) }));
  }

  /** Some settings: `null` removes one (RFC 7386, on the first level, as a setting is one value). */
  merge(plugin: string, patch: Settings | Change, revision?: number): Promise<PluginState> {
    return this.#change(plugin, revision, (state) => {
      const some = changed(state, patch);
      const isGone = (key: string) => Object.hasOwn(some, key) && some[key] === null;
      const kept = Object.entries({ ...state.settings, ...some }).filter(([key]) => !isGone(key));
      return { ...state, settings: Object.fromEntries(kept) };
    });
  }

  /** Forgets what was set, for a plugin that is removed. */
  async forget(plugin: string): Promise<void> {
    await this.#db
      .deleteFrom('plugin_states')
      .where('tenant', '=', this.#tenant)
      .where('plugin', '=', plugin)
      .execute();
  }

  async #know(plugin: string, known: (before: KnownPlugin | null) => KnownPlugin): Promise<void> {
    await inTransaction(this.#db, async (tx) => {
      const before = await this.#locked(tx, plugin);
      await tx
        .updateTable('plugin_states')
        .set({ known: JSON.stringify(known(before.known)), updated_at: new Date() })
        .where('tenant', '=', this.#tenant)
        .where('plugin', '=', plugin)
        .execute();
    });
  }

  async #change(
    plugin: string,
    revision: number | undefined,
    next: (state: PluginState) => PluginState,
  ): Promise<PluginState> {
    return await inTransaction(this.#db, async (tx) => {
      const state = await this.#locked(tx, plugin);
      if (revision !== undefined && revision !== state.revision) throw changedMeanwhile(state.revision);
      const { enabled, everEnabled, settings } = next(state);
      const row = await tx
        .updateTable('plugin_states')
        .set({
          enabled,
          ever_enabled: everEnabled,
          settings: JSON.stringify(settings),
          revision: state.revision + 1,
          updated_at: new Date(),
        })
        .where('tenant', '=', this.#tenant)
        .where('plugin', '=', plugin)
        .returning([...COLUMNS])
        .executeTakeFirstOrThrow();
      return stateOf(row);
    });
  }

  /** The row, which is made if need be, for us alone until the transaction ends: no writer loses what another wrote. */
  async #locked(tx: Tx, plugin: string): Promise<PluginState> {
    try {
      await tx
        .insertInto('plugin_states')
        .values({ tenant: this.#tenant, plugin, enabled: null, settings: '{}' })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    } catch (error) {
      if (isForeignKeyViolation(error)) throw noTenant(this.#tenant);
      throw error;
    }
    const row = await tx
      .selectFrom('plugin_states')
      .select([...COLUMNS])
      .where('tenant', '=', this.#tenant)
      .where('plugin', '=', plugin)
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined) throw new Failure('conflict', 'The plugin was removed at the same time');
    return stateOf(row);
  }
}

type Settings = Record<string, unknown>;
type Change = (stored: Settings) => Settings;

function changed({ settings }: PluginState, change: Settings | Change): Settings {
  return typeof change === 'function' ? change(settings) : change;
}

const COLUMNS = ['enabled', 'ever_enabled', 'settings', 'known', 'revision'] as const;

function stateOf({ ever_enabled: everEnabled, ...row }: Pick<Selectable<PluginStateRow>, (typeof COLUMNS)[number]>) {
  return { ...row, everEnabled };
}
