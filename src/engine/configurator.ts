import { Failure } from '../core/failure.ts';
import type { HookPolicy } from '../core/hook-policy.ts';
import { isResident, type Plugin, type Setting } from '../core/plugin.ts';
import type { PluginState } from '../core/store.ts';
import type { HookPolicyChange } from '../core/tenant-store.ts';
import type { Store } from '../store/store.ts';
import { isUnkeepable, TEXT_MOST, unkeepable } from './keepable.ts';
import type { Changing, Tenancy } from './tenancy.ts';
import type { Vault } from './vault.ts';

export type Settings = Record<string, unknown>;

/** What the settings of a plugin may take, as JSON. */
const SETTINGS_BYTES = 262_144;

export type ConfiguratorOptions = {
  store: Pick<Store, 'of'>;
  vault: Vault;
  /** Resolves when what has changed of a tenant is known on this node. */
  learn(tenant: string, change: Changing): Promise<void>;
  /** Resolves when nothing is left of a plugin whose program stays. */
  stop(tenancy: Tenancy, plugin: Plugin): Promise<void>;
};

/**
 * Enables plugins and sets what they declare as settings: of one plugin of one tenant, and nothing else is touched. Says
 * how the events of a tenant set off hooks. Secrets are neither taken from here nor stored in clear.
 */
export class Configurator {
  readonly #options: ConfiguratorOptions;

  constructor(options: ConfiguratorOptions) {
    this.#options = options;
  }

  /** Where it is disabled, resolves when it has stopped; where it is enabled, before it has started. */
  async enable(tenancy: Tenancy, plugin: string, enabled: boolean): Promise<void> {
    const found = tenancy.plugin(plugin);
    await this.#states(tenancy).enable(found.id, enabled);
    await this.#options.learn(tenancy.id, 'plugin_states');
    if (!enabled && isResident(found)) await this.#options.stop(tenancy, found);
  }

  /** As they are in the database, so that what is read can be written back. */
  async state(tenancy: Tenancy, plugin: string): Promise<PluginState> {
    const { id } = tenancy.plugin(plugin);
    return this.#shown(tenancy, id, await this.#states(tenancy).get(id));
  }

  /** What is known here to be set for a plugin, whether it is there or not. */
  settings(tenancy: Tenancy, plugin: string): Settings {
    return this.#options.vault.shown(tenancy, plugin);
  }

  /** All settings. With `revision`, only if that is still the newest: else `conflict`. */
  async replace(tenancy: Tenancy, plugin: string, settings: Settings, revision?: number): Promise<PluginState> {
    const found = tenancy.plugin(plugin);
    check(found, settings, false);
    return await this.#replace(tenancy, found.id, settings, revision);
  }

  /** Some settings; null removes one. */
  async merge(tenancy: Tenancy, plugin: string, patch: Settings, revision?: number): Promise<PluginState> {
    const found = tenancy.plugin(plugin);
    check(found, patch, true);
    const { id } = found;
    const sealed = (stored: Settings) => {
      const some = this.#options.vault.sealed(tenancy, id, patch, stored);
      // What is set already counts, too: where anything may be set, there is always something else.
      assertFits(isDeclared(found) ? some : { ...stored, ...some });
      return some;
    };
    return await this.#written(tenancy, id, this.#states(tenancy).merge(id, sealed, revision));
  }

  /** With `revision`, only if that is still the newest: else `conflict`. */
  async changeHooks(tenancy: Tenancy, change: HookPolicyChange, revision?: number): Promise<HookPolicy> {
    const policy = await this.#options.store.of(tenancy.id).events.change(change, revision);
    await this.#options.learn(tenancy.id, 'hook_policies');
    return policy;
  }

  /** All settings, whatever the plugin declares. */
  async configure(tenancy: Tenancy, plugin: string, settings: Settings): Promise<PluginState> {
    const { id } = tenancy.plugin(plugin);
    checkKeepable(settings);
    return await this.#replace(tenancy, id, settings);
  }

