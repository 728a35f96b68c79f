import { availableParallelism } from 'node:os';
import { Failure } from '../../src/core/failure.ts';
import { Executor } from './executor.ts';
import { Kind } from './wire.ts';

export type ExecutorsOptions = {
  /** Executors booted ahead, that belong to nobody yet. */
  spares: number;
  /** Executors in all, spares included. */
  most: number;
  /** An executor is replaced after so many runs, at such an age, or when it is larger than this. */
  recycleRuns: number;
  recycleMs: number;
  recycleMb: number;
  /** An executor with nothing to do is ended after so long. */
  idleMs: number;
  /** Folder where Node keeps our code compiled; without it each executor compiles anew. */
  compileCache?: string;
  /** What runs them; for the tests. */
  nodePath?: string;
};

/** Long runs that share an executor: what one can take with it when it has to be killed. */
const LONG_EACH = 8;
/** A further brief executor is taken when this much work, in ms, is in the ones there are. */
const BRIEF_LOAD_MS = 1.5;
/** An executor that is not up by then never will be. */
const BOOT_MS = 30_000;
/** When executors do not start, the next is tried after so long; each time twice that. */
const BOOT_AGAIN_MS = 100;
const BOOT_AGAIN_MS_MOST = 30_000;
/** A long executor that stays larger than this beyond its idle size when its runs are over gives memory back by ending. */
const SWOLLEN_MB = 40;
const SWOLLEN_AFTER_MS = 5_000;
const WATCH_EVERY_MS = 50;
/** A main thread that says nothing for so long is stuck in something that cannot be interrupted. */
export const SILENT_MS = 200;
/** However much its runs may use together, an executor that is larger than this beyond its idle size is ended. */
const EXECUTOR_MB_MOST = 1536;

/** What the watch needs to know of a flight. */
export type Weighed = { residentMb: number };

/**
 * All executors. An executor belongs to one tenant from the moment it is taken until it ends, and to one of two
 * lanes: brief (runs of a few ms, on its main thread) or long (each run on a thread, a few at once). Spares are booted
 * ahead, so that a new tenant, or the replacement of one that was killed, is there at once.
 */
export class Executors implements AsyncDisposable {
  readonly #options: ExecutorsOptions;
  readonly #onCompiled: (tenant: string, program: number, cachedData: Buffer) => void;
  readonly #all = new Set<Executor>();
  readonly #idleBytes = new WeakMap<Executor, number>();
  readonly #weights = new Map<Executor, Set<Weighed>>();
  readonly #waiting: (() => void)[] = [];
  readonly #watch: NodeJS.Timeout;
  #closed = false;
  #lost = 0;
  #bootsFailed = 0;
  #bootAgainAt = 0;
  #bootTrouble = '';

  constructor(options: ExecutorsOptions, onCompiled: (tenant: string, program: number, cachedData: Buffer) => void) {
    this.#options = options;
    this.#onCompiled = onCompiled;
    this.#watch = setInterval(() => this.#look(), WATCH_EVERY_MS);
    this.#watch.unref();
    this.#fill();
  }

