import { randomUUID } from 'node:crypto';
import { type Chain, chainText, extended, isExhausted, SAME_LINK_MOST } from '../core/chain.ts';
import { Failure } from '../core/failure.ts';
import { type EventWish, type HookEvent, type HookName, hookArgsOf, hooksFor } from '../core/hook.ts';
import type { HeldEvent } from '../core/hook-policy.ts';
import type { Request } from '../core/invocation.ts';
import { type JobWish, wishFor } from '../core/job.ts';
import type { Limits } from '../core/limits.ts';
import { isResident, type Plugin } from '../core/plugin.ts';
import { onAbort } from '../core/signal.ts';
import type { Led } from '../store/due-events.ts';
import type { ChainWidths } from './chain-widths.ts';
import { type Invoker, type Settled, tenantGone } from './invoker.ts';
import type { Tenancy } from './tenancy.ts';

export type DispatcherOptions = {
  invoker: Invoker;
  widths: ChainWidths;
  /** Hooks and operations that stand one behind the other, at most. */
  depth: number;
  /** The longest that a hook may take, where it is less than its plugin may in general. */
  wallMs: number | undefined;
};

/** One hook that an event is to set off, or why it does not. */
export type Step = { plugin: string; of: Plugin; hook: HookName } & ({ chain: Chain } | { skipped: string });

/** What an event leads to. `chain` is what led to the event itself; `omitted` is how many hooks are too many. */
export type Plan = { event: HookEvent; chain: Chain; wish: EventWish; steps: readonly Step[]; omitted: number };

/** What came of one hook. `output` is JSON text; null where the outputs of all hooks together were too large. */
export type HookRun = { plugin: string; hook: string } & (
  | { status: 'ran'; invocation: string; ms: number; output: string | null }
  | { status: 'failed'; invocation: string; ms: number; version: string | null; failure: Failure }
  | { status: 'skipped'; reason: string }
);

export type Dispatched = { event: HookEvent; chain: Chain; hooks: HookRun[]; omitted: number };

/** Hooks that one event sets off. */
const HOOKS_MOST = 1_000;
/** Plugins whose hooks run side by side. */
const PLUGINS_AT_ONCE = 16;
/** What the outputs of all hooks of an event may take, as nobody is waiting for them but in one answer. */
const OUTPUT_BYTES = 16 * 1024 * 1024;

/** What the jobs of one event may have together; and an event that is kept, which may get a thousand of them. */
const JOBS_BYTES = 8 * 1024 * 1024;
const HELD_BYTES = 65_536;

const CANCELLED = 'operation cancelled';

