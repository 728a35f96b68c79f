import type { Application } from '../core/application.ts';
import type { Chain, Chains } from '../core/chain.ts';
import type { Holder } from '../core/session.ts';
import type { Seal } from './seal.ts';

export type SealedChainsOptions = {
  seal: Seal;
  applicationOf(tenant: string): Application;
  /** Told once of each application that does not pass chains on. */
  onPresumed(tenant: string): void;
};

/** What is known of whether an application passes on what it is told. */
type Habit = 'passes on' | 'does not';

/**
 * The chains of what goes out to applications, and of what comes back from them. Most loops are those of an application
 * that does not know of the header, so what comes without one while a plugin changes something there is taken for what
 * came of it; until the application shows that it does pass it on.
 */
export class SealedChains implements Chains {
  readonly #options: SealedChainsOptions;
  readonly #sealed = new WeakMap<Holder, string>();
  readonly #habits = new WeakMap<Application, Habit>();
  /** Changes that plugins are making, by tenant, the newest last. */
  readonly #changing = new Map<string, Holder[]>();

  constructor(options: SealedChainsOptions) {
    this.#options = options;
  }

  /** Once for each invocation, however often it calls. */
  sealed(holder: Holder): string {
    const sealed = this.#sealed.get(holder) ?? this.seal(holder.tenant, holder.chain);
    this.#sealed.set(holder, sealed);
    return sealed;
  }

  seal(tenant: string, chain: Chain): string {
    return this.#options.seal.seal(tenant, chain);
  }

  open(tenant: string, text: string): Chain | null {
    const chain = this.#options.seal.open(tenant, text);
    if (chain !== null) this.#habits.set(this.#options.applicationOf(tenant), 'passes on');
    return chain;
  }

  presumed(tenant: string): Chain | null {
    const holder = this.#changing.get(tenant)?.at(-1);
    if (holder === undefined) return null;
    const application = this.#options.applicationOf(tenant);
    const habit = this.#habits.get(application);
    if (habit === 'passes on') return null;
    if (habit === undefined) this.#options.onPresumed(tenant);
    this.#habits.set(application, 'does not');
    return holder.chain;
  }

  /** Until it is disposed of, the holder is changing something in its application. */
  changing(holder: Holder): Disposable {
    const { tenant } = holder;
    const all = this.#changing.get(tenant) ?? [];
    all.push(holder);
    this.#changing.set(tenant, all);
    return {
      [Symbol.dispose]: () => {
        all.splice(all.lastIndexOf(holder), 1);
        if (all.length === 0 && this.#changing.get(tenant) === all) this.#changing.delete(tenant);
      },
    };
  }
}
