import { Failure } from '../../core/failure.ts';
import type { GraphqlCaller } from '../../core/graphql.ts';
import { includes } from '../../core/tenant.ts';
import type { TenantEvents, TenantJobs, TenantKeep } from '../../core/tenant-store.ts';
import type { Configurator } from '../../engine/configurator.ts';
import type { Dispatcher } from '../../engine/dispatcher.ts';
import type { Invoker } from '../../engine/invoker.ts';
import type { JobFeed } from '../../engine/job-feed.ts';
import type { PluginLogs } from '../../engine/plugin-logs.ts';
import type { Tenancies } from '../../engine/tenancies.ts';
import type { Tenancy } from '../../engine/tenancy.ts';

/** What the fields are answered with. */
export type StashParts = {
  tenancies: Tenancies;
  invoker: Invoker;
  dispatcher: Dispatcher;
  configurator: Configurator;
  keep(tenant: string): Pick<TenantKeep, 'jobs' | 'events'>;
  feed: JobFeed;
  logs: PluginLogs;
  version: string;
  /** How many hooks and operations may stand one behind the other. */
  depth: number;
  /** Told of every error that is our own bug. */
  bug(error: unknown): void;
};

/** One request under way, as the fields see it. */
export type Asking = {
  caller: GraphqlCaller;
  tenancy: Tenancy;
  jobs: TenantJobs;
  events: TenantEvents;
  signal: AbortSignal;
};

/** Whether they may do what only those may who look after plugins. */
export function mayManage({ scopes }: GraphqlCaller): boolean {
  return includes(scopes, 'manage');
}

/** Throws `forbidden` unless they may; `what` follows on "may not". */
export function assertMayManage(caller: GraphqlCaller, what: string): void {
  if (mayManage(caller)) return;
  const { holder } = caller;
  if (holder === null) throw new Failure('forbidden', `This token may not ${what}: that needs the scope "manage"`);
  const { plugin } = holder;
  const way = `an operator allows it with plugins.${plugin}.scope: manage in isopod.yaml`;
  throw new Failure('forbidden', `Plugin "${plugin}" may not ${what}; ${way}`);
}