/**
 * Events set off hooks: those of the enabled plugins in the order of the catalogue, each plugin's in the order of its
 * manifest. Whatever becomes of one, the next is run. Contract: Stash `pkg/plugin/plugins.go`, but that there a hook
 * which fails to start ends the chain.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /**
   * Runs them, and gives what came of each; `signal` stops the one that runs and leaves out the rest. Throws `hook_loop`
   * where too much has led to the event, and too much has come of what it began with.
   */
  async dispatch(
    tenancy: Tenancy,
    wish: EventWish,
    { chain = null, signal }: { chain?: Chain | null; signal: AbortSignal },
  ): Promise<Dispatched> {
    const plan = this.plan(tenancy, wish, chain);
    return await this.run(tenancy, plan, signal);
  }

  /** The same for what is planned already. */
  async run(tenancy: Tenancy, plan: Plan, signal: AbortSignal): Promise<Dispatched> {
    this.admit(tenancy, plan);
    // Between two hooks nothing of it runs, and it is in use all the same.
    tenancy.begin(performance.now());
    try {
      const { event, chain, omitted } = plan;
      return { event, chain, hooks: await this.#runAll(tenancy, plan, signal), omitted };
    } finally {
      tenancy.end();
    }
  }

  /** What it leads to, by the catalogue of now. */
  plan(tenancy: Tenancy, wish: EventWish, ledTo: Chain | null, id: string = randomUUID()): Plan {
    const { type, object, input, inputFields } = wish;
    const chain = ledTo ?? { root: id, by: null, links: [] };
    const steps: Step[] = [];
    let omitted = 0;
    for (const plugin of tenancy.catalogue.plugins.values()) {
      if (!tenancy.isEnabled(plugin.id)) continue;
      const link = { plugin: plugin.id, trigger: type };
      const way = isExhausted(chain, link)
        ? { skipped: exhausted(chain) }
        : { chain: extended(chain, link, Number.POSITIVE_INFINITY) };
      const hooks = hooksFor(tenancy.entries(plugin), type);
      const some = hooks.slice(0, HOOKS_MOST - steps.length);
      omitted += hooks.length - some.length;
      for (const hook of some) steps.push({ plugin: plugin.id, of: plugin, hook, ...way });
    }
    return { event: { id, type, object, input, inputFields }, chain, wish, steps, omitted };
  }

  /** Throws `hook_loop` where the chain would become too long. */
  refuseLoop({ event, chain, steps }: Plan): void {
    const first = steps.find((step) => 'chain' in step);
    if (first === undefined) return;
    extended(chain, { plugin: first.plugin, trigger: event.type }, this.#options.depth);
  }

  /** Counts what is about to be run; the same event counts once. Throws `hook_loop`, also where the chain would become too wide. */
  admit(tenancy: Tenancy, plan: Plan): void {
    this.refuseLoop(plan);
    const { event, chain, steps } = plan;
    const runs = steps.filter((step) => 'chain' in step).length;
    if (chain.links.length > 0 && runs > 0) this.#options.widths.take(tenancy, { chain, event: event.id, runs });
  }

  /** Its hooks as jobs, each of which has the whole event. Throws `payload_too_large` where that is too much together. */
  wishes(plan: Plan): JobWish[] {
    refuseHeavy(plan.event, plan.steps.length, JOBS_BYTES);
    return this.#wishes(plan);
  }

  /** Throws `payload_too_large` for what may not be kept until it is due. */
  refuseHeld({ event }: Plan): void {
    refuseHeavy(event, 1, HELD_BYTES);
  }

  #wishes(plan: Plan): JobWish[] {
    const { event, chain, steps } = plan;
    return steps.flatMap((step) => {
      if ('skipped' in step) return [];
      const { plugin, of, hook } = step;
      const args = hookArgsOf(of, event);
      const request = { plugin, task: null, hook, chain: step.chain, args, ...this.#terms(plan) };
      return [wishFor(request, { cause: { event: event.id, type: event.type, by: chain.by } })];
    });
  }

  /** What an event that was kept leads to now. Nobody is there to be refused: what may not be run is given with the reason. */
  led(tenancy: Tenancy, { id, wish, chain }: HeldEvent): Led {
    const plan = this.plan(tenancy, wish, chain, id);
    try {
      this.admit(tenancy, plan);
      return { wishes: this.wishes(plan), refused: [] };
    } catch (error) {
      const failure = Failure.from(error);
      // The reason is written down for each hook; what it was about, only where that is not what is wrong.
      const isHeavy = failure.code === 'payload_too_large';
      const wishes = this.#wishes(isHeavy ? { ...plan, event: { ...plan.event, input: null, inputFields: [] } } : plan);
      return { wishes: [], refused: wishes.map((one) => ({ wish: one, failure })) };
    }
  }

  async #runAll(tenancy: Tenancy, plan: Plan, signal: AbortSignal): Promise<HookRun[]> {
    const runs: HookRun[] = [];
    const room = { bytes: OUTPUT_BYTES };
    const inTurn = async (places: readonly number[]) => {
      for (const at of places) runs[at] = await this.#run(tenancy, plan, plan.steps[at] as Step, { signal, room });
    };
    const all = plan.steps.map((_, at) => at);
    const stays = (at: number) => isResident((plan.steps[at] as Step).of);
    const passing = all.filter((at) => !stays(at));
    const beside = tenancy.hookPolicy.order === 'sequential' ? all.filter(stays) : all;
    const plugins = Map.groupBy(beside, (at) => plan.steps[at]?.plugin).values();
    const next = async () => {
      for (const places of plugins) await inTurn(places);
    };
    // A resident never waits for another: whoever hangs there is nobody's trouble but its own.
    const turns = beside === all ? [] : [inTurn(passing)];
    await Promise.all([...turns, ...Array.from({ length: PLUGINS_AT_ONCE }, next)]);
    return runs;
  }

  async #run(
    tenancy: Tenancy,
    plan: Plan,
    step: Step,
    { signal, room }: { signal: AbortSignal; room: { bytes: number } },
  ): Promise<HookRun> {
    const { plugin } = step;
    const hook = step.hook.name;
    if ('skipped' in step) return { plugin, hook, status: 'skipped', reason: step.skipped };
    if (signal.aborted) return { plugin, hook, status: 'skipped', reason: CANCELLED };
    // Another may have its name by now, and plugins that are called the same.
    if (tenancy.isGone) return { plugin, hook, status: 'skipped', reason: tenantGone().message };
    const args = hookArgsOf(step.of, plan.event);
    const request: Request = {
      tenant: tenancy.id,
      plugin,
      hook: step.hook,
      chain: step.chain,
      args,
      ...this.#terms(plan),
    };
    const running = this.#options.invoker.invoke(request);
    using _stop = onAbort(signal, () => running.stop(new Failure('cancelled', CANCELLED)));
    return cameOf(await running.settled, { plugin, hook }, room);
  }

  #terms({ wish: { limits, traceparent } }: Plan): { limits?: Partial<Limits>; traceparent?: string } {
    const { wallMs = Number.POSITIVE_INFINITY } = this.#options;
    const lowest = Math.min(wallMs, limits?.wallMs ?? Number.POSITIVE_INFINITY);
    const all = lowest === Number.POSITIVE_INFINITY ? limits : { ...limits, wallMs: lowest };
    return { ...(all === undefined ? {} : { limits: all }), ...(traceparent === undefined ? {} : { traceparent }) };
  }
}

function cameOf(
  { id, plugin: found, outcome, totalMs: ms }: Settled,
  { plugin, hook }: { plugin: string; hook: string },
  room: { bytes: number },
): HookRun {
  const text = outcome.ok ? outcome.output : (outcome.failure.details.output ?? '');
  room.bytes -= text.length;
  const fits = room.bytes >= 0;
  if (outcome.ok) return { plugin, hook, status: 'ran', invocation: id, ms, output: fits ? text : null };
  const { code, message, details } = outcome.failure;
  const { output: _, ...rest } = details;
  const failure = fits ? outcome.failure : new Failure(code, message, rest);
  return { plugin, hook, status: 'failed', invocation: id, ms, version: found?.version ?? null, failure };
}

function refuseHeavy(event: HookEvent, times: number, allowed: number): void {
  const observed = Buffer.byteLength(JSON.stringify(event)) * times;
  if (observed <= allowed) return;
  const limit = { name: 'eventBytes', allowed, observed, unit: 'bytes' } as const;
  throw new Failure('payload_too_large', 'The event is too large to be kept, once for each of its hooks', { limit });
}

function exhausted({ links }: Chain): string {
  return `It stands ${SAME_LINK_MOST} times for this trigger in what led to the event: ${chainText(links)}`;
}
