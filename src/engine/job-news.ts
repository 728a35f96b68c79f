import { Failure } from '../core/failure.ts';
import type { Job, ToldEvent } from '../core/job.ts';
import type { TenantJobs } from '../core/tenant-store.ts';
import type { Store } from '../store/store.ts';
import { JobReader } from './job-reader.ts';

/** Callers that wait on one node, and those of one tenant: each holds a connection. */
const WAITING_MOST = 5_000;
const WAITING_EACH_MOST = 500;

/** Whose job it is, and where it is read. */
export type Owner = { tenant: string; jobs: TenantJobs };

/** Disposing ends it. What it reads is shared with all who watch the same job. */
export type JobWatch = Disposable & {
  job(): Promise<Job>;
  events(after: number, job: Job): Promise<ToldEvent[]>;
};

type Hearer = { tenant: string; hear(): void };

type Watched = { reader: JobReader; hearers: Set<Hearer> };

/** Tells whoever waits for a job that something has happened to it, on whichever node. */
export class JobNews implements Disposable {
  readonly #watched = new Map<string, Watched>();
  /** How many wait, by tenant. */
  readonly #waiting = new Map<string, number>();
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

  /**
   * `hear` is called when something may have happened to the job, which its owner has: whoever calls has seen it there.
   * Throws `concurrency_limited` and `overloaded`.
   */
  watch({ tenant, jobs }: Owner, id: string, hear: () => void): JobWatch {
    const mine = this.#waiting.get(tenant) ?? 0;
    if (mine >= WAITING_EACH_MOST) throw tooMany('concurrency_limited', 'of this tenant ', WAITING_EACH_MOST);
    if (this.#count >= WAITING_MOST) throw tooMany('overloaded', '', WAITING_MOST);
    this.#count += 1;
    this.#waiting.set(tenant, mine + 1);
    const watched = this.#watched.get(id) ?? { reader: new JobReader(jobs, id), hearers: new Set() };
    this.#watched.set(id, watched);
    const { reader, hearers } = watched;
    const hearer = { tenant, hear };
    hearers.add(hearer);
    return {
      job: () => reader.job(),
      events: (after, job) => reader.events(after, job),
      [Symbol.dispose]: () => {
        if (hearers.delete(hearer)) this.#leave(tenant);
        if (hearers.size === 0 && this.#watched.get(id) === watched) this.#watched.delete(id);
      },
    };
  }

  /** Told of a tenant that has changed, or is gone with its jobs. */
  hearTenant(tenant: string): void {
    for (const { hearers } of this.#watched.values()) {
      for (const one of hearers) if (one.tenant === tenant) one.hear();
    }
  }

  [Symbol.dispose](): void {
    this.#listening?.[Symbol.dispose]();
  }

  #leave(tenant: string): void {
    this.#count -= 1;
    const left = (this.#waiting.get(tenant) ?? 0) - 1;
    if (left > 0) this.#waiting.set(tenant, left);
    else this.#waiting.delete(tenant);
  }

  /** Without ids anything may have happened to any. */
  #hear(ids: Iterable<string> = [...this.#watched.keys()]): void {
    for (const id of ids) for (const { hear } of this.#watched.get(id)?.hearers ?? []) hear();
  }
}

function tooMany(code: 'concurrency_limited' | 'overloaded', whose: string, allowed: number): Failure {
  const limit = { name: 'waitingForJobs', allowed, observed: allowed + 1, unit: 'count' } as const;
  const words = `${allowed} callers ${whose}are waiting for jobs on this node, which is as many as may`;
  return new Failure(code, words, { limit, retryable: true, retryAfterMs: 5_000 });
}
