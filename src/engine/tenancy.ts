import { parse } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Failure } from '../core/failure.ts';
import { type Grant, type KeptGrant, missingOf, NOTHING } from '../core/grant.ts';
import { AT_ONCE, type HookPolicy } from '../core/hook-policy.ts';
import type { Endpoint } from '../core/invocation.ts';
import { GRADES, type Grade, rankOf } from '../core/isolation.ts';
import { type Limits, lowered } from '../core/limits.ts';
import { type Entry, isEnabledAtFirst, isResident, isServer, type Plugin } from '../core/plugin.ts';
import { entriesOf, type Portrait, portraitOf } from '../core/portrait.ts';
import type { StopReason } from '../core/resident.ts';
import type { Runtime } from '../core/runtime.ts';
import { SERVERS_OFF } from '../core/serving.ts';
import type { PluginState } from '../core/store.ts';
import { DEFAULT_TENANT, type Quotas, type Tenant } from '../core/tenant.ts';
import { Again } from './again.ts';
import type { Catalogue } from './catalogue.ts';
import type { PackageRecords } from './installed.ts';
import type { Limiter, Share } from './limiter.ts';
import { type Quarantine, quarantineKey } from './quarantine.ts';
import { Rate } from './rate.ts';
import type { Residencies } from './residencies.ts';

/** What is kept of tenants. */
export type Records = {
  tenant(id: string): Promise<Tenant | undefined>;
  states(id: string): Promise<ReadonlyMap<string, PluginState>>;
  /** By plugin; without it, nothing is granted to any. */
  grants?(id: string): Promise<ReadonlyMap<string, KeptGrant>>;
  /** Where it is not there, events set off hooks at once. */
  hookPolicy?(id: string): Promise<HookPolicy>;
  /** Where it is not there, nothing can be installed. */
  packages?(id: string): PackageRecords;
};

/** The plugins of a tenant as they are now, and a way to look at them again. */
export type LiveCatalogue = { readonly current: Catalogue; reload(): Promise<unknown> } & AsyncDisposable;

/** What of a tenant can change: the names of the tables. */
export const CHANGING = ['tenants', 'plugin_states', 'packages', 'hook_policies', 'grants'] as const;
export type Changing = (typeof CHANGING)[number];

/** What a reload has found. */
export type Reloaded = { catalogue: Catalogue; added: string[]; changed: string[]; removed: string[] };

export type TenancyOptions = {
  tenant: Tenant;
  states: ReadonlyMap<string, PluginState>;
  grants?: ReadonlyMap<string, KeptGrant> | undefined;
  hookPolicy?: HookPolicy | undefined;
  /** A folder of the tenant's own. */
  dir: string;
  catalogue: LiveCatalogue;
  records: Records;
  limiter: Limiter;
  runtimes: readonly Runtime[];
  quarantine: Quarantine;
  /** The limits of all tenants, and what they are lowered to for single plugins. */
  limits: Limits;
  /** Those of plugins whose programs stay; without them they are as those of all. */
  residentLimits?: Limits;
  /** Who of its plugins lives on this node. */
  residencies?: Pick<Residencies, 'settle' | 'retain' | 'houses'>;
  /** Whether its server plugins may run, where its record does not say. */
  servesPlugins?: boolean;
  /** The least isolation grade of all tenants; by default there is none. */
  least?: Grade;
  plugins: Readonly<Record<string, { limits?: Partial<Limits> }>>;
  /** Where its plugins are told to find their application. */
  endpoint(): Endpoint;
  /** Told when another record is known. */
  changed(): void;
  /** Told when there is no such tenant any more. */
  gone(): Promise<void>;
};

/** What is loaded of one tenant: all that a run of its plugins asks for, without asking the database. */
export class Tenancy implements AsyncDisposable {
  readonly id: string;
  readonly dir: string;
  /** Its part of the places there are. */
  readonly share: Share;
  /** `performance.now()` of its last use. */
  usedAt = performance.now();
  /** The rank of the least isolation grade at which its plugins are run. */
  leastRank: number;
  readonly #options: TenancyOptions;
  readonly #again = new Again(() => this.#look());
  readonly #stale = new Set<Changing>();
  readonly #idle: (() => void)[] = [];
  #runs = 0;
  #tenant: Tenant;
  #states: ReadonlyMap<string, PluginState>;
  #grants: ReadonlyMap<string, KeptGrant>;
  #hookPolicy: HookPolicy;
  #terms: Terms;
  #rate: Rate | null;
  #endpoint: Endpoint | undefined;
  /** Plugins whose files are others than those whose code was heard last. */
  readonly #outdated = new Set<string>();
  #gone = false;
  #closed = false;
  /** What was let go of last is ended then. */
  #letting: Promise<void> = Promise.resolve();

