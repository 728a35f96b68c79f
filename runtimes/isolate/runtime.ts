/**
 * Embedded JavaScript, the front end's side.
 *
 * Theory of operation. The front end never loads isolated-vm: a plugin of one line can hang or abort the process that
 * does. Isolates live in executors (executor.ts), child processes of which each belongs to one tenant, or to those of one
 * trust group. A run takes one of two lanes.
 *
 * The *long* lane is always right: a fresh context, a thread of its own, every limit watched, the application within
 * reach. The *brief* lane is quick: runs follow each other on the executor's main thread, in a frozen realm or in a
 * context made ahead, and share their reads and writes. Programs earn it (program.ts). A brief run can have no effect
 * outside its isolate and is held to a few milliseconds, so it can be thrown away at any point; and only its success
 * counts. Everything else that can happen there (too slow, a throw, a call of the application, a dead executor) leads
 * to the same run being done again on the long lane, where verdicts are found. Nobody can see the difference.
 *
 * When an executor dies, a run that was alone in it, or that was being ended at the time, is to blame. Otherwise
 * nobody knows: then each run that was in it is repeated, once, alone in an executor of its own, unless it has called
 * its application already.
 */
import { Piscina } from 'piscina';
import { type AttestOptions, attest } from '../../src/confinement/attestation/attest.ts';
import { Failure } from '../../src/core/failure.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import { type Isolation, unchecked } from '../../src/core/isolation.ts';
import { noUsage, type Outcome } from '../../src/core/outcome.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Explanation, Runtime } from '../../src/core/runtime.ts';
import { onAbort } from '../../src/core/signal.ts';
import { BriefFlight, type BriefSuccess } from './brief-flight.ts';
import type { Executor } from './executor.ts';
import { Executors, type ExecutorsOptions } from './executors.ts';
import { type Landed, Telling } from './flight.ts';
import { inputText, LIGHT_INPUT, tooHeavy } from './input.ts';
import { LongFlight } from './long-flight.ts';
import { ExecutorProber } from './prober.ts';
import { Program, readSource, WAY_WORDS } from './program.ts';
import type { Suitability } from './suitability.ts';
import { NO_WALLS } from './walls.ts';

export type IsolateRuntimeOptions = {
  executors: ExecutorsOptions;
  /** Why nothing may be run: what it was to be confined with is missing. */
  refused?: Failure;
  /** Of this service, which executors must not get at. */
  secrets?: Omit<AttestOptions, 'of'>;
  /** For the tests: hold programs to one way. */
  only?: 'fresh' | 'long';
};

/** A program that killed an executor shares none for so long. */
const SUSPECT_MS = 10 * 60_000;
const READING_MS = 2000;

export class IsolateRuntime implements Runtime {
  readonly kind = 'executors';
  readonly #executors: Executors;
  readonly #programs = new WeakMap<Plugin, Map<string, Loaded>>();
  readonly #byNumber = new Map<number, Program>();
  readonly #suspects = new Map<string, number>();
  readonly #readers: Piscina;
  readonly #reading = new WeakSet<Program>();
  #lastReading: Promise<void> = Promise.resolve();
  readonly #only: 'fresh' | 'long' | undefined;
  readonly #options: IsolateRuntimeOptions;
  #numbers = 0;
  #isolation = unchecked(new Date(0));

