import { randomUUID } from 'node:crypto';
import type { Application } from '../core/application.ts';
import { Failure } from '../core/failure.ts';
import {
  type Endpoint,
  type Invocation,
  type Request,
  type ServerConnection,
  serverConnection,
} from '../core/invocation.ts';
import { type Limits, lowered } from '../core/limits.ts';
import { noUsage, type Outcome, type Watch } from '../core/outcome.ts';
import { Places } from '../core/places.ts';
import type { Entry, Plugin } from '../core/plugin.ts';
import type { Runtime } from '../core/runtime.ts';
import type { Limiter, Share } from './limiter.ts';
import type { Quarantine } from './quarantine.ts';

/** One invocation after its end: for the answer, the log line and the metrics. */
export type Settled = {
  id: string;
  request: Request;
  /** The plugin it ran on; undefined where there is none of that name. */
  plugin: Plugin | undefined;
  outcome: Outcome;
  /** How long it waited for a place, and the whole from asking to settling; in ms. */
  queueMs: number;
  totalMs: number;
};

/** An invocation under way. `settled` never rejects. `stop` ends it; the first reason given is the one that counts. */
export type Running = { id: string; settled: Promise<Settled>; stop(reason: Failure): void };

export type InvokerOptions = {
  /** The plugins a tenant has now. */
  plugins(tenant: string): ReadonlyMap<string, Plugin>;
  /** The application of a tenant, and where its plugins find it. */
  application(tenant: string): { application: Application; endpoint: Endpoint };
  /** Why there is no plugin of that name, where more is known than that. */
  refusal?(tenant: string, plugin: string): string | undefined;
  runtimes: readonly Runtime[];
  limiter: Limiter;
  /** What a tenant has of the limiter's places. */
  share(tenant: string): Share;
  quarantine: Quarantine;
  /** The most that an invocation of this plugin may use. */
  limits(tenant: string, plugin: string): Limits;
  onSettled(settled: Settled): void;
};

/**
 * The one way to run a plugin: finds it, clamps its limits, waits for a place, starts the clock, picks the runtime,
 * and settles what came of it. There is one AbortController an invocation; whoever aborts it first (deadline,
 * caller, shutdown) has given the failure.
 */
export class Invoker {
  readonly #options: InvokerOptions;
  readonly #running = new Places<AbortController>();
  readonly #idle: (() => void)[] = [];

  constructor(options: InvokerOptions) {
    this.#options = options;
  }

