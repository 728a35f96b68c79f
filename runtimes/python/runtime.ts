import { type AttestOptions, attest } from '../../src/confinement/attestation/attest.ts';
import type { Bind } from '../../src/confinement/room.ts';
import { Failure } from '../../src/core/failure.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import { type Isolation, unchecked } from '../../src/core/isolation.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Residency, ResidentLine, Residents } from '../../src/core/resident.ts';
import type { Explanation, Runtime } from '../../src/core/runtime.ts';
import type { Lodgings } from '../../src/programs/lodgings.ts';
import { Meter } from '../../src/programs/meter.ts';
import { ResidentPool, type Wing } from '../../src/programs/resident-pool.ts';
import { RunJournal } from '../../src/programs/run-journal.ts';
import { furnished, type HostApplication } from './furnishing.ts';
import { PythonProber } from './prober.ts';
import { PythonResident, type RunTold } from './resident.ts';
import { type Verdict, verdictOn } from './verdict.ts';

export type PythonRuntimeOptions = {
  /** Where those stay that are started; it outlives this. */
  pool: ResidentPool;
  /** Where programs run; it outlives this. */
  lodgings: Lodgings;
  /** How long a run that is asked to end may take, each time that it is asked, and a process that is; in ms. */
  graceMs: number;
  /** How long a plugin may take to stop. */
  stopMs: number;
  /** What the folders of one may take of a disk, in MB. */
  dataMb: number;
  /** What stands in for the names of the application that plugins are written for. */
  shim: 'on' | 'off';
  /** What that application says that its version is. */
  version: string;
  /** The application itself, where a tenant has it on this machine. */
  applicationOf(tenant: string): HostApplication | null;
  /** Of this service, which programs must not get at. */
  secrets?: Omit<AttestOptions, 'of'>;
};

/**
 * Plugins that are a class in Python, each in a process that stays (resident.ts), in a room as external programs have it.
 * Contract: Dispatcharr `apps/plugins/loader.py`, where they run in the web process itself.
 */
export class PythonRuntime implements Runtime {
  readonly kind = 'residents';
  readonly #options: PythonRuntimeOptions;
  readonly #meter = new Meter();
  readonly #wing: Wing<PythonResident>;
  readonly #running = new Set<Promise<Outcome>>();
  #isolation = unchecked(new Date(0));

  constructor(options: PythonRuntimeOptions) {
    this.#options = options;
    this.#wing = options.pool.wing('python', (residency, line) => this.#begin(residency, line));
  }

  get residents(): Residents {
    return this.#options.pool;
  }

  runs({ program }: Plugin): boolean {
    return program.runtime === 'python';
  }

  async run(invocation: Invocation, signal: AbortSignal): Promise<Outcome> {
    const running = this.#run(invocation, signal, this.#wing);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  explain(tenant: string, plugin: Plugin): Promise<Explanation> {
    return this.#options.lodgings.explain('python', tenant, plugin, 'it runs');
  }

  /** Who stays is let go of by `residents`, with a reason. */
  retain(): void {}

  unready(): string | null {
    return this.#options.lodgings.refused;
  }

  get isolation(): Isolation {
    return this.#isolation;
  }

  async attest(): Promise<Isolation> {
    const { lodgings, secrets = { dataDir: undefined, secrets: [] } } = this.#options;
    const prober = new PythonProber({
      ...(await lodgings.surroundings()),
      run: (invocation, signal, files) => this.#probe(invocation, signal, files),
    });
    this.#isolation = await attest(prober, { of: 'residents', ...secrets });
    return this.#isolation;
  }

  gauges(): Record<string, number> {
    return {};
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running);
  }

  /** In a resident of its own, which takes nobody's place. */
  async #probe(invocation: Invocation, signal: AbortSignal, files: readonly Bind[]): Promise<Outcome> {
    const bounds = { most: 1, perTenant: 1, memoryMb: Number.POSITIVE_INFINITY, idleMs: 0, deaths: 1, windowMs: 1 };
    await using pool = new ResidentPool(bounds);
    const wing = pool.wing('python', (residency) => this.#begin(residency, () => {}, files));
    return await this.#run(invocation, signal, wing);
  }

  async #begin(
    residency: Residency,
    line: (one: ResidentLine) => void,
    files: readonly Bind[] = [],
  ): Promise<PythonResident> {
    const { lodgings, applicationOf, shim, version, graceMs, stopMs, dataMb } = this.#options;
    const rooms = await lodgings.rooms();
    const application = applicationOf(residency.tenant);
    const { dir, pluginsDir, occupant } = await furnished(residency, {
      rooms,
      programs: lodgings.programs,
      application,
      files,
    });
    const { plugin } = residency;
    const django = application === null ? null : { settingsModule: application.settingsModule };
    const boot = { key: plugin.id, dir, pluginsDir, shim, version, django };
    return await PythonResident.start({
      residency,
      rooms,
      occupant,
      meter: this.#meter,
      boot,
      graceMs,
      stopMs,
      dataMb,
      line,
    });
  }

  async #run(invocation: Invocation, signal: AbortSignal, wing: Wing<PythonResident>): Promise<Outcome> {
    const startedAt = performance.now();
    const journal = new RunJournal(invocation.limits, startedAt, invocation.watch);
    let begunAt = startedAt;
    let told: RunTold | null = null;
    let verdict: Verdict = { ok: false, failure: new Failure('internal', 'Nothing came of it') };
    try {
      const { residency } = invocation;
      if (residency === undefined) throw new Failure('internal', 'There is nowhere to live');
      while (told === null) {
        const resident = await wing.occupy(residency, signal);
        begunAt = performance.now();
        told = await resident.run(wanted(invocation, journal), signal);
        if (told === null) await resident.death;
        else verdict = verdictOf(told, invocation, resident);
      }
    } catch (error) {
      verdict = { ok: false, failure: Failure.from(error) };
    }
    journal.close();
    return {
      ...verdict,
      usage: {
        cpuMs: Math.round(told?.cpuMs ?? 0),
        wallMs: performance.now() - startedAt,
        peakMemoryBytes: told?.peakBytes ?? 0,
        hostCalls: 0,
        outputBytes: verdict.ok ? Buffer.byteLength(verdict.output) : 0,
        logLines: journal.logs.length,
        logLinesDropped: journal.dropped,
      },
      progress: journal.progress,
      logs: journal.logs,
      bootMs: begunAt - startedAt,
      hostMs: 0,
    };
  }
}

function wanted({ id, entry, args, limits, usualLimits }: Invocation, journal: RunJournal) {
  const action = 'name' in entry ? entry.name : '';
  return { invocation: id, action, args, limits, usualWallMs: usualLimits.wallMs, journal };
}

function verdictOf({ end, stopped, rung }: RunTold, { limits }: Invocation, resident: PythonResident): Verdict {
  if (stopped !== null) return { ok: false, failure: stopped.with({ rung }) };
  if (end.by === 'result') return verdictOn(end.result, limits, (text) => resident.redacted(text));
  if (end.by === 'death') return { ok: false, failure: end.failure };
  return { ok: false, failure: new Failure('internal', 'Nobody waited for it, and somebody does') };
}
