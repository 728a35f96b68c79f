type Item<T, R> = { ask: T; resolve(answer: R): void; reject(error: unknown): void };

/**
 * Does together what is asked for at the same time: while one batch is under way, the next gathers. Nobody waits for
 * company, and whoever has some shares one commit with it.
 */
export class Batcher<T, R> {
  readonly #run: (asks: T[]) => Promise<R[]>;
  readonly #most: number;
  readonly #idle: (() => void)[] = [];
  #gathering: Item<T, R>[] = [];
  #state: 'idle' | 'working' = 'idle';

  /** `run` answers each ask, in their order; when it rejects, all of them have failed. */
  constructor(most: number, run: (asks: T[]) => Promise<R[]>) {
    this.#most = most;
    this.#run = run;
  }

  do(ask: T): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#gathering.push({ ask, resolve, reject });
      if (this.#state === 'working') return;
      this.#state = 'working';
      // What is asked for in the same turn belongs together.
      setImmediate(() => void this.#work());
    });
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    return this.#state === 'idle' ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  async #work(): Promise<void> {
    while (this.#gathering.length > 0) {
      const batch = this.#gathering.splice(0, this.#most);
      try {
        const answers = await this.#run(batch.map(({ ask }) => ask));
        for (const [at, { resolve }] of batch.entries()) resolve(answers[at] as R);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#state = 'idle';
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
