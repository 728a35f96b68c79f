import { Failure } from '../core/failure.ts';
import type { Store } from '../store/store.ts';

/** Callers that wait on one node: each holds a connection. */
const WAITING_MOST = 5_000;

type Waiting = { tenant: string; hear(): void };

/** Tells whoever waits for a job that something has happened to it, on whichever node. */
export class JobNews implements Disposable {
  readonly #waiting = new Map<string, Set<Waiting>>();
  #count = 0;
  #listening: Disposable | undefined;

  private constructor() {}

  static async open(store: Pick<Store, 'onJobs'>): Promise<JobNews> {
    const news = new JobNews();
    news.#listening = await store.onJobs((one) => news.#hear(one?.ids));
    return news;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#count;
  }

  /** `hear` is called when something may have happened to the job; disposing ends it. Throws `overloaded`. */
  watch(tenant: string, id: string, hear: () => void): Disposable {
    if (this.#count >= WAITING_MOST) {
      const limit = {
        name: 'waitingForJobs',
        allowed: WAITING_MOST,
        observed: this.#count + 1,
        unit: 'count',
      } as const;
      throw new Failure('overloaded', 'Too many callers are waiting for jobs here', { limit, retryAfterMs: 5_000 });
    }
    this.#count += 1;
    const hearers = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, hearers);
    const waiting = { tenant, hear };
    hearers.add(waiting);
    return {
      [Symbol.dispose]: () => {
        if (hearers.delete(waiting)) this.#count -= 1;
        if (hearers.size === 0 && this.#waiting.get(id) === hearers) this.#waiting.delete(id);
      },
    };
  }

  /** Told of a tenant that has changed, or is gone with its jobs. */
  hearTenant(tenant: string): void {
    for (const hearers of this.#waiting.values()) {
      for (const one of hearers) if (one.tenant === tenant) one.hear();
    }
  }

  [Symbol.dispose](): void {
    this.#listening?.[Symbol.dispose]();
  }

  /** Without ids anything may have happened to any. */
  #hear(ids: Iterable<string> = [...this.#waiting.keys()]): void {
    for (const id of ids) for (const { hear } of this.#waiting.get(id) ?? []) hear();
  }
}
