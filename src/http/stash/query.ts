import { Failure } from '../../core/failure.ts';
import { isOurNumber, jobNumberIn } from '../../core/job-number.ts';
import type { LogLevel } from '../../core/outcome.ts';
import type { PluginLog } from '../../engine/plugin-logs.ts';
import { type Asking, assertMayManage, mayManage, type StashParts } from './asking.ts';
import { jobView } from './job-view.ts';
import { pluginView } from './plugin-view.ts';

/** Jobs that are shown of a queue. */
const QUEUE_MOST = 1_000;

export function queries({ configurator, logs, version }: Pick<StashParts, 'configurator' | 'logs' | 'version'>) {
  // However many names it is asked for under.
  const queues = new WeakMap<Asking, ReturnType<typeof queueOf>>();
  return {
    plugins: (_: unknown, asking: Asking) => pluginsOf(asking),

    pluginTasks: (_: unknown, asking: Asking) =>
      pluginsOf(asking)
        .filter(({ enabled }) => enabled)
        .flatMap(({ tasks }) => tasks ?? []),

    configuration: () => ({
      plugins: ({ include }: { include?: readonly string[] | null }, asking: Asking) =>
        settingsOf(asking, configurator, include),
      general: { apiKey: (_: unknown, { caller }: Asking) => caller.apiKey },
    }),

    jobQueue(_: unknown, asking: Asking) {
      const known = queues.get(asking) ?? queueOf(asking);
      queues.set(asking, known);
      return known;
    },

    async findJob({ input }: { input: { id: string } }, { jobs }: Asking) {
      const number = jobNumber(input.id);
      const job = isOurNumber(number) ? await jobs.numbered(number) : undefined;
      return job === undefined ? null : jobView(job);
    },

    logs: (_: unknown, { tenancy }: Asking) => logs.newest(tenancy).map(logView),

    version: () => ({ version: `v${version}`, hash: 'isopod', build_time: '' }),
  };
}

function pluginsOf({ tenancy, caller }: Asking) {
  return [...tenancy.catalogue.plugins.values()].map((one) => pluginView(one, tenancy, caller.base ?? ''));
}

/** Those that have any. What may be secret in them is for those who may set it, and for the plugin that it was set for. */
function settingsOf(
  { tenancy, caller }: Asking,
  configurator: StashParts['configurator'],
  include: readonly string[] | null | undefined,
) {
  const own = caller.holder?.plugin;
  if (own === undefined) assertMayManage(caller, 'read the settings of plugins');
  const all = include === null || include === undefined || include.length === 0 ? tenancy.configured : include;
  const entries = [...all]
    .filter((plugin) => plugin === own || mayManage(caller))
    .map((plugin) => [plugin, configurator.settings(tenancy, plugin)] as const)
    .filter(([, settings]) => Object.keys(settings).length > 0);
  return Object.fromEntries(entries);
}

/** Throws for what is no number. */
export function jobNumber(id: string): number {
  const number = jobNumberIn(id);
  if (number === null)
    throw new Failure('invalid_request', `The id of a job is a whole number, and "${id.slice(0, 100)}" is none`);
  return number;
}

const LEVELS = {
  trace: 'Trace',
  debug: 'Debug',
  info: 'Info',
  warning: 'Warning',
  error: 'Error',
} as const satisfies Record<LogLevel, string>;

export function logView({ at, level, message }: PluginLog) {
  return { time: at, level: LEVELS[level], message };
}

async function queueOf({ jobs }: Asking) {
  const queued = await jobs.unended(QUEUE_MOST);
  return queued.length === 0 ? null : queued.map(jobView);
}
