/** The only file that sees everything: which formats we read and what runs the plugins that are written in them. */

import { totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import type { DestinationStream } from 'pino';
import { IsolateRuntime } from '../runtimes/isolate/runtime.ts';
import { raiseWalls } from '../runtimes/isolate/walls.ts';
import { warmCache } from '../runtimes/isolate/warm-cache.ts';
import { NodeRuntime } from '../runtimes/node/runtime.ts';
import { ProcessRuntime } from '../runtimes/process/runtime.ts';
import { PythonRuntime } from '../runtimes/python/runtime.ts';
import type { Parts } from './assembly.ts';
import { COMPILE_CACHE } from './compile-cache.ts';
import type { Config } from './config.ts';
import { Failure } from './core/failure.ts';
import { DEFAULT_TENANT } from './core/tenant.ts';
import { Catalogues } from './engine/catalogue.ts';
import { Homes } from './engine/homes.ts';
import { Installed, type PackageRecords } from './engine/installed.ts';
import { Isolations } from './engine/isolation.ts';
import { SECRETS_FILE } from './engine/secret-keys.ts';
import { TenantFolders } from './engine/tenant-folder.ts';
import { backgroundDestination } from './log.ts';
import type { ManifestDialect } from './manifests/dialect.ts';
import { dispatcharr } from './manifests/dispatcharr.ts';
import { ManifestReader } from './manifests/reader.ts';
import { sillytavern } from './manifests/sillytavern.ts';
import { stash } from './manifests/stash.ts';
import { PrivateCopies } from './packages/private-copies.ts';
import { Remover } from './packages/remover.ts';
import { UnpackCache } from './packages/unpack-cache.ts';
import { Unpacker } from './packages/unpacker.ts';
import { Lodgings } from './programs/lodgings.ts';
import { ResidentPool } from './programs/resident-pool.ts';
import { provesFirst, refuseOpenDoor, Service } from './service.ts';
import { Store } from './store/store.ts';

export const DIALECTS: readonly ManifestDialect[] = [stash, dispatcharr, sillytavern];

/** Runtimes, and what reads plugins, ready to be used. */
export async function openParts(
  config: Config,
  dialects: readonly ManifestDialect[] = DIALECTS,
): Promise<Parts & Pick<Lodgings, 'identify'>> {
  await using scope = new AsyncDisposableStack();
  const reader = scope.use(new ManifestReader());
  const unpacker = scope.use(new Unpacker(config.packages));
  const stranger = scope.use(new Unpacker(config.packages));
  const { cacheBytes: bytes } = config.packages;
  const cache = new UnpackCache({ dir: join(config.dataDir, 'cache'), unpacker, stranger, bytes });
  const remover = scope.use(new Remover());
  const folders = new TenantFolders(config.dataDir, remover);
  const copiesOf = (tenant: string) => new PrivateCopies(join(folders.of(tenant), 'packages'), unpacker, remover);
  const catalogueOf = (tenant: string, records?: PackageRecords) =>
    new Catalogues({
      pluginsDir: pluginsDirOf(tenant, config),
      dialects,
      reader,
      ...(records && { installed: new Installed({ records, cache, copies: copiesOf(tenant) }) }),
    });
  const memoryMb = config.executors.memoryMb || halfOfMemoryMb();
  const secrets = secretsOf(config);
  const compileCache = await warmCache(join(COMPILE_CACHE, 'executors'), process.execPath);
  const executors = { ...config.executors, memoryMb, ...(compileCache === undefined ? {} : { compileCache }) };
  const raised = await raiseWalls(config.isolation.tier, { compileCache }).catch(Failure.from);
  const isolate = scope.use(
    raised instanceof Failure
      ? new IsolateRuntime({ executors: { ...executors, spares: 0 }, secrets, refused: raised })
      : new IsolateRuntime({ executors: { ...executors, walls: scope.use(raised) }, secrets }),
  );
  const { pythonPath } = config;
  const lodgings = scope.use(
    new Lodgings({
      ...config.processes,
      ...config.isolation,
      ...(pythonPath === undefined ? {} : { pythonPath }),
    }),
  );
  const programs = scope.use(
    new ProcessRuntime({
      ...config.processes,
      lodgings,
      memoryMb: config.processes.memoryMb || halfOfMemoryMb(),
      secrets,
    }),
  );
  // Missing walls stop no start: whoever needs them is refused, and /readyz says why.
  const fences = await lodgings
    .describe()
    .catch((error: unknown) => `none, so nothing is run: ${Failure.from(error).message}`);
  const { memoryMb: residentsMb } = config.residents;
  const pool = new ResidentPool({ ...config.residents, memoryMb: residentsMb || halfOfMemoryMb() });
  const python = scope.use(
    new PythonRuntime({
      ...config.residents,
      ...config.dispatcharr,
      lodgings,
      pool,
      applicationOf: (tenant) => config.dispatcharr.applications[tenant] ?? null,
      secrets,
    }),
  );
  const node = scope.use(new NodeRuntime({ ...config.residents, ...config.sillytavern, lodgings, pool, secrets }));
  // Its programs end first, and with them what the runtimes wait for.
  scope.use(pool);
  const runtimes = [isolate, programs, python, node];
  const isolations = new Isolations({ runtimes, least: config.isolation.least });
  const owned = scope.move();
  return {
    identify: (key) => lodgings.identify(key),
    catalogueOf,
    folders,
    homes: new Homes(remover),
    packages: { cache, reader, dialects, remover },
    runtimes,
    isolations,
    confinement: [`external programs: ${fences}`],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What no program may get at, whoever's it is: looked for in each room when its isolation is proven. */
function secretsOf({ dataDir }: Config): { dataDir: string; secrets: string[] } {
  const kept = [join(dataDir, SECRETS_FILE), join(dataDir, 'postgres', 'PG_VERSION')];
  return { dataDir, secrets: [resolve('isopod.yaml'), ...kept] };
}

/** Of the machine's, or of what a container may use of it. */
function halfOfMemoryMb(): number {
  // Without a bound it tells a number that is none, or 0.
  const constrained = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return Math.floor(Math.min(totalmem(), constrained) / 2 ** 21);
}

/** Plain plugin folders: the default tenant's are where the configuration says. */
function pluginsDirOf(tenant: string, { pluginsDir, dataDir }: Config): string {
  return tenant === DEFAULT_TENANT ? pluginsDir : join(dataDir, 'tenants', tenant, 'plugins');
}

/** What is kept cannot be got at. The message is a sentence for the operator. */
export class StoreUnusable extends Error {
  override readonly name = 'StoreUnusable';
}

/**
 * What is kept, on whichever engine the configuration names. `say` is told what takes time. Rejects with a
 * StoreUnusable.
 */
export async function openStore(config: Config, say: (what: string) => void): Promise<Store> {
  const { databaseUrl: url, databaseConnections: connections, dataDir, jobs } = config;
  try {
    return await Store.open({ url, connections, dataDir, say, keepMs: jobs.keepMs });
  } catch (cause) {
    throw new StoreUnusable(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** Starts the service and resolves once it listens. `say` is told what takes time. */
export async function startService(
  config: Config,
  destination: DestinationStream = backgroundDestination(),
  say: (what: string) => void = () => {},
): Promise<Service> {
  refuseOpenDoor(config);
  await using scope = new AsyncDisposableStack();
  // Side by side: each takes its time to start.
  const opening = openParts(config).then((parts) => {
    if (provesFirst(config)) void parts.isolations.check();
    return parts;
  });
  const [store, parts] = await Promise.allSettled([openStore(config, say), opening]);
  if (store.status === 'fulfilled') scope.use(store.value);
  if (parts.status === 'fulfilled') scope.use(parts.value);
  if (store.status === 'rejected') throw store.reason;
  if (parts.status === 'rejected') throw parts.reason;
  // The same on all nodes: what plugins of theirs share, their programs have to get at as the same user.
  parts.value.identify(await store.value.key('identity'));
  const owned = scope.move();
  return await Service.start(
    config,
    { ...parts.value, store: store.value, [Symbol.asyncDispose]: () => owned.disposeAsync() },
    destination,
  );
}
