import { Failure } from '../../core/failure.ts';
import type { GraphqlAsk } from '../../core/graphql.ts';
import { errorOf } from './graphql-errors.ts';

/** How a protocol takes part in a conversation over a socket. What `hear` rejects with is no message of the protocol. */
export interface Speaker {
  hear(text: string): Promise<void>;
  /** Called every so often. */
  beat?(): void;
  closed(): void;
}

/** Operations of one connection at once. */
export const OPERATIONS_MOST = 20;

export function tooManyOperations() {
  const limit = { name: 'operations', allowed: OPERATIONS_MOST, observed: OPERATIONS_MOST + 1, unit: 'count' } as const;
  return errorOf(
    new Failure('concurrency_limited', `This WebSocket has ${OPERATIONS_MOST} operations already`, { limit }),
  );
}

/** What a message asks. Throws `invalid_request`. */
export function askIn(payload: unknown): GraphqlAsk {
  const { query, variables = null, operationName = null } = isObject(payload) ? payload : {};
  if (typeof query !== 'string') throw new Failure('invalid_request', 'There is no "query" in the payload');
  if (variables !== null && !isObject(variables)) throw new Failure('invalid_request', 'The "variables" are no object');
  if (operationName !== null && typeof operationName !== 'string') {
    throw new Failure('invalid_request', 'The "operationName" is no string');
  }
  return { query, variables, operationName };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
