/** Stash's GraphQL on the service's own port, for callers with tokens. Plugins have the gateway. */

import type { FastifyReply, FastifyRequest } from 'fastify';
import { getOperationAST, parse } from 'graphql';
import { type Static, Type } from 'typebox';
import { Failure } from '../../core/failure.ts';
import type { GraphqlAsk, GraphqlCaller, GraphqlDesk } from '../../core/graphql.ts';
import type { App } from '../app.ts';
import { HttpFailure, STATUS } from '../errors.ts';
import { Problems } from '../schemas.ts';
import { errorOf } from './graphql-errors.ts';

export type StashRoutes = { desk: GraphqlDesk };

const Answer = Type.Unsafe<unknown>({ type: 'object', description: 'As GraphQL answers: `data` and `errors`' });

const Body = Type.Object({
  query: Type.String({ description: 'A document of GraphQL' }),
  variables: Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])),
  operationName: Type.Optional(Type.Union([Type.String(), Type.Null()])),
});

const Query = Type.Object({
  query: Type.String({ description: 'A document with nothing but queries in it' }),
  variables: Type.Optional(Type.String({ description: 'As JSON' })),
  operationName: Type.Optional(Type.String()),
});

const answers = {
  200: Answer,
  422: { ...Answer, description: 'There is no such query' },
  ...Problems(400, 401, 403, 404, 413, 429, 503),
};

export function stash(app: App, { desk }: StashRoutes): void {
  const url = '/graphql';
  const tags = ['stash'];

  app.post(
    url,
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'graphql',
        summary: "Stash's GraphQL: plugins, their tasks, jobs and logs; all else is asked of the application",
        description: 'Fields of the application need a token with the scope `manage`.',
        tags,
        body: Body,
        response: answers,
      },
    },
    async (request, reply) => answer(desk, request.body as Static<typeof Body>, request, reply),
  );

  app.get(
    url,
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'graphqlQuery',
        summary: 'The same, for queries; and where subscriptions come over a WebSocket',
        description: 'As a WebSocket it speaks `graphql-transport-ws` and, for older clients, `graphql-ws`.',
        tags,
        querystring: Query,
        response: answers,
      },
    },
    async (request, reply) => {
      const { query, operationName, variables } = request.query;
      refuseMutation(query, operationName);
      return answer(desk, { query, operationName, variables: variablesIn(variables) }, request, reply);
    },
  );
}

async function answer(desk: GraphqlDesk, ask: GraphqlAsk, request: FastifyRequest, reply: FastifyReply) {
  const gone = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort(new Failure('cancelled', 'The caller went away'));
  });
  const { status, body } = await replyOf(desk, ask, callerOf(request), gone.signal);
  return reply
    .code(status)
    .headers({ 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' })
    .serializer(asIs)
    .send(body);
}

const asIs = (text: unknown) => text as string;

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

/** A link must not change anything. What cannot be read at all is refused by whoever reads it next. */
function refuseMutation(query: string, operationName: string | undefined): void {
  let operation: string | undefined;
  try {
    operation = getOperationAST(parse(query, { maxTokens: TOKENS_MOST }), operationName)?.operation;
  } catch {
    return;
  }
  if (operation === undefined || operation === 'query') return;
  throw new HttpFailure(
    405,
    new Failure('invalid_request', `A ${operation} cannot be sent with GET: send it with POST`),
  );
}

/** What fits into an address has fewer. */
const TOKENS_MOST = 20_000;

function variablesIn(text: string | undefined): Record<string, unknown> | null {
  if (text === undefined || text === '') return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Failure('invalid_request', `The variables are not JSON: ${(error as Error).message}`);
  }
  if (typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown> | null;
  throw new Failure('invalid_request', 'The variables are no JSON object');
}
