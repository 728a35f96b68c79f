import { type AttestOptions, attest } from '../../src/confinement/attestation/attest.ts';
import type { Bind } from '../../src/confinement/room.ts';
import { Failure } from '../../src/core/failure.ts';
import { type Isolation, unchecked } from '../../src/core/isolation.ts';
import { noUsage, type Outcome } from '../../src/core/outcome.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Residency, ResidentLine, Residents } from '../../src/core/resident.ts';
import type { Explanation, Runtime } from '../../src/core/runtime.ts';
import type { Servers, Visit, Visiting } from '../../src/core/serving.ts';
import type { Lodgings } from '../../src/programs/lodgings.ts';
import { Meter } from '../../src/programs/meter.ts';
import type { ResidentPool, Wing } from '../../src/programs/resident-pool.ts';
import { furnished } from './furnishing.ts';
import { type Shelf, shelfIn } from './modules.ts';
import { NodeProber } from './prober.ts';
import { NodeResident } from './resident.ts';
import { Wire } from './wire.ts';

export type NodeRuntimeOptions = {
  /** Where those stay that are started; it outlives this. */
  pool: ResidentPool;
  /** Where programs run; it outlives this. */
  lodgings: Lodgings;
  /** How long a process that is asked to end may take; in ms. */
  graceMs: number;
  /** How long a plugin may take to stop. */
  stopMs: number;
  /** How long an event loop may stand still. */
  blockedMs: number;
  /** What the folders of one may take of a disk, in MB. */
  dataMb: number;
  /** What a request may send. */
  bodyBytes: number;
  /** Of this service, which programs must not get at. */
  secrets?: Omit<AttestOptions, 'of'>;
};

/**
 * Plugins that are a module for Node and answer requests, each in a process that stays (resident.ts), in a room as external
 * programs have it, and behind Node's own permission model. Contract: SillyTavern `src/plugin-loader.js`, where they run in
 * the server itself.
 */
export class NodeRuntime implements Runtime, Servers {
  readonly kind = 'servers';
  readonly servers: Servers = this;
  readonly #options: NodeRuntimeOptions;
  readonly #meter = new Meter();
  readonly #wing: Wing<NodeResident>;
  #isolation = unchecked(new Date(0));
  #shelf: Promise<Shelf> | null = null;

  constructor(options: NodeRuntimeOptions) {
    this.#options = options;
    this.#wing = options.pool.wing('node', (residency, line) => this.#begin(residency, line));
  }

  get residents(): Residents {
    return this.#options.pool;
  }

  runs({ program }: Plugin): boolean {
    return program.runtime === 'node';
  }

  /** There is nothing to be run: they answer requests. */
  async run(): Promise<Outcome> {
    const failure = new Failure('invalid_request', 'This plugin answers requests, and has nothing else to be run');
    return { ok: false, failure, usage: noUsage, progress: null, logs: [], bootMs: 0, hostMs: 0 };
  }

  async enter(residency: Residency, visiting: Visiting, signal: AbortSignal): Promise<Visit> {
    const up = this.#wing.up(residency)?.visit(visiting);
    if (up !== undefined && up !== null) return up;
    const allowed = residency.limits.bootMs + ROOM_MS;
    using patience = patientFor(allowed, signal);
    for (;;) {
      const resident = await this.#wing.occupy(residency, patience.signal);
      const visit = resident.visit(visiting);
      if (visit !== null) return visit;
      await resident.death;
    }
  }

  explain(tenant: string, plugin: Plugin): Promise<Explanation> {
    return this.#options.lodgings.explain('node', tenant, plugin, 'it runs');
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
    const prober = new NodeProber({
      ...(await lodgings.surroundings()),
      begin: (residency, files) => this.#begin(residency, () => {}, files),
    });
    this.#isolation = await attest(prober, { of: 'servers', ...secrets });
    return this.#isolation;
  }

  gauges(): Record<string, number> {
    return {};
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** Starts one, with files that it is to read beside its own. */
  async #begin(
    residency: Residency,
    line: (one: ResidentLine) => void,
    files: readonly Bind[] = [],
  ): Promise<NodeResident> {
    const { lodgings, bodyBytes, ...bounds } = this.#options;
    const rooms = await lodgings.rooms();
    const identity = rooms.machine.isRoot ? rooms.identityOf(residency.tenant, residency.plugin) : null;
    await using opened = new AsyncDisposableStack();
    const wire = opened.use(await Wire.open(rooms.folder, identity));
    const shelf = await this.#shelfIn(rooms.folder);
    const { occupant, boot } = await furnished(residency, { rooms, wire, shelf, bodyBytes, files });
    opened.move();
    return await NodeResident.start({ ...bounds, residency, rooms, occupant, meter: this.#meter, wire, boot, line });
  }

  /** Laid out once; what could not be is tried again. */
  async #shelfIn(folder: string): Promise<Shelf> {
    this.#shelf ??= shelfIn(folder);
    try {
      return await this.#shelf;
    } catch (error) {
      this.#shelf = null;
      throw error;
    }
  }
}

/** Aborts when the other signal does, and after a while. */
function patientFor(ms: number, signal: AbortSignal): { signal: AbortSignal } & Disposable {
  const late = new AbortController();
  const limit = { name: 'startMs', allowed: ms, observed: ms, unit: 'ms' } as const;
  const tooLate = new Failure('plugin_timeout', `The plugin was not there within ${ms} ms`, { limit });
  const timer = setTimeout(() => late.abort(tooLate), ms);
  return { signal: AbortSignal.any([signal, late.signal]), [Symbol.dispose]: () => clearTimeout(timer) };
}

/** How long somebody waits for others to leave, beside the time that a start may take. */
const ROOM_MS = 10_000;
