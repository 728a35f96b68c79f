import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { DestinationStream } from 'pino';
import packageJson from '../package.json' with { type: 'json' };
import { assemble, type Engine, type Parts } from './assembly.ts';
import { type Config, ConfigError } from './config.ts';
import { Failure } from './core/failure.ts';
import type { OwnFields } from './core/graphql.ts';
import { shortfallOf } from './core/isolation.ts';
import type { Plugin } from './core/plugin.ts';
import { DEFAULT_TENANT } from './core/tenant.ts';
import { Addresses } from './engine/addresses.ts';
import { Bearers } from './engine/bearers.ts';
import type { Catalogue } from './engine/catalogue.ts';
import { Configurator, type ConfiguratorOptions } from './engine/configurator.ts';
import { disguised } from './engine/disguise.ts';
import { EventClock } from './engine/event-clock.ts';
import { Hub } from './engine/hub/hub.ts';
import { Notary } from './engine/hub/notary.ts';
import { RefreshClock } from './engine/hub/refresh-clock.ts';
import { Installer } from './engine/installer.ts';
import { tenantGone } from './engine/invoker.ts';
import type { Isolations } from './engine/isolation.ts';
import { JobFeed } from './engine/job-feed.ts';
import { JobNews } from './engine/job-news.ts';
import { KnownPlugins } from './engine/known-plugins.ts';
import { Observer, type ObserverOptions } from './engine/observer.ts';
import { Permissions } from './engine/permissions.ts';
import { PluginDesk } from './engine/plugin-desk.ts';
import { PluginLogs } from './engine/plugin-logs.ts';
import { Portraits } from './engine/portraits.ts';
import { Reception } from './engine/reception.ts';
import { Registrar } from './engine/registrar.ts';
import { SecretKeys, type SecretKeysOptions } from './engine/secret-keys.ts';
import type { Records, Tenancy } from './engine/tenancy.ts';
import { Updates } from './engine/updates.ts';
import { Vault, type VaultOptions } from './engine/vault.ts';
import { Worker } from './engine/worker.ts';
import { GuardedFetcher } from './gateway/egress/fetcher.ts';
import { noFields } from './gateway/no-fields.ts';
import { createApp } from './http/app.ts';
import { isLoopbackAddress } from './http/auth.ts';
import { StashFields } from './http/stash/fields.ts';
import { Log, type Notice } from './log.ts';
import { Metrics } from './metrics.ts';
import { nextTimes } from './store/jobs/times.ts';
import type { Store } from './store/store.ts';

/** How long callers may take to read their last answers when the service ends. */
const LAST_ANSWERS_MS = 2_000;
/** How long the end of the last jobs is insisted on being written down. */
const LAST_SETTLING_MS = 5_000;

/** What a service has beside what every run needs: what it keeps. */
export type ServiceParts = Parts & { store: Store };

type Inside = {
  url: string;
  parts: ServiceParts;
  engine: Engine;
  server: Server;
  drain(): Promise<void>;
  serving(): number;
  owned: AsyncDisposable;
};

export const VERSION = packageJson.version;

/** The service, listening. It holds everything it needs: two of them in one process do not meet. */
export class Service implements AsyncDisposable {
  readonly url: string;
  readonly parts: ServiceParts;
  readonly #engine: Engine;
  readonly #server: Server;
  readonly #drain: () => Promise<void>;
  readonly #serving: () => number;
  readonly #owned: AsyncDisposable;
  #closed: Promise<void> | undefined;

  private constructor({ url, parts, engine, server, drain, serving, owned }: Inside) {
    this.url = url;
    this.parts = parts;
    this.#engine = engine;
    this.#server = server;
    this.#drain = drain;
    this.#serving = serving;
    this.#owned = owned;
  }

