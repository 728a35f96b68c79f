import type { FileHandle } from 'node:fs/promises';
import { type AttestOptions, attest } from '../../src/confinement/attestation/attest.ts';
import { Failure } from '../../src/core/failure.ts';
import { type Invocation, serverConnection } from '../../src/core/invocation.ts';
import { type Isolation, unchecked } from '../../src/core/isolation.ts';
import type { Outcome, Report } from '../../src/core/outcome.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Explanation, Runtime } from '../../src/core/runtime.ts';
import type { Session } from '../../src/core/session.ts';
import type { Command } from '../../src/programs/command.ts';
import type { Lodgings } from '../../src/programs/lodgings.ts';
import { Meter } from '../../src/programs/meter.ts';
import type { Occupant, Rooms } from '../../src/programs/rooms.ts';
import { type Place, Turnstile, type TurnstileBounds } from '../../src/programs/turnstile.ts';
import { commandOf } from './command.ts';
import { comesToRead, type Habits } from './habits.ts';
import { opened, rawInput, rpcInput, whole } from './input.ts';
import { Journal } from './journal.ts';
import { Parking } from './parking.ts';
import { ProcessProber } from './prober.ts';
import { converse, type Rest } from './raw.ts';
import { converseInRpc } from './rpc.ts';
import { stampOf } from './stamp.ts';
import type { Told } from './supervision.ts';
import type { Verdict } from './verdict.ts';

export type ProcessRuntimeOptions = TurnstileBounds & {
  /** Where programs run; it outlives this. */
  lodgings: Lodgings;
  /** How long a program that is asked to end may take, in ms; 0 does not ask. */
  graceMs?: number;
  /** Programs that are started before anybody calls, at most. */
  parked?: number;
  /** The same of a program of `interface: rpc`, which is asked in its own way; and how long it may take when it has answered. */
  stopMs?: number;
  /** Of this service, which programs must not get at. */
  secrets?: Omit<AttestOptions, 'of'>;
};

/**
 * External programs: a process tree per invocation, in a sandbox, gone without a trace when the run settles.
 *
 * Two things a plugin meets here that Stash does not do, and that no plugin can rely on over there. It stands in an
 * empty folder of its own, where Stash leaves it standing wherever the host was started; paths reach it through
 * `{pluginDir}` and `server_connection.PluginDir`. And its environment holds what environment.ts says, where Stash
 * hands down its own; packages that were installed below somebody's HOME are found through a virtual environment
 * (`pythonPath`) or by naming them (`PYTHONPATH`, `PYTHONUSERBASE` in `environment`).
 */
export class ProcessRuntime implements Runtime {
  readonly kind = 'processes';
  readonly #options: ProcessRuntimeOptions;
  readonly #turnstile: Turnstile;
  readonly #meter = new Meter();
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<Outcome>>();
  readonly #parking: Parking;
  /** Programs that have answered and not ended yet. */
  readonly #ending = new Set<Promise<void>>();
  #isolation = unchecked(new Date(0));

  constructor(options: ProcessRuntimeOptions) {
    this.#options = options;
    this.#turnstile = new Turnstile(options);
    this.#parking = new Parking({ most: options.parked ?? 0, rooms: () => this.#prepared() });
  }

  runs(plugin: Plugin): boolean {
    return plugin.program.runtime === 'process';
  }

  async run(invocation: Invocation, signal: AbortSignal): Promise<Outcome> {
    return await this.#counted(this.#run(invocation, signal, this.#turnstile));
  }

  explain(tenant: string, plugin: Plugin): Promise<Explanation> {
    return this.#options.lodgings.explain('process', tenant, plugin, 'its programs run');
  }

  retain(tenant: string, plugins: ReadonlySet<Plugin>): void {
    this.#parking.retain(tenant, plugins);
  }

  dismiss(tenant: string): void {
    this.#parking.dismiss(tenant);
  }

  unready(): string | null {
    return this.#options.lodgings.refused;
  }

  get isolation(): Isolation {
    return this.#isolation;
  }

  async attest(): Promise<Isolation> {
    const { lodgings, secrets = { dataDir: undefined, secrets: [] } } = this.#options;
    // Whoever is held up by others proves nothing: it has places of its own.
    const turnstile = new Turnstile({ most: 4, perTenant: 4, memoryMb: 4_096 });
    const prober = new ProcessProber({
      ...(await lodgings.surroundings()),
      run: (invocation, signal) => this.#counted(this.#run(invocation, signal, turnstile)),
    });
    this.#isolation = await attest(prober, { of: 'processes', ...secrets });
    return this.#isolation;
  }

