import { availableParallelism } from 'node:os';
import { Failure, type LimitHit } from '../../src/core/failure.ts';
import { Lines } from '../../src/core/fairness.ts';
import { type Shortage, shortage } from '../../src/core/shortage.ts';
import { onAbort } from '../../src/core/signal.ts';
import {
  type Bounds,
  fillable,
  givesWayToItsOwn,
  givesWayToOthers,
  Holding,
  hasRoom,
  idlest,
  type Lane,
  takesMore,
  type Wish,
} from './claims.ts';
import { Executor } from './executor.ts';
import { NO_WALLS, type Walls } from './walls.ts';
import { Kind } from './wire.ts';

export type ExecutorsOptions = Bounds & {
  /** Executors booted ahead, that belong to nobody yet. */
  spares: number;
  /** Resident memory of all together, beyond which none is started. */
  memoryMb: number;
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
  /** What they are confined with; without it they are plain child processes. */
  walls?: Walls;
};

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
/**
 * What was used in this time counts as busy: it is likely to be used again. A long one has little to lose that would
 * make it better than a new one; and it may have been used only for the first run of a program that is brief.
 */
const LATELY_MS = { brief: 1_000, long: 100 };
/** For a spare's sake, which nobody waits for, an executor ends that was not used for so long; and one at a time. */
const UNUSED_MS = { brief: 10_000, long: 1_000 };
const UNUSED_EVERY_MS = 500;
/** Where all are busy, or were just now, one changes hands when somebody has waited for so long; and one at a time. */
const PATIENCE_MS = 250;
/** Resident memory of an executor that has just started, until one was seen. */
const FIRST_MB = 64;
/** However much its runs may use together, an executor that is larger than this beyond its idle size is ended. */
const EXECUTOR_MB_MOST = 1536;

/** What the watch needs to know of a flight. */
export type Weighed = { residentMb: number };

/**
 * All executors. An executor belongs to one circle (a tenant, or those of a trust group) from the moment it is taken
 * until it ends, and to one of two lanes: brief (runs of a few ms, on its main thread) or long (each run on a thread, a
 * few at once). Spares are booted ahead, so that a new tenant, or the replacement of one that was killed, is there at
 * once. Who gets one when they are short is decided in claims.ts; circles that wait take turns.
 */
