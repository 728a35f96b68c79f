import { randomUUID } from 'node:crypto';
import type { Chain } from '../core/chain.ts';
import { Failure } from '../core/failure.ts';
import type { EgressDecision, Grant } from '../core/grant.ts';
import { type HookName, hooksIn } from '../core/hook.ts';
import type { Endpoint, Invocation, Request } from '../core/invocation.ts';
import type { Grade } from '../core/isolation.ts';
import { type Limits, lowered } from '../core/limits.ts';
import { type LogLine, noUsage, type Outcome, type Watch } from '../core/outcome.ts';
import { Places } from '../core/places.ts';
import { type Entry, isResident, isServer, type Plugin } from '../core/plugin.ts';
import { OWN_TASK, type Residency } from '../core/resident.ts';
import type { Holder, Session, Sessions } from '../core/session.ts';
import type { Isolations, Standing } from './isolation.ts';
import type { Limiter } from './limiter.ts';
import { type Quarantine, quarantineKey } from './quarantine.ts';
import type { Residencies } from './residencies.ts';
import type { Tenancy } from './tenancy.ts';

/** One invocation after its end: for the answer, the log line and the metrics. */
export type Settled = {
  id: string;
  request: Request;
  /** The plugin it ran on; undefined where there is none of that name. */
  plugin: Plugin | undefined;
  outcome: Outcome;
  /** The grade that held where it ran; undefined where it did not come to run. */
  isolation: Grade | undefined;
  /** How long it waited for a place, and the whole from asking to settling; in ms. */
  queueMs: number;
  totalMs: number;
};

/** An invocation under way. `settled` never rejects. `stop` ends it; the first reason given is the one that counts. */
export type Running = { id: string; settled: Promise<Settled>; stop(reason: Failure): void };

export type InvokerOptions = {
  /** What is loaded of a tenant; a promise where it has to be loaded first, undefined where there is no such tenant. */
  tenancy(id: string): Tenancy | undefined | Promise<Tenancy | undefined>;
  /** What runs plugins, and how far each is held back. */
  isolations: Pick<Isolations, 'of'>;
  limiter: Limiter;
  quarantine: Quarantine;
  sessions: Sessions;
  /** Where plugins live whose programs stay; without it there are none. */
  residencies?: Pick<Residencies, 'of'>;
  /** `tenancy` is what it ran in; undefined where there is no such tenant. */
  onSettled(settled: Settled, tenancy: Tenancy | undefined): void;
  /** Told what runs log while they are going on, of those that somebody watches. */
  onLogged?(from: Logging, lines: readonly LogLine[]): void;
  /** Told of each attempt of a run to reach another host. */
  onEgress?(attempt: EgressAttempt, tenancy: Tenancy): void;
};

/** Whose attempt it was, and what came of it. */
export type EgressAttempt = Pick<Holder, 'tenant' | 'plugin' | 'invocation'> & EgressDecision;

/** Whose lines they are. */
export type Logging = { plugin: string; invocation: string; tenancy: Tenancy };

/**
 * The one way to run a plugin: finds it, clamps its limits, waits for a place, starts the clock, picks the runtime,
 * and settles what came of it. There is one AbortController an invocation; whoever aborts it first (deadline,
 * caller, shutdown) has given the failure.
 */
export class Invoker {
  readonly #options: InvokerOptions;
  readonly #running = new Places<Call>();
  readonly #idle: (() => void)[] = [];
  #closed: Failure | undefined;

  constructor(options: InvokerOptions) {
    this.#options = options;
  }

