import { randomUUID } from 'node:crypto';
import { Failure } from '../core/failure.ts';
import { refusalWords } from '../core/grant.ts';
import { isResident, type Plugin } from '../core/plugin.ts';
import type { Desk, Residency, ResidentLine, ResidentState, Residents, StopReason } from '../core/resident.ts';
import type { Runtime } from '../core/runtime.ts';
import type { Holder, Sessions } from '../core/session.ts';
import { Again } from './again.ts';
import type { Homes } from './homes.ts';
import type { EgressAttempt } from './invoker.ts';
import type { Tenancy } from './tenancy.ts';

export type ResidenciesOptions = {
  runtimes: readonly Runtime[];
  sessions: Sessions;
  homes: Homes;
  /** `loaded`: what is enabled runs as soon as its tenant is loaded. `demand`: when it is called for the first time. */
  start: 'loaded' | 'demand';
  desk(tenancy: Tenancy, plugin: Plugin): Desk;
  onEgress?(attempt: EgressAttempt, tenancy: Tenancy): void;
  /** Told of each that has died, or could not be started. */
  onDied?(tenancy: Tenancy, plugin: Plugin, failure: Failure): void;
};

function assertWanted(tenancy: Tenancy, plugin: Plugin): void {
  const { id } = plugin;
  const now = tenancy.catalogue.plugins.get(id);
  if (now === undefined || tenancy.isClosed) throw new Failure('not_found', `There is no plugin "${id}" any more`);
  if (!tenancy.isEnabled(id))
    throw new Failure('plugin_disabled', tenancy.heldBack(id) ?? `Plugin "${id}" is disabled`);
  if (now !== plugin) throw new Failure('executor_lost', 'The plugin was loaded anew', { retryable: true });
}

/** So many of a tenant are started at the same time, of those that nobody waits for. */
const STARTED_AT_ONCE = 3;

/**
 * Who of a tenant's plugins lives here, and with what. Which of them are to be there is said by the tenancy; how they are
 * kept is the runtime's.
 */
export class Residencies {
  readonly #options: ResidenciesOptions;
  readonly #closing = new AbortController();
  readonly #rounds = new WeakMap<Tenancy, Again>();
  readonly #settling = new Set<Promise<void>>();

  constructor(options: ResidenciesOptions) {
    this.#options = options;
  }

