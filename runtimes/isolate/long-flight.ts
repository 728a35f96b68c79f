import { Failure, type FailureCode, type Rung } from '../../src/core/failure.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import type { Executor, Flight, Loss } from './executor.ts';
import { type Executors, OVERWEIGHT, SILENT_MS, STUCK } from './executors.ts';
import { type Landed, type Landing, Telling } from './flight.ts';
import type { Program } from './program.ts';
import { type FailedHead, type Frame, Kind, type LogHead, type LongHead } from './wire.ts';

/** How long an executor has to end a run that it was told to end, before it is killed. */
const GRACE_MS = 200;

/**
 * One run on the long lane, as the front end follows it. This is the watchdog ladder: the executor interrupts or
 * disposes the isolate; if that does not come back within the grace, the whole executor is killed from here. The
 * first reason given for ending the run is the one that is told, and the last rung needed is told with it.
 */
export class LongFlight implements Flight {
  readonly residentMb: number;
  readonly #program: Program;
  readonly #invocation: Invocation;
  readonly #signal: AbortSignal;
  readonly #executors: Executors;
  readonly #executor: Executor;
  readonly #telling: Telling;
  readonly startedAt = performance.now();
  readonly #land: (landed: Landed) => void;
  #id = 0;
  #bootTimer: NodeJS.Timeout | undefined;
  #graceTimer: NodeJS.Timeout | undefined;
  /** Why the run is being ended. */
  #sentence: Failure | undefined;
  #started = false;
  #hostCalls = 0;
  #hostMs = 0;
  #bootMs = 0;
  #cpuMs = 0;
  #memoryBytes = 0;
  #landed = false;
  #cpuMsBefore = 0;

  private constructor(
    program: Program,
    invocation: Invocation,
    signal: AbortSignal,
    executors: Executors,
    executor: Executor,
    land: (landed: Landed) => void,
  ) {
    this.#program = program;
    this.#invocation = invocation;
    this.#signal = signal;
    this.#executors = executors;
    this.#executor = executor;
    this.#land = land;
    this.residentMb = invocation.limits.residentMb;
    this.#telling = new Telling(invocation);
  }