  constructor(options: TenancyOptions) {
    const { tenant, states, grants = new Map(), hookPolicy = AT_ONCE, dir, limiter } = options;
    this.#options = options;
    this.id = tenant.id;
    this.dir = dir;
    this.share = limiter.share(tenant.quotas.running);
    this.#tenant = tenant;
    this.#states = states;
    this.#grants = grants;
    this.#hookPolicy = hookPolicy;
    this.leastRank = leastRankOf(options, tenant);
    this.#terms = termsOf(options, tenant, grants);
    this.#rate = rateOf(tenant);
  }

  get tenant(): Tenant {
    return this.#tenant;
  }

  /** Its name, and what tells it from others that have had it or get it. */
  get key(): string {
    return this.id === DEFAULT_TENANT ? this.id : `${this.id} ${this.#tenant.createdAt.getTime()}`;
  }

  get quotas(): Quotas {
    return this.#tenant.quotas;
  }

  get least(): Grade {
    return GRADES[this.leastRank] ?? 'full';
  }

  /** Who may share executors with it. */
  get trust(): string {
    return this.#terms.trust;
  }

  /** Null where its requests are not counted. */
  get rate(): Rate | null {
    return this.#rate;
  }

  get catalogue(): Catalogue {
    return this.#options.catalogue.current;
  }

  get endpoint(): Endpoint {
    this.#endpoint ??= this.#options.endpoint();
    return this.#endpoint;
  }

  /** The plugin of that name. Throws `not_found`, with the reason where more is known. */
  plugin(id: string): Plugin {
    const plugin = this.catalogue.plugins.get(id);
    if (plugin !== undefined) return plugin;
    const why = this.#refusal(id);
    throw new Failure('not_found', `There is no plugin "${id}"${why === undefined ? '' : `: ${why}`}`);
  }

  /** How its events set off hooks. */
  get hookPolicy(): HookPolicy {
    return this.#hookPolicy;
  }

  /** Whether its plugins may answer requests of their own. Contract: SillyTavern `enableServerPlugins`. */
  get servesPlugins(): boolean {
    return servesIn(this.#options, this.#tenant);
  }

  /** Whether a plugin may be run. */
  isEnabled(plugin: string): boolean {
    return this.isSwitchedOn(plugin) && (this.servesPlugins || !this.#serves(plugin));
  }

  /** Whether a plugin is enabled itself, whatever its tenant may have run. */
  isSwitchedOn(plugin: string): boolean {
    return this.#states.get(plugin)?.enabled ?? this.#isEnabledAtFirst(plugin);
  }

  /** Why a plugin is not run although it is enabled itself, in words; null where it is, or is not. */
  heldBack(plugin: string): string | null {
    return this.isSwitchedOn(plugin) && !this.isEnabled(plugin) ? SERVERS_OFF : null;
  }

  /** What is set for a plugin, and remembered of it; undefined where nothing is. */
  state(plugin: string): PluginState | undefined {
    return this.#states.get(plugin);
  }

  /** What a plugin says of itself: while it is enabled, what its code has told counts over its manifest. */
  portrait({ id, dialect, portrait = null }: Plugin): Portrait {
    const { known } = this.#states.get(id) ?? {};
    // One of another format may have had the id before.
    const isHeard = known?.isLoaded === true && known.dialect === dialect && !this.#outdated.has(id);
    const told = isHeard ? known.portrait : null;
    return portraitOf(id, { manifest: portrait, told: this.isEnabled(id) ? told : null });
  }

  /** What its code has told is of the files that are there now. */
  heardOf(plugin: string): void {
    this.#outdated.delete(plugin);
  }

  /** What can be asked of a plugin. */
  entries(plugin: Plugin): readonly Entry[] {
    return isResident(plugin) ? entriesOf(this.portrait(plugin)) : plugin.entries;
  }

  /** What is set for a plugin. */
  settings(plugin: string): Readonly<Record<string, unknown>> {
    return this.#states.get(plugin)?.settings ?? {};
  }

  /** What a plugin may have beyond its folder and its application. */
  grant(plugin: string): Grant {
    return this.#grants.get(plugin)?.grant ?? NOTHING;
  }

  /** What of that which a plugin asks for it was not granted. */
  missing({ id, asks }: Plugin): Grant {
    return asks === undefined ? NOTHING : missingOf(asks, this.grant(id), this.limits(id));
  }

  /** Whether what a plugin tries to reach is written down. */
  observes(plugin: string): boolean {
    return this.#grants.get(plugin)?.observe === true;
  }

  /** The plugins that something was ever set for, whether they are there or not. */
  get configured(): Iterable<string> {
    return this.#states.keys();
  }

  /** The most that an invocation of its plugins may use, of no plugin in particular or of one. */
  limits(plugin?: string): Limits {
    if (plugin === undefined) return this.#terms.passing.limits;
    const { limits, byPlugin } = this.#terms[this.#stays(plugin) ? 'resident' : 'passing'];
    return byPlugin.get(plugin) ?? limits;
  }

  #stays(id: string): boolean {
    const plugin = this.catalogue.plugins.get(id);
    return plugin !== undefined && isResident(plugin);
  }

  #serves(id: string): boolean {
    const plugin = this.catalogue.plugins.get(id);
    return plugin !== undefined && isServer(plugin);
  }

  // ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether something of it runs, or waits to. */
  get inUse(): boolean {
    return this.#runs > 0 || this.#options.residencies?.houses(this.id) === true;
  }

  /** Nothing is to be started for it any more. */
  get isClosed(): boolean {
    return this.#gone || this.#closed;
  }

  /** There is no such tenant any more. */
  get isGone(): boolean {
    return this.#gone;
  }

  /** Whether it is this tenant's, and not of another that had or has got its name. */
  isOf({ id, createdAt }: Tenant): boolean {
    return id === this.id && (id === DEFAULT_TENANT || createdAt.getTime() === this.#tenant.createdAt.getTime());
  }

  begin(now: number): void {
    this.#runs += 1;
    this.usedAt = now;
  }

  end(): void {
    this.#runs -= 1;
    if (this.#runs === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Resolves when nothing of it runs. */
  async whenIdle(): Promise<void> {
    if (this.#runs > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  // ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Looks at what has changed. Resolves when it is known here. */
  refresh(...what: readonly Changing[]): Promise<void> {
    for (const one of what) this.#stale.add(one);
    return this.#again.ask();
  }

  /** Reads the plugins again, and lets go of what is no longer there. */
  async reload(): Promise<Reloaded> {
    const { catalogue, runtimes, quarantine, residencies } = this.#options;
    const before = catalogue.current.plugins;
    await catalogue.reload();
    const { plugins: after } = catalogue.current;
    const kept = new Set(after.values());
    for (const runtime of runtimes) runtime.retain(this.id, kept);
    // A plugin whose files have not changed is the same object as before.
    const known = [...after.keys()].filter((id) => before.has(id));
    const changed = known.filter((id) => before.get(id) !== after.get(id));
    const removed = [...before.keys()].filter((id) => !after.has(id));
    for (const id of changed) this.#outdated.add(id);
    for (const id of [...changed, ...removed]) quarantine.forget(quarantineKey(this.id, id));
    const added = [...after.keys()].filter((id) => !before.has(id));
    await residencies?.retain(this, kept, 'delete');
    residencies?.settle(this);
    return { catalogue: catalogue.current, added, changed, removed };
  }

  /** Nothing is held for its plugins after this. What runs of them goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#letGo(this.#gone ? 'delete' : 'shutdown');
    await this.#letting;
    await this.#options.catalogue[Symbol.asyncDispose]();
  }

  async #look(): Promise<void> {
    if (this.#gone) return;
    const { records, gone } = this.#options;
    const stale = [...this.#stale];
    this.#stale.clear();
    try {
      if (stale.includes('tenants')) {
        const tenant = await records.tenant(this.id);
        if (tenant !== undefined && this.isOf(tenant)) this.#apply(tenant);
        else if (this.id !== DEFAULT_TENANT) {
          this.#gone = true;
          return await gone();
        }
      }
      if (stale.includes('plugin_states')) this.#states = await records.states(this.id);
      if (stale.includes('grants')) this.#allow((await records.grants?.(this.id)) ?? new Map());
      if (stale.includes('plugin_states') || stale.includes('grants')) {
        for (const runtime of this.#options.runtimes) runtime.dismiss?.(this.id);
      }
      if (stale.includes('plugin_states')) this.#options.residencies?.settle(this);
      if (stale.includes('hook_policies')) this.#hookPolicy = (await records.hookPolicy?.(this.id)) ?? AT_ONCE;
      if (stale.includes('packages')) await this.reload();
    } catch (error) {
      for (const one of stale) this.#stale.add(one);
      throw error;
    }
  }

  #apply(tenant: Tenant): void {
    const { residencies } = this.#options;
    const before = this.#tenant;
    this.#tenant = tenant;
    this.share.most = tenant.quotas.running;
    this.leastRank = leastRankOf(this.#options, tenant);
    if (tenant.quotas.requestsPerSecond !== before.quotas.requestsPerSecond) this.#rate = rateOf(tenant);
    this.#options.changed();
    if (this.servesPlugins !== servesIn(this.#options, before)) residencies?.settle(this);
    const sameLimits = JSON.stringify(tenant.limits) === JSON.stringify(before.limits);
    if (sameLimits && tenant.trustGroup === before.trustGroup) return;
    this.#terms = termsOf(this.#options, tenant, this.#grants);
    // Runtimes hold programs together with their limits, in executors that those may share who trusted each other.
    this.#letGo('reload');
  }

  /** What is granted as before stays the same object. */
  #allow(grants: ReadonlyMap<string, KeptGrant>): void {
    const before = this.#grants;
    this.#grants = new Map(
      [...grants].map(([id, one]) => [id, isDeepStrictEqual(before.get(id), one) ? (before.get(id) ?? one) : one]),
    );
    if (isDeepStrictEqual(limitsOf(before), limitsOf(grants))) return;
    this.#terms = termsOf(this.#options, this.#tenant, this.#grants);
    // As when a tenant's own limits change.
    this.#letGo('reload');
  }

  #letGo(reason: StopReason): void {
    const { runtimes, residencies } = this.#options;
    for (const runtime of runtimes) runtime.retain(this.id, new Set());
    const ended = residencies?.retain(this, new Set(), reason) ?? Promise.resolve();
    this.#letting = reason === 'reload' ? ended.then(() => residencies?.settle(this)) : ended;
  }

  #isEnabledAtFirst(id: string): boolean {
    const plugin = this.catalogue.plugins.get(id);
    return plugin === undefined || isEnabledAtFirst(plugin);
  }

  /** A manifest is named like its plugin: then that is what the caller is looking for. */
  #refusal(plugin: string): string | undefined {
    const one = this.catalogue.refused.find(({ file }) => parse(file).name === plugin);
    if (one === undefined) return undefined;
    const where = [one.file, one.line, one.column].filter((part) => part !== null).join(':');
    return `its manifest was refused (${where}): ${one.reason}`;
  }
}

