/**
 * Programs that stay, one for each plugin of each tenant. Who is asked for and not there is started; who dies is started
 * again, after ever longer rests, until it has died too often; who is not needed ends when others need the room.
 *
 * A *berth* is what is known of one of them, whether it is there or not. What happens to a berth happens in turn: a start
 * waits for the end before it. So there are never two processes of one plugin on a node.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, type LimitHit } from '../core/failure.ts';
import type { Plugin, Program } from '../core/plugin.ts';
import type { Residency, ResidentLine, ResidentState, Residents, Room, StopReason } from '../core/resident.ts';
import { onAbort } from '../core/signal.ts';

/** A program that is up. */
export interface Resident {
  /** Resolves when nothing of it is left. */
  readonly death: Promise<{ failure: Failure }>;
  readonly residentBytes: number;
  readonly cpuMs: number;
  /** Runs under way. */
  readonly running: number;
  /** Whether it does nothing now that would be lost. Asks it. */
  isIdle(): Promise<boolean>;
  /** Asks it to stop, and ends it. Resolves when nothing is left. */
  stop(reason: StopReason): Promise<void>;
}

/** Starts one. Rejects with a Failure. What it logs comes by `line`. */
export type Begin<R extends Resident> = (residency: Residency, line: (one: ResidentLine) => void) => Promise<R>;

export type ResidentPoolOptions = {
  /** Programs at once, in all and of one tenant. */
  most: number;
  perTenant: number;
  /** Resident memory of all together, beyond which none is started. */
  memoryMb: number;
  /** One that does nothing for so long is ended; 0 lets it be. */
  idleMs: number;
  /** One that dies so often within so long is left alone for as long. */
  deaths: number;
  windowMs: number;
};

/** The part of a pool that has programs of one kind. */
export type Wing<R extends Resident> = {
  /** The program that is up, which is started if need be; waits for room until the signal aborts. */
  occupy(residency: Residency, signal: AbortSignal): Promise<R>;
  /** The same where it is up already; null where it is not. */
  up(residency: Residency): R | null;
};

export class ResidentPool implements Residents, AsyncDisposable {
  readonly #options: ResidentPoolOptions;
  readonly #begins = new Map<Program['runtime'], Begin<Resident>>();
  readonly #berths = new Map<string, Berth>();
  readonly #closing = new AbortController();
  readonly #room: (() => void)[] = [];
  readonly #sweep: NodeJS.Timeout | undefined;

  constructor(options: ResidentPoolOptions) {
    this.#options = options;
    const { idleMs } = options;
    if (idleMs > 0) this.#sweep = setInterval(() => void this.#endIdle(), Math.max(100, idleMs / 4)).unref();
  }

  /** From here on programs of this kind can be started, which have their places among all others. */
  wing<R extends Resident>(runtime: Program['runtime'], begin: Begin<R>): Wing<R> {
    this.#begins.set(runtime, begin);
    // Nobody else has ever begun one of that kind.
    return {
      occupy: async (residency, signal) => (await this.#occupy(residency, signal)) as R,
      up: (residency) => this.#up(residency) as R | null,
    };
  }

  #up(residency: Residency): Resident | null {
    const berth = this.#berths.get(keyOf(residency.tenant, residency.plugin.id));
    const up = berth?.upFor(residency) ?? null;
    if (up !== null) berth?.used();
    return up;
  }

  async #occupy(residency: Residency, signal: AbortSignal): Promise<Resident> {
    for (;;) {
      signal.throwIfAborted();
      const up = await until(this.#tryOccupy(residency, 'made'), signal);
      if (up !== null) {
        this.#berths.get(keyOf(residency.tenant, residency.plugin.id))?.used();
        return up;
      }
      await this.#forRoom(residency.tenant, signal);
    }
  }

