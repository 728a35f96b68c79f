import { Failure, type LimitHit } from './failure.ts';

/**
 * What a run is told that waited for something to run in until it was stopped. If that was its deadline, the plugin is
 * not to blame for being slow: it never began. `own` says that the bound is one of its tenant alone.
 */
export function shortage(reason: unknown, { message, limit, own }: Shortage): Failure {
  const failure = Failure.from(reason);
  if (failure.code !== 'plugin_timeout') return failure;
  const details = { retryable: true, retryAfterMs: 1_000, ...(limit === undefined ? {} : { limit }) };
  return new Failure(own ? 'concurrency_limited' : 'overloaded', message, details);
}

export type Shortage = { message: string; limit: LimitHit | undefined; own: boolean };
