/**
 * One plugin's process, and the conversation with its host (frames.ts). Several runs go on in it at once; what it logs is
 * told apart by the run that it belongs to. What a resident does wrong as a whole (too much memory, a frame that is none)
 * ends it, and with it all of its runs.
 *
 * A run that has to end is first asked to, then an exception is raised in it; only what heeds neither costs the process, and
 * what else goes on there: SIGTERM, and then the whole tree. Where it has to end only because somebody does not wait any
 * longer, it goes on instead, as long as runs of this plugin may.
 */
import { Failure, type Rung } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import type { LogLevel } from '../../src/core/outcome.ts';
import { type Action, type Portrait, portraitOf, withDefaults } from '../../src/core/portrait.ts';
import { portrayed } from '../../src/core/portrayal.ts';
import { OWN_TASK, type Residency, type ResidentLine, type StopReason } from '../../src/core/resident.ts';
import { onAbort } from '../../src/core/signal.ts';
import { cut } from '../../src/core/text.ts';
import { Warnings } from '../../src/core/warnings.ts';
import { FrameReader } from '../../src/programs/frame-reader.ts';
import { Hearing } from '../../src/programs/hearing.ts';
import { Lead } from '../../src/programs/lead.ts';
import { Lines } from '../../src/programs/lines.ts';
import type { Meter } from '../../src/programs/meter.ts';
import { bootedTooSlowly } from '../../src/programs/over-limit.ts';
import type { Resident } from '../../src/programs/resident-pool.ts';
import { type Death, ResidentProcess } from '../../src/programs/resident-process.ts';
import type { Occupant, Rooms } from '../../src/programs/rooms.ts';
import type { RunJournal } from '../../src/programs/run-journal.ts';
import { within } from '../../src/programs/settling.ts';
import { answered } from './asking.ts';
import type { ToGuest } from './frames.ts';
import { type Fault, type Frame, type FrameOf, HEARD } from './heard.ts';
import { Redaction } from './redaction.ts';
import { Run, type RunEnd } from './run.ts';
import { failureOf } from './verdict.ts';

export type PythonResidentOptions = {
  residency: Residency;
  rooms: Rooms;
  occupant: Occupant;
  meter: Meter;
  boot: Omit<Extract<ToGuest, { t: 'boot' }>, 't'>;
  /** How long a run that is asked to end may take, each time that it is asked; in ms. */
  graceMs: number;
  /** How long it may take to stop. */
  stopMs: number;
  /** What its own folders may take of a disk, in MB. */
  dataMb: number;
  /** Told of all that it logs. */
  line(one: ResidentLine): void;
};

export type Wanted = {
  invocation: string;
  action: string;
  args: unknown;
  limits: Limits;
  /** How long runs of this plugin may take, where this one's caller waits for less. */
  usualWallMs: number;
  journal: RunJournal;
};

export type RunTold = {
  end: RunEnd;
  cpuMs: number;
  peakBytes: number;
  /** What ended it, if it was stopped. */
  rung: Rung;
  /** Why it was stopped; null where it was not. */
  stopped: Failure | null;
};

export class PythonResident implements Resident {
  readonly death: Promise<Death>;
  readonly #options: PythonResidentOptions;
  readonly #runs = new Map<number, Run>();
  readonly #lines: Lines;
  readonly #reader: FrameReader<typeof HEARD>;
  readonly #hearing: Hearing;
  readonly #redaction: Redaction;
  readonly #looks = new Map<number, (look: FrameOf<'look'>) => void>();
  readonly #ready = Promise.withResolvers<FrameOf<'ready'> | FrameOf<'failed'>>();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #started = Promise.withResolvers<ResidentProcess>();
  #process: ResidentProcess | null = null;
  #lead: Lead | null = null;
  #portrait: Portrait;
  #actions: Record<string, Action>;
  #state: 'up' | 'stopping' | 'gone' = 'up';
  #next = 1;
  #asks = 0;
  #cpuMs = 0;

