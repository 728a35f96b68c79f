import { Failure } from '../../core/failure.ts';
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