  invoke(request: Request): Running {
    const controller = new AbortController();
    const id = randomUUID();
    return { id, settled: this.#settle(id, request, controller), stop: (reason) => controller.abort(reason) };
  }

  /** Rejects with what an invocation of it would be refused with at once: the service ends, or there is no such plugin or task. */
  async check(request: Pick<Request, 'tenant' | 'plugin' | 'task' | 'hook'>): Promise<void> {
    const { tenant, plugin } = request;
    if (this.#closed !== undefined) throw this.#closed;
    const tenancy = await this.#options.tenancy(tenant);
    if (tenancy === undefined) throw noTenant(tenant);
    const found = tenancy.plugin(plugin);
    assertEnabled(found, tenancy);
    entryOf(found, tenancy, request);
    this.#standingOf(found, tenancy);
  }

  /**
   * Refuses what comes, lets what runs finish for `graceMs`, then stops the rest. Resolves when nothing runs.
   */
  async drain(graceMs: number): Promise<void> {
    const failure = new Failure('draining', 'The service is shutting down', { retryable: true, retryAfterMs: 1000 });
    this.#closed = failure;
    this.#options.limiter.close(failure);
    if (this.#running.size === 0) return;
    const idle = new Promise<void>((resolve) => this.#idle.push(resolve));
    const timer = setTimeout(() => {
      for (const call of this.#running) call.stop(failure);
    }, graceMs);
    await idle;
    clearTimeout(timer);
  }

  /** Ends all that runs of a tenant. What waits for a place finds out when it gets one. */
  stopAll(tenant: string, failure: Failure): void {
    for (const call of this.#running) if (call.tenant === tenant) call.stop(failure);
  }

  async #settle(id: string, request: Request, controller: AbortController): Promise<Settled> {
    const { limiter, sessions, residencies, onSettled, onEgress } = this.#options;
    const askedAt = performance.now();
    let queueMs = 0;
    let tenancy: Tenancy | undefined;
    let plugin: Plugin | undefined;
    let outcome: Outcome;
    let isolation: Grade | undefined;
    try {
      const found = this.#options.tenancy(request.tenant);
      const known = found instanceof Promise ? await found : found;
      if (known === undefined) throw noTenant(request.tenant);
      tenancy = known;
      tenancy.begin(askedAt);
      plugin = tenancy.plugin(request.plugin);
      assertEnabled(plugin, tenancy);
      const entry = entryOf(plugin, tenancy, request);
      const standing = this.#standingOf(plugin, tenancy);
      this.#options.quarantine.check(quarantineKey(request.tenant, plugin.id), Date.now());
      const { share } = tenancy;
      const depth = depthOf(request);
      let place: 'own' | 'beside' = 'own';
      if (!limiter.tryEnter(share)) {
        if (depth > 0 && limiter.tryEnterNested(share, depth)) place = 'beside';
        else {
          try {
            await limiter.wait(share, controller.signal, request.job === undefined ? 'limited' : 'endless');
          } finally {
            queueMs = performance.now() - askedAt;
          }
        }
      }
      try {
        if (tenancy.isGone) throw tenantGone();
        const watch =
          request.watch === undefined
            ? undefined
            : this.#overheard(request.watch, { plugin: plugin.id, invocation: id, tenancy });
        const call = new Call({
          id,
          request,
          watch,
          depth,
          plugin,
          entry,
          tenancy,
          sessions,
          residencies,
          onEgress,
          controller,
        });
        const number = this.#running.add(call);
        const deadline = setTimeout(() => controller.abort(tooSlow(call)), call.limits.wallMs);
        try {
          isolation = standing.grade;
          outcome = await standing.runtime.run(call, controller.signal);
        } finally {
          clearTimeout(deadline);
          this.#running.delete(number);
          call.end();
        }
      } finally {
        if (place === 'own') limiter.leave(share);
        else limiter.leaveNested(share, depth);
      }
    } catch (error) {
      outcome = refused(Failure.from(error));
    } finally {
      tenancy?.end();
    }
    const settled = { id, request, plugin, outcome, isolation, queueMs, totalMs: performance.now() - askedAt };
    if (!outcome.ok) this.#blame(request.tenant, plugin, outcome.failure);
    onSettled(settled, tenancy);
    if (this.#running.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
    return settled;
  }

  /** The watch, with whoever wants to know of all that is logged. */
  #overheard(watch: Watch, from: Logging): Watch {
    const { onLogged } = this.#options;
    if (onLogged === undefined) return watch;
    return {
      logged: (lines) => {
        onLogged(from, lines);
        watch.logged(lines);
      },
      progressed: (progress) => watch.progressed(progress),
    };
  }

  /** Before anything is taken for it: what would run it does so behind walls that its tenant may count on. */
  #standingOf(plugin: Plugin, tenancy: Tenancy): Standing {
    const standing = this.#options.isolations.of(plugin);
    if (standing !== undefined) {
      if (standing.rank < tenancy.leastRank) throw standing.refusal(tenancy.least);
      return standing;
    }
    throw new Failure(
      'plugin_boot_failed',
      `Plugin "${plugin.id}" has parts for the user interface only: nothing to run`,
      {
        retryable: false,
      },
    );
  }

  /** A plugin that had to be killed with what it ran in gets that written down against it. */
  #blame(tenant: string, plugin: Plugin | undefined, failure: Failure): void {
    if (plugin === undefined || !failure.countsAgainstHealth) return;
    if (failure.details.rung !== 'killed' || plugin.program.runtime !== 'isolate') return;
    this.#options.quarantine.accuse(quarantineKey(tenant, plugin.id), failure, Date.now());
  }
}

export function noTenant(id: string): Failure {
  return new Failure('not_found', `There is no tenant "${id}"`);
}

/** What ends the runs of a tenant that is removed. */
export function tenantGone(): Failure {
  return new Failure('cancelled', 'The tenant was removed');
}

type CallOptions = {
  id: string;
  request: Request;
  watch: Watch | undefined;
  depth: number;
  plugin: Plugin;
  entry: Entry;
  tenancy: Tenancy;
  sessions: Sessions;
  residencies: InvokerOptions['residencies'];
  onEgress: InvokerOptions['onEgress'];
  controller: AbortController;
};

class Call implements Invocation {
  readonly id: string;
  readonly tenant: string;
  readonly depth: number;
  readonly trust: string;
  readonly plugin: Plugin;
  readonly entry: Entry;
  readonly args: Record<string, unknown>;
  readonly limits: Limits;
  readonly usualLimits: Limits;
  readonly grant: Grant;
  readonly endpoint: Endpoint;
  readonly deadlineAt: number;
  readonly watch: Watch | undefined;
  readonly #cause: Chain | undefined;
  readonly #tenancy: Tenancy;
  readonly #onEgress: InvokerOptions['onEgress'];
  readonly #sessions: Sessions;
  readonly #residencies: InvokerOptions['residencies'];
  readonly #controller: AbortController;
  #session: Session | undefined;

  constructor(options: CallOptions) {
    const { id, request, watch, depth, plugin, entry, tenancy, sessions, residencies, onEgress, controller } = options;
    this.id = id;
    this.tenant = request.tenant;
    this.depth = depth;
    this.trust = tenancy.trust;
    this.watch = watch;
    this.plugin = plugin;
    this.entry = entry;
    this.args = 'defaultArgs' in entry ? { ...entry.defaultArgs, ...request.args } : request.args;
    this.usualLimits = tenancy.limits(plugin.id);
    this.limits = lowered(this.usualLimits, request.limits);
    this.grant = tenancy.grant(plugin.id);
    this.endpoint = tenancy.endpoint;
    this.deadlineAt = performance.now() + this.limits.wallMs;
    this.#cause = request.chain;
    this.#tenancy = tenancy;
    this.#onEgress = onEgress;
    this.#sessions = sessions;
    this.#residencies = residencies;
    this.#controller = controller;
  }

  stop(failure: Failure): void {
    this.#controller.abort(failure);
  }

  /** Most runs never call back, so it is opened when it is asked for. */
  get session(): Session {
    this.#session ??= this.#sessions.open(this.#holder());
    return this.#session;
  }

  /** Only programs that stay are asked where they live. */
  get residency(): Residency {
    if (this.#residencies === undefined) throw new Failure('internal', 'There is nowhere to live');
    return this.#residencies.of(this.#tenancy, this.plugin);
  }

  end(): void {
    this.#session?.end();
  }

  #holder(): Holder {
    const { id, tenant, plugin, limits, grant } = this;
    const by = { plugin: plugin.id, invocation: id };
    const chain = { root: this.#cause?.root ?? id, by, links: this.#cause?.links ?? [] };
    const stop = (failure: Failure) => this.stop(failure);
    const whose = { tenant, plugin: plugin.id, invocation: id };
    const decided = (decision: EgressDecision) => this.#onEgress?.({ ...whose, ...decision }, this.#tenancy);
    return { ...whose, chain, limits, network: grant.network, decided, stop };
  }
}

function assertEnabled({ id }: Plugin, tenancy: Tenancy): void {
  if (!tenancy.isEnabled(id))
    throw new Failure('plugin_disabled', tenancy.heldBack(id) ?? `Plugin "${id}" is disabled`);
}

/** Nobody waits for what runs as a job. */
function depthOf({ chain, job }: Request): number {
  return chain === undefined || chain.by === null || job !== undefined ? 0 : chain.links.length;
}

const OPERATION: Entry = { kind: 'operation' };

function entryOf(plugin: Plugin, tenancy: Tenancy, request: Pick<Request, 'task' | 'hook' | 'own'>): Entry {
  const { task, hook } = request;
  if (hook !== undefined) return hookOf(plugin, tenancy, hook);
  if (isServer(plugin)) throw answersRequests(plugin);
  if (isResident(plugin)) return actionOf(plugin, tenancy, request);
  if (task === undefined) return OPERATION;
  const entry = plugin.entries.find((one) => one.kind === 'task' && one.name === task);
  if (entry !== undefined) return entry;
  const names = plugin.entries.flatMap((one) => (one.kind === 'task' ? [JSON.stringify(one.name)] : []));
  const known = names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`;
  throw new Failure('not_found', `Plugin "${plugin.id}" has no task ${JSON.stringify(task)}: ${known}`);
}

function answersRequests({ id }: Plugin): Failure {
  const words = `Plugin "${id}" has neither tasks nor hooks: it answers requests below /api/plugins (GET /v1/plugins/{plugin}/routes lists them)`;
  return new Failure('invalid_request', words);
}

/**
 * Any may be asked for, as what a plugin lists is for people; but not what is its own. Contract: Dispatcharr `apps/plugins/loader.py`.
 */
function actionOf(plugin: Plugin, tenancy: Tenancy, { task, own }: Pick<Request, 'task' | 'own'>): Entry {
  if (task?.startsWith(OWN_TASK) && own !== true) {
    throw new Failure('not_found', `Plugin "${plugin.id}" has no action ${JSON.stringify(task)}`);
  }
  if (task !== undefined) return { kind: 'action', name: task, label: task, description: '', triggeredBy: [] };
  const names = tenancy.entries(plugin).flatMap((one) => (one.kind === 'action' ? [JSON.stringify(one.name)] : []));
  const known = names.length === 0 ? '' : `: it has ${names.join(', ')}`;
  throw new Failure('invalid_request', `Say as "task" which action of "${plugin.id}" is to be run${known}`, {
    where: [{ at: '/task', problem: 'is missing' }],
  });
}

/** A plugin that was changed since may have the hook elsewhere. */
function hookOf(plugin: Plugin, tenancy: Tenancy, { at, name }: HookName): Entry {
  const hooks = hooksIn(tenancy.entries(plugin));
  const hook = hooks[at]?.name === name ? hooks[at] : hooks.find((one) => one.name === name);
  if (hook !== undefined) return hook;
  throw new Failure('not_found', `Plugin "${plugin.id}" has no hook ${JSON.stringify(name)} any more`);
}

function tooSlow({ limits: { wallMs }, usualLimits }: Pick<Invocation, 'limits' | 'usualLimits'>): Failure {
  const limit = { name: 'wallMs', allowed: wallMs, observed: wallMs, unit: 'ms' } as const;
  // A caller who waits for less than the plugin may take has no say over what else it does.
  const patience = wallMs < usualLimits.wallMs ? ({ mayGoOn: true } as const) : {};
  return new Failure('plugin_timeout', `The plugin took longer than ${wallMs} ms`, { limit, ...patience });
}

function refused(failure: Failure): Outcome {
  return { ok: false, failure, usage: noUsage, progress: null, logs: [], bootMs: 0, hostMs: 0 };
}