  private constructor(options: PythonResidentOptions) {
    this.#options = options;
    this.#portrait = this.#portraitOf(null);
    this.#actions = byId(this.#portrait);
    this.#redaction = new Redaction(options.residency.desk);
    this.#lines = new Lines((bytes, from, to) => this.#wrote(bytes.toString('utf8', from, to)));
    this.#hearing = new Hearing(options.residency.limits, (failure) => this.#process?.kill(failure));
    this.#reader = new FrameReader(HEARD, () => this.#longestFrame(), {
      onFrame: (frame, bytes) => this.#hear(frame, bytes),
      onRead: (ms) => this.#hearing.took(ms),
      onViolation: (what) => this.#violated(what),
    });
    this.death = this.#settleDeath();
  }

  /** Resolves when the plugin's code is loaded. Rejects with a Failure; nothing is left of it then. */
  static async start(options: PythonResidentOptions): Promise<PythonResident> {
    const resident = new PythonResident(options);
    await resident.#boot();
    return resident;
  }

  get residentBytes(): number {
    return this.#process?.residentBytes ?? 0;
  }

  get cpuMs(): number {
    return this.#process?.cpuMs ?? 0;
  }

  get running(): number {
    return this.#runs.size;
  }

  /** Null where it is on its way out: nothing has begun. */
  async run(wanted: Wanted, signal: AbortSignal): Promise<RunTold | null> {
    if (this.#state !== 'up') return null;
    if (this.#runs.size >= RUNS_AT_ONCE) throw tooManyRuns(this.#runs.size + 1);
    const run = new Run({ ...wanted, id: this.#next++ });
    this.#runs.set(run.id, run);
    this.#redaction.look();
    void run.ended.then(() => this.#runs.delete(run.id));
    const stopped = AbortSignal.any([signal, run.over.signal]);
    let why: Failure | null = null;
    using _stop = onAbort(stopped, (failure) => {
      why ??= failure;
      void this.#stop(run, failure, run.over.signal.aborted ? 'interrupt' : 'ask', wanted);
    });
    if (!stopped.aborted) this.#say(this.#frameFor(run, wanted));
    else run.settle({ by: 'death', failure: Failure.from(stopped.reason) });
    const end = this.#redacted(await run.told);
    this.#hearing.answered();
    if (end.by === 'result' && end.result.error !== undefined) this.#logFault(end.result.error, run);
    const cpuMs = Math.max(run.cpuMs, end.by === 'result' ? Math.min(end.result.cpuMs, MOST_CPU_MS) : 0);
    return { end, cpuMs, peakBytes: Math.max(run.peakBytes, this.residentBytes), rung: run.rung, stopped: why };
  }

  /** Without what is secret in its settings. */
  redacted(text: string): string {
    return this.#redaction.redacted(text);
  }

  /** Whether it has neither threads nor children of its own, beside no runs. */
  async isIdle(): Promise<boolean> {
    if (this.#state !== 'up' || this.#runs.size > 0) return false;
    const id = this.#next++;
    const { promise, resolve } = Promise.withResolvers<FrameOf<'look'>>();
    this.#looks.set(id, resolve);
    this.#say({ t: 'look', id });
    const look = await within(LOOK_MS, promise);
    this.#looks.delete(id);
    return look !== null && look.threads === 0 && look.children === 0;
  }

  async stop(reason: StopReason): Promise<void> {
    if (this.#state === 'up') {
      this.#state = 'stopping';
      this.#redaction.look();
      this.#say({ t: 'stop', reason, ...this.#terms() });
      await this.#process?.leave(reason, this.#stopped.promise, this.#options);
    }
    await this.death;
  }

  // ── coming ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #boot(): Promise<void> {
    const { residency, rooms, occupant, meter, boot, dataMb } = this.#options;
    const { limits, desk } = residency;
    this.#process = await ResidentProcess.start({
      rooms,
      occupant,
      limits,
      storedBytes: dataMb * 2 ** 20,
      meter,
      onSample: ({ cpuMs, residentBytes }) => this.#used(cpuMs, residentBytes),
      onOutput: (chunk) => this.#reader.push(chunk),
      onLog: (chunk) => {
        this.#hearing.said(chunk.length);
        this.#lines.push(chunk);
      },
    });
    this.#process.stdin.on('error', () => {});
    this.#started.resolve(this.#process);
    this.#lead = new Lead(residency, this.#process, (words) => this.#logged('warning', words, undefined));
    this.#say({ t: 'boot', ...boot });
    const left = Math.max(1, limits.bootMs - (performance.now() - this.#process.begunAt));
    const first = await within<Frame | Death>(left, this.#ready.promise, this.death);
    const failure = this.#notReady(first);
    if (failure !== null) {
      this.#process.kill(failure);
      await this.death;
      throw failure;
    }
    const warnings = new Warnings();
    const told = portrayed((first as FrameOf<'ready'>).portrait, (sentence) => warnings.add(sentence));
    for (const sentence of warnings.all) this.#logged('warning', `Of what its class says: ${sentence}`, undefined);
    this.#portrait = this.#portraitOf(told);
    this.#actions = byId(this.#portrait);
    desk.described(told);
  }

  /** Its manifest's, with what its code has told over it. */
  #portraitOf(told: Portrait | null): Portrait {
    const { plugin } = this.#options.residency;
    return portraitOf(plugin.id, { manifest: plugin.portrait ?? null, told });
  }

  #notReady(first: Frame | Death | null): Failure | null {
    const { limits } = this.#options.residency;
    if (first === null) return bootedTooSlowly(limits.bootMs);
    if ('t' in first && first.t === 'ready') return null;
    if ('t' in first && first.t === 'failed') {
      this.#redaction.look();
      const fault = this.#redactedFault(first.error);
      this.#logFault(fault, undefined);
      const { details } = failureOf(fault, limits);
      return new Failure('plugin_boot_failed', 'The code of the plugin could not be loaded', details);
    }
    const { failure } = first as Death;
    if (failure.code !== 'plugin_crashed') return failure;
    return new Failure('plugin_boot_failed', `${failure.message}, before its code was loaded`, failure.details);
  }

  async #settleDeath(): Promise<Death> {
    const process = await this.#started.promise;
    const death = await process.death;
    this.#state = 'gone';
    this.#lead?.[Symbol.dispose]();
    this.#lines.end();
    for (const run of this.#runs.values()) run.settle({ by: 'death', failure: death.failure });
    return death;
  }

  /** What a plugin says of its own errors is a log, too. */
  #redacted(end: RunEnd): RunEnd {
    if (end.by !== 'result' || end.result.error === undefined) return end;
    return { by: 'result', result: { ...end.result, error: this.#redactedFault(end.result.error) } };
  }

  #redactedFault(fault: Fault): Fault {
    const [message, stack] = [this.#redaction.redacted(fault.message), this.#redaction.redacted(fault.stack)];
    return { ...fault, message, stack };
  }

  #logFault({ kind, name, message, stack }: Fault, run: Run | undefined): void {
    if (kind === 'cancelled') return;
    this.#logged('error', stack === '' ? `${name}: ${message}` : stack, run);
  }

  // ── what is said ──────────────────────────────────────────────────────────────────────────────────────────────

  #say(frame: ToGuest): void {
    const { stdin } = this.#process as ResidentProcess;
    if (!stdin.writable) return;
    stdin.write(`${JSON.stringify(frame)}\n`);
    // A host that reads nothing any more is none.
    if (stdin.writableLength > MOST_UNREAD) {
      this.#process?.kill(new Failure('plugin_crashed', 'Its process reads nothing of what it is told any more'));
    }
  }

  #terms() {
    const settings = withDefaults(this.#portrait.fields, this.#options.residency.desk.settings());
    return { settings, actions: this.#actions };
  }

  #frameFor({ id, limits: { outputBytes } }: Run, { action, args }: Wanted): ToGuest {
    if (!action.startsWith(OWN_TASK)) {
      const params = Array.isArray(args) && args.length === 0 ? {} : (args ?? {});
      return { t: 'run', id, action, params, outputBytes, ...this.#terms() };
    }
    const { args: list, kwargs } = (args ?? {}) as { args?: unknown; kwargs?: unknown };
    return {
      t: 'task',
      id,
      name: action.slice(OWN_TASK.length),
      args: Array.isArray(list) ? list : [],
      kwargs: typeof kwargs === 'object' && kwargs !== null ? (kwargs as Record<string, unknown>) : {},
      outputBytes,
    };
  }

  /** Climbs as far as it takes. */
  async #stop(run: Run, because: Failure, from: 'ask' | 'interrupt', wanted: Wanted): Promise<void> {
    const { graceMs } = this.#options;
    for (const how of from === 'ask' ? (['ask', 'interrupt'] as const) : (['interrupt'] as const)) {
      run.rung = how === 'ask' ? 'cooperative' : 'interrupted';
      this.#say({ t: 'cancel', id: run.id, how });
      if (graceMs > 0 && (await within(graceMs, run.ended)) !== null) return;
    }
    if (!this.#runs.has(run.id)) return;
    if (because.details.mayGoOn === true) return this.#leave(run, wanted);
    // From here on it is about the process, and all that goes on in it.
    this.#state = 'stopping';
    const words = `Its process was ended, as another run of the plugin had to be: ${because.message}`;
    const lost = new Failure('executor_lost', words, { cause: because });
    run.rung = (await this.#process?.terminate(lost, graceMs)) ?? 'killed';
  }

  /** It goes on for as long as it may, and is ended then. */
  #leave(run: Run, wanted: Wanted): void {
    run.leave();
    const { usualWallMs: allowed } = wanted;
    const late = setTimeout(
      () => {
        const limit = { name: 'wallMs', allowed, observed: allowed, unit: 'ms' } as const;
        const failure = new Failure('plugin_timeout', `The plugin took longer than ${allowed} ms`, { limit });
        void this.#stop(run, failure, 'interrupt', wanted);
      },
      Math.max(0, run.startedAt + allowed - performance.now()),
    ).unref();
    void run.ended.then(() => clearTimeout(late));
  }

  // ── what is heard ─────────────────────────────────────────────────────────────────────────────────────────────

  #hear(frame: Frame, bytes: number): void {
    const run = frame.t === 'result' ? this.#runs.get(frame.id) : undefined;
    // One answer of each run is what we are here for; all else is counted.
    if (run === undefined || run.isOver) this.#hearing.said(bytes);
    switch (frame.t) {
      case 'ready':
      case 'failed':
        return this.#ready.resolve(frame);
      case 'result':
        return run?.settle({ by: 'result', result: frame });
      case 'log':
        return this.#logged(levelOf(frame.level), frame.text, this.#runOf(frame.run));
      case 'progress':
        return this.#runOf(frame.run)?.journal.progressed(frame.value);
      case 'update': {
        const { group, event, data } = frame;
        const invocation = this.#runOf(frame.run)?.invocation ?? null;
        return this.#options.residency.desk.updated({ group, event, data, invocation });
      }
      case 'ask':
        return void this.#answer(frame);
      case 'look':
        return this.#looks.get(frame.id)?.(frame);
      case 'stopped':
        return this.#stopped.resolve();
    }
  }

  #runOf(id: number | null): Run | undefined {
    return id === null ? undefined : this.#runs.get(id);
  }

  async #answer(ask: FrameOf<'ask'>): Promise<void> {
    if (this.#asks >= ASKS_AT_ONCE) return this.#say({ t: 'answer', id: ask.id, error: 'Too much is asked at once' });
    this.#asks += 1;
    try {
      const invocation = this.#runOf(ask.run)?.invocation ?? null;
      this.#say(await answered(ask, this.#options.residency, { invocation, portrait: this.#portrait }));
      this.#redaction.look();
    } finally {
      this.#asks -= 1;
    }
  }

  /** What was written past the host, e.g. by a child: it is of the run that goes on, where there is only one. */
  #wrote(text: string): void {
    const [only, ...others] = this.#runs.values();
    this.#logged('info', text, others.length === 0 ? only : undefined);
  }

  #logged(level: LogLevel, text: string, run: Run | undefined): void {
    const message = this.#redaction.redacted(cut(text, LINE_LETTERS));
    run?.journal.log({ level, message });
    this.#options.line({ level, message, at: new Date(), invocation: run?.invocation ?? null });
  }

  #used(cpuMs: number, bytes: number): void {
    const more = cpuMs - this.#cpuMs;
    this.#cpuMs = cpuMs;
    for (const run of this.#runs.values()) run.used(more / this.#runs.size, bytes);
  }

  #violated(what: string): void {
    this.#process?.kill(new Failure('plugin_invalid_output', `Wrote ${what} where its host and we speak`));
  }

  /** The largest output that it may answer now, and what stands around it. */
  #longestFrame(): number {
    let most = this.#options.residency.limits.outputBytes;
    for (const { limits } of this.#runs.values()) most = Math.max(most, limits.outputBytes);
    // It is text in a text: at worst, each of its letters is written as two.
    return 2 * Math.max(most, LEAST_FRAME) + FRAME_SLACK;
  }
}

function tooManyRuns(observed: number): Failure {
  const limit = { name: 'runs', allowed: RUNS_AT_ONCE, observed, unit: 'count' } as const;
  const words = `${RUNS_AT_ONCE} runs of the plugin go on already, those that nobody waits for any more included`;
  return new Failure('concurrency_limited', words, { limit, retryable: true, retryAfterMs: 1_000 });
}

function byId({ actions }: Portrait): Record<string, Action> {
  return Object.fromEntries(actions.map((one) => [one.id, one]));
}

function levelOf(level: string): LogLevel {
  return LEVELS.find((one) => one === level) ?? 'info';
}

const LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warning', 'error'];
const RUNS_AT_ONCE = 64;
const LOOK_MS = 500;
const ASKS_AT_ONCE = 16;
const MOST_UNREAD = 64 << 20;
const LEAST_FRAME = 1 << 20;
const FRAME_SLACK = 65_536;
const LINE_LETTERS = 16_384;
const MOST_CPU_MS = 86_400_000;
