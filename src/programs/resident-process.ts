import type { Socket } from 'node:net';
import { basename } from 'node:path';
import type { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { type Ending, MOST_PROCESSES } from '../confinement/launcher.ts';
import type { Sandbox } from '../confinement/sandbox.ts';
import type { Sample } from '../confinement/tree.ts';
import { Failure, type LimitHit } from '../core/failure.ts';
import type { Limits } from '../core/limits.ts';
import type { StopReason } from '../core/resident.ts';
import type { Kept } from './kept.ts';
import { Memory } from './memory.ts';
import type { Meter } from './meter.ts';
import { bootedTooSlowly, overLimit, refused, tooLarge } from './over-limit.ts';
import type { Letting, Occupant, Rooms } from './rooms.ts';
import { closed, within } from './settling.ts';
import { ENTRIES_MOST } from './stocktaker.ts';

export type ResidentProcessOptions = {
  rooms: Rooms;
  occupant: Occupant;
  limits: Pick<Limits, 'bootMs' | 'residentMb'>;
  /** What its own folders may take of a disk, in bytes. */
  storedBytes: number;
  meter: Meter;
  /** Told of each look at it. */
  onSample(sample: Sample): void;
  onOutput(chunk: Buffer): void;
  onLog(chunk: Buffer): void;
};

/** How a process has ended, or why we have ended it. */
export type Death = { failure: Failure; ending: Ending | null };

/**
 * A program in its room that stays until it is ended, or ends by itself: what it writes is handed on, its memory and its
 * processes are watched. What is said between it and us is not known here.
 */
export class ResidentProcess implements AsyncDisposable {
  /** Where the program reads. */
  readonly stdin: Writable;
  /** Resolves when nothing of it is left. */
  readonly death: Promise<Death>;
  /** `performance.now()` of when we began to start it: what it had to wait for before is not its own. */
  readonly begunAt: number;
  readonly #letting: Letting;
  readonly #sandbox: Sandbox;
  readonly #options: ResidentProcessOptions;
  readonly #memory: Memory;
  readonly #output: Promise<unknown>;
  #watch: Disposable | null = null;
  #because: Failure | null = null;
  #residentBytes = 0;
  #cpuMs = 0;
  #stock: Disposable | null = null;
  #isOver = false;

  private constructor(letting: Letting, stdin: Socket, begunAt: number, options: ResidentProcessOptions) {
    this.begunAt = begunAt;
    this.#letting = letting;
    this.#sandbox = letting.sandbox;
    this.#options = options;
    this.stdin = stdin;
    const { group, stdout, stderr } = this.#sandbox;
    this.#memory = new Memory(options.limits.residentMb * 2 ** 20, group?.bounds('memory'));
    this.#output = Promise.all([closed(stdout, options.onOutput), closed(stderr, options.onLog)]);
    this.death = this.#end(stdin);
  }

  /** Resolves when its program has been let go. Rejects with a Failure. */
  static async start(options: ResidentProcessOptions): Promise<ResidentProcess> {
    const { rooms, occupant } = options;
    const tooMuch = tooMuchKept(await rooms.stocktaker.look(foldersOf(options)), options);
    if (tooMuch !== null) throw tooMuch;
    const begunAt = performance.now();
    await using opened = new AsyncDisposableStack();
    const stdin = opened.use(await rooms.pipes.openInput());
    const letting = opened.use(await rooms.let(occupant, stdin.fd));
    stdin.given();
    opened.move();
    const started = new ResidentProcess(letting, stdin.socket, begunAt, options);
    try {
      await started.#begin();
      return started;
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Where it gets out of its room to; null where it has the machine's network. */
  get letting(): Pick<Letting, 'lead' | 'door'> {
    return this.#letting;
  }

  /** As last looked at. */
  get residentBytes(): number {
    return this.#residentBytes;
  }

  get cpuMs(): number {
    return this.#cpuMs;
  }

  /** It is about to end by itself, and this is why. */
  expect(because: Failure): void {
    this.#because ??= because;
  }

  /** Ends it at once, for this; the first reason counts. */
  kill(because: Failure): void {
    this.#because ??= because;
    this.#sandbox.kill();
  }

  /** Asks it to end, by SIGTERM; ends it when it has had the time. */
  async terminate(because: Failure, graceMs: number): Promise<'terminated' | 'killed'> {
    this.#because ??= because;
    const ended = graceMs > 0 && (await this.#sandbox.terminate(graceMs));
    this.#sandbox.kill();
    return ended ? 'terminated' : 'killed';
  }

  /**
   * It was told to stop: waits until it says that it has, and ends by itself; who does not is asked once more, and then
   * ended.
   */
  async leave(reason: StopReason, stopped: Promise<void>, { stopMs, graceMs }: LeavingMs): Promise<void> {
    const because = new Failure(reason === 'reload' ? 'executor_lost' : 'cancelled', WORDS[reason]);
    this.expect(because);
    await within<unknown>(stopMs, stopped, this.death);
    this.stdin.end();
    if ((await within(LEAVE_MS, this.death)) === null) await this.terminate(because, graceMs);
    this.kill(because);
  }

  /** Resolves when nothing of it is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.kill(new Failure('cancelled', 'It was ended'));
    await this.death;
  }

  async #begin(): Promise<void> {
    const { limits, meter, rooms } = this.#options;
    const { group, ready } = this.#sandbox;
    const up = group === null ? ready : ready.then(() => group.boundMemory(this.#memory.allowed));
    const isUp = await within(
      limits.bootMs,
      up.then(() => 'up' as const),
    );
    if (isUp === null) throw bootedTooSlowly(limits.bootMs);
    if (this.#isOver) return;
    const tree = this.#sandbox.go();
    tree.begin();
    this.#watch = meter.watch({
      tree,
      memory: this.#memory,
      mostProcesses: MOST_PROCESSES,
      onSample: (sample) => this.#see(sample),
      onWeight: (bytes) => this.#judge(tooLarge(this.#memory.allowed, bytes)),
    });
    const told = (kept: Kept) => this.#judge(tooMuchKept(kept, this.#options));
    this.#stock = rooms.stocktaker.watch(foldersOf(this.#options), told);
  }

  #see(sample: Sample): void {
    this.#residentBytes = Math.min(sample.residentBytes, this.#memory.allowed);
    this.#cpuMs = sample.cpuMs;
    this.#memory.see(sample);
    this.#options.onSample(sample);
    // Its processor time is that of its runs, which are held to it one by one.
    this.#judge(overLimit(sample, ENDLESS) ?? refused(this.#sandbox.group?.refusal()));
  }

  #judge(failure: Failure | null): void {
    if (failure !== null) this.kill(failure);
  }

  async #end(stdin: Socket): Promise<Death> {
    const ending = await this.#sandbox.ended;
    const { group } = this.#sandbox;
    this.#because ??= refused(group?.refusal());
    this.#isOver = true;
    this.#stock?.[Symbol.dispose]();
    this.#watch?.[Symbol.dispose]();
    if (!this.#sandbox.deserted()) await within(DRAIN_MS, this.#output);
    // One whole turn of the event loop reads all that lies in its pipes.
    for (let half = 0; half < 2; half++) await turn();
    if (ending !== null) this.#cpuMs = Math.max(this.#cpuMs, ending.cpuMs);
    stdin.destroy();
    this.#residentBytes = 0;
    await this.#letting[Symbol.asyncDispose]();
    return { failure: this.#because ?? endedBy(ending), ending };
  }
}

function foldersOf({ occupant }: ResidentProcessOptions): string[] {
  return occupant.own?.folders.map(({ from }) => from) ?? [];
}

/** Files outlive whoever wrote them, and there is no other bound on all of them together. */
function tooMuchKept(kept: Kept, { occupant, storedBytes }: ResidentProcessOptions): Failure | null {
  const { bytes, entries, hidden } = kept;
  const advice = 'DELETE /v1/plugins/{plugin}/data empties them';
  if (hidden !== null) {
    const there = `Keeps more in its folders than it may, or hides it: there is ${hidden} (${advice})`;
    return new Failure('plugin_resource_exceeded', there);
  }
  if (entries < ENTRIES_MOST && bytes <= storedBytes) return null;
  const limit: LimitHit =
    entries >= ENTRIES_MOST
      ? { name: 'files', allowed: ENTRIES_MOST, observed: entries, unit: 'count' }
      : { name: 'residents.dataMb', allowed: storedBytes, observed: bytes, unit: 'bytes' };
  const where = occupant.own?.folders.map(({ path }, at) => {
    const { bytes: own = 0, entries: count = 0 } = kept.each[at] ?? {};
    return `${Math.round(own / 2 ** 20)} MiB in ${count} files in ${basename(path)}`;
  });
  const words = `Keeps more in its folders than it may: ${where?.join(', ')} (${advice})`;
  return new Failure('plugin_resource_exceeded', words, { limit });
}

/** It has ended, and it was not us. */
function endedBy(ending: Ending | null): Failure {
  if (ending === null)
    return new Failure('plugin_crashed', 'Its process ended together with the shell that watches it');
  const { code, signal, unstarted } = ending;
  if (unstarted) return new Failure('plugin_boot_failed', 'Its interpreter could not be started');
  const how = signal === null ? `with exit status ${code}` : `by ${signal}`;
  return new Failure('plugin_crashed', `Its process has ended ${how}`);
}

/** How long it may take to stop, and to end where it is asked to once more. */
export type LeavingMs = { stopMs: number; graceMs: number };

const WORDS: Record<StopReason, string> = {
  disable: 'The plugin was disabled',
  delete: 'The plugin was removed',
  reload: 'The plugin was loaded anew',
  shutdown: 'The process of the plugin was ended',
};
const LEAVE_MS = 500;
const ENDLESS = { cpuMs: Number.POSITIVE_INFINITY };
const DRAIN_MS = 100;
