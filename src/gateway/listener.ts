/**
 * Where programs dial: `localhost:Port`, as their `server_connection` says. Nothing but a session opens it. A program
 * shows it as a cookie, as a header `ApiKey` or as a query `apikey`, or shows nothing and is known by its process, or by
 * the connection, where that is one that only its sandbox has. What is asked for other hosts is the proxy's.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import cookie from '@fastify/cookie';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { Failure, type FailureCode } from '../core/failure.ts';
import { askIn, type GraphqlAsk, type GraphqlDesk, type GraphqlReply } from '../core/graphql.ts';
import { Incoming } from '../listening/incoming.ts';
import { readAway } from '../listening/unread-body.ts';
import { askOf, parsed } from './ask.ts';
import type { Caller } from './callers.ts';
import { boundConnections } from './crowd.ts';
import type { ForwardProxy } from './egress/forward-proxy.ts';
import { errorOf, replyTo } from './reply.ts';
import { type OpenSession, tooLarge } from './sessions.ts';

export type ListenerOptions = {
  desk: GraphqlDesk;
  /** Whose cookie or key this is. */
  find(shown: string): OpenSession | undefined;
  /** Whose process is at the other end. */
  whose(socket: Socket): Promise<Caller>;
  proxy: ForwardProxy;
  /** 0 takes any that is free. */
  port: number;
  /** The body of a request. */
  requestBytes: number;
  /** How long a program may take to send the head of a request. */
  headersMs?: number;
  /** Told of what is a bug of ours. */
  bug(error: unknown): void;
};

const HEADERS_MS = 15_000;
/** A connection on which nothing is asked is kept for so long. */
const IDLE_MS = 30_000;

export class Listener implements AsyncDisposable {
  readonly port: number;
  readonly #servers: readonly Server[];
  readonly #proxy: ForwardProxy;

  private constructor(port: number, servers: readonly Server[], proxy: ForwardProxy) {
    this.port = port;
    this.#servers = servers;
    this.#proxy = proxy;
  }

  static async open(options: ListenerOptions): Promise<Listener> {
    const { proxy, whose, headersMs = HEADERS_MS } = options;
    const app = await appOf(options);
    let port = 0;
    const door = () => {
      const serve = (request: IncomingMessage, response: ServerResponse) =>
        proxy.isFor(request, port) ? proxy.forward(request, response) : app.routing(request, response);
      const server = createServer(
        {
          IncomingMessage: Incoming,
          headersTimeout: headersMs,
          connectionsCheckingInterval: Math.min(5_000, headersMs),
          keepAliveTimeout: IDLE_MS,
          // A call waits for its turn before its body is read.
          requestTimeout: 0,
        },
        serve,
      );
      // None is left out: what is not looked at is not passed on.
      server.maxHeadersCount = 0;
      return server.on('connect', (request, socket, head) => proxy.tunnel(request, socket as Socket, head));
    };
    const first = door();
    await new Promise<void>((resolve, reject) => {
      first
        .once('error', reject)
        .listen(options.port, '127.0.0.1', () => resolve(first.off('error', reject) && undefined));
    });
    port = (first.address() as AddressInfo).port;
    // To some programs, localhost is this one first.
    const second = door();
    const isThere = await new Promise<boolean>((resolve) => {
      second.once('error', () => resolve(false)).listen(port, '::1', () => resolve(true));
    });
    const servers = isThere ? [first, second] : [first];
    boundConnections(servers, whose);
    return new Listener(port, servers, proxy);
  }

  /** Serves a connection that came in elsewhere, e.g. from a sandbox, as if somebody had dialled. */
  take(connection: Socket): void {
    // As those have that are accepted here: in a tunnel, either side may end its own way first.
    connection.allowHalfOpen = true;
    this.#servers[0]?.emit('connection', connection);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const server of this.#servers) server.closeAllConnections();
    this.#proxy[Symbol.dispose]();
    await Promise.all(closing);
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    session: OpenSession;
  }
}