  /** The same for whoever does not wait for others to leave. */
  async start(residency: Residency, signal: AbortSignal, room: Room): Promise<void> {
    const up = await until(this.#tryOccupy(residency, room), signal);
    if (up === null) throw this.#noRoom(residency.tenant);
  }

  async stop(tenant: string, plugin: string, reason: StopReason): Promise<void> {
    const berth = this.#berths.get(keyOf(tenant, plugin));
    if (berth === undefined) return;
    berth.rest(null);
    await berth.inTurn(async () => {
      await this.#end(berth, reason);
      if (reason !== 'shutdown') berth.pardon();
      if (reason === 'delete') this.#retire(berth);
    });
  }

  async vacate(tenant: string, plugin: string, reason: StopReason, does: () => Promise<void>): Promise<void> {
    for (;;) {
      const berth = this.#berthFor(tenant, plugin);
      const done = await berth.inTurn(async () => {
        if (berth.isRetired) return false;
        berth.rest(null);
        await this.#end(berth, reason);
        await does();
        if (reason === 'delete') this.#retire(berth);
        return true;
      });
      if (done) return;
    }
  }

  async retain(tenant: string, plugins: ReadonlySet<Plugin>, reason: StopReason): Promise<void> {
    const ids = new Set([...plugins].map(({ id }) => id));
    const others = [...this.#berths.values()].filter(
      ({ residency, ...one }) => one.tenant === tenant && !(residency !== null && plugins.has(residency.plugin)),
    );
    await Promise.all(
      others.map(async (berth) => {
        const isRenewed = ids.has(berth.plugin);
        await this.stop(tenant, berth.plugin, isRenewed ? 'reload' : reason);
        if (!isRenewed) await berth.inTurn(async () => void (berth.isTaken || this.#retire(berth)));
      }),
    );
  }

  pardon(tenant: string, plugin: string): void {
    this.#berths.get(keyOf(tenant, plugin))?.pardon();
  }

  state(tenant: string, plugin: string): ResidentState | undefined {
    return this.#berths.get(keyOf(tenant, plugin))?.state;
  }

  logs(tenant: string, plugin: string): readonly ResidentLine[] {
    return this.#berths.get(keyOf(tenant, plugin))?.lines ?? [];
  }

  houses(tenant: string): boolean {
    for (const berth of this.#berths.values()) if (berth.tenant === tenant && berth.isTaken) return true;
    return false;
  }

  gauges(): Record<string, number> {
    const all = [...this.#berths.values()];
    const up = all.filter(({ isTaken }) => isTaken);
    return {
      residents: up.length,
      residentsMb: Math.round(this.#residentBytes / 2 ** 20),
      residentsResting: all.filter(({ state: { is } }) => is === 'resting').length,
      residentsWaitedFor: this.#room.length,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweep);
    this.#closing.abort(new Failure('draining', 'The service is shutting down'));
    const all = [...this.#berths.values()];
    for (const berth of all) berth.rest(null);
    await Promise.all(all.map((berth) => berth.inTurn(() => this.#end(berth, 'shutdown'))));
  }

  // ── coming ────────────────────────────────────────────────────────────────────────────────────────────────────

  #berthFor(tenant: string, plugin: string): Berth {
    const key = keyOf(tenant, plugin);
    const known = this.#berths.get(key);
    if (known !== undefined) return known;
    const berth = new Berth(key, tenant, plugin);
    this.#berths.set(key, berth);
    return berth;
  }

  /** In its turn: whoever waited for it finds that there is another by now, or none. */
  #retire(berth: Berth): void {
    berth.isRetired = true;
    if (this.#berths.get(berth.key) === berth) this.#berths.delete(berth.key);
  }

  /** Null where there is no room. */
  async #tryOccupy(residency: Residency, room: Room): Promise<Resident | null> {
    for (;;) {
      const berth = this.#berthFor(residency.tenant, residency.plugin.id);
      const up = await this.#tryBerth(berth, residency, room);
      if (up !== 'retired') return up;
    }
  }

  async #tryBerth(berth: Berth, residency: Residency, room: Room): Promise<Resident | null | 'retired'> {
    const known = berth.upFor(residency);
    if (known !== null) return known;
    return await berth.inTurn(async () => {
      if (berth.isRetired) return 'retired';
      const meanwhile = berth.upFor(residency);
      if (meanwhile !== null) return meanwhile;
      this.#closing.signal.throwIfAborted();
      // Who waited for its turn may have been removed, disabled or changed before that came.
      residency.assertWanted();
      berth.refuseRest(Date.now());
      // It was started with other files, grants or limits.
      await this.#end(berth, 'reload');
      const { tenant } = residency;
      if (room === 'free' ? this.#short(tenant) !== null : !(await this.#makeRoom(tenant))) return null;
      return await this.#begin(berth, residency);
    });
  }

  async #begin(berth: Berth, residency: Residency): Promise<Resident> {
    berth.starting(residency);
    let up: Resident;
    try {
      const begin = this.#begins.get(residency.plugin.program.runtime);
      if (begin === undefined) throw new Failure('internal', 'Nobody starts programs of this kind');
      up = await begin(residency, (line) => berth.log(line));
    } catch (error) {
      this.#died(berth, Failure.from(error));
      this.#admit();
      throw error;
    }
    berth.up(up);
    void up.death.then(({ failure }) => {
      if (berth.left(up)) this.#died(berth, failure);
      this.#admit();
    });
    return up;
  }

  /** It was nobody who ended it. */
  #died(berth: Berth, failure: Failure): void {
    if (this.#closing.signal.aborted) return berth.rest(null);
    berth.log({ level: 'error', message: `${failure.message} (${failure.code})`, at: new Date(), invocation: null });
    berth.residency?.died(failure);
    const { deaths, windowMs } = this.#options;
    const now = Date.now();
    const { cause = failure } = failure.details;
    const count = cause instanceof Failure && cause.countsAgainstHealth ? berth.died(now, windowMs) : 0;
    const isGivenUp = count >= deaths;
    // What could not be loaded was no accident.
    const ms = isGivenUp ? windowMs : restMs(failure.code === 'plugin_boot_failed' ? count + 1 : count);
    berth.rest({ failure, nextAt: now + ms });
    // What never came up is not tried again unasked: it would say the same.
    if (isGivenUp || failure.code === 'plugin_boot_failed' || berth.residency === null) return;
    const { residency } = berth;
    berth.wake(ms, () => void this.start(residency, this.#closing.signal, 'free').catch(() => {}));
  }

  // ── room ──────────────────────────────────────────────────────────────────────────────────────────────────────

  get #residentBytes(): number {
    let bytes = 0;
    for (const { resident } of this.#berths.values()) bytes += resident?.residentBytes ?? 0;
    return bytes;
  }

  /** Whether one more of the tenant's may come. The one that is idle for the longest gives way. */
  async #makeRoom(tenant: string): Promise<boolean> {
    for (;;) {
      const short = this.#short(tenant);
      if (short === null) return true;
      const idle = [...this.#berths.values()].filter(
        (one) => one.resident?.running === 0 && (short === 'own' ? one.tenant === tenant : true),
      );
      idle.sort((one, other) => one.usedAt - other.usedAt);
      let isEnded = false;
      for (const berth of idle) {
        isEnded = await this.#endIfIdle(berth, 'Ended, as it was idle and there was no room for another program');
        if (isEnded) break;
      }
      if (!isEnded) return false;
    }
  }

  /** What there is too little of: of the tenant's own part, or of all. */
  #short(tenant: string): 'own' | 'all' | null {
    const { most, perTenant, memoryMb } = this.#options;
    const taken = [...this.#berths.values()].filter(({ isTaken }) => isTaken);
    if (taken.filter((one) => one.tenant === tenant).length >= perTenant) return 'own';
    if (taken.length >= most) return 'all';
    return taken.length > 0 && this.#residentBytes >= memoryMb * 2 ** 20 ? 'all' : null;
  }

  /** Waits until somebody has left. */
  async #forRoom(tenant: string, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#room.push(resolve);
    try {
      // Who is busy now may be idle in a moment, and tells nobody.
      await Promise.race([until(promise, signal), sleep(LOOK_MS, undefined, { ref: false })]);
    } catch (error) {
      const failure = Failure.from(error);
      throw failure.code === 'plugin_timeout' ? this.#noRoom(tenant) : failure;
    } finally {
      const at = this.#room.indexOf(resolve);
      if (at >= 0) this.#room.splice(at, 1);
    }
  }

  #admit(): void {
    for (const resolve of this.#room.splice(0)) resolve();
  }

  #noRoom(tenant: string): Failure {
    const { most, perTenant, memoryMb } = this.#options;
    const taken = [...this.#berths.values()].filter(({ isTaken }) => isTaken);
    const own = taken.filter((one) => one.tenant === tenant).length;
    const what = 'The program of the plugin could not be started';
    const later = { retryable: true, retryAfterMs: 1_000 };
    if (own >= perTenant) {
      const limit = count('residents.perTenant', perTenant, own + 1);
      return new Failure('concurrency_limited', `${what}: ${own} of this tenant are there and busy`, {
        limit,
        ...later,
      });
    }
    const limit: LimitHit =
      taken.length >= most
        ? count('residents.most', most, taken.length + 1)
        : { name: 'residents.memoryMb', allowed: memoryMb * 2 ** 20, observed: this.#residentBytes, unit: 'bytes' };
    return new Failure('overloaded', `${what}: ${taken.length} are there and busy`, { limit, ...later });
  }

  // ── going ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #end(berth: Berth, reason: StopReason): Promise<void> {
    const up = berth.leaving();
    if (up === null) return;
    await up.stop(reason);
    berth.gone();
    this.#admit();
  }

  async #endIdle(): Promise<void> {
    const since = performance.now() - this.#options.idleMs;
    const idle = [...this.#berths.values()].filter((one) => one.usedAt < since && one.resident?.running === 0);
    for (const berth of idle) await this.#endIfIdle(berth, 'Ended, as it was idle for long enough');
  }

  #endIfIdle(berth: Berth, why: string): Promise<boolean> {
    return berth.inTurn(async () => {
      if (!(await berth.isIdle())) return false;
      const message = `${why}: it is started again when it is called`;
      berth.log({ level: 'info', message, at: new Date(), invocation: null });
      await this.#end(berth, 'shutdown');
      return true;
    });
  }
}

/** What is known of one program, whether it is there or not. */
class Berth {
  readonly key: string;
  readonly tenant: string;
  /** Its id. */
  readonly plugin: string;
  readonly lines: ResidentLine[] = [];
  #letters = 0;
  residency: Residency | null = null;
  resident: Resident | null = null;
  usedAt = performance.now();
  /** Nothing happens in it any more: it is no longer the one of its plugin. */
  isRetired = false;
  #is: ResidentState['is'] = 'ended';
  #since = new Date();
  #startedAt: Date | null = null;
  #runs = 0;
  #deaths: number[] = [];
  #rest: { failure: Failure; nextAt: number } | null = null;
  /** Of what it has died the last time, whether it is back or not. */
  #failure: Failure | null = null;
  #waking: NodeJS.Timeout | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(key: string, tenant: string, plugin: string) {
    this.key = key;
    this.tenant = tenant;
    this.plugin = plugin;
  }

  /** One thing after the other. */
  inTurn<T>(does: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(does);
    this.#turn = done.catch(() => {});
    return done;
  }

  get isTaken(): boolean {
    return this.#is === 'starting' || this.#is === 'running' || this.#is === 'stopping';
  }

  get state(): ResidentState {
    return {
      is: this.#is,
      since: this.#since,
      startedAt: this.#startedAt,
      residentBytes: this.resident?.residentBytes ?? 0,
      cpuMs: Math.round(this.resident?.cpuMs ?? 0),
      running: this.resident?.running ?? 0,
      runs: this.#runs,
      deaths: this.#deaths.length,
      failure: this.#failure,
      nextAt: this.#rest === null ? null : new Date(this.#rest.nextAt),
    };
  }

  /** The program, where it is up and was started for just this. */
  upFor({ plugin, grant, limits }: Residency): Resident | null {
    const { resident, residency } = this;
    if (resident === null || this.#is !== 'running' || residency === null) return null;
    if (residency.plugin !== plugin || residency.grant !== grant || residency.limits !== limits) return null;
    return resident;
  }

  used(): void {
    this.usedAt = performance.now();
    this.#runs += 1;
  }

  /** Throws while it rests. */
  refuseRest(now: number): void {
    if (this.#rest === null || this.#rest.nextAt <= now) return;
    const { failure, nextAt } = this.#rest;
    if (failure.code === 'plugin_boot_failed') throw failure.with({ retryAfterMs: nextAt - now });
    const seconds = Math.ceil((nextAt - now) / 1_000);
    const often = `${this.#deaths.length} ${this.#deaths.length === 1 ? 'time' : 'times'} of late`;
    throw new Failure(
      'plugin_quarantined',
      `Its process has died ${often}, the last time so: ${failure.message} (${failure.code}). It is started again in ${seconds} s`,
      { retryable: true, retryAfterMs: nextAt - now },
    );
  }

  starting(residency: Residency): void {
    clearTimeout(this.#waking);
    this.residency = residency;
    this.#rest = null;
    this.#become('starting');
  }

  up(resident: Resident): void {
    this.resident = resident;
    this.usedAt = performance.now();
    this.#startedAt = new Date();
    this.#become('running');
  }

  /** Whether that was what was up, and nobody has ended it. */
  left(resident: Resident): boolean {
    if (this.resident !== resident || this.#is !== 'running') return false;
    this.resident = null;
    return true;
  }

  leaving(): Resident | null {
    if (this.resident === null) return null;
    this.#become('stopping');
    return this.resident;
  }

  gone(): void {
    this.resident = null;
    this.#become('ended');
  }

  /** How often it has died of late, this time included. */
  died(now: number, windowMs: number): number {
    this.#deaths = [...this.#deaths.filter((at) => at > now - windowMs), now];
    return this.#deaths.length;
  }

  rest(rest: { failure: Failure; nextAt: number } | null): void {
    clearTimeout(this.#waking);
    this.#rest = rest;
    this.#failure = rest?.failure ?? null;
    if (!this.isTaken || rest !== null) this.#become(rest === null ? 'ended' : 'resting');
  }

  wake(ms: number, does: () => void): void {
    clearTimeout(this.#waking);
    this.#waking = setTimeout(does, ms).unref();
  }

  pardon(): void {
    this.#deaths = [];
    this.#failure = null;
    if (this.#is === 'resting') this.rest(null);
  }

  async isIdle(): Promise<boolean> {
    const { resident } = this;
    return resident !== null && resident.running === 0 && (await resident.isIdle()) && resident.running === 0;
  }

  log(line: ResidentLine): void {
    this.lines.push(line);
    this.#letters += line.message.length;
    while (this.lines.length > LINES_MOST || (this.#letters > LETTERS_MOST && this.lines.length > 1)) {
      this.#letters -= this.lines.shift()?.message.length ?? 0;
    }
  }

  #become(is: ResidentState['is']): void {
    if (this.#is === is) return;
    this.#is = is;
    this.#since = new Date();
  }
}

/** No longer than the signal lets us wait. What is awaited goes on. */
async function until<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  using _stop = onAbort(signal, reject);
  promise.catch(() => {});
  return await Promise.race([promise, aborted]);
}

/** The first time it may have been an accident. */
function restMs(deaths: number): number {
  return deaths <= 1 ? 0 : Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** (deaths - 2));
}

function keyOf(tenant: string, plugin: string): string {
  return `${tenant}\0${plugin}`;
}

function count(name: string, allowed: number, observed: number): LimitHit {
  return { name, allowed, observed, unit: 'count' };
}

const FIRST_REST_MS = 1_000;
const LONGEST_REST_MS = 60_000;
const LOOK_MS = 500;
/** What is kept of its log, of one program. */
const LINES_MOST = 500;
const LETTERS_MOST = 512 * 1024;
