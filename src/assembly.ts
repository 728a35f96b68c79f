/**
 * The engine put together from its parts: what `isopod serve` and `isopod run` have in common. Whatever runs plugins
 * or reads their manifests is handed in; main.ts is who knows their names.
 */
import { mkdir } from 'node:fs/promises';
import { join, parse } from 'node:path';
import type { Config } from './config.ts';
import type { Application } from './core/application.ts';
import type { Endpoint } from './core/invocation.ts';
import { type Limits, lowered } from './core/limits.ts';
import type { Runtime } from './core/runtime.ts';
import { Invoker, type Settled } from './engine/invoker.ts';
import { Limiter } from './engine/limiter.ts';
import { Quarantine } from './engine/quarantine.ts';
import { endpointOf, HttpApplication, noApplication } from './gateway/application.ts';
import type { Catalogue } from './http/plugins.ts';

export type Parts = {
  catalogue: Catalogue;
  runtimes: readonly Runtime[];
  /** What holds plugins back on this machine, a sentence for each runtime. */
  confinement: readonly string[];
} & AsyncDisposable;

export type Engine = {
  invoker: Invoker;
  limiter: Limiter;
  quarantine: Quarantine;
  limits(tenant: string, plugin: string): Limits;
} & AsyncDisposable;

export type AssemblyOptions = {
  config: Config;
  parts: Parts;
  /** Where plugins are told to find the application when none is configured: at ourselves. */
  ownUrl(): string;
  onSettled(settled: Settled): void;
};

export async function assemble({ config, parts, ownUrl, onSettled }: AssemblyOptions): Promise<Engine> {
  const applications = new Applications(config, ownUrl);
  await applications.open();
  const limiter = new Limiter(config.concurrency);
  const everybody = limiter.share(null);
  const quarantine = new Quarantine(config.quarantine);
  const lower = Object.entries(config.plugins).map(([id, own]) => [id, lowered(config.limits, own.limits)] as const);
  const byPlugin = new Map(lower);
  const limits = (_tenant: string, plugin: string) => byPlugin.get(plugin) ?? config.limits;
  const invoker = new Invoker({
    plugins: () => parts.catalogue.current.plugins,
    application: () => applications.current,
    refusal: (_tenant, plugin) => refusalOf(parts.catalogue, plugin),
    runtimes: parts.runtimes,
    limiter,
    share: () => everybody,
    quarantine,
    limits,
    onSettled,
  });
  return {
    invoker,
    limiter,
    quarantine,
    limits,
    [Symbol.asyncDispose]: () => applications[Symbol.asyncDispose](),
  };
}

/** A manifest is named like its plugin: then that is what the caller is looking for. */
function refusalOf({ current }: Catalogue, plugin: string): string | undefined {
  const one = current.refused.find(({ file }) => parse(file).name === plugin);
  if (one === undefined) return undefined;
  const where = [one.file, one.line, one.column].filter((part) => part !== null).join(':');
  return `its manifest was refused (${where}): ${one.reason}`;
}

/** The application of the one tenant there is. */
class Applications implements AsyncDisposable {
  readonly #dir: string;
  readonly #http: HttpApplication | undefined;
  readonly #url: () => string;
  #current: { application: Application; endpoint: Endpoint } | undefined;

  constructor({ applicationUrl, dataDir }: Config, ownUrl: () => string) {
    this.#dir = join(dataDir, 'tenants', 'default');
    this.#http = applicationUrl === undefined ? undefined : new HttpApplication({ url: applicationUrl });
    this.#url = applicationUrl === undefined ? ownUrl : () => applicationUrl;
  }

  async open(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
  }

  /** Made at the first call, as our own address is known only once we listen. */
  get current(): { application: Application; endpoint: Endpoint } {
    this.#current ??= {
      application: this.#http ?? noApplication,
      endpoint: endpointOf(this.#url(), this.#dir),
    };
    return this.#current;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http?.[Symbol.asyncDispose]();
  }
}
