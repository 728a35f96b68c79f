import { Failure } from '../core/failure.ts';
import type { Grade } from '../core/isolation.ts';
import type { Plugin } from '../core/plugin.ts';
import type { ResidentState } from '../core/resident.ts';
import { SERVERS_OFF, type Visit, type Visiting } from '../core/serving.ts';
import type { Addresses } from './addresses.ts';
import type { Isolations, Standing } from './isolation.ts';
import type { Residencies } from './residencies.ts';
import type { Tenancy } from './tenancy.ts';

/** One request to the routes of a plugin, after its end: for the metrics and the log. */
export type Served = {
  tenant: string;
  /** Undefined where there is none at that address. */
  plugin: string | undefined;
  id: string;
  /** What its program has answered; null where it has not, or the caller did not wait for that. */
  status: number | null;
  /** What has gone wrong; null where nothing has. */
  failure: Failure | null;
  /** From its arrival to the end of its answer. */
  totalMs: number;
};

export type ReceptionOptions = {
  isolations: Pick<Isolations, 'of'>;
  addresses: Addresses;
  residencies: Pick<Residencies, 'of' | 'start' | 'state'>;
  /** Requests that may be in one plugin at once. */
  mostAtOnce: number;
  onServed(served: Served): void;
};

/** A request that was let in. It is to be ended, once. */
export type Received = {
  plugin: Plugin;
  /** The grade that holds where it is answered. */
  isolation: Grade;
  visit: Visit;
  end(status: number | null, failure: Failure | null): void;
};

/**
 * The one way to the routes of a plugin: finds who answers at an address, asks whether it may, and lets the request in.
 * How it is carried there and back is the front end's.
 */
export class Reception {
  readonly #options: ReceptionOptions;
  readonly #inside = new Map<string, number>();
  /** Whoever was let in or is about to be, and of which tenant's plugins: for whom to tell that it is over. */
  readonly #waiting = new Map<AbortController, string>();
  #closed: Failure | null = null;
  readonly #idle: (() => void)[] = [];

  constructor(options: ReceptionOptions) {
    this.#options = options;
  }

  /** Requests that are being answered. */
  get serving(): number {
    return this.#waiting.size;
  }