  static fly(
    program: Program,
    invocation: Invocation,
    input: string,
    signal: AbortSignal,
    executors: Executors,
    executor: Executor,
  ): Promise<Landed> {
    return new Promise((land) => new LongFlight(program, invocation, signal, executors, executor, land).#start(input));
  }

  #start(input: string): void {
    const { limits, deadlineAt } = this.#invocation;
    const { cpuMs, heapMb, outputBytes, logBytes, logLines, hostCalls, bootMs } = limits;
    // The parent's own clock comes first: the timer inside is for when this process is busy.
    const wallMs = Math.ceil(deadlineAt - performance.now()) + GRACE_MS / 4;
    const head: LongHead = { wallMs, cpuMs, heapMb, outputBytes, logBytes, logLines, hostCalls };
    this.#executors.weigh(this.#executor, this);
    this.#cpuMsBefore = this.#executor.cpuMs;
    this.#id = this.#executor.launch(this, Kind.long, this.#program.number, 0, JSON.stringify(head), input);
    this.#bootTimer = setTimeout(() => this.#bootTooSlow(bootMs), bootMs);
    this.#signal.addEventListener('abort', this.#onAbort, { once: true });
    if (this.#signal.aborted) this.#onAbort();
  }

  onFrame(frame: Frame): void {
    switch (frame.kind) {
      case Kind.started:
        this.#started = true;
        this.#bootMs = frame.x / 1000;
        clearTimeout(this.#bootTimer);
        return;
      case Kind.logs:
        return this.#telling.add(frame.head as LogHead);
      case Kind.call:
        void this.#call(frame.x, frame.body.toString('utf8'));
        return;
      case Kind.condemned:
        this.#measure(frame);
        return this.#condemn(failureOf(frame.head as FailedHead), false);
      case Kind.done:
        this.#measure(frame);
        this.#telling.add((frame.head ?? {}) as LogHead);
        return this.#end(
          this.#signal.aborted ? this.#aborted() : { kind: 'done', output: frame.body.toString('utf8') },
        );
      case Kind.failed:
        this.#measure(frame);
        return this.#failed(frame.head as FailedHead, frame.body);
    }
  }

  onLost(loss: Loss): void {
    if (this.#sentence !== undefined && (loss.culprit === this || loss.flights === 1)) {
      return this.#end({ kind: 'failed', failure: this.#sentence.with({ rung: 'killed' }) });
    }
    if (this.#signal.aborted) return this.#end(this.#aborted('killed'));
    // The machine, or the process, had no room for one more isolate: that is nobody's script.
    if (!this.#started && NO_ROOM.test(loss.stderr)) return this.#end({ kind: 'lost', suspect: false });
    // One that had not begun may have come to an executor that another had broken before.
    const ran = this.#started || this.#executor.alone;
    // Who is stuck is busy. An executor that was silent and idle was kept waiting by the machine.
    const stalled =
      loss.byUs !== undefined && loss.byUs !== OVERWEIGHT && loss.cpuMs - this.#cpuMsBefore < GRACE_MS / 2;
    const guilty = loss.flights === 1 && loss.culprit === undefined && ran && !stalled;
    if (guilty) return this.#end({ kind: 'failed', failure: this.#verdict(loss) });
    const suspect = loss.culprit === undefined;
    if (this.#hostCalls === 0) return this.#end({ kind: 'lost', suspect });
    const message =
      'Another run broke the executor that they shared; this one had called its application and cannot be repeated';
    this.#end({ kind: 'failed', failure: new Failure('executor_lost', message, { retryable: false, rung: 'killed' }) });
  }

  #failed(head: FailedHead, body: Buffer): void {
    this.#telling.add(head);
    if (this.#signal.aborted && (head.code === 'stopped' || head.code === 'plugin_timeout')) {
      return this.#end(this.#aborted(head.rung));
    }
    const sentence = this.#sentence;
    if (sentence !== undefined) {
      return this.#end({
        kind: 'failed',
        failure: head.rung === undefined ? sentence : sentence.with({ rung: head.rung }),
      });
    }
    const failure = failureOf(head);
    if (failure.details.limit?.name === 'heapMb') {
      this.#memoryBytes = Math.max(this.#memoryBytes, failure.details.limit.observed);
    }
    const output = body.toString('utf8');
    this.#end({ kind: 'failed', failure: output === '' ? failure : failure.with({ output }) });
  }

  /** It was alone in an executor that died: it is to blame, and V8's last words say for what. */
  #verdict(loss: Loss): Failure {
    const { heapMb, residentMb } = this.#invocation.limits;
    const seen = Math.max(this.#memoryBytes, loss.peakBytes);
    this.#memoryBytes = seen;
    this.#cpuMs = Math.max(this.#cpuMs, loss.cpuMs - this.#cpuMsBefore);
    if (loss.byUs === OVERWEIGHT) {
      const allowed = residentMb * 2 ** 20;
      const limit = { name: 'residentMb', allowed, observed: Math.max(allowed, seen), unit: 'bytes' } as const;
      return new Failure('plugin_memory_exceeded', `The plugin used more than ${residentMb} MB of memory`, {
        limit,
        rung: 'killed',
      });
    }
    if (OUT_OF_MEMORY.test(loss.stderr)) {
      const allowed = heapMb * 2 ** 20;
      const limit = { name: 'heapMb', allowed, observed: Math.max(allowed, seen), unit: 'bytes' } as const;
      return new Failure('plugin_memory_exceeded', 'The plugin asked for more memory than V8 can give', {
        limit,
        rung: 'killed',
        cause: loss,
      });
    }
    if (loss.byUs === STUCK) {
      const message = 'The plugin was busy with something that cannot be interrupted';
      const limit = {
        name: 'silentMs',
        allowed: SILENT_MS,
        observed: Math.max(SILENT_MS, this.#cpuMs),
        unit: 'ms',
      } as const;
      return new Failure('plugin_cpu_exceeded', message, { limit, rung: 'killed', cause: loss });
    }
    if (loss.byUs !== undefined) {
      return new Failure('plugin_crashed', `Its executor had to be ended: ${loss.byUs}`, {
        rung: 'killed',
        cause: loss,
      });
    }
    return new Failure('plugin_crashed', `The executor died of ${loss.signal ?? `exit code ${loss.exitCode}`}`, {
      rung: 'killed',
      cause: loss,
    });
  }

  readonly #onAbort = (): void => this.#condemn(Failure.from(this.#signal.reason), true);

  #bootTooSlow(bootMs: number): void {
    const limit = { name: 'bootMs', allowed: bootMs, observed: bootMs, unit: 'ms' } as const;
    this.#condemn(new Failure('plugin_boot_failed', `The script was not ready after ${bootMs} ms`, { limit }), true);
  }

  #condemn(sentence: Failure, tell: boolean): void {
    if (this.#sentence !== undefined || this.#landed) return;
    this.#sentence = sentence;
    if (tell) this.#executor.send(Kind.stop, this.#id, 0, 0, '', '');
    this.#graceTimer = setTimeout(() => this.#executor.kill('a run in it could not be ended', this), GRACE_MS);
  }

  async #call(number: number, body: string): Promise<void> {
    this.#hostCalls += 1;
    const askedAt = performance.now();
    let reply: string;
    try {
      const { status, body: text } = await this.#invocation.session.graphql(body, this.#signal);
      reply = `${status} ${text}`;
    } catch (error) {
      reply = `0 ${Failure.from(error).message}`;
    }
    this.#hostMs += performance.now() - askedAt;
    if (!this.#landed) this.#executor.send(Kind.answer, this.#id, number, 0, '', reply);
  }

  #measure(frame: Frame): void {
    this.#cpuMs = Math.max(this.#cpuMs, frame.x / 1000);
    this.#memoryBytes = Math.max(this.#memoryBytes, frame.y * 1024);
  }