  invoke(request: Request): Running {
    const controller = new AbortController();
    const id = randomUUID();
    return { id, settled: this.#settle(id, request, controller), stop: (reason) => controller.abort(reason) };
  }

  /** Rejects with what an invocation of it would be refused with at once: there is no such plugin, or no such task. */
  async check({ tenant, plugin, task }: Pick<Request, 'tenant' | 'plugin' | 'task'>): Promise<void> {
    const found = this.#find({ tenant, plugin, args: {} });
    entryOf(found, task);
    this.#runtimeOf(found);
  }

  /**
   * Refuses what comes, lets what runs finish for `graceMs`, then stops the rest. Resolves when nothing runs.
   */
  async drain(graceMs: number): Promise<void> {
    const failure = new Failure('draining', 'The service is shutting down', { retryable: true, retryAfterMs: 1000 });
    this.#options.limiter.close(failure);
    if (this.#running.size === 0) return;
    const idle = new Promise<void>((resolve) => this.#idle.push(resolve));
    const timer = setTimeout(() => {
      for (const controller of this.#running) controller.abort(failure);
    }, graceMs);
    await idle;
    clearTimeout(timer);
  }

  async #settle(id: string, request: Request, controller: AbortController): Promise<Settled> {
    const { limiter, onSettled } = this.#options;
    const askedAt = performance.now();
    let queueMs = 0;
    let plugin: Plugin | undefined;
    let outcome: Outcome;
    try {
      plugin = this.#find(request);
      const entry = entryOf(plugin, request.task);
      const runtime = this.#runtimeOf(plugin);
      this.#options.quarantine.check(quarantineKey(request.tenant, plugin.id), Date.now());
      const share = this.#options.share(request.tenant);
      if (!limiter.tryEnter(share)) {
        try {
          await limiter.wait(share, controller.signal, request.job === undefined ? 'limited' : 'endless');
        } finally {
          queueMs = performance.now() - askedAt;
        }
      }
      const place = this.#running.add(controller);
      const usualLimits = this.#options.limits(request.tenant, plugin.id);
      const limits = lowered(usualLimits, request.limits);
      const deadline = setTimeout(() => controller.abort(tooSlow(limits)), limits.wallMs);
      try {
        const { application, endpoint } = this.#options.application(request.tenant);
        const call = new Call(id, request, plugin, entry, limits, usualLimits, application, endpoint);
        outcome = await runtime.run(call, controller.signal);
      } finally {
        clearTimeout(deadline);
        this.#running.delete(place);
        limiter.leave(share);
      }
    } catch (error) {
      outcome = refused(Failure.from(error));
    }
    const settled = { id, request, plugin, outcome, queueMs, totalMs: performance.now() - askedAt };
    if (!outcome.ok) this.#blame(request.tenant, plugin, outcome.failure);
    onSettled(settled);
    if (this.#running.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
    return settled;
  }

  #find({ tenant, plugin: id }: Request): Plugin {
    const plugin = this.#options.plugins(tenant).get(id);
    if (plugin !== undefined) return plugin;
    const why = this.#options.refusal?.(tenant, id);
    throw new Failure('not_found', `There is no plugin "${id}"${why === undefined ? '' : `: ${why}`}`);
  }

  #runtimeOf(plugin: Plugin): Runtime {
    const runtime = this.#options.runtimes.find((one) => one.runs(plugin));
    if (runtime !== undefined) return runtime;
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

/** The name of a plugin of a tenant in the quarantine. */
export function quarantineKey(tenant: string, plugin: string): string {
  return `${tenant}\n${plugin}`;
}

class Call implements Invocation {
  readonly id: string;
  readonly tenant: string;
  readonly trust: string;
  readonly plugin: Plugin;
  readonly entry: Entry;
  readonly args: Record<string, unknown>;
  readonly limits: Limits;
  readonly usualLimits: Limits;
  readonly application: Application;
  readonly deadlineAt: number;
  readonly watch: Watch | undefined;
  readonly #endpoint: Endpoint;

  constructor(
    id: string,
    request: Request,
    plugin: Plugin,
    entry: Entry,
    limits: Limits,
    usualLimits: Limits,
    application: Application,
    endpoint: Endpoint,
  ) {
    this.id = id;
    this.tenant = request.tenant;
    this.trust = request.tenant;
    this.watch = request.watch;
    this.plugin = plugin;
    this.entry = entry;
    this.args = entry.kind === 'operation' ? request.args : { ...entry.defaultArgs, ...request.args };
    this.limits = limits;
    this.usualLimits = usualLimits;
    this.application = application;
    this.deadlineAt = performance.now() + limits.wallMs;
    this.#endpoint = endpoint;
  }

  // The gateway's sessions will put a signed value here; until then it opens nothing.
  get session(): string {
    return this.id;
  }

  get connection(): ServerConnection {
    return serverConnection(this.#endpoint, this.session, this.plugin.dir);
  }
}

const OPERATION: Entry = { kind: 'operation' };

function entryOf(plugin: Plugin, task: string | undefined): Entry {
  if (task === undefined) return OPERATION;
  const entry = plugin.entries.find((one) => one.kind === 'task' && one.name === task);
  if (entry !== undefined) return entry;
  const names = plugin.entries.flatMap((one) => (one.kind === 'task' ? [JSON.stringify(one.name)] : []));
  const known = names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`;
  throw new Failure('not_found', `Plugin "${plugin.id}" has no task ${JSON.stringify(task)}: ${known}`);
}

function tooSlow({ wallMs }: Limits): Failure {
  const limit = { name: 'wallMs', allowed: wallMs, observed: wallMs, unit: 'ms' } as const;
  return new Failure('plugin_timeout', `The plugin took longer than ${wallMs} ms`, { limit });
}

function refused(failure: Failure): Outcome {
  return { ok: false, failure, usage: noUsage, progress: null, logs: [], bootMs: 0, hostMs: 0 };
}
