import { Failure } from '../core/failure.ts';
import { first, Lines } from '../core/fairness.ts';

/** Of one tenant, the one that is under way included: each waits with its whole archive in memory. */
const OF_A_TENANT = 2;

/**
 * Who may install now: one at a time on this node, since what is unpacked and not yet kept has no other bound. Tenants take
 * turns, so that nobody waits for more than one archive of each other tenant, beside the one that is under way.
 */
export class Installations {
  readonly #lines = new Lines<string, () => void>();
  readonly #counts = new Map<string, number>();
  #busy = false;

  /** Throws `concurrency_limited`, and the reason of the signal while it waits. */
  async inTurn<T>(tenant: string, signal: AbortSignal, does: () => Promise<T>): Promise<T> {
    const before = this.#counts.get(tenant) ?? 0;
    if (before >= OF_A_TENANT) throw tooMany(tenant, before + 1);
    this.#counts.set(tenant, before + 1);
    try {
      await this.#enter(tenant, signal);
      try {
        return await does();
      } finally {
        this.#leave();
      }
    } finally {
      const left = (this.#counts.get(tenant) ?? 1) - 1;
      if (left > 0) this.#counts.set(tenant, left);
      else this.#counts.delete(tenant);
    }
  }

  async #enter(tenant: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#busy) {
      this.#busy = true;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const giveUp = () => {
      this.#lines.delete(tenant, resolve);
      reject(signal.reason);
    };
    this.#lines.add(tenant, resolve);
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** Whoever is next has the place at once: nobody gets in between. */
  #leave(): void {
    const next = this.#lines.next((line) => first(line));
    if (next === undefined) this.#busy = false;
    else next();
  }
}

function tooMany(tenant: string, observed: number): Failure {
  const limit = { name: 'installations', allowed: OF_A_TENANT, observed, unit: 'count' } as const;
  const words = `Tenant "${tenant}" installs ${OF_A_TENANT} archives at the same time already, and may not install more`;
  return new Failure('concurrency_limited', words, { limit, retryable: true, retryAfterMs: 1_000 });
}
