import type { ChildProcess } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { FIELD, PAGE_BYTES, statFieldsOf } from '../../src/confinement/proc.ts';
import { hasChildren, innermost } from '../../src/confinement/tree.ts';
import { Places } from '../../src/core/places.ts';
import type { Walls } from './walls.ts';
import { type Frame, FrameReader, FrameWriter, Kind } from './wire.ts';

/** One run that an executor has been given. Both are called once at most as its last word. */
export interface Flight {
  /** `performance.now()` when it was given to the executor. */
  readonly startedAt: number;
  onFrame(frame: Frame): void;
  onLost(loss: Loss): void;
}

/** How an executor ended. `byUs` is why we ended it; otherwise it died by itself. */
export type Loss = {
  byUs: string | undefined;
  /** The run that is to blame, where that is known. */
  culprit: Flight | undefined;
  /** How many runs were in it. */
  flights: number;
  /** How many were given to it before this one and not answered. */
  before: number;
  signal: string | null;
  exitCode: number | null;
  /** What it wrote to stderr: V8's own account of what went wrong. */
  stderr: string;
  /** Its largest resident memory, and its processor time, as last seen. */
  peakBytes: number;
  cpuMs: number;
};

export type ExecutorOptions = {
  nodePath: string;
  compileCache: string | undefined;
  walls: Walls;
  onReady(executor: Executor): void;
  onGone(executor: Executor): void;
  onCompiled(program: number, cachedData: Buffer): void;
};

export const GUEST = fileURLToPath(new URL('./guest/main.ts', import.meta.url));

const FLAGS = [
  // isolated-vm needs a process that was not started from Node's own snapshot.
  '--no-node-snapshot',
  // The fast path of JSON.stringify in V8 14 cannot be interrupted.
  '--no-json-stringify-fast-path',
  // Should WebAssembly be reached after all, its memory is bounded: pages of 64 KB.
  '--wasm-max-mem-pages=1024',
  '--no-warnings',
];

/** What an executor is started as; `script` with its arguments. */
export function executorCommand(nodePath: string, script: readonly string[], { permissions }: Walls): string[] {
  return [nodePath, ...FLAGS, ...permissions, ...script];
}

export function executorEnvironment(compileCache: string | undefined): Record<string, string> {
  return compileCache === undefined ? {} : { NODE_COMPILE_CACHE: compileCache };
}

const UNWANTED = 'it is not needed any more';

/** Between two measurements, which are 50 ms apart. */
const STRAYS_MOST = 2_000;
/** So many measurements are between two looks for children: each thread has to be asked. */
const LOOK_EVERY = 10;

/** V8's account of its own end starts with why; what comes last is the stack. */
const STDERR_KEPT = 8192;