  #aborted(rung?: Rung): Landing {
    const failure = Failure.from(this.#signal.reason);
    return { kind: 'failed', failure: rung === undefined ? failure : failure.with({ rung }) };
  }

  #end(landing: Landing): void {
    if (this.#landed) return;
    this.#landed = true;
    clearTimeout(this.#bootTimer);
    clearTimeout(this.#graceTimer);
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#executor.land(this.#id);
    this.#executors.unweigh(this.#executor, this);
    const telling = this.#telling;
    this.#land({
      landing,
      telling,
      bootMs: this.#bootMs,
      hostMs: this.#hostMs,
      usage: {
        cpuMs: this.#cpuMs,
        wallMs: performance.now() - this.startedAt,
        peakMemoryBytes: this.#memoryBytes,
        hostCalls: this.#hostCalls,
        outputBytes: landing.kind === 'done' ? Buffer.byteLength(landing.output) : 0,
        logLines: telling.logs.length,
        logLinesDropped: telling.dropped,
      },
    });
  }
}

/** What V8 says when it cannot set aside the address space that each isolate begins with. */
const NO_ROOM = /CodeRange|virtual memory|pointer compression cage|Isolate initialization/i;

/** What V8 and isolated-vm write to stderr before they abort for want of memory. */
const OUT_OF_MEMORY = /out of memory|is_heap_oom|allocation failed|invalid (array |table |string )?(length|size)/i;

const CODES: Readonly<Record<FailedHead['code'], FailureCode>> = {
  plugin_error: 'plugin_error',
  plugin_boot_failed: 'plugin_boot_failed',
  plugin_cpu_exceeded: 'plugin_cpu_exceeded',
  plugin_timeout: 'plugin_timeout',
  plugin_memory_exceeded: 'plugin_memory_exceeded',
  plugin_resource_exceeded: 'plugin_resource_exceeded',
  plugin_invalid_output: 'plugin_invalid_output',
  plugin_output_too_large: 'plugin_output_too_large',
  stopped: 'cancelled',
  internal: 'internal',
};

function failureOf(head: FailedHead): Failure {
  const code = CODES[head.code] ?? 'internal';
  return new Failure(code, String(head.message), {
    ...(head.limit === undefined ? {} : { limit: head.limit }),
    ...(head.error === undefined ? {} : { pluginError: head.error }),
    ...(head.rung === undefined ? {} : { rung: head.rung }),
  });
}