/** Of programs that end with their run, and of those that stay. */
type Terms = { passing: Bounds; resident: Bounds; trust: string };
type Bounds = { limits: Limits; byPlugin: ReadonlyMap<string, Limits> };

/** The same objects for as long as nothing changes: runtimes know by them that a call has the usual limits. */
function termsOf(options: TenancyOptions, tenant: Tenant, grants: ReadonlyMap<string, KeptGrant>): Terms {
  const { limits, residentLimits = limits } = options;
  const granted = limitsOf(grants);
  return {
    passing: boundsOf(limits, options, tenant, granted),
    resident: boundsOf(residentLimits, options, tenant, granted),
    // No tenant's id has a space in it, so that no group is called like a tenant.
    trust: tenant.trustGroup === null ? tenant.id : `group ${tenant.trustGroup}`,
  };
}

function boundsOf(
  limits: Limits,
  { plugins }: Pick<TenancyOptions, 'plugins'>,
  tenant: Tenant,
  granted: ReadonlyMap<string, Partial<Limits>>,
): Bounds {
  const own = new Map(Object.entries(plugins).map(([id, one]) => [id, lowered(limits, one.limits)]));
  const byPlugin = [...new Set([...own.keys(), ...granted.keys()])].map(
    (id) => [id, lowered(lowered(own.get(id) ?? limits, tenant.limits), granted.get(id))] as const,
  );
  return { limits: lowered(limits, tenant.limits), byPlugin: new Map(byPlugin) };
}

/** A tenant may want more than holds for all, never less. */
function leastRankOf({ least = 'none' }: TenancyOptions, { leastGrade }: Tenant): number {
  return Math.max(rankOf(least), rankOf(leastGrade ?? 'none'));
}

function servesIn({ servesPlugins = false }: TenancyOptions, { enableServerPlugins }: Tenant): boolean {
  return enableServerPlugins ?? servesPlugins;
}

/** Those that were granted with lower limits. */
function limitsOf(grants: ReadonlyMap<string, KeptGrant>): Map<string, Partial<Limits>> {
  const all = [...grants].map(([id, { grant }]) => [id, grant.limits] as const);
  return new Map(all.filter(([, limits]) => Object.keys(limits).length > 0));
}

function rateOf({ quotas: { requestsPerSecond } }: Tenant): Rate | null {
  return requestsPerSecond === null ? null : new Rate(requestsPerSecond);
}
