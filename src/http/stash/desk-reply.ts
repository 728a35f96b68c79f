import type { FastifyRequest } from 'fastify';
import { Failure } from '../../core/failure.ts';
import type { GraphqlAsk, GraphqlCaller, GraphqlDesk } from '../../core/graphql.ts';
import { STATUS } from '../errors.ts';
import { errorOf } from './graphql-errors.ts';

/** What is refused as a whole is told as GraphQL tells of errors; a bug of ours is not for us to tell. */
export async function replyOf(desk: GraphqlDesk, ask: GraphqlAsk, caller: GraphqlCaller, signal: AbortSignal) {
  try {
    return await desk.ask(ask, caller, signal);
  } catch (error) {
    const failure = Failure.from(error);
    if (failure.code === 'internal') throw failure;
    // As Stash has it.
    const status = failure.code === 'invalid_request' ? 422 : STATUS[failure.code];
    return { status, body: JSON.stringify({ errors: [errorOf(failure)], data: null }) };
  }
}

/** Who asks with a token has no key of the application, and needs none. */
export function callerOf(request: FastifyRequest): GraphqlCaller {
  const { tenant, caller } = request;
  return { tenant, scopes: caller.scopes, holder: null, apiKey: '', base: baseOf(request) };
}

/** Where the caller has reached us, as far as that is a place that one could go to. */
function baseOf({ headers, originalUrl }: FastifyRequest): string {
  const { host = '' } = headers;
  if (!/^[\w.-]{1,255}(:\d{1,5})?$|^\[[\da-f:.]{2,45}\](:\d{1,5})?$/i.test(host)) return '';
  const scheme = headers['x-forwarded-proto'] === 'https' ? 'https' : 'http';
  const prefix = headers['x-forwarded-prefix'];
  const before = typeof prefix === 'string' && /^(\/[\w.~-]{1,100}){1,10}$/.test(prefix) ? prefix : '';
  return `${scheme}://${host}${before}${/^\/t\/[^/?]+(?=\/)/.exec(originalUrl)?.[0] ?? ''}`;
}
