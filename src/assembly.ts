/**
 * The engine put together from its parts: what `isopod serve` and `isopod run` have in common. Whatever runs plugins
 * or reads their manifests is handed in; main.ts is who knows their names.
 */
import { randomBytes } from 'node:crypto';
import { type Config, configuredApplications } from './config.ts';
import type { Chains } from './core/chain.ts';
import type { KeptGrant } from './core/grant.ts';
import type { OwnFields } from './core/graphql.ts';
import type { Runtime } from './core/runtime.ts';
import type { PluginState } from './core/store.ts';
import { DEFAULT_TENANT, NO_QUOTAS, type Tenant } from './core/tenant.ts';
import { ChainWidths } from './engine/chain-widths.ts';
import { Dispatcher } from './engine/dispatcher.ts';
import type { Homes } from './engine/homes.ts';
import type { PackageRecords } from './engine/installed.ts';
import type { PackageParts } from './engine/installer.ts';
import { Invoker, type InvokerOptions, tenantGone } from './engine/invoker.ts';
import type { Isolations } from './engine/isolation.ts';
import { Limiter } from './engine/limiter.ts';
import { nobody } from './engine/nobody.ts';
import { Quarantine } from './engine/quarantine.ts';
import { Residencies, type ResidenciesOptions } from './engine/residencies.ts';
import { Tenancies } from './engine/tenancies.ts';
import type { LiveCatalogue, Records } from './engine/tenancy.ts';
import type { TenantFolders } from './engine/tenant-folder.ts';
import { Applications } from './gateway/applications.ts';
import { Gateway } from './gateway/gateway.ts';
import { noFields } from './gateway/no-fields.ts';
import { Seal } from './gateway/seal.ts';

export type Parts = {
  /** Made anew at each call; what it gives belongs to the caller. Without records there are plain folders only. */
  catalogueOf(tenant: string, records?: PackageRecords): LiveCatalogue;
  runtimes: readonly Runtime[];
  /** What was proven of each of them. */
  isolations: Isolations;
  folders: TenantFolders;
  /** Of programs that stay. */
  homes: Homes;
  /** What archives of plugins are opened and read with. */
  packages: PackageParts;
  /** What holds plugins back on this machine, a sentence for each runtime. */
  confinement: readonly string[];
} & AsyncDisposable;

export type Engine = {
  invoker: Invoker;
  dispatcher: Dispatcher;
  chains: Chains;
  limiter: Limiter;
  quarantine: Quarantine;
  tenancies: Tenancies;
  residencies: Residencies;
  gateway: Gateway;
} & AsyncDisposable;

export type AssemblyOptions = {
  config: Config;
  parts: Parts;
  /** What is kept of tenants; without it there is the default tenant only. */
  records?: Records;
  /** What of the applications' GraphQL is answered here. */
  own?(): OwnFields;
  /** What sessions and chains are signed with; without it nobody but this process knows them. */
  sealKey?: Buffer;
  /** Ports of this service's own, beside the gateway's: no plugin is led there. */
  ports?(): Iterable<number>;
  /** Told of what is a bug of ours. */
  bug?(error: unknown): void;
  /** Told of each program that stays which has died, or could not be started. */
  onDied?: ResidenciesOptions['onDied'];
  /** Whom residents turn to; without it nobody is there. */
  desk?: ResidenciesOptions['desk'];
  /** Told of a tenant that is gone. */
  onGone?(tenant: string): void;
  /** Told once of each application that does not pass on the chains that it is told. */
  onPresumed?(tenant: string): void;
} & Pick<InvokerOptions, 'onSettled' | 'onLogged' | 'onEgress'>;

export async function assemble({
  config,
  parts,
  records = alone(),
  own = () => noFields,
  sealKey = randomBytes(32),
  ports = () => [],
  bug = () => {},
  desk = () => nobody,
  onDied,
  onGone = () => {},
  onPresumed = () => {},
  ...told
}: AssemblyOptions): Promise<Engine> {
  await using scope = new AsyncDisposableStack();
  const { runtimes, isolations, folders, homes } = parts;
  await folders.sweep();
  const applications = scope.use(
    new Applications({
      ...config.gateway,
      configured: configuredApplications(config).targets,
      recorded: (tenant) => tenancies.loaded(tenant)?.tenant.application,
      credentials: config.credentials,
    }),
  );
  const seal = new Seal(sealKey);
  const gateway = scope.use(
    await Gateway.open({
      seal,
      scopesOf: (_tenant, plugin) => [config.plugins[plugin]?.scope ?? 'invoke'],
      applicationOf: (tenant) => applications.of(tenant),
      own,
      limits: config.gateway,
      egress: { ...config.egress, ours: ports },
      bug,
      onPresumed,
    }),
  );
  const residencies = new Residencies({
    runtimes,
    sessions: gateway,
    homes,
    start: config.residents.start,
    desk,
    ...(told.onEgress === undefined ? {} : { onEgress: told.onEgress }),
    ...(onDied === undefined ? {} : { onDied }),
  });
  scope.defer(() => residencies.close());
  const limiter = new Limiter(config.concurrency);
  const quarantine = new Quarantine(config.quarantine);
  const tenancies: Tenancies = scope.use(
    await Tenancies.open({
      records,
      limiter,
      runtimes,
      quarantine,
      catalogueOf: (tenant) => parts.catalogueOf(tenant, records.packages?.(tenant)),
      folders,
      limits: config.limits,
      residentLimits: { ...config.limits, wallMs: config.residents.wallMs, cpuMs: config.residents.cpuMs },
      residencies,
      least: isolations.least,
      servesPlugins: config.sillytavern.enabled,
      plugins: config.plugins,
      endpoint: (dir) => gateway.endpoint(dir),
      onChange: (tenant) => applications.look(tenant),
      onGone(tenant) {
        invoker.stopAll(tenant, tenantGone());
        onGone(tenant);
      },
      most: config.tenants.loaded,
      idleMs: config.tenants.idleMs,
    }),
  );
  const tenancy = (id: string) => tenancies.find(id);
  const invoker = new Invoker({ tenancy, isolations, limiter, quarantine, sessions: gateway, residencies, ...told });
  const { width, ...bounds } = config.hooks;
  const dispatcher = new Dispatcher({ invoker, widths: new ChainWidths(width), wallMs: undefined, ...bounds });
  const owned = scope.move();
  return {
    invoker,
    dispatcher,
    chains: gateway.chains,
    limiter,
    quarantine,
    tenancies,
    residencies,
    gateway,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Where nothing is kept: the default tenant, and what its plugins are granted and were trusted with. */
export function alone(
  grants: ReadonlyMap<string, KeptGrant> = new Map(),
  states: ReadonlyMap<string, PluginState> = new Map(),
): Records {
  return {
    tenant: async (id) => (id === DEFAULT_TENANT ? ALONE : undefined),
    states: async () => new Map(states),
    grants: async () => new Map(grants),
  };
}

const ALONE: Tenant = Object.freeze({
  id: DEFAULT_TENANT,
  name: DEFAULT_TENANT,
  createdAt: new Date(0),
  limits: {},
  quotas: NO_QUOTAS,
  trustGroup: null,
  application: null,
  leastGrade: null,
  enableServerPlugins: null,
  revision: 1,
});