async function appOf({ desk, find, whose, requestBytes, bug }: ListenerOptions): Promise<FastifyInstance> {
  const app = fastify({
    bodyLimit: requestBytes,
    return503OnClosing: false,
  });
  await app.register(cookie);
  app.decorateRequest('session', null as unknown as OpenSession);
  app.removeAllContentTypeParsers();
  // Programs say all kinds of things about what they send; it is JSON.
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body));

  app.addHook('onSend', readAway);
  app.addHook('onRequest', async (request, reply) => {
    const session = await sessionOf(request, find, whose);
    if (session === undefined) return await refuse(reply);
    request.session = session;
    const { socket } = request.raw;
    const end = () => socket.destroy();
    session.signal.addEventListener('abort', end, { once: true });
    reply.raw.once('close', () => session.signal.removeEventListener('abort', end));
    const leave = await session.enter();
    if (reply.raw.destroyed) leave();
    else reply.raw.once('close', leave);
  });

  app.setErrorHandler((error: FastifyError, _request, reply) => {
    const failure = failureOf(error, requestBytes);
    if (failure.code === 'internal') bug(error);
    const body = JSON.stringify({ errors: [errorOf(failure)], data: null });
    return send(reply, { status: error.statusCode ?? STATUS[failure.code] ?? 500, body });
  });
  app.setNotFoundHandler((_request, reply) =>
    send(reply, { status: 404, body: '{"errors":[{"message":"Only /graphql is here"}]}' }),
  );

  const answer = async (request: FastifyRequest, reply: FastifyReply, ask: () => GraphqlAsk) => {
    const { session } = request;
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort(new Failure('cancelled', 'The program has gone away')));
    const signal = AbortSignal.any([gone.signal, session.signal]);
    try {
      const answered = await replyTo(async () => await desk.ask(ask(), session.caller, signal), signal);
      return send(reply, answered);
    } catch (error) {
      // Nobody is there to be answered.
      if (signal.aborted) return reply.hijack();
      throw error;
    }
  };
  app.post('/graphql', (request, reply) =>
    answer(request, reply, () => askOf((request.body as string | undefined) ?? '')),
  );
  app.get('/graphql', (request, reply) =>
    answer(request, reply, () => askInQuery(request.query as Record<string, unknown>)),
  );
  await app.ready();
  return app;
}

/**
 * What is shown counts, also where it opens nothing. A program that is known as another invocation's cannot use what it
 * has got hold of.
 */
async function sessionOf(
  request: FastifyRequest,
  find: ListenerOptions['find'],
  whose: ListenerOptions['whose'],
): Promise<OpenSession | undefined> {
  const { apikey: inHeader } = request.headers;
  const { apikey: inQuery } = request.query as Record<string, unknown>;
  const shown = [request.cookies.session, inHeader, inQuery].filter((one) => one !== undefined && one !== '');
  const caller = await whose(request.raw.socket);
  if (caller === 'unclear') return undefined;
  if (shown.length === 0) return caller;
  const [session, ...others] = shown.map((one) => (typeof one === 'string' ? find(one) : undefined));
  if (session === undefined || others.some((one) => one !== session)) return undefined;
  return caller === undefined || caller === session ? session : undefined;
}

function askInQuery({ query, variables, operationName }: Record<string, unknown>): GraphqlAsk {
  const given = typeof variables === 'string' && variables !== '' ? parsed(variables, 'value of "variables"') : null;
  const ask = askIn({ query, variables: given, operationName });
  // A link must not change anything.
  if (/\bmutation\b/.test(ask.query)) throw new Failure('invalid_request', 'A mutation has to be sent with POST');
  return ask;
}

async function refuse(reply: FastifyReply): Promise<FastifyReply> {
  return await reply.code(401).header('content-type', 'text/plain; charset=utf-8').send('Unauthorized');
}

/** What is thrown on the way: a refusal of ours, or Fastify's. */
function failureOf(error: FastifyError, requestBytes: number): Failure {
  if (error.statusCode === 413) return tooLarge(requestBytes, requestBytes + 1);
  const isTheirs = error.statusCode !== undefined && error.statusCode < 500;
  return isTheirs ? new Failure('invalid_request', error.message) : Failure.from(error);
}

/** Of what a call is refused with before it is asked. */
const STATUS: Partial<Record<FailureCode, number>> = { plugin_resource_exceeded: 429, unauthenticated: 401 };

function send(reply: FastifyReply, { status, body }: GraphqlReply): FastifyReply {
  return reply
    .code(status)
    .headers({ 'content-type': 'application/json; charset=utf-8', 'x-content-type-options': 'nosniff' })
    .send(body);
}
