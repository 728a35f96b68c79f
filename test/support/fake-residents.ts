import type { Failure } from '../../src/core/failure.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Portrait } from '../../src/core/portrait.ts';
import type { Desk, Residency, ResidentLine, ResidentState, Residents, StopReason } from '../../src/core/resident.ts';

/** Residents that are up as soon as they are asked to be, and gone when the test lets them go. */
export class FakeResidents implements Residents {
  /** What they were asked to do, e.g. `stop demo disable`. */
  readonly asked: string[] = [];
  readonly states = new Map<string, Partial<ResidentState>>();
  readonly lines = new Map<string, ResidentLine[]>();
  /** Why those plugins do not start, and what those say of themselves that do. */
  readonly unfit = new Map<string, Failure>();
  readonly portraits = new Map<string, Portrait>();
  /** What each stop waits for. */
  leaving: Promise<void> = Promise.resolve();
  readonly #up = new Map<string, Residency>();

  async start(residency: Residency): Promise<void> {
    const { tenant, plugin } = residency;
    if (this.#up.has(key(tenant, plugin.id))) return;
    this.asked.push(`start ${plugin.id}`);
    const why = this.unfit.get(plugin.id);
    if (why !== undefined) throw why;
    this.#up.set(key(tenant, plugin.id), residency);
    const portrait = this.portraits.get(plugin.id);
    if (portrait !== undefined) residency.desk.described(portrait);
  }

  async stop(tenant: string, plugin: string, reason: StopReason): Promise<void> {
    if (!this.#up.delete(key(tenant, plugin))) return await this.leaving;
    this.asked.push(`stop ${plugin} ${reason}`);
    await this.leaving;
  }

  async vacate(tenant: string, plugin: string, reason: StopReason, does: () => Promise<void>): Promise<void> {
    await this.stop(tenant, plugin, reason);
    await does();
  }

  async retain(tenant: string, plugins: ReadonlySet<Plugin>, reason: StopReason): Promise<void> {
    for (const residency of [...this.#up.values()]) {
      if (residency.tenant === tenant && !plugins.has(residency.plugin)) {
        await this.stop(tenant, residency.plugin.id, reason);
      }
    }
  }

  pardon(_tenant: string, plugin: string): void {
    this.asked.push(`pardon ${plugin}`);
  }

  state(tenant: string, plugin: string): ResidentState | undefined {
    const residency = this.#up.get(key(tenant, plugin));
    const more = this.states.get(plugin);
    if (residency === undefined && more === undefined) return undefined;
    const none = { residentBytes: 0, cpuMs: 0, running: 0, runs: 0, deaths: 0, failure: null, nextAt: null };
    return { is: residency === undefined ? 'ended' : 'running', since: new Date(0), startedAt: null, ...none, ...more };
  }

  logs(_tenant: string, plugin: string): readonly ResidentLine[] {
    return this.lines.get(plugin) ?? [];
  }

  gauges(): Record<string, number> {
    return {};
  }

  houses(tenant: string): boolean {
    return [...this.#up.values()].some((one) => one.tenant === tenant);
  }

  /** Of one that is up. */
  desk(plugin: string, tenant = 'default'): Desk {
    return this.residency(plugin, tenant).desk;
  }

  residency(plugin: string, tenant = 'default'): Residency {
    const residency = this.#up.get(key(tenant, plugin));
    if (residency === undefined) throw new Error(`${plugin} is not up`);
    return residency;
  }
}

function key(tenant: string, plugin: string): string {
  return `${tenant} ${plugin}`;
}
