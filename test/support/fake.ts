/** A service with a runtime that does as the test says: for tests whose subject is HTTP itself. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Config, completed } from '../../src/config.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import { unchecked } from '../../src/core/isolation.ts';
import { noUsage, type Outcome } from '../../src/core/outcome.ts';
import { isResident, type Plugin, type Refusal } from '../../src/core/plugin.ts';
import type { Portrait } from '../../src/core/portrait.ts';
import type { Runtime } from '../../src/core/runtime.ts';
import type { Servers } from '../../src/core/serving.ts';
import { DEFAULT_TENANT, NO_QUOTAS, type Tenant } from '../../src/core/tenant.ts';
import { type Catalogue, Catalogues } from '../../src/engine/catalogue.ts';
import { Homes } from '../../src/engine/homes.ts';
import { Installed, type PackageRecords } from '../../src/engine/installed.ts';
import { Isolations } from '../../src/engine/isolation.ts';
import { TenantFolders } from '../../src/engine/tenant-folder.ts';
import type { ManifestDialect } from '../../src/manifests/dialect.ts';
import { ManifestReader } from '../../src/manifests/reader.ts';
import { PrivateCopies } from '../../src/packages/private-copies.ts';
import { Remover } from '../../src/packages/remover.ts';
import { UnpackCache } from '../../src/packages/unpack-cache.ts';
import { Unpacker } from '../../src/packages/unpacker.ts';
import { Service } from '../../src/service.ts';
import { Store } from '../../src/store/store.ts';
import { TestService } from './client.ts';
import { testDatabase } from './databases.ts';
import { FakeResidents } from './fake-residents.ts';
import { merged, type Overrides } from './overrides.ts';

export type Act = (invocation: Invocation, signal: AbortSignal) => Promise<Outcome>;

export type FakeOptions = {
  plugins?: readonly Plugin[];
  refused?: readonly Refusal[];
  /** The plugins of other tenants, by id. */
  tenants?: Record<string, readonly Plugin[]>;
  /** A format whose plugins are looked for on disk instead, and may come in archives, and the folders that are there. */
  onDisk?: { dialect: ManifestDialect; folders: Readonly<Record<string, Readonly<Record<string, string | Buffer>>>> };
  /** What the plugin "demo" does when it is run; by default it answers its arguments. */
  act?: Act;
  /** Where its plugins answer requests. */
  servers?: Servers;
  config?: Overrides;
};

export class FakeRuntime implements Runtime {
  readonly kind = 'executors';
  readonly retained: ReadonlySet<Plugin>[] = [];
  readonly residents = new FakeResidents();
  declare readonly servers?: Servers;
  readonly #act: Act;

  constructor(act: Act, servers?: Servers) {
    this.#act = act;
    if (servers !== undefined) this.servers = servers;
  }

  runs(plugin: Plugin): boolean {
    return plugin.program.runtime === 'isolate' || isResident(plugin);
  }

  run(invocation: Invocation, signal: AbortSignal): Promise<Outcome> {
    return this.#act(invocation, signal);
  }

  async explain() {
    return { runtime: 'fake', way: 'as the test says', because: 'it is a test' };
  }

  retain(_tenant: string, plugins: ReadonlySet<Plugin>): void {
    this.retained.push(plugins);
  }

  readonly isolation = unchecked(new Date(0));

  async attest() {
    return this.isolation;
  }

  gauges() {
    return { fakes: 1 };
  }

  async [Symbol.asyncDispose]() {}
}

export class FakeCatalogue {
  current: Catalogue;
  #reloads = 0;
  /** What the next reload finds. */
  next: readonly Plugin[];

  constructor(plugins: readonly Plugin[], refused: readonly Refusal[]) {
    this.next = plugins;
    this.current = { plugins: byId(plugins), packages: new Map(), refused, loadedAt: new Date(0), loadMs: 1 };
  }

