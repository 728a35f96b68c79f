import { hasEnded, type Job } from '../core/job.ts';
import type { TenantJobs } from '../core/tenant-store.ts';
import { madeAt } from '../store/jobs/job-id.ts';
import type { Store } from '../store/store.ts';

/** What has happened to a job. One that has ended is not told of again. */
export type JobChange = { what: 'added' | 'changed' | 'ended'; job: Job };

/** A tenant's jobs are looked at so often at most, and this often when no news has come: some may have been lost. */
const EACH_MS = 250;
const LOOK_MS = 5_000;
/** News of one moment come one after the other. */
const GATHER_MS = 20;
/** Jobs of one look. What happens to more of them at once is not told. */
const JOBS_MOST = 1_000;
/** A job that came and went between two looks is found by when it was made, on whichever node's clock. */
const BACK_MS = 10_000;

type Keep = (tenant: string) => { jobs: TenantJobs };
type Hear = (change: JobChange) => void;

/**
 * Tells what happens to all jobs of a tenant, on whichever node. Nobody says whose the jobs are that there is news of, so
 * the jobs of tenants to whom somebody listens are looked at then: once for all who listen.
 */
export class JobFeed implements Disposable {
  readonly #keep: Keep;
  readonly #feeds = new Map<string, TenantFeed>();
  readonly #scope = new DisposableStack();

  private constructor(keep: Keep) {
    this.#keep = keep;
  }

  static async open(store: Pick<Store, 'onJobs' | 'onWake' | 'of'>): Promise<JobFeed> {
    const feed = new JobFeed((tenant) => store.of(tenant));
    feed.#scope.use(await store.onJobs((news) => feed.#each((one) => one.hear(news?.ids))));
    feed.#scope.use(await store.onWake(() => feed.#each((one) => one.hear())));
    return feed;
  }

  /** `hear` is called until what this gives is disposed. */
  listen(tenant: string, hear: Hear): Disposable {
    const feed = this.#feeds.get(tenant) ?? new TenantFeed(this.#keep(tenant).jobs);
    this.#feeds.set(tenant, feed);
    feed.hearers.add(hear);
    return {
      [Symbol.dispose]: () => {
        feed.hearers.delete(hear);
        if (feed.hearers.size > 0 || this.#feeds.get(tenant) !== feed) return;
        this.#feeds.delete(tenant);
        feed[Symbol.dispose]();
      },
    };
  }

  [Symbol.dispose](): void {
    this.#scope.dispose();
    this.#each((one) => one[Symbol.dispose]());
    this.#feeds.clear();
  }

  #each(tell: (feed: TenantFeed) => void): void {
    for (const feed of this.#feeds.values()) tell(feed);
  }
}

type State = 'waiting' | 'looking' | 'again' | 'closed';

/** One look after the other at the jobs of one tenant. */
class TenantFeed implements Disposable {
  readonly hearers = new Set<Hear>();
  readonly #jobs: TenantJobs;
  readonly #openedAt = Date.now();
  /** Those that have not ended, and what they were like. */
  readonly #known = new Map<string, string>();
  /** Those that have, and when that was seen, as long as they may be found again. */
  readonly #ended = new Map<string, number>();
  #state: State = 'waiting';
  #lookedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(jobs: TenantJobs) {
    this.#jobs = jobs;
    this.#in(0);
  }

  /** Something may have happened to these jobs; without ids, to any. What is being read may be older than that. */
  hear(ids?: readonly string[]): void {
    if (this.#state === 'looking') this.#state = 'again';
    else if (this.#state === 'waiting' && (ids === undefined || ids.some((id) => this.#known.has(id)))) this.#soon();
  }

  [Symbol.dispose](): void {
    this.#state = 'closed';
    clearTimeout(this.#timer);
  }

  #soon(): void {
    this.#in(Math.max(GATHER_MS, this.#lookedAt + EACH_MS - Date.now()));
  }

  #in(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#look(), ms).unref();
  }

  async #look(): Promise<void> {
    this.#state = 'looking';
    this.#lookedAt = Date.now();
    const also = { ids: [...this.#known.keys()], sinceMs: this.#lookedAt - BACK_MS };
    // A database that is away or overloaded is asked again; it has said so itself.
    const jobs = await this.#jobs.unended(JOBS_MOST, also).catch(() => null);
    // It may be another one by now.
    const state = this.#state as State;
    if (state === 'closed') return;
    if (jobs !== null) this.#compare(jobs);
    this.#state = 'waiting';
    if (state === 'again') this.#soon();
    else this.#in(LOOK_MS);
  }

  #compare(jobs: readonly Job[]): void {
    for (const job of jobs) this.#see(job);
    // They were removed, and nobody can say any more how they ended.
    const seen = new Set(jobs.map(({ id }) => id));
    if (jobs.length < JOBS_MOST) for (const id of this.#known.keys()) if (!seen.has(id)) this.#known.delete(id);
    const past = this.#lookedAt - 3 * BACK_MS;
    for (const [id, at] of this.#ended) if (at < past) this.#ended.delete(id);
  }

  #see(job: Job): void {
    const { id } = job;
    if (this.#ended.has(id)) return;
    const before = this.#known.get(id);
    const now = likenessOf(job);
    // What was there before anybody listened is not news.
    const isOld = before === undefined && (madeAt(id) ?? 0) < this.#openedAt;
    if (before === undefined && !isOld) this.#tell({ what: 'added', job });
    if (hasEnded(job)) {
      this.#known.delete(id);
      this.#ended.set(id, this.#lookedAt);
      if (!isOld) this.#tell({ what: 'ended', job });
      return;
    }
    this.#known.set(id, now);
    if (before !== undefined && before !== now) this.#tell({ what: 'changed', job });
  }

  #tell(change: JobChange): void {
    for (const hear of this.hearers) hear(change);
  }
}

/** What of a job makes it worth telling when it changes. */
function likenessOf({ state, progress, attempt, cancelAskedAt }: Job): string {
  return `${state} ${progress} ${attempt} ${cancelAskedAt !== null}`;
}