  gauges(): Record<string, number> {
    const { running, waiting, residentBytes } = this.#turnstile;
    return {
      processes: running,
      processesMb: Math.round(residentBytes / 2 ** 20),
      processesWaiting: waiting,
      processesParked: this.#parking.size,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Failure('draining', 'The service is shutting down'));
    await Promise.all(this.#running);
    await this.#parking[Symbol.asyncDispose]();
    await Promise.all(this.#ending);
  }

  async #counted(running: Promise<Outcome>): Promise<Outcome> {
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async #run(invocation: Invocation, signal: AbortSignal, turnstile: Turnstile): Promise<Outcome> {
    const startedAt = performance.now();
    const stop = new AbortController();
    const stopped = AbortSignal.any([signal, this.#closing.signal, stop.signal]);
    const journal = new Journal(invocation.plugin, invocation.limits, startedAt, invocation.watch);
    let told: Told | null = null;
    let verdict: Verdict;
    await using scope = new AsyncDisposableStack();
    let place: Place | undefined;
    try {
      place = scope.use(await turnstile.enter(invocation.tenant, stopped, invocation.depth));
      told = await this.#tell({ invocation, journal, place, stop, stopped, scope });
      if (!told.isSettled) stopped.throwIfAborted();
      const { ending } = told;
      const { limits, plugin } = invocation;
      const refusal = ending?.unstarted === true ? journal.disown() : null;
      const { lastWords } = journal;
      verdict = told.judge({ ending, refusal, lastWords, program: programOf(plugin), limits });
    } catch (error) {
      const isKilled = stopped.aborted && place !== undefined;
      const failure = isKilled
        ? Failure.from(stopped.reason).with({ rung: told?.rung ?? 'killed' })
        : Failure.from(error);
      verdict = { ok: false, failure };
    }
    journal.close();
    return { ...verdict, ...reportOn(verdict, { journal, told, startedAt, session: invocation.session }) };
  }

  async #tell(run: Run): Promise<Told> {
    const { invocation, stopped, scope } = run;
    const { plugin, entry, limits } = invocation;
    stopped.throwIfAborted();
    const rooms = await this.#prepared();
    const command = await commandOf(plugin, entry, this.#options.lodgings.programs);
    if (!speaksRpc(plugin)) return await this.#tellRaw(run, rooms, command);
    const input = scope.use(await inputOf(invocation, rooms.folder));
    const stdin = scope.use(await rooms.pipes.openInput());
    stopped.throwIfAborted();
    const letting = scope.use(await rooms.let({ ...invocation, limits, command }, stdin.fd));
    stdin.given();
    letting.lead(invocation);
    const { stopMs = STOP_MS } = this.#options;
    const conversation = { ...run, limits, meter: this.#meter, request: input, stdin: stdin.socket, stopMs };
    return await converseInRpc(letting.sandbox, conversation);
  }

  async #tellRaw(run: Run, rooms: Rooms, command: Command): Promise<Told> {
    const { invocation, stopped, scope } = run;
    const { limits, usualLimits } = invocation;
    const occupant: Occupant = { ...occupantOf(invocation), command, limits: usualLimits };
    // What the kernel holds a program to is set when it is started.
    const isUsual = limits.cpuMs === usualLimits.cpuMs;
    const habits = isUsual ? this.#parking.habitsOf(occupant) : null;
    const parked = habits === null ? null : await this.#parking.take(occupant, habits);
    if (parked !== null) scope.use(parked.scope);
    const { graceMs = GRACE_MS } = this.#options;
    const conversation = { ...run, limits, meter: this.#meter, graceMs };
    stopped.throwIfAborted();
    if (parked !== null && habits !== null) {
      const text = await textOf(invocation);
      parked.letting.lead(invocation);
      const feed = () => parked.stdin.socket.end(text);
      const settles = habits.answersOnce ? 'with the answer' : 'at the end';
      const told = await converse(parked.letting.sandbox, { ...conversation, feed, settles });
      if (told.rest !== null) this.#outlive(told.rest, habits, scope.move());
      this.#parking.prepare(occupant, habits);
      return told;
    }
    if (habits?.habit === 'unsure') return await this.#watched(run, rooms, occupant, habits);
    const input = scope.use(await inputOf(invocation, rooms.folder));
    const letting = scope.use(await rooms.let({ ...occupant, limits }, input.fd));
    letting.lead(invocation);
    const told = await converse(letting.sandbox, { ...conversation, settles: 'at the end' });
    if (habits !== null) this.#parking.prepare(occupant, habits);
    return told;
  }

  /** The same, with the input held back until the program wants it, to see what it does before. */
  async #watched(run: Run, rooms: Rooms, occupant: Occupant, habits: Habits): Promise<Told> {
    const { invocation, scope } = run;
    const { limits } = invocation;
    const stdin = scope.use(await rooms.pipes.openInput());
    const text = await textOf(invocation);
    const stamp = await stampOf(occupant.plugin.realDir);
    const letting = scope.use(await rooms.let({ ...occupant, limits }, stdin.fd));
    stdin.given();
    letting.lead(invocation);
    const { graceMs = GRACE_MS } = this.#options;
    let readsFirst = false;
    const feed = () =>
      void comesToRead(letting, limits.wallMs).then((isFirst) => {
        readsFirst = isFirst;
        stdin.socket.end(text);
      });
    const conversation = { ...run, limits, meter: this.#meter, graceMs, feed, settles: 'at the end' as const };
    const told = await converse(letting.sandbox, conversation);
    // Who is stopped may have been about to.
    if (told.isSettled) habits.seen(readsFirst && stamp !== null && stamp === (await stampOf(occupant.plugin.realDir)));
    habits.stamp = stamp;
    this.#parking.prepare(occupant, habits);
    return told;
  }

  /** It has been answered for. If it turns out to have more to say, its next answers are not taken for whole so soon. */
  #outlive(rest: Promise<Rest>, habits: Habits, scope: AsyncDisposable): void {
    const ending = rest
      .then((came) => {
        if (came === 'otherwise') habits.answersOnce = false;
      })
      .finally(() => scope[Symbol.asyncDispose]())
      .catch(() => {})
      .finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  #prepared(): Promise<Rooms> {
    return this.#options.lodgings.rooms();
  }
}

const GRACE_MS = 300;
/** As Stash has it. */
const STOP_MS = 1_000;

type Run = {
  invocation: Invocation;
  journal: Journal;
  place: Place;
  stop: AbortController;
  stopped: AbortSignal;
  /** What lasts as long as the program does. */
  scope: AsyncDisposableStack;
};

function occupantOf({ tenant, plugin, grant, endpoint }: Invocation): Omit<Occupant, 'command' | 'limits'> {
  return { tenant, plugin, grant, endpoint };
}

function speaksRpc({ program }: Plugin): boolean {
  return program.runtime === 'process' && program.speaks === 'rpc';
}

function programOf({ program }: Plugin): string {
  return program.runtime === 'process' ? (program.exec[0] ?? '') : '';
}

async function inputOf(invocation: Invocation, folder: string): Promise<FileHandle> {
  return await written(invocation, (pieces) => opened(pieces, folder));
}

async function textOf(invocation: Invocation): Promise<string> {
  return await written(invocation, whole);
}

async function written<T>(invocation: Invocation, write: (pieces: Iterable<string>) => Promise<T>): Promise<T> {
  try {
    const { endpoint, session, plugin, args } = invocation;
    const said = { connection: serverConnection(endpoint, session.cookie, plugin.dir), args };
    return await write(speaksRpc(plugin) ? rpcInput(said) : rawInput(said));
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new Failure('invalid_request', 'The arguments are nested too deeply', { cause });
  }
}

type Seen = { journal: Journal; told: Told | null; startedAt: number; session: Session };

function reportOn(verdict: Verdict, { journal, told, startedAt, session }: Seen): Report {
  return {
    usage: {
      cpuMs: told?.tree?.cpuMs ?? 0,
      wallMs: performance.now() - startedAt,
      peakMemoryBytes: told?.memory.peakBytes ?? 0,
      hostCalls: session.calls,
      outputBytes: verdict.ok ? Buffer.byteLength(verdict.output) : 0,
      logLines: journal.logs.length,
      logLinesDropped: journal.dropped,
    },
    progress: journal.progress,
    logs: journal.logs,
    bootMs: told === null ? 0 : told.startedAt - startedAt,
    hostMs: session.waitedMs,
  };
}
