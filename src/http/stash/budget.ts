import { defaultFieldResolver, type GraphQLFieldResolver, getNamedType, isLeafType } from 'graphql';
import { Failure } from '../../core/failure.ts';

/** Values of one answer, each of which takes about a microsecond, in which nobody else is served; and its letters. */
const VALUES_MOST = 60_000;
const LETTERS_MOST = 8 * 1024 * 1024;

/**
 * Bounds what a few words may ask for: tasks lead to their plugin, and that to its tasks, each time to as many; and what
 * is long may be asked for under a thousand names. Ends the execution with `payload_too_large`, through `signal`.
 */
export class Budget {
  readonly signal: AbortSignal;
  readonly #spent = new AbortController();
  #values = 0;
  #letters = 0;

  constructor(signal: AbortSignal) {
    this.signal = AbortSignal.any([signal, this.#spent.signal]);
  }

  /** Why it was ended, if it was. */
  get failure(): Failure | null {
    return this.#spent.signal.aborted ? (this.#spent.signal.reason as Failure) : null;
  }

  readonly resolve: GraphQLFieldResolver<unknown, unknown> = (...field) => {
    this.#values += 1;
    if (this.#values > VALUES_MOST) throw this.#end('values', VALUES_MOST, this.#values);
    const value = defaultFieldResolver(...field);
    if (!isLeafType(getNamedType(field[3].returnType))) return value;
    return value instanceof Promise ? value.then((one) => this.#weighed(one)) : this.#weighed(value);
  };

  #weighed(value: unknown): unknown {
    if (typeof value === 'string') this.#letters += value.length;
    // A map is one value, and may be long. What has no JSON has no letters either.
    else if (typeof value === 'object' && value !== null) this.#letters += JSON.stringify(value)?.length ?? 0;
    if (this.#letters > LETTERS_MOST) throw this.#end('letters', LETTERS_MOST, this.#letters);
    return value;
  }

  #end(what: 'values' | 'letters', allowed: number, observed: number): Failure {
    const limit = { name: what, allowed, observed, unit: 'count' } as const;
    const message = `This asks for more than the ${allowed} ${what} that an answer may have`;
    if (this.failure === null) this.#spent.abort(new Failure('payload_too_large', message, { limit }));
    return this.failure as Failure;
  }
}
