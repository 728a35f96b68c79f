import { Failure } from '../core/failure.ts';

export type LimiterOptions = {
  /** How many run at once. */
  running: number;
  /** How many wait for a place. */
  waiting: number;
  /** How long one waits at most, in ms. */
  waitMs: number;
};

type Waiter = { admit(): void; refuse(failure: Failure): void };

/**
 * Who may run now, who waits, and who is turned away: first come, first served. Every refusal says which bound it
 * was. A place that was given must be given back with `leave`.
 */
export class Limiter {
  readonly #options: LimiterOptions;
  readonly #waiters = new Set<Waiter>();
  #running = 0;
  #closed: Failure | undefined;

  constructor(options: LimiterOptions) {
    this.#options = options;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /** Takes a place if one is free: the usual case, and no promise is made for it. */
  tryEnter(): boolean {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#running >= this.#options.running) return false;
    this.#running += 1;
    return true;
  }

  /** Waits for a place. Rejects with a Failure: queue full, waited too long, closed, or the signal's reason. */
  wait(signal: AbortSignal): Promise<void> {
    const { running, waiting, waitMs } = this.#options;
    if (this.#waiters.size >= waiting) {
      const limit = { name: 'waiting', allowed: waiting, observed: this.#waiters.size + 1, unit: 'count' } as const;
      const message = `${running} invocations are running and ${waiting} are waiting, which is all this service takes`;
      return Promise.reject(new Failure('queue_full', message, { limit, retryable: true, retryAfterMs: 1000 }));
    }
    return new Promise<void>((resolve, reject) => {
      const started = performance.now();
      const settle = () => {
        this.#waiters.delete(waiter);
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        admit: () => {
          settle();
          this.#running += 1;
          resolve();
        },
        refuse: (failure) => {
          settle();
          reject(failure);
        },
      };
      const abort = () => waiter.refuse(Failure.from(signal.reason));
      const timer = setTimeout(() => {
        const observed = Math.round(performance.now() - started);
        const limit = { name: 'waitMs', allowed: waitMs, observed, unit: 'ms' } as const;
        const message = `No place was free for ${waitMs} ms; ${running} invocations are running`;
        waiter.refuse(new Failure('queue_timeout', message, { limit, retryable: true, retryAfterMs: 1000 }));
      }, waitMs);
      signal.addEventListener('abort', abort, { once: true });
      this.#waiters.add(waiter);
      if (signal.aborted) abort();
    });
  }

  /** Gives a place back, to whoever has waited longest. */
  leave(): void {
    this.#running -= 1;
    const [next] = this.#waiters;
    next?.admit();
  }

  /** From now on everybody is refused, those who wait included. */
  close(failure: Failure): void {
    this.#closed = failure;
    for (const waiter of [...this.#waiters]) waiter.refuse(failure);
  }
}
