import { defaultFieldResolver, type GraphQLFieldResolver } from 'graphql';
import { Failure } from '../../core/failure.ts';

/** Values of one answer. Each takes about a microsecond, in which nobody else is served. */
const VALUES_MOST = 60_000;

/**
 * Bounds what a few words may ask for: tasks lead to their plugin, and that to its tasks, each time to as many. Ends the
 * execution with `payload_too_large`, through `signal`.
 */
export class Budget {
  readonly signal: AbortSignal;
  readonly #spent = new AbortController();
  #left = VALUES_MOST;

  constructor(signal: AbortSignal) {
    this.signal = AbortSignal.any([signal, this.#spent.signal]);
  }

  /** Why it was ended, if it was. */
  get failure(): Failure | null {
    return this.#spent.signal.aborted ? (this.#spent.signal.reason as Failure) : null;
  }

  readonly resolve: GraphQLFieldResolver<unknown, unknown> = (...field) => {
    this.#left -= 1;
    if (this.#left >= 0) return defaultFieldResolver(...field);
    if (this.failure === null) this.#spent.abort(tooMuch());
    throw this.failure;
  };
}

function tooMuch(): Failure {
  const limit = { name: 'values', allowed: VALUES_MOST, observed: VALUES_MOST + 1, unit: 'count' } as const;
  return new Failure('payload_too_large', `This asks for more than the ${VALUES_MOST} values that an answer may have`, {
    limit,
  });
}
