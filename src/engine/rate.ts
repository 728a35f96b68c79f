import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { Failure } from '../core/failure.ts';

/** What is left of a second's requests, and in how many ms there are new ones. */
export type Allowance = { allowed: number; left: number; resetMs: number };

/** How many requests of one tenant this node takes in a second. */
export class Rate {
  readonly allowed: number;
  readonly #limiter: RateLimiterMemory;

  constructor(allowed: number) {
    this.allowed = allowed;
    this.#limiter = new RateLimiterMemory({ points: allowed, duration: 1 });
  }

  /** Takes one request. Throws `rate_limited`. */
  async take(): Promise<Allowance> {
    const { allowed } = this;
    try {
      const { remainingPoints, msBeforeNext } = await this.#limiter.consume(ALL);
      return { allowed, left: remainingPoints, resetMs: msBeforeNext };
    } catch (over) {
      if (!(over instanceof RateLimiterRes)) throw over;
      const limit = {
        name: 'quotas.requestsPerSecond',
        allowed,
        observed: over.consumedPoints,
        unit: 'count',
      } as const;
      throw new Failure('rate_limited', `This tenant may make ${allowed} requests a second`, {
        limit,
        retryable: true,
        retryAfterMs: over.msBeforeNext,
      });
    }
  }
}

/** Each limiter counts one thing only. */
const ALL = '';
