import type { Store } from '../store/store.ts';

/** Tells whoever waits for a job that something has happened to it, on whichever node. */
export class JobNews implements Disposable {
  readonly #waiting = new Map<string, Set<() => void>>();
  #listening: Disposable | undefined;

  private constructor() {}

  static async open(store: Store): Promise<JobNews> {
    const news = new JobNews();
    news.#listening = await store.onJobs((one) => news.#hear(one?.ids));
    return news;
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /** `hear` is called when something may have happened to the job; disposing ends it. */
  watch(id: string, hear: () => void): Disposable {
    const hearers = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, hearers);
    hearers.add(hear);
    return {
      [Symbol.dispose]: () => {
        hearers.delete(hear);
        if (hearers.size === 0 && this.#waiting.get(id) === hearers) this.#waiting.delete(id);
      },
    };
  }

  [Symbol.dispose](): void {
    this.#listening?.[Symbol.dispose]();
  }

  /** Without ids anything may have happened to any. */
  #hear(ids: Iterable<string> = [...this.#waiting.keys()]): void {
    for (const id of ids) for (const hear of this.#waiting.get(id) ?? []) hear();
  }
}
