import { setTimeout as sleep } from 'node:timers/promises';
import type { Job, ToldEvent } from '../core/job.ts';
import type { TenantJobs } from '../core/tenant-store.ts';

/** Events read in one go. */
const EVENTS_EACH = 50;
/** So often in a second the row is read, however much happens. */
const EACH_SECOND = 8;

/** Reads one job for all who look on at it on this node: what several want to know at the same moment is read once. */
export class JobReader {
  readonly #jobs: TenantJobs;
  readonly #id: string;
  /** The reading that has not begun yet. */
  #next: Promise<Job> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  readonly #begun: number[] = [];
  readonly #pages = new Map<string, Promise<ToldEvent[]>>();

  constructor(jobs: TenantJobs, id: string) {
    this.#jobs = jobs;
    this.#id = id;
  }

  /** The job, with everything that had happened to it when this was asked. */
  job(): Promise<Job> {
    this.#next ??= this.#read();
    return this.#next;
  }

  /** The first of its events between `after` and the last that it had as `job`. */
  events(after: number, { told }: Job): Promise<ToldEvent[]> {
    const key = `${after} ${told}`;
    const known = this.#pages.get(key);
    if (known !== undefined) return known;
    const page = this.#jobs
      .events(this.#id, after, Math.min(told - after, EVENTS_EACH))
      .finally(() => this.#pages.delete(key));
    this.#pages.set(key, page);
    return page;
  }

  async #read(): Promise<Job> {
    await this.#last;
    if (this.#begun.length === EACH_SECOND) {
      const wait = (this.#begun.shift() as number) + 1_000 - performance.now();
      if (wait > 0) await sleep(wait);
    }
    // Whoever asks from now on may have heard of something that this one does not see.
    this.#next = undefined;
    this.#begun.push(performance.now());
    const reading = this.#jobs.get(this.#id);
    this.#last = reading.catch(() => {});
    return await reading;
  }
}