/** The front end's end of one executor: a child process with isolates in it. It can be killed at any moment. */
export class Executor {
  /** Whose plugins it runs: a tenant's, or a trust group's; undefined for a spare. Never changes once it is set. */
  trust: string | undefined;
  lane: 'spare' | 'brief' | 'long' = 'spare';
  /** Runs one flight at a time, and is ended after it. */
  alone = false;
  /** Takes no more work, and is ended when it has none. */
  retiring = false;
  readonly bornAt = performance.now();
  claimedAt = performance.now();
  usedAt = performance.now();
  runs = 0;
  /** Runs that waited for it and were told that they have it; they are launched in this turn of the event loop. */
  promised = 0;
  /** Sum of the expected processor time of what is in it, in ms. */
  load = 0;
  readonly #child: ChildProcess;
  readonly #channel: Duplex;
  readonly #reader = new FrameReader();
  readonly #writer = new FrameWriter();
  readonly #flights = new Places<Flight>();
  readonly #loaded = new Set<number>();
  readonly #options: ExecutorOptions;
  readonly #gone: Promise<void>;
  /** Of what was started, and, once it is up, of the executor itself: what it is confined with comes before it. */
  #pid: number | undefined;
  #flushing = false;
  #isReady = false;
  /** Frames that were nobody's since it was measured last. */
  #strays = 0;
  #measures = 0;
  #isLost = false;
  #stderr = '';
  #byUs: string | undefined;
  #culprit: Flight | undefined;
  /** As of the last `measure`. */
  residentBytes = 0;
  peakBytes = 0;
  cpuMs = 0;
  /** When it was heard of last; and when it was asked whether it is there. */
  heardAt = performance.now();
  pingedAt = 0;
  /** Processor time it had when it was asked. */
  pingedCpuMs = 0;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    const { nodePath, compileCache, walls } = options;
    const command = executorCommand(nodePath, [GUEST], walls);
    this.#child = walls.spawn(command, ['ignore', 'ignore', 'pipe', 'pipe'], executorEnvironment(compileCache));
    this.#pid = this.#child.pid;
    this.#channel = this.#child.stdio[3] as Duplex;
    this.#gone = new Promise((resolve) => {
      const lost = (exitCode: number | null, signal: string | null) => {
        this.#lose(exitCode, signal ?? walls.signalOf(exitCode));
        resolve();
      };
      this.#child.once('exit', lost);
      this.#child.once('error', (error) => {
        this.#stderr = error.message;
        lost(null, null);
      });
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (this.#stderr.length < STDERR_KEPT) this.#stderr += text.slice(0, STDERR_KEPT);
    });
    this.#channel.on('data', (chunk: Buffer) => this.#read(chunk));
    // A broken channel is followed by the exit of the process, which is what counts.
    this.#channel.on('error', () => this.kill('its channel broke'));
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  get isGone(): boolean {
    return this.#isLost || this.#byUs !== undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** It ended because nobody needed it. */
  get isUnwanted(): boolean {
    return this.#byUs === UNWANTED;
  }

  /** What it said about itself before it ended. */
  get complaint(): string {
    return this.#stderr === '' ? (this.#byUs ?? 'it said nothing') : this.#stderr;
  }

  get flights(): number {
    return this.#flights.size;
  }

  /** Runs that are in it, or about to be. */
  get taken(): number {
    return this.#flights.size + this.promised;
  }

  /** Gives it a run; the id names the run in further frames. */
  launch(flight: Flight, kind: Kind, program: number, y: number, head: string, body: string): number {
    const id = this.#flights.add(flight);
    this.runs += 1;
    if (this.promised > 0) this.promised -= 1;
    this.send(kind, id, program, y, head, body);
    return id;
  }

  /** The flight has landed; nothing more is expected of it. */
  land(id: number): void {
    this.#flights.delete(id);
    this.usedAt = performance.now();
    if (this.taken === 0 && this.retiring) this.end();
  }

  has(program: number): boolean {
    return this.#loaded.has(program);
  }

  teach(program: number, head: string, body: Uint8Array): void {
    this.#loaded.add(program);
    this.send(Kind.load, program, 0, 0, head, body);
  }

  unload(program: number): void {
    if (this.#loaded.delete(program)) this.send(Kind.unload, program, 0, 0, '', '');
  }

  /** Frames of one turn of the event loop share a write. */
  send(kind: Kind, id: number, x: number, y: number, head: string, body: string | Uint8Array): void {
    this.#writer.add(kind, id, x, y, head, body);
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      if (!this.#channel.destroyed) this.#writer.flush(this.#channel);
    });
  }

  /** Reads resident memory and processor time from the kernel, where it tells. */
  measure(): void {
    this.#strays = 0;
    // It has threads and no children. Somebody has broken out who has.
    if (this.#isReady && this.#measures++ % LOOK_EVERY === 0 && hasChildren(this.#pid as number)) {
      return this.kill('it has started a process');
    }
    const fields = statFieldsOf(this.#pid as number);
    // It is gone, or this system has no /proc: the last reading stands.
    if (fields === null) return;
    this.cpuMs = (Number(fields[11]) + Number(fields[12])) * 10;
    this.residentBytes = Number(fields[FIELD.residentPages]) * PAGE_BYTES;
    this.peakBytes = Math.max(this.peakBytes, this.residentBytes);
  }

  /** SIGKILL, at once. The reason is written down before, so that the first cause is the one that is told. */
  kill(reason: string, culprit?: Flight): void {
    if (this.isGone) return;
    this.#byUs = reason;
    this.#culprit = culprit;
    this.#child.kill('SIGKILL');
  }

  /** Lets it end by itself, which it does when its channel closes. */
  end(): Promise<void> {
    if (!this.isGone) {
      this.#byUs = UNWANTED;
      this.#channel.destroy();
      // Its main thread may be stuck.
      const hurry = setTimeout(() => this.#child.kill('SIGKILL'), 500);
      void this.#gone.then(() => clearTimeout(hurry));
    }
    return this.#gone;
  }

  get gone(): Promise<void> {
    return this.#gone;
  }

  #read(chunk: Buffer): void {
    this.heardAt = performance.now();
    this.pingedAt = 0;
    try {
      this.#reader.read(chunk, (frame) => {
        if (frame.kind === Kind.ready) {
          if (this.#isReady) throw new Error('it is ready twice');
          this.#isReady = true;
          this.#pid = innermost(this.#child.pid as number);
          this.#options.onReady(this);
        } else if (frame.kind === Kind.compiled) {
          this.#strays += 1;
          if (this.#loaded.has(frame.id)) this.#options.onCompiled(frame.id, Buffer.from(frame.body));
        } else {
          const flight = frame.kind === Kind.pong ? undefined : this.#flights.get(frame.id);
          if (flight !== undefined) flight.onFrame(frame);
          // The last words of a run may come when it is over; whoever has that many has others do its work.
          else if (++this.#strays > STRAYS_MOST) throw new Error('it says what nobody has asked for');
        }
      });
    } catch (error) {
      // Whatever an executor sends that is not on the wire: it is broken, or was broken out of.
      this.kill(`it does not keep to the wire: ${error instanceof Error ? error.message : error}`);
    }
  }

  #lose(exitCode: number | null, signal: string | null): void {
    this.#isLost = true;
    const flights = [...this.#flights].sort((a, b) => a.startedAt - b.startedAt);
    this.#flights.clear();
    this.#channel.destroy();
    this.#options.onGone(this);
    const loss = {
      byUs: this.#byUs,
      culprit: this.#culprit,
      flights: flights.length,
      before: 0,
      signal,
      exitCode,
      stderr: this.#stderr,
      peakBytes: this.peakBytes,
      cpuMs: this.cpuMs,
    };
    flights.forEach((flight, before) => {
      flight.onLost({ ...loss, before });
    });
  }
}