  of(tenancy: Tenancy, plugin: Plugin): Residency {
    const { sessions, homes, desk } = this.#options;
    return {
      tenant: tenancy.id,
      plugin,
      grant: tenancy.grant(plugin.id),
      limits: tenancy.limits(plugin.id),
      endpoint: tenancy.endpoint,
      assertWanted: () => assertWanted(tenancy, plugin),
      home: () => homes.open(tenancy.dir, plugin),
      openSession: (stop, refused) => sessions.open(this.#holder(tenancy, plugin, stop, refused)),
      desk: desk(tenancy, plugin),
      died: (failure) => this.#options.onDied?.(tenancy, plugin, failure),
    };
  }

  state(tenancy: Tenancy, plugin: Plugin): ResidentState | undefined {
    return this.#residentsOf(plugin)?.state(tenancy.id, plugin.id);
  }

  logs(tenancy: Tenancy, plugin: Plugin): readonly ResidentLine[] {
    return this.#residentsOf(plugin)?.logs(tenancy.id, plugin.id) ?? [];
  }

  /** Resolves when it is up; rejects with a Failure that says why it is not. One that is idle may have to end for it. */
  async start(tenancy: Tenancy, plugin: Plugin, signal: AbortSignal = this.#closing.signal): Promise<void> {
    await this.#residentsOf(plugin)?.start(this.of(tenancy, plugin), signal, 'made');
  }

  /** The same before anybody needs it, which nobody else has to end for; that it is not up is seen in its state. */
  async startAhead(tenancy: Tenancy, plugin: Plugin): Promise<void> {
    if (this.#options.start !== 'loaded' || !tenancy.isEnabled(plugin.id)) return;
    await this.#residentsOf(plugin)?.start(this.of(tenancy, plugin), this.#closing.signal, 'free').catch(Failure.from);
  }

  /** Resolves when nothing is left of it. */
  async stop(tenancy: Tenancy, plugin: Plugin, reason: StopReason): Promise<void> {
    await this.#residentsOf(plugin)?.stop(tenancy.id, plugin.id, reason);
  }

  /** Ends those of plugins that the tenancy has no more, or has anew. */
  async retain(tenancy: Tenancy, plugins: ReadonlySet<Plugin>, reason: StopReason): Promise<void> {
    await Promise.all(this.#all().map((residents) => residents.retain(tenancy.id, plugins, reason)));
  }

  /** Whether anything of the tenant lives here. */
  houses(tenant: string): boolean {
    return this.#all().some((residents) => residents.houses(tenant));
  }

  /** Removes what a plugin that is gone has had: its folders. */
  async clear(tenancy: Tenancy, plugin: string): Promise<void> {
    await this.#vacated(tenancy, plugin, 'delete');
  }

  /** Ends it, and takes away all that it has kept; where it is enabled it is started again. */
  async empty(tenancy: Tenancy, plugin: Plugin): Promise<void> {
    await this.#vacated(tenancy, plugin.id, 'reload');
    this.settle(tenancy);
  }

  /** Forgets how often it has died. */
  pardon(tenancy: Tenancy, plugin: Plugin): void {
    this.#residentsOf(plugin)?.pardon(tenancy.id, plugin.id);
  }

  /**
   * Ends what is no longer enabled, and starts what is, one after the other and as far as there is room; nobody waits for
   * it, and what goes wrong is told to whoever asks for the plugin.
   */
  settle(tenancy: Tenancy): void {
    if (this.#closing.signal.aborted) return;
    const rounds = this.#rounds.get(tenancy) ?? new Again(() => this.#settle(tenancy));
    this.#rounds.set(tenancy, rounds);
    const settling = rounds.ask().finally(() => this.#settling.delete(settling));
    this.#settling.add(settling);
  }

  /** Resolves when nothing is being started any more. */
  async close(): Promise<void> {
    this.#closing.abort(new Failure('draining', 'The service is shutting down'));
    await Promise.allSettled(this.#settling);
  }

  async #settle(tenancy: Tenancy): Promise<void> {
    const all = [...tenancy.catalogue.plugins.values()].filter(isResident);
    const off = all.filter(({ id }) => !tenancy.isEnabled(id));
    await Promise.all(off.map((plugin) => this.stop(tenancy, plugin, 'disable')));
    if (this.#options.start !== 'loaded') return;
    const next = async (from: Iterator<Plugin>) => {
      for (let one = from.next(); one.done !== true; one = from.next()) {
        const plugin = one.value;
        if (tenancy.isClosed) return;
        if (!tenancy.isEnabled(plugin.id) || tenancy.catalogue.plugins.get(plugin.id) !== plugin) continue;
        // What has died is started again when it has rested, and what cannot be loaded when somebody asks for it.
        if (this.state(tenancy, plugin)?.is === 'resting') continue;
        await this.startAhead(tenancy, plugin);
      }
    };
    const plugins = all.values();
    await Promise.all(Array.from({ length: STARTED_AT_ONCE }, () => next(plugins)));
  }

  /** Nobody is started there before its folders are gone. */
  async #vacated(tenancy: Tenancy, id: string, reason: StopReason): Promise<void> {
    const remove = () => this.#options.homes.remove(tenancy.dir, id);
    const nested = this.#all().reduce<() => Promise<void>>(
      (inner, residents) => () => residents.vacate(tenancy.id, id, reason, inner),
      remove,
    );
    await nested();
  }

  /** Several runtimes may have theirs in one place. */
  #all(): Residents[] {
    return [...new Set(this.#options.runtimes.flatMap(({ residents }) => residents ?? []))];
  }

  #residentsOf(plugin: Plugin): Residents | undefined {
    return this.#options.runtimes.find((runtime) => runtime.runs(plugin))?.residents;
  }

  #holder(tenancy: Tenancy, plugin: Plugin, ...[stop, refused]: Parameters<Residency['openSession']>): Holder {
    const whose = { tenant: tenancy.id, plugin: plugin.id, invocation: randomUUID() };
    const limits = tenancy.limits(plugin.id);
    return {
      ...whose,
      chain: { root: whose.invocation, by: { plugin: plugin.id, invocation: whose.invocation }, links: [] },
      limits,
      network: tenancy.grant(plugin.id).network,
      decided: (decision) => {
        this.#options.onEgress?.({ ...whose, ...decision }, tenancy);
        if (decision.verdict === 'refused') refused(refusalWords(decision));
      },
      stop,
    };
  }
}
