/**
 * One plugin's process, and the conversation with its host (frames.ts). Requests of callers do not come this way: each
 * visits it over a connection that it makes when it is told to (wire.ts). It is asked again and again whether its event
 * loop turns; one that does not answers nobody, and is ended.
 */
import type { Socket } from 'node:net';
import { Failure } from '../../src/core/failure.ts';
import type { LogLevel } from '../../src/core/outcome.ts';
import type { Portrait } from '../../src/core/portrait.ts';
import type { Residency, ResidentLine, StopReason } from '../../src/core/resident.ts';
import type { Upstream, Visit, Visiting } from '../../src/core/serving.ts';
import { cut } from '../../src/core/text.ts';
import { FrameReader } from '../../src/programs/frame-reader.ts';
import { Hearing } from '../../src/programs/hearing.ts';
import { Lead } from '../../src/programs/lead.ts';
import { Lines } from '../../src/programs/lines.ts';
import type { Meter } from '../../src/programs/meter.ts';
import { bootedTooSlowly } from '../../src/programs/over-limit.ts';
import type { Resident } from '../../src/programs/resident-pool.ts';
import { type Death, ResidentProcess } from '../../src/programs/resident-process.ts';
import type { Occupant, Rooms } from '../../src/programs/rooms.ts';
import { within } from '../../src/programs/settling.ts';
import { blocked, ended, heapFull, portrayedBy, tooManyConnections } from './endings.ts';
import type { ToGuest } from './frames.ts';
import { heapMbOf } from './heap.ts';
import { type Frame, type FrameOf, HEARD } from './heard.ts';
import { Visits } from './visits.ts';
import type { Wire } from './wire.ts';

export type NodeResidentOptions = {
  residency: Residency;
  rooms: Rooms;
  occupant: Occupant;
  meter: Meter;
  /** Where it connects; it ends with the resident. */
  wire: Wire;
  boot: Omit<Extract<ToGuest, { t: 'boot' }>, 't'>;
  /** How long one may take that was asked to end. */
  graceMs: number;
  /** How long it may take to stop. */
  stopMs: number;
  /** How long its event loop may stand still. */
  blockedMs: number;
  /** What its own folders may take of a disk, in MB. */
  dataMb: number;
  /** Told of all that it logs. */
  line(one: ResidentLine): void;
};

export class NodeResident implements Resident, Upstream {
  readonly death: Promise<Death>;
  readonly #options: NodeResidentOptions;
  readonly #visits: Visits;
  readonly #gone = new AbortController();
  readonly #hearing: Hearing;
  readonly #reader: FrameReader<typeof HEARD>;
  readonly #looks = new Map<number, (look: FrameOf<'look'>) => void>();
  readonly #ready = Promise.withResolvers<FrameOf<'ready'> | FrameOf<'failed'>>();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #started = Promise.withResolvers<ResidentProcess>();
  #process: ResidentProcess | null = null;
  #frames: Socket | null = null;
  #watching: NodeJS.Timeout | undefined;
  #state: 'up' | 'stopping' | 'gone' = 'up';
  #next = 1;
  /** Why it ends, as it says itself. */
  #lost: { failure: Failure; at: number } | null = null;
  /** What V8 says before it gives up; anybody may, and it counts only where the process ends as after that. */
  #heap: 'fine' | 'full' = 'fine';

