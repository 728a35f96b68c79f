import type { FastifyRequest } from 'fastify';
import type { Chains } from '../../core/chain.ts';
import { Failure } from '../../core/failure.ts';
import type { GraphqlAsk, GraphqlCaller, GraphqlDesk } from '../../core/graphql.ts';
import { STATUS } from '../errors.ts';
import { chainIn } from '../events.ts';
import { errorOf } from './graphql-errors.ts';
import { baseOf } from './ui/base.ts';

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
export function callerOf(request: FastifyRequest, chains: Chains): GraphqlCaller {
  const { tenant, caller } = request;
  const chain = chainIn(request, chains);
  return { tenant, scopes: caller.scopes, holder: null, apiKey: '', base: baseOf(request), chain };
}
