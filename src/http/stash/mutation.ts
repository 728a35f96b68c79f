import { extended, OPERATION } from '../../core/chain.ts';
import { Failure } from '../../core/failure.ts';
import type { Request } from '../../core/invocation.ts';
import { hasEnded, type JobRequest, wishFor } from '../../core/job.ts';
import { isOurNumber, numberOfJob } from '../../core/job-number.ts';
import { onAbort } from '../../core/signal.ts';
import type { TenantJobs } from '../../core/tenant-store.ts';
import { type Asking, assertMayManage, type StashParts } from './asking.ts';
import { type PluginArg, typedArgs } from './plugin-args.ts';
import { jobNumber } from './query.ts';

const NAME_MOST = 2_000;
const DESCRIPTION_MOST = 1_000;
/** Jobs that are stopped beside each other, and looked for in one go. */
const STOPPED_AT_ONCE = 8;
const STOPPED_EACH = 1_000;

type Args = Record<string, unknown>;

type TaskAsk = {
  plugin_id: string;
  task_name?: string | null;
  description?: string | null;
  args?: readonly PluginArg[] | null;
  args_map?: Args | null;
};

export function mutations({ invoker, configurator, depth }: Pick<StashParts, 'invoker' | 'configurator' | 'depth'>) {
  return {
    /** Whether there is such a task, and whether its plugin is enabled, is found when it runs, as in Stash. */
    async runPluginTask(ask: TaskAsk, { caller: { holder }, jobs }: Asking) {
      const { plugin_id: plugin, task_name, description, args, args_map } = ask;
      const request: JobRequest = {
        plugin: kept('plugin_id', plugin, NAME_MOST),
        task: typeof task_name === 'string' ? kept('task_name', task_name, NAME_MOST) : null,
        args: args_map ?? typedArgs(args ?? []),
      };
      if (typeof description === 'string') request.description = kept('description', description, DESCRIPTION_MOST);
      if (holder !== null) request.chain = holder.chain;
      const cause = holder === null ? null : { plugin: holder.plugin, invocation: holder.invocation };
      const { job } = await jobs.add(wishFor(request, { cause }));
      return String(numberOfJob(job.id));
    },

    async runPluginOperation(ask: { plugin_id: string; args?: Args | null }, { caller, signal }: Asking) {
      const { plugin_id: plugin, args } = ask;
      const { tenant, holder } = caller;
      const request: Request = { tenant, plugin, args: args ?? {} };
      if (holder !== null) request.chain = extended(holder.chain, { plugin, trigger: OPERATION }, depth);
      const running = invoker.invoke(request);
      using _stop = onAbort(signal, (reason) => running.stop(reason));
      const { outcome } = await running.settled;
      if (!outcome.ok) throw outcome.failure;
      return JSON.parse(outcome.output) as unknown;
    },

    async reloadPlugins(_: unknown, { caller, tenancy }: Asking) {
      assertMayManage(caller, 'reload plugins');
      await tenancy.reload();
      return true;
    },

    async configurePlugin(
      { plugin_id: plugin, input }: { plugin_id: string; input: Args },
      { caller, tenancy }: Asking,
    ) {
      if (plugin !== caller.holder?.plugin)
        assertMayManage(caller, `set the settings of plugin "${plugin.slice(0, 100)}"`);
      const { settings } = await configurator.configure(tenancy, plugin, input);
      return settings;
    },

    /** All of them or none, where one is not there. */
    async setPluginsEnabled({ enabledMap }: { enabledMap: Record<string, boolean> }, { caller, tenancy }: Asking) {
      assertMayManage(caller, 'enable or disable plugins');
      for (const id of Object.keys(enabledMap)) tenancy.plugin(id);
      for (const [id, enabled] of Object.entries(enabledMap)) {
        if (tenancy.isSwitchedOn(id) !== enabled) await configurator.enable(tenancy, id, enabled);
      }
      return true;
    },

    async stopJob({ job_id }: { job_id: string }, { jobs }: Asking) {
      const number = jobNumber(job_id);
      const job = isOurNumber(number) ? await jobs.numbered(number) : undefined;
      if (job !== undefined && !hasEnded(job)) await cancel(jobs, job.id);
      return true;
    },

    /** All that were there when it was asked. */
    async stopAllJobs(_: unknown, { jobs, signal }: Asking) {
      const asked = new Set<string>();
      for (;;) {
        const ids = (await jobs.unended(STOPPED_EACH)).filter((one) => one.cancelAskedAt === null).map(({ id }) => id);
        const next = ids.filter((id) => !asked.has(id)).values();
        const before = asked.size;
        const some = async () => {
          for (const id of next) {
            signal.throwIfAborted();
            asked.add(id);
            await cancel(jobs, id);
          }
        };
        await Promise.all(Array.from({ length: STOPPED_AT_ONCE }, some));
        if (ids.length < STOPPED_EACH || asked.size === before) return true;
      }
    },

    generateAPIKey() {
      const words = 'Keys of the application are made and seen in the application itself';
      throw new Failure('forbidden', words);
    },
  };
}

/** One that has ended meanwhile, or is gone, needs no stopping. */
async function cancel(jobs: TenantJobs, id: string): Promise<void> {
  try {
    await jobs.cancel(id);
  } catch (error) {
    if (!ENDED.includes(Failure.from(error).code)) throw error;
  }
}

const ENDED: readonly Failure['code'][] = ['conflict', 'not_found', 'gone'];

/** The database keeps no NUL. */
function kept(what: string, text: string, most: number): string {
  if (text.length > most) throw new Failure('invalid_request', `${what} is longer than ${most}`);
  if (text.includes('\0')) throw new Failure('invalid_request', `${what} has U+0000 in it`);
  return text;
}