  /**
   * Rejects with a Failure that says why nobody answers there. `waiting` is aborted by whoever asks when the caller is gone,
   * and by us when nobody waits for the answer any more.
   */
  async enter(tenancy: Tenancy, address: string, visiting: Visiting, waiting: AbortController): Promise<Received> {
    const askedAt = performance.now();
    const { id } = visiting;
    let plugin: Plugin | undefined;
    const settle = (status: number | null, failure: Failure | null) => {
      const totalMs = performance.now() - askedAt;
      this.#options.onServed({ tenant: tenancy.id, plugin: plugin?.id, id, status, failure, totalMs });
    };
    let leave = () => {};
    try {
      if (this.#closed !== null) throw this.#closed;
      this.#assertServes(tenancy, address);
      leave = this.#receive(tenancy, waiting);
      const { addresses } = this.#options;
      plugin = addresses.at(tenancy, address) ?? (await this.#search(tenancy, address, waiting.signal));
      return await this.#admit({ tenancy, plugin, visiting, waiting, leave, settle });
    } catch (error) {
      leave();
      const failure = Failure.from(error);
      settle(null, failure);
      throw failure;
    }
  }

  /** Tells all who wait for plugins of a tenant that it is over. */
  stopAll(tenant: string, failure: Failure): void {
    for (const [waiting, of] of this.#waiting) if (of === tenant) waiting.abort(failure);
  }

  /** Lets nobody in from now on. Resolves when all are out; whoever is inside after `graceMs` is told that it is over. */
  async drain(graceMs: number): Promise<void> {
    const words = 'The service is shutting down';
    this.#closed = new Failure('draining', words, { retryable: true, retryAfterMs: 1_000 });
    if (this.#waiting.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle.push(resolve);
    const over = () => {
      // What it has done so far is done.
      const begun = new Failure('draining', words, { retryable: false });
      for (const waiting of this.#waiting.keys()) waiting.abort(begun);
      resolve();
    };
    const timer = setTimeout(over, graceMs);
    await promise;
    clearTimeout(timer);
  }

  /** From here on until it leaves, its tenant is in use. */
  #receive(tenancy: Tenancy, waiting: AbortController): () => void {
    this.#waiting.set(waiting, tenancy.id);
    tenancy.begin(performance.now());
    return () => {
      tenancy.end();
      this.#waiting.delete(waiting);
      if (this.#waiting.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
    };
  }

  async #admit({ tenancy, plugin, visiting, waiting, leave, settle }: Admission): Promise<Received> {
    const { residencies } = this.#options;
    const standing = this.#standingOf(plugin, tenancy);
    const { servers } = standing.runtime;
    if (servers === undefined) throw new Failure('internal', 'Its runtime answers no requests');
    const free = this.#place(tenancy, plugin);
    try {
      const visit = await servers.enter(residencies.of(tenancy, plugin), visiting, waiting.signal);
      let isOver = false;
      const end = (status: number | null, failure: Failure | null) => {
        if (isOver) return;
        isOver = true;
        visit[Symbol.dispose]();
        free();
        leave();
        settle(status, failure);
      };
      return { plugin, isolation: standing.grade, visit, end };
    } catch (error) {
      free();
      throw error;
    }
  }

  /** Of a tenant whose server plugins are off, only those are told of that are there. */
  #assertServes(tenancy: Tenancy, address: string): void {
    if (tenancy.isClosed) throw new Failure('not_found', `There is no tenant "${tenancy.id}" any more`);
    if (tenancy.servesPlugins) return;
    const { addresses } = this.#options;
    if (addresses.disabledAt(tenancy, address) !== undefined) throw new Failure('plugin_disabled', SERVERS_OFF);
    throw nobodyAt(address, addresses.isEmpty(tenancy) ? '' : `. ${SERVERS_OFF}`);
  }

  /** Whose address is not known yet is started, one after the other, and says it. */
  async #search(tenancy: Tenancy, address: string, signal: AbortSignal): Promise<Plugin> {
    const { addresses, residencies } = this.#options;
    const off = addresses.disabledAt(tenancy, address);
    if (off !== undefined) throw new Failure('plugin_disabled', `Plugin "${off.id}" is disabled`);
    const likely = addresses.likely(tenancy, address);
    const others = addresses.unheard(tenancy).filter((plugin) => !likely.includes(plugin));
    const silent: string[] = [];
    for (const plugin of [...likely, ...others]) {
      if (others.includes(plugin) && isHopeless(residencies.state(tenancy, plugin))) {
        silent.push(plugin.id);
        continue;
      }
      this.#standingOf(plugin, tenancy);
      const failure = await residencies.start(tenancy, plugin, signal).then(() => null, Failure.from);
      signal.throwIfAborted();
      const found = addresses.at(tenancy, address);
      if (found !== undefined) return found;
      // It is what was asked for, and this is why it does not answer.
      if (failure !== null && likely.includes(plugin)) throw failure;
      if (failure !== null) silent.push(plugin.id);
    }
    throw nobodyAt(address, doubtful(silent));
  }

  #standingOf(plugin: Plugin, tenancy: Tenancy): Standing {
    const standing = this.#options.isolations.of(plugin);
    if (standing === undefined) throw new Failure('internal', 'Nothing runs plugins of this kind');
    if (standing.rank < tenancy.leastRank) throw standing.refusal(tenancy.least);
    return standing;
  }

  #place(tenancy: Tenancy, plugin: Plugin): () => void {
    const { mostAtOnce } = this.#options;
    const key = `${tenancy.key}\n${plugin.id}`;
    const inside = (this.#inside.get(key) ?? 0) + 1;
    if (inside > mostAtOnce) {
      const limit = { name: 'sillytavern.requests', allowed: mostAtOnce, observed: inside, unit: 'count' } as const;
      const words = `Plugin "${plugin.id}" is answering ${mostAtOnce} requests already`;
      throw new Failure('concurrency_limited', words, { limit, retryable: true, retryAfterMs: 1_000 });
    }
    this.#inside.set(key, inside);
    return () => {
      const left = (this.#inside.get(key) ?? 1) - 1;
      if (left > 0) this.#inside.set(key, left);
      else this.#inside.delete(key);
    };
  }
}

/** It could not be loaded a while ago, and would say the same to whoever asks for somebody else. */
function isHopeless(state: ResidentState | undefined): boolean {
  if (state?.failure?.code !== 'plugin_boot_failed' || state.failure.details.limit !== undefined) return false;
  return Date.now() - state.since.getTime() < HOPELESS_MS;
}

const HOPELESS_MS = 300_000;

function nobodyAt(address: string, why = ''): Failure {
  return new Failure('not_found', `No plugin answers at /api/plugins/${address}${why}`);
}

/** What they would be called is not known. */
function doubtful(ids: readonly string[]): string {
  if (ids.length === 0) return '';
  const some = ids.slice(0, SILENT_MOST).map((id) => `"${id}"`);
  const more = ids.length > SILENT_MOST ? ` and ${ids.length - SILENT_MOST} more` : '';
  return `; it might be one of those that do not start (${some.join(', ')}${more}): GET /v1/plugins/{plugin} says why`;
}

const SILENT_MOST = 10;

type Admission = {
  tenancy: Tenancy;
  plugin: Plugin;
  visiting: Visiting;
  waiting: AbortController;
  leave(): void;
  settle: Received['end'];
};