  /** Takes the parts over: they end with the service, or here if it cannot start. */
  static async start(config: Config, parts: ServiceParts, destination: DestinationStream): Promise<Service> {
    await using scope = new AsyncDisposableStack();
    scope.use(parts);
    refuseOpenDoor(config);

    const { store } = parts;
    const log = new Log(config.logLevel, destination);
    let url = '';
    let draining = false;
    let metrics: Metrics | undefined;
    const ports = portsOf(config);
    let fields: OwnFields = noFields;
    const logs = new PluginLogs();
    const updates = new Updates();
    scope.defer(() => log.flush());
    scope.use(parts.store.onNotice((notice) => log.notice(notice)));
    // That the database is away is said once, by whoever notices.
    const complain = (error: unknown) => {
      if (Failure.from(error).code !== 'overloaded') log.bug(error, undefined);
    };
    const write: ObserverOptions['write'] = (tenant, plugin, hosts) => store.of(tenant).grants.observe(plugin, hosts);
    const observer = scope.use(new Observer({ write, complain }));
    // What is loaded before all of it is there is looked at again below.
    let loaded: Engine | undefined;
    let receiving: Reception | undefined;
    const learn: ConfiguratorOptions['learn'] = async (tenant, change) => loaded?.tenancies.learn(tenant, change);
    const vault = openVault(config, (notice) => log.notice(notice));
    const configurator = new Configurator({
      store,
      vault,
      learn,
      stop: async (tenancy, plugin) => loaded?.residencies.stop(tenancy, plugin, 'disable'),
    });
    const keep = (tenant: string) => store.of(tenant);
    const addresses = new Addresses();
    const portraits = scope.use(new Portraits({ store, configurator, learn, complain }));
    const desks = { vault, configurator, portraits, updates, addresses, keep, ownJobs: config.residents.ownJobs };
    const engine = await assemble({
      config,
      parts,
      records: recordsOf(store),
      sealKey: await store.key('gateway'),
      bug: (error) => log.bug(error, undefined),
      onPresumed: (tenant) => log.notice(unpassed(tenant)),
      onSettled: (settled, tenancy) => {
        log.settled(settled);
        metrics?.settled(settled);
        logs.settled(settled, tenancy);
      },
      onDied: (tenancy, plugin, failure) => log.notice(died(tenancy, plugin, failure)),
      onLogged: (from, lines) => logs.logged(from, lines),
      onEgress: (told, tenancy) => {
        const attempt = { ...told, host: disguised(told.host, vault.secrets(tenancy, told.plugin)) };
        log.egress(attempt);
        metrics?.egress(attempt);
        if (tenancy.observes(attempt.plugin)) observer.note(attempt, new Date());
      },
      ports: () => ports,
      own: () => fields,
      desk: (tenancy, plugin) => new PluginDesk(desks, tenancy, plugin),
      onGone: (tenant) => {
        receiving?.stopAll(tenant, tenantGone());
        updates.forget(tenant);
      },
    });
    scope.use(engine);
    loaded = engine;
    const reception = new Reception({
      isolations: parts.isolations,
      addresses,
      residencies: engine.residencies,
      mostAtOnce: config.sillytavern.requests,
      onServed: (served) => {
        log.served(served);
        metrics?.served(served);
      },
    });
    receiving = reception;
    const news = scope.use(await JobNews.open(store));
    let worker: Worker | undefined;
    const { tenancies } = engine;
    const bearers = new Bearers({ look: (secret) => store.tenants.bearer(secret) });
    scope.use(
      await store.onChange((change) => {
        tenancies.hear(change);
        if (change === undefined) bearers.forget();
        else if (change.table === 'tokens') bearers.forget(change.tenant);
        else if (change.table === 'tenants') news.hearTenant(change.tenant);
      }),
    );
    // What has changed since it was loaded was not heard yet.
    await tenancies.refresh(DEFAULT_TENANT, 'tenants', 'plugin_states', 'hook_policies', 'grants');
    const { runtimes, isolations } = parts;
    metrics = new Metrics({
      limiter: engine.limiter,
      runtimes,
      isolations,
      tenancies,
      jobs: () => ({ running: worker?.running ?? 0, waitedFor: news.waiting }),
      serving: () => reception.serving,
      updates,
    });
    const numbers = metrics;
    const installer = new Installer({
      ...parts.packages,
      store,
      tenantBytes: config.packages.tenantBytes,
      catalogue: async (tenant) => (await tenancies.find(tenant))?.catalogue,
      refresh: (tenant) => tenancies.learn(tenant, 'packages', 'grants', 'plugin_states'),
      residencies: engine.residencies,
      clear: async (tenant, plugin) => {
        const tenancy = await tenancies.find(tenant);
        if (tenancy !== undefined) await engine.residencies.clear(tenancy, plugin);
      },
    });
    const hub = new Hub({
      store,
      tenancies,
      installer,
      fetcher: new GuardedFetcher({
        hosts: config.dispatcharr.repos,
        ranges: config.egress.ranges,
        ours: () => [...ports, engine.gateway.endpoint('/').port],
      }),
      notary: scope.use(new Notary()),
      version: config.dispatcharr.version,
      archiveBytes: config.packages.archiveBytes,
    });
    scope.use(new RefreshClock({ repositories: hub.repositories, complain }));
    const stash = new StashFields({
      ...engine,
      configurator,
      keep,
      feed: scope.use(await JobFeed.open(store)),
      logs,
      version: VERSION,
      depth: config.hooks.depth,
      bug: (error) => log.bug(error, undefined),
    });
    fields = stash;
    const app = await createApp({
      ...engine,
      bearers,
      registrar: new Registrar(store, tenancies, bearers),
      hasCredential: (variable) => Object.hasOwn(config.credentials, variable),
      configurator,
      isolations,
      permissions: new Permissions({ store, tenancies, observer, folders: [config.dataDir, config.pluginsDir] }),
      installer,
      archiveBytes: config.packages.archiveBytes,
      tokens: config.tokens,
      requestBytes: config.requestBytes,
      requestBytesAtOnce: config.requestBytesAtOnce,
      version: VERSION,
      unready: () => (draining ? new Failure('draining', 'The service is shutting down') : unreadyPart(parts)),
      metrics: () => numbers.text(),
      bug: (error, invocation) => log.bug(error, invocation),
      keep,
      desk: engine.gateway.desk,
      stash,
      logs,
      updates,
      dispatcharr: {
        hub,
        known: new KnownPlugins(store, tenancies),
        heard: (tenancy, plugin) => portraits.heard(tenancy, plugin),
        origins: (tenancy) => hub.origins(tenancy),
        settingsOf: (tenancy, plugin) =>
          config.dispatcharr.passwords === 'clear' ? vault.opened(tenancy, plugin) : vault.shown(tenancy, plugin),
        install: (tenant, archive, signal, options) => installer.install(tenant, archive, signal, options),
        discard: (tenancy, plugin) => installer.discard(tenancy, plugin, 'dispatcharr'),
      },
      sillytavern: { reception, csrfKey: await store.key('csrf'), settings: config.sillytavern },
      news,
      nextTimes,
      longestMs: config.limits.wallMs + config.concurrency.waitMs + LAST_ANSWERS_MS,
    });
    if (provesFirst(config)) await isolations.check();
    scope.defer(() => app.close());
    await app.listen({ host: config.host, port: config.port });
    const address = app.server.address() as AddressInfo;
    ports.add(address.port);
    url = urlOf(address);
    if (provesFirst(config)) log.notice(isolationNotice(isolations));
    const working = scope.use(
      await Worker.start({
        store,
        invoker: engine.invoker,
        atOnce: config.jobs.atOnce,
        onSettled: (state) => numbers.jobSettled(state),
        complain,
      }),
    );
    worker = working;
    const { dispatcher } = engine;
    const clock = scope.use(new EventClock({ dueEvents: store.dueEvents, tenancies, dispatcher, complain }));
    const drain = async () => {
      draining = true;
      clock.stop();
      working.drain();
      await Promise.all([engine.invoker.drain(config.drainMs), reception.drain(config.drainMs)]);
      updates[Symbol.dispose]();
      await working.finish(LAST_SETTLING_MS);
    };
    return new Service({
      url,
      parts,
      engine,
      server: app.server,
      drain,
      serving: () => reception.serving,
      owned: scope.move(),
    });
  }