  private constructor(options: NodeResidentOptions) {
    this.#options = options;
    this.#visits = new Visits(options.boot.dataRoot);
    this.#hearing = new Hearing(options.residency.limits, (failure) => this.#process?.kill(failure));
    this.#reader = new FrameReader(HEARD, () => FRAME_BYTES, {
      onFrame: (frame, bytes) => this.#hear(frame, bytes),
      onRead: (ms) => this.#hearing.took(ms),
      onViolation: (what) => {
        this.#process?.kill(new Failure('plugin_invalid_output', `Wrote ${what} where its host and we speak`));
      },
    });
    this.death = this.#settleDeath();
  }

  /** Resolves when the plugin's code is loaded. Rejects with a Failure; nothing is left of it then. */
  static async start(options: NodeResidentOptions): Promise<NodeResident> {
    const resident = new NodeResident(options);
    try {
      await resident.#boot();
      return resident;
    } catch (error) {
      await options.wire[Symbol.asyncDispose]();
      throw error;
    }
  }

  get residentBytes(): number {
    return this.#process?.residentBytes ?? 0;
  }

  get cpuMs(): number {
    return this.#process?.cpuMs ?? 0;
  }

  get running(): number {
    return this.#visits.size;
  }

  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Null where it is on its way out. */
  visit(visiting: Visiting): Visit | null {
    return this.#state === 'up' ? this.#visits.enter(visiting, this) : null;
  }

  dial(): Promise<NodeJS.ReadWriteStream> {
    const { wire, blockedMs } = this.#options;
    return wire.dial(() => this.#say({ t: 'dial' }), blockedMs);
  }

  /** Whether it has neither timers, connections nor children of its own, beside no requests. */
  async isIdle(): Promise<boolean> {
    if (this.#state !== 'up' || this.#visits.size > 0) return false;
    const look = await this.#look(LOOK_MS);
    return look !== null && look.handles === 0 && look.children === 0;
  }

  async stop(reason: StopReason): Promise<void> {
    if (this.#state === 'up') {
      this.#state = 'stopping';
      clearTimeout(this.#watching);
      this.#say({ t: 'stop', reason });
      await this.#process?.leave(reason, this.#stopped.promise, this.#options);
    }
    await this.death;
  }

  // ── coming ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #boot(): Promise<void> {
    const { residency, rooms, occupant, meter, wire, boot, dataMb } = this.#options;
    const { limits, desk } = residency;
    const [stdout, stderr] = (['info', 'warning'] as const).map((level) => this.#linesAt(level));
    this.#process = await ResidentProcess.start({
      rooms,
      occupant,
      limits,
      storedBytes: dataMb * 2 ** 20,
      meter,
      onSample: () => {},
      onOutput: (chunk) => this.#wrote(chunk, stdout),
      onLog: (chunk) => this.#wrote(chunk, stderr),
    });
    this.#started.resolve(this.#process);
    const lead = new Lead(residency, this.#process, (words) => this.#logged('warning', words, null));
    void this.death.then(() => {
      lead[Symbol.dispose]();
      stdout?.end();
      stderr?.end();
    });
    void wire.crowded.then((observed) => this.#process?.kill(tooManyConnections(observed)));
    const { begunAt } = this.#process;
    const left = () => Math.max(1, limits.bootMs - (performance.now() - begunAt));
    const connected = await within<Socket | Death>(left(), wire.frames, this.death);
    if (connected !== null && !('failure' in connected)) {
      this.#frames = connected.on('data', (chunk: Buffer) => this.#reader.push(chunk));
      this.#say({ t: 'boot', ...boot });
    }
    const first = await within<Frame | Death>(left(), this.#ready.promise, this.death);
    const portrait = this.#judge(first);
    if (portrait instanceof Failure) await this.#giveUp(portrait);
    else {
      try {
        desk.described(portrait);
      } catch (error) {
        await this.#giveUp(Failure.from(error));
      }
    }
    this.#watch();
  }

  #judge(first: Frame | Death | null): Portrait | Failure {
    if (first === null) return bootedTooSlowly(this.#options.residency.limits.bootMs);
    if ('t' in first && first.t === 'ready') return portrayedBy(first);
    if ('t' in first && first.t === 'failed') {
      const { name, message, stack } = first.error;
      this.#logged('error', stack === '' ? `${name}: ${message}` : stack, null);
      return ended({ first: first.error });
    }
    return ended({ death: (first as Death).failure });
  }

  async #giveUp(failure: Failure): Promise<never> {
    this.#process?.kill(failure);
    await this.death;
    throw failure;
  }

  async #settleDeath(): Promise<Death> {
    const process = await this.#started.promise;
    const death = this.#explained(await process.death);
    this.#state = 'gone';
    clearTimeout(this.#watching);
    this.#gone.abort(death.failure);
    await this.#options.wire[Symbol.asyncDispose]();
    return death;
  }

  #explained(death: Death): Death {
    if (death.failure.code !== 'plugin_crashed') return death;
    const lost = this.#lost;
    if (lost !== null && performance.now() - lost.at < LOST_MS) return { ...death, failure: lost.failure };
    if (this.#heap !== 'full' || death.ending?.signal !== 'SIGABRT') return death;
    const { residentMb } = this.#options.residency.limits;
    return { ...death, failure: heapFull(heapMbOf(residentMb) * 2 ** 20) };
  }

  // ── what is said ──────────────────────────────────────────────────────────────────────────────────────────────

  #say(frame: ToGuest): void {
    const socket = this.#frames;
    if (socket === null || !socket.writable) return;
    socket.write(`${JSON.stringify(frame)}\n`);
  }

  async #look(ms: number): Promise<FrameOf<'look'> | null> {
    const id = this.#next++;
    const { promise, resolve } = Promise.withResolvers<FrameOf<'look'>>();
    this.#looks.set(id, resolve);
    this.#say({ t: 'look', id });
    const look = await within(ms, promise);
    this.#looks.delete(id);
    return look;
  }

  /** One look at a time, so that nothing piles up where nothing is read. */
  #watch(): void {
    const { blockedMs } = this.#options;
    const look = async () => {
      const askedAt = performance.now();
      const look = await this.#look(blockedMs);
      if (this.#state !== 'up') return;
      if (look === null) this.#process?.kill(blocked(blockedMs, performance.now() - askedAt));
      else this.#watch();
    };
    this.#watching = setTimeout(() => void look(), Math.min(WATCH_MS, blockedMs / 2)).unref();
  }

  // ── what is heard ─────────────────────────────────────────────────────────────────────────────────────────────

  #hear(frame: Frame, bytes: number): void {
    if (frame.t === 'look') {
      this.#looks.get(frame.id)?.(frame);
      return;
    }
    this.#hearing.said(bytes);
    switch (frame.t) {
      case 'ready':
      case 'failed':
        return this.#ready.resolve(frame);
      case 'fault':
        return this.#faulted(frame);
      case 'stopped':
        if (frame.error !== null) this.#logged('error', wordsOf(frame.error), null);
        return this.#stopped.resolve();
    }
  }

  #faulted(fault: FrameOf<'fault'>): void {
    const isKnown = this.#visits.failed(fault);
    this.#logged('error', wordsOf(fault.error), isKnown ? fault.request : null);
    // It says that it is about to end, and may say so at any time.
    if (fault.request === null) this.#lost = { failure: ended({ fault }), at: performance.now() };
  }

  #wrote(chunk: Buffer, lines: Lines | undefined): void {
    this.#hearing.said(chunk.length);
    lines?.push(chunk);
  }

  #linesAt(level: LogLevel): Lines {
    return new Lines((bytes, from, to) => {
      const text = bytes.toString('utf8', from, to);
      if (HEAP_FULL.test(text)) this.#heap = 'full';
      this.#logged(level, text, null);
    });
  }

  #logged(level: LogLevel, text: string, invocation: string | null): void {
    this.#options.line({ level, message: cut(text, LINE_LETTERS), at: new Date(), invocation });
  }
}

function wordsOf({ name, message, stack }: FrameOf<'failed'>['error']): string {
  return stack === '' ? `${name}: ${message}` : stack;
}

/** An error with its stack, and a list of routes. */
const FRAME_BYTES = 2 << 20;
const HEAP_FULL = /^FATAL ERROR: .*JavaScript heap out of memory/;
/** From when it has said so. */
const LOST_MS = 5_000;
const LOOK_MS = 500;
const WATCH_MS = 5_000;
const LINE_LETTERS = 16_384;
