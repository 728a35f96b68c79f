/** Stash's GraphQL on the service's own port, for callers with tokens. Plugins have the gateway. */

import type { IncomingMessage } from 'node:http';
import { fastifyWebsocket } from '@fastify/websocket';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { getOperationAST, parse } from 'graphql';
import { type Static, Type } from 'typebox';
import { Failure } from '../../core/failure.ts';
import { type GraphqlAsk, QUERY_TOKENS_MOST } from '../../core/graphql.ts';
import { Pace } from '../../core/pace.ts';
import type { App } from '../app.ts';
import { callerSignal } from '../caller-signal.ts';
import { HttpFailure } from '../errors.ts';
import { Problems } from '../schemas.ts';
import { withoutTenant } from '../tenant-path.ts';
import { callerOf, replyOf } from './desk-reply.ts';
import type { SocketParts } from './socket-caller.ts';
import { endAll, protocolOf, StashSockets } from './sockets.ts';

export type StashRoutes = Omit<SocketParts, 'pace'>;

/** A message on a WebSocket. */
const MESSAGE_BYTES = 1_048_576;

const Answer = Type.Unsafe<unknown>({ type: 'object', description: 'As GraphQL answers: `data` and `errors`' });

const Body = Type.Object({
  query: Type.String({ description: 'A document of GraphQL' }),
  variables: Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])),
  operationName: Type.Optional(Type.Union([Type.String(), Type.Null()])),
});

// A WebSocket has none of them.
const Query = Type.Object({
  query: Type.Optional(Type.String({ description: 'A document with nothing but queries in it' })),
  variables: Type.Optional(Type.String({ description: 'As JSON' })),
  operationName: Type.Optional(Type.String()),
});

const answers = {
  200: Answer,
  422: { ...Answer, description: 'There is no such query' },
  ...Problems(400, 401, 403, 404, 413, 429, 503),
};

export async function stash(app: App, options: StashRoutes & { requestBytes: number }): Promise<void> {
  const { requestBytes } = options;
  const url = '/graphql';
  const tags = ['stash'];

  app.post(
    url,
    {
      bodyLimit: Math.min(MESSAGE_BYTES, requestBytes),
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
    async (request, reply) => answer(options, request.body as Static<typeof Body>, request, reply),
  );

  // Beside the other routes, so that none of them is given what it would need to answer a WebSocket.
  await app.register(async (inside) => {
    const scope = inside as unknown as App;
    await scope.register(fastifyWebsocket, {
      options: {
        maxPayload: Math.min(MESSAGE_BYTES, requestBytes),
        perMessageDeflate: false,
        handleProtocols: protocolOf,
      },
      preClose(done) {
        endAll(scope.websocketServer.clients);
        // Whoever comes now is refused.
        scope.websocketServer.close();
        done();
      },
    });
    // Who was refused before it knew what they wanted, as strangers are, would keep the connection.
    scope.addHook('onResponse', (request, _reply, done) => {
      if (isUpgrade(request.raw)) request.raw.socket.destroy();
      done();
    });
    query(scope, url, tags, options);
  });
}

function query(app: App, url: string, tags: string[], options: StashRoutes): void {
  const sockets = new StashSockets({ ...options, pace: new Pace() });
  app.route({
    method: 'GET',
    url,
    config: { scope: 'invoke' },
    schema: {
      operationId: 'graphqlQuery',
      summary: 'The same, for queries; and where subscriptions come over a WebSocket',
      description: 'As a WebSocket it speaks `graphql-transport-ws` and, for older clients, `graphql-ws`.',
      tags,
      querystring: Query,
      response: answers,
    },
    preHandler: (request, _reply, done) => {
      if (request.ws) sockets.assertAcceptable(request);
      done();
    },
    wsHandler: (socket, request) => sockets.open(socket, request),
    handler: async (request, reply) => {
      const { query, variables } = request.query;
      const operationName = request.query.operationName || undefined;
      if (query === undefined) throw new Failure('invalid_request', 'There is no "query" in the address');
      refuseMutation(query, operationName);
      return answer(options, { query, operationName, variables: variablesIn(variables) }, request, reply);
    },
  });
}

type Answering = Pick<StashRoutes, 'desk' | 'chains'>;

async function answer({ desk, chains }: Answering, ask: GraphqlAsk, request: FastifyRequest, reply: FastifyReply) {
  const { status, body } = await replyOf(desk, ask, callerOf(request, chains), callerSignal(reply));
  return reply
    .code(status)
    .headers({ 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' })
    .serializer(asIs)
    .send(body);
}

const asIs = (text: unknown) => text as string;

/** A link must not change anything. What cannot be read at all is refused by whoever reads it next. */
function refuseMutation(query: string, operationName: string | undefined): void {
  let operation: string | undefined;
  try {
    operation = getOperationAST(parse(query, { maxTokens: QUERY_TOKENS_MOST }), operationName)?.operation;
  } catch {
    return;
  }
  if (operation === undefined || operation === 'query') return;
  throw new HttpFailure(
    405,
    new Failure('invalid_request', `A ${operation} cannot be sent with GET: send it with POST`),
  );
}

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

/** Whether a request to become something else than HTTP is one that we answer so; any other is a request as any. */
export function isUpgrade({
  method,
  url = '/',
  headers,
}: Pick<IncomingMessage, 'method' | 'url' | 'headers'>): boolean {
  const path = withoutTenant(url).split('?', 1)[0];
  return method === 'GET' && path === '/graphql' && headers.upgrade?.toLowerCase() === 'websocket';
}