  /** How many invocations run now, and requests to plugins. */
  get running(): number {
    return this.#engine.limiter.running + this.#serving();
  }

  /** The plugins of the default tenant. */
  get catalogue(): Catalogue {
    return this.#engine.tenancies.default.catalogue;
  }

  /** Refuses what comes, finishes what runs, and ends. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#drain();
    const late = setTimeout(() => this.#server.closeAllConnections(), LAST_ANSWERS_MS);
    await this.#owned[Symbol.asyncDispose]();
    clearTimeout(late);
  }
}

/** Without a token, whoever reaches us may run plugins: that must be nobody but this machine. */
export function refuseOpenDoor({ host, tokens }: Config): void {
  if (tokens.length > 0 || isLoopbackAddress(host)) return;
  throw new ConfigError([
    `host is ${host}, which others can reach, and there is no token: set ISOPOD_TOKEN (or tokens in isopod.yaml), ` +
      'or listen on 127.0.0.1',
  ]);
}

function recordsOf(store: Store): Records {
  return {
    tenant: (id) => store.tenants.get(id),
    states: (id) => store.of(id).pluginStates.all(),
    grants: (id) => store.of(id).grants.all(),
    hookPolicy: (id) => store.of(id).events.policy(),
    packages: (id) => store.of(id).packages,
  };
}

function openVault(
  { secretsKey: key, secretsKeysBefore: before, dataDir }: Config,
  say: (notice: Notice) => void,
): Vault {
  const keys = secretKeys({ key, before, dataDir });
  return new Vault({ keys, onUnreadable: (where) => say(unreadable(where)) });
}

function secretKeys(options: SecretKeysOptions): SecretKeys {
  try {
    return new SecretKeys(options);
  } catch (error) {
    throw new ConfigError([(error as Error).message]);
  }
}

function unreadable({ tenant, plugin, setting, key }: Parameters<VaultOptions['onUnreadable']>[0]): Notice {
  const what =
    'A setting that is kept sealed cannot be opened, and counts as not set: set secretsKey to what it was sealed with (all nodes need the same), or name that in secretsKeysBefore';
  return { level: 'warn', what, words: `tenant ${tenant}, plugin ${plugin}, setting ${setting}, key ${key}` };
}

/** Where no plugin is led: the database, and where the service will listen. */
function portsOf({ databaseUrl, port }: Config): Set<number> {
  if (databaseUrl === undefined) return new Set([port]);
  const url = URL.parse(databaseUrl);
  const named = url?.port || url?.searchParams.get('port') || POSTGRESQL;
  return new Set([port, Number(named)]);
}

const POSTGRESQL = 5432;

function unpassed(tenant: string): Notice {
  const what =
    'An application does not pass on the header Isopod-Hook-Chain with its events: what comes while a plugin changes something there is taken for what came of it';
  return { level: 'warn', what, words: `tenant ${tenant}` };
}

function died({ id }: Tenancy, plugin: Plugin, { code, message, details: { limit } }: Failure): Notice {
  const hit = limit === undefined ? '' : ` (${limit.name}: ${limit.allowed} allowed, ${limit.observed} observed)`;
  const words = `tenant ${id}, plugin ${plugin.id}: ${code}: ${message}${hit}`;
  return { level: 'warn', what: 'The program of a plugin that stays has died, or could not be started', words };
}

/** Whether nothing is to be run before it is known how far it is held back. */
export function provesFirst({ isolation: { least, check } }: Config): boolean {
  return check === 'start' || least !== 'none';
}

/** What holds programs back, and what would do so better, in one line. */
function isolationNotice(isolations: Isolations): Notice {
  const all = isolations.all();
  const full = all.every(([, { grade }]) => grade === 'full');
  const what = `Isolation: ${all.map(([kind, { grade, tier }]) => `${kind} ${grade} (${tier})`).join(', ')}`;
  const words = [...new Set(all.flatMap(([, one]) => shortfallOf(one) ?? []))];
  return { level: full ? 'info' : 'warn', what, ...(words.length === 0 ? {} : { words: words.join('; ') }) };
}

function unreadyPart({ runtimes, isolations, store }: ServiceParts): Failure | null {
  const trouble = store.trouble;
  if (trouble !== null) return new Failure('overloaded', trouble, { retryable: true });
  const weak = isolations.trouble;
  if (weak !== null) return new Failure('sandbox_unavailable', weak);
  for (const runtime of runtimes) {
    const why = runtime.unready?.() ?? null;
    if (why !== null) return new Failure('overloaded', why, { retryable: true });
  }
  return null;
}

/** Where it is found from here: the address that means all of them is none that one could go to. */
function urlOf({ address, port, family }: AddressInfo): string {
  const all = { '0.0.0.0': '127.0.0.1', '::': '::1' }[address] ?? address;
  return `http://${family === 'IPv6' ? `[${all}]` : all}:${port}`;
}
