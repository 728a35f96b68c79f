import { Failure } from '../../core/failure.ts';
import type { Repositories } from './repositories.ts';

export type RefreshClockOptions = {
  repositories: Pick<Repositories, 'refreshDue'>;
  /** Told of what goes wrong while nobody waits for an answer. */
  complain(error: unknown): void;
  beatMs?: number;
};

const BEAT_MS = 60_000;

/** Has repositories looked at when their time has come. Each node does; what one of them looks at is not due for others. */
export class RefreshClock implements AsyncDisposable {
  readonly #options: RefreshClockOptions;
  readonly #ended = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #beat: Promise<void> = Promise.resolve();

  constructor(options: RefreshClockOptions) {
    this.#options = options;
    this.#next();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort(new Failure('draining', 'The service is shutting down'));
    clearTimeout(this.#timer);
    await this.#beat;
  }

  #next(): void {
    if (this.#ended.signal.aborted) return;
    const { repositories, complain, beatMs = BEAT_MS } = this.#options;
    this.#timer = setTimeout(() => {
      this.#beat = repositories
        .refreshDue(new Date(), this.#ended.signal)
        .then(() => {}, complain)
        .then(() => this.#next());
    }, beatMs).unref();
  }
}