export class Executors implements AsyncDisposable {
  readonly #options: ExecutorsOptions;
  readonly #onCompiled: (trust: string, program: number, cachedData: Buffer) => void;
  readonly #all = new Set<Executor>();
  readonly #idleBytes = new WeakMap<Executor, number>();
  readonly #weights = new Map<Executor, Set<Weighed>>();
  readonly #lines = new Lines<string, Waiter>();
  readonly #watch: NodeJS.Timeout;
  #closed = false;
  #lost = 0;
  #bootsFailed = 0;
  #bootAgainAt = 0;
  #bootTrouble = '';
  /** Resident memory of one that has just started, as last seen. */
  #freshMb = FIRST_MB;
  #sparedAt = Number.NEGATIVE_INFINITY;
  #forcedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ExecutorsOptions, onCompiled: (trust: string, program: number, cachedData: Buffer) => void) {
    this.#options = options;
    this.#onCompiled = onCompiled;
    this.#watch = setInterval(() => this.#look(), WATCH_EVERY_MS);
    this.#watch.unref();
    this.#provide();
  }

  get counts() {
    let spares = 0;
    let booting = 0;
    for (const one of this.#all) {
      if (!one.isReady) booting += 1;
      else if (one.lane === 'spare') spares += 1;
    }
    return {
      executors: this.#all.size,
      spares,
      booting,
      lost: this.#lost,
      executorsMb: Math.round(this.#memoryMb()),
      executorsWaiting: this.#lines.size,
    };
  }

  /** Why there is none; null where there is, or where none was wanted yet. */
  get trouble(): string | null {
    if (this.#bootsFailed > 0) return this.#bootTrouble;
    for (const one of this.#all) if (one.isReady) return null;
    return this.#all.size === 0 ? null : 'the first executor is starting';
  }

  /** One for brief runs; at once where the circle has one. Whoever waits is told why it was in vain. */
  brief(trust: string, signal: AbortSignal): Executor | Promise<Executor> {
    let least: Executor | undefined;
    let count = 0;
    for (const one of this.#all) {
      if (!takesMore(one, trust, 'brief')) continue;
      // One that is kept busy answers many runs with one write; two that are half busy wake each other's cores.
      if (one.load < BRIEF_LOAD_MS) return one;
      count += 1;
      if (least === undefined || one.load < least.load) least = one;
    }
    if (least === undefined) return this.#take({ trust, lane: 'brief', alone: false, depth: 0 }, signal);
    if (count >= availableParallelism()) return least;
    return this.#takeSpare({ trust, lane: 'brief', alone: false, depth: 0 }) ?? least;
  }

  /** One for a long run. `alone`: with nothing else in it, now or later. `depth` is that of the invocation. */
  long(
    { trust, alone, depth }: { trust: string; alone: boolean; depth: number },
    signal: AbortSignal,
  ): Executor | Promise<Executor> {
    return this.#take({ trust, lane: 'long', alone, depth }, signal);
  }

  /** None of them knows the program any more. */
  unload(program: number): void {
    for (const one of this.#all) one.unload(program);
  }

  weigh(executor: Executor, flight: Weighed): void {
    let weights = this.#weights.get(executor);
    if (weights === undefined) {
      weights = new Set();
      this.#weights.set(executor, weights);
    }
    weights.add(flight);
  }

  /** The flight has landed: there may be room for another. */
  unweigh(executor: Executor, flight: Weighed): void {
    this.#weights.get(executor)?.delete(flight);
    if (this.#lines.size > 0) this.#serve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearInterval(this.#watch);
    for (const [, line] of [...this.#lines]) for (const one of [...line]) one.refuse(draining());
    await Promise.all([...this.#all].map((one) => one.end()));
  }

  // ── taking ────────────────────────────────────────────────────────────────────────────────────────────────────

  #take(wish: Wish, signal: AbortSignal): Executor | Promise<Executor> {
    // Whoever waits could not use what is found here.
    return this.#shared(wish) ?? this.#takeSpare(wish) ?? this.#wait(wish, signal);
  }

  #shared(wish: Wish): Executor | undefined {
    for (const one of this.#all) if (hasRoom(one, wish)) return one;
    return undefined;
  }

  #takeSpare(wish: Wish): Executor | undefined {
    const spare = this.#spareFor(wish);
    if (spare === undefined) return undefined;
    claim(spare, wish);
    this.#provide();
    return spare;
  }

  #spareFor(wish: Wish): Executor | undefined {
    for (const one of this.#all) {
      if (one.lane !== 'spare' || !one.isReady || one.isGone) continue;
      return new Holding(this.#all, wish.trust).mayHave(wish, this.#options) ? one : undefined;
    }
    return undefined;
  }

  #wait(wish: Wish, signal: AbortSignal): Promise<Executor> {
    if (this.#closed) return Promise.reject(draining());
    if (signal.aborted) return Promise.reject(signal.reason);
    return new Promise<Executor>((resolve, reject) => {
      const settle = () => {
        this.#lines.delete(wish.trust, waiter);
        stop[Symbol.dispose]();
      };
      const waiter: Waiter = {
        ...wish,
        since: performance.now(),
        give: (executor) => {
          settle();
          resolve(executor);
        },
        refuse: (failure) => {
          settle();
          reject(failure);
        },
      };
      const stop = onAbort(signal, (reason) => waiter.refuse(shortage(reason, this.#short(wish))));
      this.#lines.add(wish.trust, waiter);
      this.#provide();
    });
  }

  /** Gives what there is to those who wait, in turn; and sees to it that there will be more. */
  #serve(): void {
    let found: Executor | undefined;
    const choose = (line: Iterable<Waiter>) => {
      for (const waiter of line) {
        found = this.#shared(waiter) ?? this.#spareFor(waiter);
        if (found !== undefined) return waiter;
      }
      return undefined;
    };
    for (let next = this.#lines.next(choose); next !== undefined; next = this.#lines.next(choose)) {
      if (found === undefined) break;
      if (found.lane === 'spare') claim(found, next);
      found.promised += 1;
      next.give(found);
    }
    this.#provide();
  }

  // ── having enough ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Boots what is short: one for each that somebody waits for, and the spares. Where there is no room, makes some. */
  #provide(): void {
    if (this.#closed) return;
    const now = performance.now();
    let coming = 0;
    let booting = 0;
    let ending = 0;
    let yielding = 0;
    for (const one of this.#all) {
      if (one.isGone) ending += 1;
      else if (one.lane === 'spare') coming += 1;
      else if (one.retiring && !one.alone) yielding += 1;
      if (!one.isGone && !one.isReady) booting += 1;
    }
    const short = this.#shortOf();
    if (now < this.#bootAgainAt) {
      if (booting === 0) for (const one of short.waiters) one.refuse(this.#noExecutor());
      return;
    }
    const wanted = short.count + this.#options.spares;
    while (coming < wanted && this.#mayBoot()) {
      this.#boot();
      coming += 1;
    }
    for (let missing = short.count - coming - ending; missing > 0; missing -= 1) {
      const idle = idlest(this.#all, before(now, LATELY_MS));
      if (idle === undefined) return this.#force(short.firsts, yielding + ending, now);
      void idle.end();
      ending += 1;
    }
    if (coming + ending < wanted && now - this.#sparedAt >= UNUSED_EVERY_MS) {
      this.#sparedAt = now;
      void idlest(this.#all, before(now, UNUSED_MS))?.end();
    }
  }

  /** How many executors are missing for those who wait and are not at their own circle's bound; and who they are. */
  #shortOf(): Short {
    const short: Short = { count: 0, waiters: [], firsts: [] };
    for (const [trust, line] of this.#lines) {
      const mine = new Holding(this.#all, trust);
      const able = [...line].filter((one) => mine.isWithin(one, this.#options));
      const [first] = able;
      if (first === undefined) {
        this.#rearrange(line);
        continue;
      }
      short.count += Math.min(fillable(able), this.#options.perTenant - mine.count);
      short.waiters.push(...able);
      short.firsts.push(first);
    }
    return short;
  }

  /** A circle at its own bound may have them for runs of another kind than those that wait. */
  #rearrange(line: Iterable<Waiter>): void {
    for (const waiter of line) {
      for (const one of this.#all) if (one.trust === waiter.trust && one.retiring && !one.alone) return;
      const own = givesWayToItsOwn(this.#all, waiter, this.#options);
      if (own !== undefined) return retire(own);
    }
  }

  /** All are busy, or were just now. Whoever has more than those who wait gives up one, as soon as it can. */
  #force(waiters: readonly Waiter[], underWay: number, now: number): void {
    if (underWay >= waiters.length || now - this.#forcedAt < PATIENCE_MS) return;
    for (const waiter of waiters) {
      if (now - waiter.since < PATIENCE_MS) continue;
      const one = givesWayToOthers(this.#all, waiter, now);
      if (one === undefined) continue;
      this.#forcedAt = now;
      return retire(one);
    }
  }

  #mayBoot(): boolean {
    if (this.#all.size === 0) return true;
    return this.#all.size < this.#options.most && this.#memoryMb() + this.#freshMb <= this.#options.memoryMb;
  }

  /** Of all of them. One that starts has what it will have. */
  #memoryMb(): number {
    let mb = 0;
    for (const one of this.#all) mb += one.isReady ? one.residentBytes / 2 ** 20 : this.#freshMb;
    return mb;
  }

  /** Why there was none for it. */
  #short(wish: Wish): Shortage {
    const { most, perTenant, memoryMb } = this.#options;
    const mine = new Holding(this.#all, wish.trust);
    const has = `all ${mine.count} executors that it has`;
    if (!mine.isWithin(wish, this.#options)) {
      const limit = count('executors.perTenant', perTenant, mine.count + 1);
      return { message: `No executor was free in time: ${has} are busy, and it may have no more`, limit, own: true };
    }
    const bytes = this.#memoryMb() * 2 ** 20;
    const isFull = this.#all.size < most && bytes + this.#freshMb * 2 ** 20 > memoryMb * 2 ** 20;
    const limit: LimitHit = isFull
      ? { name: 'executors.memoryMb', allowed: memoryMb * 2 ** 20, observed: Math.round(bytes), unit: 'bytes' }
      : count('executors.most', most, this.#all.size + 1);
    const message = `No executor was free in time: ${this.#all.size} are busy, starting or ending, and ${this.#lines.size} runs wait for one`;
    return { message, limit: isFull || this.#all.size >= most ? limit : undefined, own: false };
  }

  #noExecutor(): Failure {
    const retryAfterMs = Math.max(1, Math.round(this.#bootAgainAt - performance.now()));
    const details = { cause: this.#bootTrouble, retryable: true, retryAfterMs };
    return new Failure('overloaded', 'Executors cannot be started at the moment', details);
  }

  #boot(): Executor {
    const { nodePath = process.execPath, compileCache, walls = NO_WALLS } = this.#options;
    const executor = new Executor({
      nodePath,
      compileCache,
      walls,
      onReady: () => {
        this.#bootsFailed = 0;
        executor.measure();
        this.#idleBytes.set(executor, executor.residentBytes);
        if (executor.residentBytes > 0) this.#freshMb = executor.residentBytes / 2 ** 20;
        this.#serve();
      },
      onGone: () => this.#gone(executor),
      onCompiled: (program, cachedData) => {
        if (executor.trust !== undefined) this.#onCompiled(executor.trust, program, cachedData);
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
    this.#serve();
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
    // One at a time: what it has is given back when it is gone.
    if (this.#memoryMb() > this.#options.memoryMb) void idlest(this.#all, before(now, LATELY_MS))?.end();
    this.#endSurplus(now);
    this.#serve();
  }

  /** Spares that were booted for somebody who waits no more. */
  #endSurplus(now: number): void {
    if (this.#lines.size > 0) return;
    let spares = 0;
    for (const one of this.#all) {
      if (one.lane !== 'spare' || one.isGone) continue;
      spares += 1;
      if (spares > this.#options.spares && one.isReady && now - one.bornAt > LATELY_MS.brief) void one.end();
    }
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

type Waiter = Wish & {
  since: number;
  give(executor: Executor): void;
  refuse(failure: Failure): void;
};

function claim(executor: Executor, { trust, lane, alone }: Wish): void {
  executor.trust = trust;
  executor.lane = lane;
  executor.alone = alone;
  executor.claimedAt = performance.now();
  executor.usedAt = executor.claimedAt;
  if (alone) executor.retiring = true;
}

/** `firsts`: of each circle one, whose turn it is first. */
type Short = { count: number; waiters: Waiter[]; firsts: Waiter[] };

/** It finishes what it has. */
function retire(executor: Executor): void {
  executor.retiring = true;
  if (executor.taken === 0) void executor.end();
}

function before(now: number, { brief, long }: Record<Lane, number>): Record<Lane, number> {
  return { brief: now - brief, long: now - long };
}

function draining(): Failure {
  return new Failure('draining', 'The service is shutting down', { retryable: true });
}

function count(name: string, allowed: number, observed: number): LimitHit {
  return { name, allowed, observed, unit: 'count' };
}

/** Why an executor was killed whose main thread was busy with one thing for too long. */
export const STUCK = 'its main thread is stuck';
/** Why an executor was killed that used too much memory. */
export const OVERWEIGHT = 'it uses too much memory';
