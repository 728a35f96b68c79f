import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { Failure } from '../core/failure.ts';
import type { Plugin } from '../core/plugin.ts';
import type { Portrait } from '../core/portrait.ts';
import type { Store } from '../store/store.ts';
import type { Configurator } from './configurator.ts';
import { kept } from './keepable.ts';
import type { Changing, Tenancy } from './tenancy.ts';

export type PortraitsOptions = {
  store: Pick<Store, 'of'>;
  configurator: Pick<Configurator, 'reseal'>;
  learn(tenant: string, change: Changing): Promise<void>;
  /** Told of what could not be written down, which is then lost until the plugin is started again. */
  complain(error: unknown): void;
};

/** What is remembered of one plugin, as JSON. */
const PORTRAIT_BYTES = 524_288;
const AGAIN_MS = 1_000;
/** How long somebody waits to see it. */
const HEARD_MS = 2_000;
const AGAIN_MS_MOST = 60_000;

type Told = { tenancy: Tenancy; plugin: Plugin; portrait: Portrait };

/**
 * Remembers what plugins say of themselves, for when they are not there, and seals what turns out to be secret. Nobody
 * waits for it: while the database is away it is tried again, and of several things one plugin has said only the last.
 */
export class Portraits implements AsyncDisposable {
  readonly #options: PortraitsOptions;
  /** What is still to be written, by tenant and plugin. */
  readonly #told = new Map<string, Told>();
  readonly #working = new Map<string, Promise<void>>();
  readonly #closing = new AbortController();

  constructor(options: PortraitsOptions) {
    this.#options = options;
  }

  tell(tenancy: Tenancy, plugin: Plugin, portrait: Portrait): void {
    if (this.#closing.signal.aborted) return;
    const key = `${tenancy.key}\n${plugin.id}`;
    const isUnderWay = this.#told.has(key);
    this.#told.set(key, { tenancy, plugin, portrait });
    if (isUnderWay) return;
    this.#working.set(
      key,
      this.#remember(key).finally(() => this.#working.delete(key)),
    );
  }

  /** Resolves when what a plugin has said of itself is known here; where the database is away, after a while. */
  async heard(tenancy: Tenancy, plugin: string): Promise<void> {
    await Promise.race([this.#working.get(`${tenancy.key}\n${plugin}`), sleep(HEARD_MS, undefined, { ref: false })]);
  }

  /** Resolves when nothing is written any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#working.values());
  }

  async #remember(key: string): Promise<void> {
    const { signal } = this.#closing;
    let waitMs = AGAIN_MS;
    for (let done: Told | undefined; !signal.aborted && this.#told.get(key) !== done; ) {
      const told = this.#told.get(key) as Told;
      try {
        await this.#write(told);
        done = told;
      } catch (error) {
        const { code } = Failure.from(error);
        if (code !== 'overloaded') {
          // The tenant or the plugin was removed meanwhile.
          if (code !== 'not_found' && code !== 'conflict') this.#options.complain(error);
          done = told;
          continue;
        }
        await sleep(waitMs, undefined, { signal, ref: false }).catch(() => {});
        waitMs = Math.min(2 * waitMs, AGAIN_MS_MOST);
      }
    }
    this.#told.delete(key);
  }

  async #write({ tenancy, plugin, portrait: told }: Told): Promise<void> {
    const { store, configurator, learn } = this.#options;
    const { id, dialect } = plugin;
    // Nothing is remembered of what was removed meanwhile.
    if (tenancy.isGone || !tenancy.catalogue.plugins.has(id)) return;
    const portrait = JSON.parse(JSON.stringify(kept(told))) as Portrait;
    const { known } = tenancy.state(id) ?? {};
    const isKnown =
      known?.isLoaded === true && known.dialect === dialect && isDeepStrictEqual(known.portrait, portrait);
    if (!isKnown) {
      refuseLarge(portrait);
      await store.of(tenancy.id).pluginStates.knowLoaded(id, { dialect, portrait });
      await learn(tenancy.id, 'plugin_states');
    }
    await configurator.reseal(tenancy, id);
  }
}

function refuseLarge(portrait: Portrait): void {
  const observed = Buffer.byteLength(JSON.stringify(portrait));
  if (observed <= PORTRAIT_BYTES) return;
  const limit = { name: 'portraitBytes', allowed: PORTRAIT_BYTES, observed, unit: 'bytes' } as const;
  throw new Failure('payload_too_large', `What a plugin says of itself is larger than ${PORTRAIT_BYTES} bytes`, {
    limit,
  });
}