  async reload() {
    // The first time is when it is loaded, with what it was made with.
    if (this.#reloads++ === 0) return;
    this.current = { plugins: byId(this.next), packages: new Map(), refused: [], loadedAt: new Date(), loadMs: 2 };
  }

  async [Symbol.asyncDispose]() {}
}

function byId(plugins: readonly Plugin[]) {
  return new Map(plugins.map((plugin) => [plugin.id, plugin]));
}

export type FakeService = TestService & { runtime: FakeRuntime; catalogue: FakeCatalogue; databaseUrl: string };

export async function startFakeService(options: FakeOptions = {}): Promise<FakeService> {
  const {
    plugins = [plugin()],
    refused = [],
    tenants = {},
    onDisk,
    act = echo,
    servers,
    config: overrides = {},
  } = options;
  const folder = await mkdtemp(join(tmpdir(), 'isopod-fake-'));
  const config: Config = completed(
    merged({ port: 0, drainMs: 2_000, isolation: { check: 'demand' } }, overrides),
    folder,
  );
  const runtime = new FakeRuntime(act, servers);
  const catalogue = new FakeCatalogue(plugins, refused);
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  const scope = new AsyncDisposableStack();
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  const { url } = scope.use(await testDatabase());
  const store = await Store.open({ url, dataDir: folder });
  const reader = scope.use(new ManifestReader());
  const unpacker = scope.use(new Unpacker(config.packages));
  const cache = new UnpackCache({ dir: join(folder, 'cache'), unpacker, stranger: unpacker, bytes: 0 });
  const remover = scope.use(new Remover());
  const dialects = onDisk === undefined ? [] : [onDisk.dialect];
  const pluginsDir = resolve(config.pluginsDir);
  for (const [name, files] of Object.entries(onDisk?.folders ?? {})) {
    await writeFolder(join(pluginsDir, onDisk?.dialect.folder ?? '', name), files);
  }
  const found = (records?: PackageRecords) => {
    const copies = new PrivateCopies(join(folder, 'copies'), unpacker, remover);
    const installed = records && { installed: new Installed({ records, cache, copies }) };
    return new Catalogues({ pluginsDir, dialects, reader, ...installed });
  };
  const given = (tenant: string) =>
    tenant === DEFAULT_TENANT ? catalogue : new FakeCatalogue(tenants[tenant] ?? [], []);
  const parts = {
    homes: new Homes(remover),
    catalogueOf: (tenant: string, records?: PackageRecords) => (onDisk === undefined ? given(tenant) : found(records)),
    folders: new TenantFolders(config.dataDir, remover),
    packages: { cache, reader, dialects, remover },
    runtimes: [runtime],
    isolations: new Isolations({ runtimes: [runtime], least: config.isolation.least }),
    confinement: [],
    store,
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
  const service = await Service.start(config, parts, destination);
  const test = new TestService(service, config, lines, () => scope.disposeAsync());
  return Object.assign(test, { runtime, catalogue, databaseUrl: url });
}

async function writeFolder(dir: string, files: Readonly<Record<string, string | Buffer>>): Promise<void> {
  await mkdir(dir, { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(join(dir, name), content);
}

export function plugin(more: Partial<Plugin> = {}): Plugin {
  return {
    id: 'demo',
    dialect: 'stash',
    name: 'Demo',
    description: null,
    url: null,
    version: '1.0',
    dir: '/plugins/demo',
    realDir: '/plugins/demo',
    manifestFile: '/plugins/demo/demo.yml',
    program: { runtime: 'isolate', file: 'demo.js' },
    entries: [{ kind: 'task', name: 'Run', description: 'runs', execArgs: [], defaultArgs: { mode: 'run' } }],
    settings: [],
    ui: null,
    errLog: null,
    ...more,
  };
}

/** One whose program stays, as plugins of Dispatcharr are. */
export function resident(more: Partial<Plugin> = {}): Plugin {
  return plugin({
    id: 'stays',
    dialect: 'dispatcharr',
    name: 'Stays',
    program: { runtime: 'python' },
    entries: [],
    portrait: portrait(),
    ...more,
  });
}

/** One that answers requests, as plugins of SillyTavern do. */
export function server(more: Partial<Plugin> = {}): Plugin {
  return resident({ id: 'serves', dialect: 'sillytavern', program: { runtime: 'node', file: null }, ...more });
}

export function portrait(more: Partial<Portrait> = {}): Portrait {
  return { name: 'Stays', version: '1.0', description: '', author: '', helpUrl: '', fields: [], actions: [], ...more };
}

export function tenant(id: string, more: Partial<Tenant> = {}): Tenant {
  const createdAt = new Date(0);
  const unset = { trustGroup: null, application: null, leastGrade: null, enableServerPlugins: null };
  const mostly = { limits: {}, quotas: NO_QUOTAS, ...unset, revision: 1 };
  return { id, name: id, createdAt, ...mostly, ...more };
}

export const echo: Act = async ({ args }) => ok(args);

export function ok(output: unknown): Outcome {
  return { ok: true, output: JSON.stringify(output), ...report() };
}

export function report() {
  return { usage: { ...noUsage, wallMs: 2, cpuMs: 1.5 }, progress: null, logs: [], bootMs: 0.5, hostMs: 0 };
}
