/**
 * Runs jobs on this node. It claims as many as it has room for, hands each to the invoker like any other request, and
 * brings back what came of it. While it lives it says so, and claims of nodes that do not lapse.
 */
import type { Claimed, JobState } from '../core/job.ts';
import type { Store } from '../store/store.ts';
import type { Invoker } from './invoker.ts';
import { JobRun } from './job-run.ts';

export type WorkerOptions = {
  store: Store;
  invoker: Invoker;
  /** Jobs that run on this node at once. */
  atOnce: number;
  onSettled(what: JobState | 'again'): void;
  /** Told of what goes wrong while nobody waits for an answer. */
  complain(error: unknown): void;
};

/** What is due by the clock is looked for so often; all else is heard. */
const BEAT_MS = 1_000;
/** Beats between two signs of life. */
const KEEP_BEATS = 3;
/** Beats between two rounds of tidying up. */
const TIDY_BEATS = 60;
const CLAIM_MOST = 50;
/** Jobs that are run or being written down, for each place. */
const UNSETTLED_MOST = 2;

export class Worker implements AsyncDisposable {
  readonly #options: WorkerOptions;
  readonly #runs = new Map<string, JobRun>();
  readonly #settling = new Set<Promise<void>>();
  readonly #abandon = new AbortController();
  readonly #scope = new DisposableStack();
  #state: 'open' | 'draining' = 'open';
  /** Claiming goes on, is to be gone through once more, or rests. */
  #claiming: 'resting' | 'busy' | 'again' = 'resting';
  /** Jobs whose plugins run. */
  #busy = 0;
  #beats = 0;
  #beat: Promise<void> = Promise.resolve();

  private constructor(options: WorkerOptions) {
    this.#options = options;
  }

  static async start(options: WorkerOptions): Promise<Worker> {
    const worker = new Worker(options);
    await worker.#listen();
    return worker;
  }

  /** Jobs that run here now. */
  get running(): number {
    return this.#runs.size;
  }

  /** Claims no more. What runs goes on, until the invoker stops it: then it goes back to where it came from. */
  drain(): void {
    this.#state = 'draining';
  }

  /** Resolves when everything that ran has been settled; insists no longer than `patienceMs` on the database for it. */
  async finish(patienceMs: number): Promise<void> {
    this.drain();
    const timer = setTimeout(() => this.#abandon.abort(), patienceMs);
    while (this.#claiming !== 'resting' || this.#settling.size > 0) {
      await Promise.race([...this.#settling, new Promise((resolve) => setTimeout(resolve, 20))]);
    }
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.drain();
    this.#scope.dispose();
    this.#abandon.abort();
    await this.#beat;
    await Promise.all(this.#settling);
  }

  async #listen(): Promise<void> {
    const { store } = this.#options;
    this.#scope.use(await store.onWake(() => this.#claim()));
    const jobs = await store.onJobs((news) => {
      if (news === undefined) void this.#lookForCancelled();
      else if (news.what === 'cancel') for (const id of news.ids) this.#runs.get(id)?.cancel();
    });
    this.#scope.use(jobs);
    let timer: NodeJS.Timeout;
    const next = () => {
      if (this.#scope.disposed) return;
      timer = setTimeout(() => {
        this.#beat = this.#onBeat().then(next);
      }, BEAT_MS);
    };
    this.#scope.defer(() => clearTimeout(timer));
    next();
    this.#claim();
  }

  async #onBeat(): Promise<void> {
    this.#beats += 1;
    this.#claim();
    const { store, complain } = this.#options;
    try {
      if (this.#beats % KEEP_BEATS === 0) await this.#keep();
      if (this.#state === 'draining') return;
      await store.tick();
      if (this.#beats % TIDY_BEATS === 1) {
        await store.desk.sweep();
        if ((await store.desk.mend()) > 0) this.#claim();
      }
    } catch (error) {
      complain(error);
    }
  }

  /** Says that this node lives, and lets go of what was taken from it meanwhile. */
  async #keep(): Promise<void> {
    const claimed = [...this.#runs.values()].map((run) => run.claimed);
    for (const id of await this.#options.store.desk.keep(claimed)) this.#runs.get(id)?.leave();
  }

  async #lookForCancelled(): Promise<void> {
    try {
      const claimed = [...this.#runs.values()].map((run) => run.claimed);
      for (const id of await this.#options.store.desk.cancelled(claimed)) this.#runs.get(id)?.cancel();
    } catch (error) {
      this.#options.complain(error);
    }
  }

  #claim(): void {
    if (this.#claiming !== 'resting') {
      this.#claiming = 'again';
      return;
    }
    this.#claiming = 'busy';
    void this.#claimAll().finally(() => {
      const once = this.#claiming === 'again';
      this.#claiming = 'resting';
      if (once && this.#room > 0) this.#claim();
    });
  }

  get #room(): number {
    const { atOnce } = this.#options;
    // Those that are being written down leave their places to others, but not without end.
    const free = Math.min(atOnce - this.#busy, atOnce * UNSETTLED_MOST - this.#runs.size);
    return this.#state === 'open' ? Math.min(CLAIM_MOST, free) : 0;
  }

  #byTenant(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { claimed } of this.#runs.values()) counts.set(claimed.tenant, (counts.get(claimed.tenant) ?? 0) + 1);
    return counts;
  }

  async #claimAll(): Promise<void> {
    try {
      for (let room = this.#room; room > 0; room = this.#room) {
        const { claimed, more } = await this.#options.store.desk.claim(room, this.#byTenant());
        for (const one of claimed) this.#run(one);
        if (!more) return;
      }
    } catch (error) {
      // The next beat tries again.
      this.#options.complain(error);
    }
  }

  #run(claimed: Claimed): void {
    const { store, invoker, complain, onSettled } = this.#options;
    const run = new JobRun(claimed, invoker, store.desk);
    this.#runs.set(claimed.id, run);
    this.#busy += 1;
    void run.ended.then(() => {
      this.#busy -= 1;
      this.#claim();
    });
    const settling = run.settled(this.#abandon.signal, complain).then((result) => {
      if (this.#runs.get(claimed.id) === run) this.#runs.delete(claimed.id);
      this.#settling.delete(settling);
      this.#claim();
      if (result === null) return;
      onSettled('state' in result ? result.state : 'again');
      // Nobody is told when its time has come; what is further away is found by the beat.
      if ('againMs' in result && result.againMs < BEAT_MS) setTimeout(() => this.#claim(), result.againMs + 5).unref();
    });
    this.#settling.add(settling);
  }
}
