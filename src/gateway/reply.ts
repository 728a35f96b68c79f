import { Failure, type FailureCode } from '../core/failure.ts';
import type { GraphqlReply } from '../core/graphql.ts';

/**
 * The answer of the desk; where there is none, that as an answer, since plugins know what to do with a status and a
 * body. Rejects with `signal.reason` when the signal aborts.
 */
export async function replyTo(ask: () => Promise<GraphqlReply>, signal: AbortSignal): Promise<GraphqlReply> {
  try {
    return await ask();
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const failure = Failure.from(error);
    if (failure.code === 'internal') throw failure;
    return { status: STATUS[failure.code] ?? 502, body: JSON.stringify({ errors: [errorOf(failure)], data: null }) };
  }
}

/** A failure as GraphQL tells of errors. */
export function errorOf({ message, code, hint }: Failure): {
  message: string;
  extensions: { code: string; hint: string };
} {
  return { message, extensions: { code, hint } };
}

/** Stash answers 422 to what is no GraphQL that it knows. */
const STATUS: Partial<Record<FailureCode, number>> = {
  invalid_request: 422,
  payload_too_large: 413,
  concurrency_limited: 429,
  overloaded: 503,
};
