import type { FastifyRequest } from 'fastify';
import type { Plugin } from '../../core/plugin.ts';
import type { Portrait } from '../../core/portrait.ts';
import type { PluginSource } from '../../core/store.ts';
import { DEFAULT_TENANT } from '../../core/tenant.ts';
import type { Origin } from '../../engine/hub/shelf.ts';
import type { Residencies } from '../../engine/residencies.ts';
import type { Tenancy } from '../../engine/tenancy.ts';
import type { PluginForm } from './schemas.ts';

/** The format whose plugins are shown, and no others. */
export const DIALECT = 'dispatcharr' as const;

export type ViewOptions = {
  residencies: Pick<Residencies, 'state'>;
  /** What is set for a plugin, there or not, as callers may see it. */
  settingsOf(tenancy: Tenancy, plugin: string): Readonly<Record<string, unknown>>;
  /** What repositories say by now of plugins that came from them. */
  origins(tenancy: Tenancy): Promise<OriginOf>;
};

/** Plugins as the host shows them. Contract: Dispatcharr `apps/plugins/api_views.py` and `loader.py`. */
export class PluginViews {
  readonly #options: ViewOptions;

  constructor(options: ViewOptions) {
    this.#options = options;
  }

  /** Those that are there in the order of their folders, and then those that are only remembered. */
  async all(request: FastifyRequest): Promise<Iterable<PluginForm>> {
    const originOf = await this.#origins(request.tenancy);
    return this.#each(request, originOf);
  }

  /** One by one: together they may be more than anybody is answered. */
  *#each(request: FastifyRequest, originOf: OriginOf): Generator<PluginForm> {
    const { tenancy } = request;
    for (const plugin of foundIn(tenancy)) yield this.#found(request, plugin, originOf);
    for (const key of missingIn(tenancy)) yield this.#missing(tenancy, key, originOf);
  }

  async one(request: FastifyRequest, plugin: Plugin): Promise<PluginForm> {
    return this.#found(request, plugin, await this.#origins(request.tenancy));
  }

  /** Most tenants have nothing from repositories, and these are looked up in the database. */
  async #origins(tenancy: Tenancy): Promise<OriginOf> {
    const sources = [...tenancy.configured].map((key) => tenancy.state(key)?.known?.source ?? null);
    return sources.some((source) => source !== null) ? await this.#options.origins(tenancy) : () => undefined;
  }

  #found(request: FastifyRequest, plugin: Plugin, originOf: OriginOf): PluginForm {
    const { tenancy } = request;
    const { id: key } = plugin;
    const now = tenancy.portrait(plugin);
    const before = tenancy.state(key)?.known?.portrait ?? null;
    return {
      ...spoken(key, now),
      // What nobody may ask its code now is as it was when somebody did.
      version: now.version || (before?.version ?? ''),
      description: now.description || (before?.description ?? ''),
      ...this.#set(tenancy, key, tenancy.isEnabled(key)),
      fields: [...now.fields],
      actions: [...now.actions],
      missing: false,
      loaded: this.#options.residencies.state(tenancy, plugin)?.is === 'running',
      legacy: plugin.portrait === null,
      logo_url: typeof plugin.logo === 'string' ? logoUrl(request, key) : null,
      ...origin(tenancy, key, originOf),
    };
  }

  #missing(tenancy: Tenancy, key: string, originOf: OriginOf): PluginForm {
    const { known = null, enabled } = tenancy.state(key) ?? {};
    return {
      ...spoken(key, known?.portrait ?? null),
      ...this.#set(tenancy, key, enabled === true),
      fields: [],
      actions: [],
      missing: true,
      loaded: false,
      legacy: false,
      logo_url: null,
      ...origin(tenancy, key, originOf),
    };
  }

  #set(tenancy: Tenancy, key: string, enabled: boolean) {
    const everEnabled = tenancy.state(key)?.everEnabled === true;
    return {
      enabled,
      ever_enabled: everEnabled,
      trusted: everEnabled || enabled,
      settings: { ...this.#options.settingsOf(tenancy, key) },
    };
  }
}

type OriginOf = (source: PluginSource) => Origin | undefined;

/** The plugins of a tenant that are this host's, in the order of their folders. */
export function foundIn({ catalogue }: Tenancy): Plugin[] {
  const all = [...catalogue.plugins.values()].filter(({ dialect }) => dialect === DIALECT);
  const folder = ({ id, folder: name = id }: Plugin) => Buffer.from(name);
  return all.sort((one, other) => Buffer.compare(folder(one), folder(other)));
}

/** The plugin of that key, where it is this host's. */
export function pluginIn({ catalogue }: Tenancy, key: string): Plugin | undefined {
  const plugin = catalogue.plugins.get(key);
  return plugin?.dialect === DIALECT ? plugin : undefined;
}

/** Whether it was one of this host's, and is remembered only. */
export function isMissing(tenancy: Tenancy, key: string): boolean {
  return tenancy.state(key)?.known?.dialect === DIALECT && !tenancy.catalogue.plugins.has(key);
}

function missingIn(tenancy: Tenancy): string[] {
  return [...tenancy.configured].filter((key) => isMissing(tenancy, key)).sort();
}

function spoken(key: string, portrait: Portrait | null) {
  const { name = key, version = '', description = '', author = '', helpUrl = '' } = portrait ?? {};
  return { key, name: name || key, version, description, author, help_url: helpUrl };
}

function origin(tenancy: Tenancy, key: string, originOf: OriginOf) {
  const source = tenancy.state(key)?.known?.source ?? null;
  const now = source === null ? undefined : originOf(source);
  return {
    source_repo: source?.repo ?? null,
    source_repo_name: now?.name ?? null,
    is_official_repo: now?.isOfficial ?? false,
    slug: source?.slug ?? '',
    is_managed: source !== null,
    installed_version_is_prerelease: source?.isPrerelease ?? false,
    update_available: now?.updateAvailable ?? false,
    latest_version: now?.latestVersion ?? null,
    deprecated: now?.isDeprecated ?? source?.isDeprecated ?? false,
  };
}

/** Where a page finds it that was asked for there. The logo is open to all, so the address says whose it is. */
function logoUrl({ protocol, headers: { host = '' }, tenant }: FastifyRequest, key: string): string {
  const path = `/api/plugins/plugins/${encodeURIComponent(key)}/logo/`;
  const ours = tenant === DEFAULT_TENANT ? path : `/t/${tenant}${path}`;
  return HOST.test(host) ? `${protocol}://${host}${ours}` : ours;
}

const HOST = /^[A-Za-z0-9.-]+(:\d{1,5})?$|^\[[0-9A-Fa-f:.]+\](:\d{1,5})?$/;
