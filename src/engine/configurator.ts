import { Failure } from '../core/failure.ts';
import type { HookPolicy } from '../core/hook-policy.ts';
import type { Setting } from '../core/plugin.ts';
import type { PluginState } from '../core/store.ts';
import type { HookPolicyChange } from '../core/tenant-store.ts';
import type { Store } from '../store/store.ts';
import type { Tenancies } from './tenancies.ts';
import type { Tenancy } from './tenancy.ts';

export type Settings = Record<string, unknown>;

/** What the settings in one request may take, as JSON, and the longest text among them. */
const SETTINGS_BYTES = 262_144;
const TEXT_MOST = 65_536;
const DEEPEST = 100;

/**
 * Enables plugins and sets what they declare as settings: of one plugin of one tenant, and nothing else is touched. Says
 * how the events of a tenant set off hooks.
 */
export class Configurator {
  readonly #store: Pick<Store, 'of'>;
  readonly #tenancies: Tenancies;

  constructor(store: Pick<Store, 'of'>, tenancies: Tenancies) {
    this.#store = store;
    this.#tenancies = tenancies;
  }

  async enable(tenancy: Tenancy, plugin: string, enabled: boolean): Promise<void> {
    const { id } = tenancy.plugin(plugin);
    await this.#states(tenancy).enable(id, enabled);
    await this.#tenancies.learn(tenancy.id, 'plugin_states');
  }

  /** As they are in the database, so that what is read can be written back. */
  async state(tenancy: Tenancy, plugin: string): Promise<PluginState> {
    return await this.#states(tenancy).get(tenancy.plugin(plugin).id);
  }

  /** All settings. With `revision`, only if that is still the newest: else `conflict`. */
  async replace(tenancy: Tenancy, plugin: string, settings: Settings, revision?: number): Promise<PluginState> {
    const { id, settings: declared } = tenancy.plugin(plugin);
    check(declared, settings, false);
    return await this.#written(tenancy, this.#states(tenancy).replace(id, settings, revision));
  }

  /** Some settings; null removes one. */
  async merge(tenancy: Tenancy, plugin: string, patch: Settings, revision?: number): Promise<PluginState> {
    const { id, settings: declared } = tenancy.plugin(plugin);
    check(declared, patch, true);
    return await this.#written(tenancy, this.#states(tenancy).merge(id, patch, revision));
  }

  /** With `revision`, only if that is still the newest: else `conflict`. */
  async changeHooks(tenancy: Tenancy, change: HookPolicyChange, revision?: number): Promise<HookPolicy> {
    const policy = await this.#store.of(tenancy.id).events.change(change, revision);
    await this.#tenancies.learn(tenancy.id, 'hook_policies');
    return policy;
  }

  /** All settings, whatever the plugin declares. */
  async configure(tenancy: Tenancy, plugin: string, settings: Settings): Promise<PluginState> {
    const { id } = tenancy.plugin(plugin);
    const problem = unkeepable(settings);
    if (problem !== null) throw new Failure('invalid_request', `The settings cannot be kept: ${problem}`);
    assertFits(settings);
    return await this.#written(tenancy, this.#states(tenancy).replace(id, settings));
  }

  async #written(tenancy: Tenancy, writing: Promise<PluginState>): Promise<PluginState> {
    const state = await writing;
    await this.#tenancies.learn(tenancy.id, 'plugin_states');
    return state;
  }

  #states({ id }: Tenancy) {
    return this.#store.of(id).pluginStates;
  }
}

/** Throws `invalid_request` for what the plugin does not declare, with all there is to say. */
function check(declared: readonly Setting[], settings: Settings, nulls: boolean): void {
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

/** What is wrong with a value that nothing was declared about; null where nothing is. */
function unkeepable(value: unknown, depth = 1): string | null {
  if (typeof value === 'string') {
    if (value.length > TEXT_MOST) return `a text is longer than ${TEXT_MOST}`;
    return isUnkeepable(value) ? 'a text is not Unicode without U+0000' : null;
  }
  if (typeof value !== 'object' || value === null) return null;
  if (depth > DEEPEST) return `they are nested deeper than ${DEEPEST} levels`;
  for (const [key, inner] of Object.entries(value)) {
    const problem = unkeepable(key) ?? unkeepable(inner, depth + 1);
    if (problem !== null) return problem;
  }
  return null;
}

/** PostgreSQL keeps neither NUL nor half a character. */
function isUnkeepable(text: string): boolean {
  return text.includes('\0') || !text.isWellFormed();
}

const JS_TYPES = { STRING: 'string', NUMBER: 'number', BOOLEAN: 'boolean' } as const satisfies Record<
  Setting['type'],
  string
>;