  /** Stores anew what would be sealed otherwise today: it was not secret when it came, or the key has changed. */
  async reseal(tenancy: Tenancy, plugin: string): Promise<void> {
    const { vault, learn } = this.#options;
    if (vault.renewed(tenancy, plugin, tenancy.settings(plugin)) === null) return;
    await this.#states(tenancy).replace(plugin, (stored) => vault.renewed(tenancy, plugin, stored) ?? stored);
    await learn(tenancy.id, 'plugin_states');
  }

  async #replace(tenancy: Tenancy, id: string, settings: Settings, revision?: number): Promise<PluginState> {
    const sealed = (stored: Settings) => {
      const all = this.#options.vault.sealed(tenancy, id, settings, stored);
      assertFits(all);
      return all;
    };
    return await this.#written(tenancy, id, this.#states(tenancy).replace(id, sealed, revision));
  }

  async #written(tenancy: Tenancy, plugin: string, writing: Promise<PluginState>): Promise<PluginState> {
    const state = await writing;
    await this.#options.learn(tenancy.id, 'plugin_states');
    return this.#shown(tenancy, plugin, state);
  }

  #shown(tenancy: Tenancy, plugin: string, state: PluginState): PluginState {
    return { ...state, settings: this.#options.vault.shown(tenancy, plugin, state.settings) };
  }

  #states({ id }: Tenancy) {
    return this.#options.store.of(id).pluginStates;
  }
}

/** Whether its format says which settings there are. In others a form says what people are asked for, and anything may be set. */
function isDeclared({ dialect }: Plugin): boolean {
  return dialect === 'stash';
}

function check(plugin: Plugin, settings: Settings, nulls: boolean): void {
  if (isDeclared(plugin)) checkDeclared(plugin.settings, settings, nulls);
  else checkKeepable(settings);
}

function checkKeepable(settings: Settings): void {
  const problem = unkeepable(settings);
  if (problem !== null) throw new Failure('invalid_request', `The settings cannot be kept: ${problem}`);
  assertFits(settings);
}

/** Throws `invalid_request` for what the plugin does not declare, with all there is to say. */
function checkDeclared(declared: readonly Setting[], settings: Settings, nulls: boolean): void {
  const types = new Map(declared.map(({ key, type }) => [key, type]));
  const where: { at: string; problem: string }[] = [];
  for (const [key, value] of Object.entries(settings)) {
    const problem = complaint(types.get(key), value, nulls, declared);
    if (problem !== null)
      where.push({ at: `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`.slice(0, 200), problem });
  }
  const [first] = where;
  if (first !== undefined) {
    const message = `The settings are not what the plugin declares: ${first.at} ${first.problem}`;
    throw new Failure('invalid_request', message, { where: where.slice(0, 20) });
  }
  assertFits(settings);
}

function assertFits(settings: Settings): void {
  const observed = Buffer.byteLength(JSON.stringify(settings));
  if (observed <= SETTINGS_BYTES) return;
  const limit = { name: 'settingsBytes', allowed: SETTINGS_BYTES, observed, unit: 'bytes' } as const;
  throw new Failure('payload_too_large', `The settings are larger than ${SETTINGS_BYTES} bytes`, { limit });
}

function complaint(
  type: Setting['type'] | undefined,
  value: unknown,
  nulls: boolean,
  declared: readonly Setting[],
): string | null {
  // What the plugin declared before and does not any more can still be removed.
  if (nulls && value === null) return null;
  if (type === undefined) {
    const keys = declared.slice(0, 100).map(({ key }) => JSON.stringify(key));
    return `is not known: ${keys.length === 0 ? 'it has no settings' : `it has ${keys.join(', ')}`}`;
  }
  if (typeof value !== JS_TYPES[type]) return `must be a ${JS_TYPES[type]}`;
  if (typeof value !== 'string') return null;
  if (value.length > TEXT_MOST) return `must not be longer than ${TEXT_MOST}`;
  return isUnkeepable(value) ? 'must be Unicode without U+0000' : null;
}

const JS_TYPES = { STRING: 'string', NUMBER: 'number', BOOLEAN: 'boolean' } as const satisfies Record<
  Setting['type'],
  string
>;
