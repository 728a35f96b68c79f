import { Failure } from '../core/failure.ts';
import { wishFor } from '../core/job.ts';
import type { Plugin } from '../core/plugin.ts';
import type { Portrait } from '../core/portrait.ts';
import { type Desk, OWN_TASK, type OwnJob, type Update } from '../core/resident.ts';
import type { TenantKeep } from '../core/tenant-store.ts';
import type { Addresses } from './addresses.ts';
import type { Configurator } from './configurator.ts';
import { noTenant } from './invoker.ts';
import { isShallow, isUnkeepable } from './keepable.ts';
import type { Portraits } from './portraits.ts';
import type { Tenancy } from './tenancy.ts';
import type { Updates } from './updates.ts';
import type { Vault } from './vault.ts';

export type PluginDeskParts = {
  vault: Vault;
  configurator: Pick<Configurator, 'configure'>;
  portraits: Portraits;
  updates: Updates;
  addresses: Addresses;
  /** How many jobs that a plugin has asked for itself may wait. */
  ownJobs: number;
  keep(tenant: string): Pick<TenantKeep, 'jobs'>;
};

const NAME_MOST = 500;
const ARGS_BYTES = 1_048_576;
const DELAY_MS_MOST = 90 * 86_400_000;

/** What a plugin whose program stays may ask of this service, as far as it is about itself. */
export class PluginDesk implements Desk {
  readonly #parts: PluginDeskParts;
  readonly #tenancy: Tenancy;
  readonly #plugin: Plugin;

  constructor(parts: PluginDeskParts, tenancy: Tenancy, plugin: Plugin) {
    this.#parts = parts;
    this.#tenancy = tenancy;
    this.#plugin = plugin;
  }

  settings(): Readonly<Record<string, unknown>> {
    return this.#parts.vault.opened(this.#tenancy, this.#plugin.id);
  }

  secrets(): readonly string[] {
    return this.#parts.vault.secrets(this.#tenancy, this.#plugin.id);
  }

  async configure(settings: Record<string, unknown>): Promise<void> {
    try {
      this.#refuseGone();
      await this.#parts.configurator.configure(this.#tenancy, this.#plugin.id, settings);
    } catch (error) {
      throw Failure.from(error);
    }
  }

  described(portrait: Portrait): void {
    const { serves } = portrait;
    if (serves !== undefined) this.#parts.addresses.claim(this.#tenancy, this.#plugin, serves.id);
    this.#tenancy.heardOf(this.#plugin.id);
    this.#parts.portraits.tell(this.#tenancy, this.#plugin, portrait);
  }

  updated(update: Update): void {
    this.#parts.updates.tell(this.#tenancy, this.#plugin.id, update);
  }

  async enqueue({ task, args, delayMs, invocation }: OwnJob): Promise<string> {
    const plugin = this.#plugin.id;
    const name = task.startsWith(OWN_TASK) ? task : `${OWN_TASK}${task}`;
    refuseUnkeepable(name, args, delayMs);
    const wish = wishFor(
      { plugin, task: name, own: true, args },
      { start: { delayMs }, cause: { plugin, invocation }, ownMost: this.#parts.ownJobs },
    );
    try {
      this.#refuseGone();
      const { job } = await this.#parts.keep(this.#tenancy.id).jobs.add(wish);
      return job.id;
    } catch (error) {
      throw Failure.from(error);
    }
  }

  /** There may be another tenant of that name by now. */
  #refuseGone(): void {
    if (this.#tenancy.isGone) throw noTenant(this.#tenancy.id);
  }
}

function refuseUnkeepable(name: string, args: Record<string, unknown>, delayMs: number): void {
  if (name.length > NAME_MOST || isUnkeepable(name)) {
    throw new Failure('invalid_request', `The name of a task is Unicode without U+0000, of up to ${NAME_MOST} letters`);
  }
  if (!(delayMs >= 0 && delayMs <= DELAY_MS_MOST)) {
    throw new Failure('invalid_request', 'A task may be 90 days ahead at most');
  }
  if (!isShallow(args)) throw new Failure('invalid_request', 'The arguments of a task are nested too deep');
  const observed = Buffer.byteLength(JSON.stringify(args));
  if (observed <= ARGS_BYTES) return;
  const limit = { name: 'argsBytes', allowed: ARGS_BYTES, observed, unit: 'bytes' } as const;
  throw new Failure('payload_too_large', `The arguments of a task are larger than ${ARGS_BYTES} bytes`, { limit });
}