  constructor(options: IsolateRuntimeOptions) {
    const { executors, only } = options;
    this.#options = options;
    this.#only = only;
    this.#executors = new Executors(executors, (trust, number, cachedData) => {
      const program = this.#byNumber.get(number);
      if (program === undefined || program.compiledBy === trust) return;
      program.cachedData = cachedData;
      program.compiledBy = trust;
    });
    this.#readers = new Piscina<string, Suitability>({
      filename: new URL('./suitability.ts', import.meta.url).href,
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: 5000,
      resourceLimits: { maxOldGenerationSizeMb: 128, stackSizeMb: 2 },
    });
  }

  runs(plugin: Plugin): boolean {
    return plugin.program.runtime === 'isolate';
  }

  run(invocation: Invocation, signal: AbortSignal): Promise<Outcome> {
    if (this.#options.refused !== undefined) return Promise.resolve(failed(this.#options.refused));
    const loaded = this.#loaded(invocation);
    return loaded instanceof Program
      ? this.#runProgram(loaded, invocation, signal)
      : this.#runWhenLoaded(loaded, invocation, signal);
  }

  /** Reading a file can take as long as a file system likes. The run is not held up by it for longer than it may last. */
  async #runWhenLoaded(loading: Promise<Program>, invocation: Invocation, signal: AbortSignal): Promise<Outcome> {
    const { promise: stopped, reject } = Promise.withResolvers<never>();
    let program: Program;
    try {
      using _stop = onAbort(signal, reject);
      program = await Promise.race([loading, stopped]);
    } catch (error) {
      return failed(Failure.from(error));
    }
    return await this.#runProgram(program, invocation, signal);
  }

  async explain(tenant: string, plugin: Plugin): Promise<Explanation> {
    const known = this.#programs.get(plugin)?.get(tenant);
    const program = known instanceof Program ? known : undefined;
    if (program === undefined) {
      return { runtime: 'isolate', way: WAY_WORDS.long, because: 'it has not been run yet' };
    }
    return { runtime: 'isolate', ...program.explanation };
  }

  retain(tenant: string, plugins: ReadonlySet<Plugin>): void {
    for (const [number, program] of this.#byNumber) {
      if (plugins.has(program.plugin) || this.#programs.get(program.plugin)?.get(tenant) !== program) continue;
      this.#byNumber.delete(number);
      this.#programs.get(program.plugin)?.delete(tenant);
      this.#executors.unload(number);
    }
  }

  unready(): string | null {
    return this.#options.refused?.message ?? this.#executors.trouble;
  }

  get isolation(): Isolation {
    return this.#isolation;
  }

  async attest(): Promise<Isolation> {
    const { executors, secrets = { dataDir: undefined, secrets: [] } } = this.#options;
    const { nodePath = process.execPath, compileCache } = executors;
    // What was asked for is missing, and nothing is run.
    const isRefused = this.#options.refused !== undefined;
    const walls = isRefused ? { ...NO_WALLS, isWish: true } : (executors.walls ?? NO_WALLS);
    const prober = new ExecutorProber({
      nodePath,
      compileCache,
      walls,
      run: (invocation, signal) => this.run(invocation, signal).finally(() => this.retain(invocation.tenant, NONE)),
    });
    this.#isolation = await attest(prober, { of: 'executors', ...secrets });
    return this.#isolation;
  }

  gauges(): Record<string, number> {
    return { ...this.#executors.counts, programs: this.#byNumber.size };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#executors[Symbol.asyncDispose](), this.#readers.destroy()]);
  }

  // ── programs ──────────────────────────────────────────────────────────────────────────────────────────────────

  #loaded(invocation: Invocation): Loaded {
    const { plugin, tenant } = invocation;
    let ofTenants = this.#programs.get(plugin);
    if (ofTenants === undefined) {
      ofTenants = new Map();
      this.#programs.set(plugin, ofTenants);
    }
    const known = ofTenants.get(tenant);
    if (known !== undefined) return known;
    const map = ofTenants;
    const loading = this.#load(invocation).then(
      (program) => {
        map.set(tenant, program);
        return program;
      },
      (error) => {
        // Not remembered: the file may be there the next time.
        map.delete(tenant);
        throw error;
      },
    );
    ofTenants.set(tenant, loading);
    return loading;
  }

  async #load({ plugin, usualLimits }: Invocation): Promise<Program> {
    const source = await readSource(plugin);
    this.#numbers += 1;
    const program = new Program(this.#numbers, plugin, source, usualLimits);
    this.#byNumber.set(program.number, program);
    return program;
  }

  /** Reads the program in a thread, to learn in which ways it may be run. Its callers do not wait for it. */
  #read(program: Program): void {
    if (this.#only === 'long' || this.#reading.has(program)) return;
    this.#reading.add(program);
    // One after the other, so that the time of one is not used up by those before it.
    this.#lastReading = this.#lastReading.then(async () => {
      try {
        const source = program.source.toString('utf8');
        const suitability = await this.#readers.run(source, { signal: AbortSignal.timeout(READING_MS) });
        const held = this.#only === 'fresh' && suitability.frozen;
        program.suitability = held ? { brief: true, frozen: false, because: 'held to fresh contexts' } : suitability;
      } catch {
        program.suitability = { brief: false, frozen: false, because: 'its source takes too long to read' };
      }
    });
  }

  #teach(executor: Executor, program: Program): void {
    if (executor.has(program.number)) return;
    const head = JSON.stringify(program.head());
    // What was compiled among others is never brought to where a tenant trusts nobody, or trusts somebody else.
    const parts = program.compiledBy === executor.trust ? [program.source, program.cachedData] : [program.source];
    executor.teach(program.number, head, Buffer.concat(parts));
  }

  // ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #runProgram(program: Program, invocation: Invocation, signal: AbortSignal): Promise<Outcome> {
    const input = inputText(program, invocation);
    if (input.length > LIGHT_INPUT) {
      const failure = tooHeavy(input, invocation.limits.heapMb);
      // To read so much takes longer than a slice.
      return failure === null ? this.#long(program, invocation, input, signal) : Promise.resolve(failed(failure));
    }
    // Lower limits than the plugin's own are kept on the long lane only.
    if (program.way === 'long' || invocation.limits !== program.limits) {
      return this.#long(program, invocation, input, signal);
    }
    return this.#brief(program, invocation, input, signal);
  }

  #brief(program: Program, invocation: Invocation, input: string, signal: AbortSignal): Promise<Outcome> {
    const found = this.#executors.brief(invocation.trust, signal);
    return found instanceof Promise
      ? found.then(
          (executor) => this.#briefIn(executor, program, invocation, input, signal),
          (error) => failed(Failure.from(error)),
        )
      : this.#briefIn(found, program, invocation, input, signal);
  }

  /** The hot path: from here to the answer there is this one promise. */
  #briefIn(
    executor: Executor,
    program: Program,
    invocation: Invocation,
    input: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const startedAt = performance.now();
    this.#teach(executor, program);
    return new Promise((resolve) =>
      BriefFlight.fly(executor, program, input, startedAt, (landing) => {
        if (!landing.ok) resolve(this.#again(program, invocation, input, signal, landing.why));
        else if (signal.aborted) resolve(failed(Failure.from(signal.reason)));
        else resolve(this.#settleBrief(program, invocation, landing, startedAt));
      }),
    );
  }

  /** A brief run did not count. */
  async #again(program: Program, invocation: Invocation, input: string, signal: AbortSignal, why: string) {
    if (why === 'lost') program.suspected();
    const outcome = await this.#long(program, invocation, input, signal);
    if (why !== 'lost' && why !== 'late') program.missed(why, outcome.ok);
    return outcome;
  }

  #settleBrief(program: Program, invocation: Invocation, landing: BriefSuccess, startedAt: number): Outcome {
    program.ranBrief(landing.cpuMs);
    const telling = tellingOf(invocation, landing.head);
    return {
      ok: true,
      output: landing.output,
      progress: telling?.progress ?? null,
      logs: telling?.logs ?? [],
      bootMs: 0,
      hostMs: 0,
      usage: {
        cpuMs: landing.cpuMs,
        wallMs: performance.now() - startedAt,
        peakMemoryBytes: landing.memoryBytes,
        hostCalls: 0,
        outputBytes: landing.outputBytes,
        logLines: telling?.logs.length ?? 0,
        logLinesDropped: telling?.dropped ?? 0,
      },
    };
  }

  async #long(program: Program, invocation: Invocation, input: string, signal: AbortSignal): Promise<Outcome> {
    const suspectKey = `${invocation.tenant}\n${program.hash}`;
    let alone = this.#isSuspect(suspectKey);
    for (let attempt = 1; ; attempt += 1) {
      if (signal.aborted) return failed(Failure.from(signal.reason));
      let landed: Landed;
      try {
        const { trust, depth } = invocation;
        const found = this.#executors.long({ trust, alone, depth }, signal);
        const executor = found instanceof Promise ? await found : found;
        this.#teach(executor, program);
        landed = await LongFlight.fly(program, invocation, input, signal, this.#executors, executor);
      } catch (error) {
        return failed(Failure.from(error));
      }
      if (landed.landing.kind === 'lost') {
        if (attempt >= ATTEMPTS_MOST) return lostTooOften(landed, attempt);
        alone = landed.landing.suspect;
        continue;
      }
      return this.#settle(program, landed, suspectKey);
    }
  }

  #isSuspect(key: string): boolean {
    const until = this.#suspects.get(key);
    if (until !== undefined && until < Date.now()) this.#suspects.delete(key);
    return this.#suspects.has(key);
  }

  #settle(program: Program, landed: Landed, suspectKey: string): Outcome {
    const { landing, telling, usage, bootMs, hostMs } = landed;
    const report = {
      usage,
      bootMs,
      hostMs,
      logs: telling.logs,
      progress: telling.progress,
    };
    if (landing.kind === 'done') {
      program.ranLong({ ok: true, usage });
      this.#read(program);
      return { ok: true, output: landing.output, ...report };
    }
    program.ranLong({ ok: false, usage });
    const failure = landing.kind === 'failed' ? landing.failure : new Failure('internal', 'A run was lost');
    if (failure.details.rung === 'killed' && failure.countsAgainstHealth) {
      this.#suspects.set(suspectKey, Date.now() + SUSPECT_MS);
    }
    return { ok: false, failure, ...report };
  }
}

const NONE: ReadonlySet<Plugin> = new Set<Plugin>([]);

type Loaded = Program | Promise<Program>;

/** Times that a run is tried when executors die under it. */
const ATTEMPTS_MOST = 3;

function tellingOf(invocation: Invocation, head: unknown): Telling | undefined {
  if (head === undefined) return undefined;
  const telling = new Telling(invocation);
  telling.add(head as object);
  return telling;
}

function failed(failure: Failure): Outcome {
  return { ok: false, failure, usage: noUsage, progress: null, logs: [], bootMs: 0, hostMs: 0 };
}

function lostTooOften({ usage, telling }: Landed, attempts: number): Outcome {
  const failure = new Failure('executor_lost', `The executor was lost ${attempts} times under this run`, {
    retryable: true,
    retryAfterMs: 1000,
  });
  return { ok: false, failure, usage, progress: null, logs: telling.logs, bootMs: 0, hostMs: 0 };
}