  get counts() {
    let spares = 0;
    let booting = 0;
    for (const one of this.#all) {
      if (!one.isReady) booting += 1;
      else if (one.lane === 'spare') spares += 1;
    }
    return { executors: this.#all.size, spares, booting, lost: this.#lost };
  }

  /** Why there is none; null where there is, or where none was wanted yet. */
  get trouble(): string | null {
    if (this.#bootsFailed > 0) return this.#bootTrouble;
    for (const one of this.#all) if (one.isReady) return null;
    return this.#all.size === 0 ? null : 'the first executor is starting';
  }

  /** One for brief runs; at once where the tenant has one. Whoever waits is told the signal's reason when it aborts. */
  brief(tenant: string, signal: AbortSignal): Executor | Promise<Executor> {
    let least: Executor | undefined;
    let count = 0;
    for (const one of this.#all) {
      if (!takesMore(one, tenant, 'brief')) continue;
      // One that is kept busy answers many runs with one write; two that are half busy wake each other's cores.
      if (one.load < BRIEF_LOAD_MS) return one;
      count += 1;
      if (least === undefined || one.load < least.load) least = one;
    }
    if (least === undefined) return this.#take(tenant, 'brief', false, signal);
    if (count < availableParallelism()) {
      const spare = this.#spare();
      if (spare !== undefined) return this.#claim(spare, tenant, 'brief', false);
    }
    return least;
  }

  /** One for a long run. `alone`: with nothing else in it, now or later. */
  long(tenant: string, alone: boolean, signal: AbortSignal): Executor | Promise<Executor> {
    const shared = alone ? undefined : this.#anyOf(tenant, 'long');
    return shared ?? this.#take(tenant, 'long', alone, signal);
  }

  /** Every executor that a tenant has. */
  *of(tenant: string): Iterable<Executor> {
    for (const one of this.#all) if (one.tenant === tenant) yield one;
  }

  weigh(executor: Executor, flight: Weighed): void {
    let weights = this.#weights.get(executor);
    if (weights === undefined) {
      weights = new Set();
      this.#weights.set(executor, weights);
    }
    weights.add(flight);
  }

  unweigh(executor: Executor, flight: Weighed): void {
    this.#weights.get(executor)?.delete(flight);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearInterval(this.#watch);
    this.#wake();
    await Promise.all([...this.#all].map((one) => one.end()));
  }

  // ── taking ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #take(tenant: string, lane: 'brief' | 'long', alone: boolean, signal: AbortSignal): Promise<Executor> {
    let booted: Executor | undefined;
    for (;;) {
      if (signal.aborted) throw signal.reason;
      if (this.#closed) throw new Failure('draining', 'The service is shutting down', { retryable: true });
      if (booted?.isReady && !booted.isGone) return booted;
      const spare = this.#spare();
      if (spare !== undefined) return this.#claim(spare, tenant, lane, alone);
      if (booted !== undefined && !booted.isGone) {
        await this.#woken();
        continue;
      }
      if (this.#all.size < this.#options.most) {
        if (performance.now() < this.#bootAgainAt) throw this.#noExecutor();
        booted = this.#claim(this.#boot(), tenant, lane, alone);
        continue;
      }
      const shared = alone ? undefined : this.#anyOf(tenant, lane);
      if (shared !== undefined) return shared;
      // Whoever has had nothing to do for the longest gives way.
      const idle = this.#idlest();
      if (idle !== undefined) await idle.end();
      else await this.#woken();
    }
  }

  #anyOf(tenant: string, lane: 'brief' | 'long'): Executor | undefined {
    for (const one of this.#all) {
      if (takesMore(one, tenant, lane) && (lane === 'brief' || one.flights < LONG_EACH)) return one;
    }
    return undefined;
  }

  #idlest(): Executor | undefined {
    let idlest: Executor | undefined;
    for (const one of this.#all) {
      if (one.flights > 0 || one.isGone || !one.isReady) continue;
      if (idlest === undefined || one.usedAt < idlest.usedAt) idlest = one;
    }
    return idlest;
  }

  #spare(): Executor | undefined {
    for (const one of this.#all) if (one.lane === 'spare' && one.isReady && !one.isGone) return one;
    return undefined;
  }

  #claim(executor: Executor, tenant: string, lane: 'brief' | 'long', alone: boolean): Executor {
    executor.tenant = tenant;
    executor.lane = lane;
    executor.alone = alone;
    executor.claimedAt = performance.now();
    executor.usedAt = executor.claimedAt;
    if (alone) executor.retiring = true;
    this.#fill();
    return executor;
  }

  #noExecutor(): Failure {
    const retryAfterMs = Math.max(1, Math.round(this.#bootAgainAt - performance.now()));
    const details = { cause: this.#bootTrouble, retryable: true, retryAfterMs };
    return new Failure('overloaded', 'Executors cannot be started at the moment', details);
  }

  #boot(): Executor {
    const { nodePath = process.execPath, compileCache } = this.#options;
    const executor = new Executor({
      nodePath,
      compileCache,
      onReady: () => {
        this.#bootsFailed = 0;
        executor.measure();
        this.#idleBytes.set(executor, executor.residentBytes);
        this.#wake();
      },
      onGone: () => this.#gone(executor),
      onCompiled: (program, cachedData) => {
        if (executor.tenant !== undefined) this.#onCompiled(executor.tenant, program, cachedData);
      },
    });
    this.#all.add(executor);
    return executor;
  }

  #gone(executor: Executor): void {
    this.#all.delete(executor);
    this.#weights.delete(executor);
    this.#lost += 1;
    if (!executor.isReady && !executor.isUnwanted) {
      // One that cannot even start is not replaced at once: that would be a loop.
      this.#bootTrouble = `an executor did not start: ${executor.complaint}`;
      this.#bootAgainAt = performance.now() + Math.min(BOOT_AGAIN_MS * 2 ** this.#bootsFailed, BOOT_AGAIN_MS_MOST);
      this.#bootsFailed += 1;
    }
    this.#wake();
    this.#fill();
  }

  /** Keeps as many spares as there should be. */
  #fill(): void {
    if (this.#closed || performance.now() < this.#bootAgainAt) return;
    let spares = 0;
    for (const one of this.#all) if (one.lane === 'spare' && !one.isGone) spares += 1;
    while (spares < this.#options.spares && this.#all.size < this.#options.most) {
      this.#boot();
      spares += 1;
    }
  }

  // ── the watch ─────────────────────────────────────────────────────────────────────────────────────────────────

  #look(): void {
    const now = performance.now();
    for (const one of this.#all) {
      if (!one.isReady && now - one.bornAt > BOOT_MS) one.kill(`it was not up after ${BOOT_MS} ms`);
      if (!one.isReady || one.isGone) continue;
      one.measure();
      if (one.flights > 0) {
        this.#listen(one, now);
        this.#weighNow(one);
        // It finishes what it has; what comes goes to a spare.
        if (this.#isWorn(one, now)) one.retiring = true;
      } else if (one.lane !== 'spare') {
        this.#recycle(one, now);
      }
    }
    this.#fill();
    // Something may have become free, and a deadline may have passed.
    this.#wake();
  }

  /** Resolves when something may have changed, after one turn of the watch at most. */
  #woken(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** A main thread with work in it has to answer. */
  #listen(executor: Executor, now: number): void {
    if (executor.pingedAt === 0) {
      if (now - executor.heardAt < WATCH_EVERY_MS) return;
      executor.pingedAt = now;
      executor.pingedCpuMs = executor.cpuMs;
      executor.send(Kind.ping, 0, 0, 0, '', '');
    } else if (now - executor.pingedAt > SILENT_MS && executor.cpuMs - executor.pingedCpuMs > SILENT_MS / 2) {
      // Silent and idle is something else: then the machine keeps it waiting.
      executor.kill(STUCK);
    }
  }

  #weighNow(executor: Executor): void {
    const weights = this.#weights.get(executor);
    let allowedMb = 0;
    for (const { residentMb } of weights ?? []) allowedMb += residentMb;
    if (allowedMb === 0) allowedMb = EXECUTOR_MB_MOST / 3;
    allowedMb = Math.min(allowedMb, EXECUTOR_MB_MOST);
    if (this.#grownBytes(executor) > allowedMb * 2 ** 20) executor.kill(OVERWEIGHT);
  }

  #recycle(executor: Executor, now: number): void {
    if (this.#isSwollen(executor, now)) return void executor.end();
    const idle = now - executor.usedAt;
    if (idle < WATCH_EVERY_MS) return;
    if (executor.retiring || idle > this.#options.idleMs || this.#isWorn(executor, now)) void executor.end();
  }

  #isSwollen(executor: Executor, now: number): boolean {
    if (executor.lane !== 'long' || now - executor.claimedAt < SWOLLEN_AFTER_MS) return false;
    return this.#grownBytes(executor) > SWOLLEN_MB * 2 ** 20;
  }

  /** What it has beyond its idle size. */
  #grownBytes(executor: Executor): number {
    return executor.residentBytes - (this.#idleBytes.get(executor) ?? 0);
  }

  #isWorn({ runs, bornAt, residentBytes }: Executor, now: number): boolean {
    const { recycleRuns, recycleMs, recycleMb } = this.#options;
    return runs >= recycleRuns || now - bornAt > recycleMs || residentBytes > recycleMb * 2 ** 20;
  }
}

/** Whether a run of the tenant may be given to it. One that is alone is retiring from the start. */
function takesMore(executor: Executor, tenant: string, lane: 'brief' | 'long'): boolean {
  return executor.tenant === tenant && executor.lane === lane && !executor.retiring && !executor.isGone;
}

/** Why an executor was killed whose main thread was busy with one thing for too long. */
export const STUCK = 'its main thread is stuck';
/** Why an executor was killed that used too much memory. */
export const OVERWEIGHT = 'it uses too much memory';
