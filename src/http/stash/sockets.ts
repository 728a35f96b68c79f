/**
 * GraphQL over WebSockets, for subscriptions: `graphql-transport-ws`, and the older protocol that is called `graphql-ws`.
 * Who asks has been found out before the connection became a WebSocket, as with any request, web pages of somebody else
 * among them; and is found out again now and then, as long as it lasts.
 */
import type { FastifyRequest } from 'fastify';
import type { WebSocket } from 'ws';
import { Failure } from '../../core/failure.ts';
import { LEGACY_PROTOCOL, speakLegacy } from './legacy-protocol.ts';
import { type Line, SocketCaller, type SocketParts } from './socket-caller.ts';
import { speakTransport, TRANSPORT_PROTOCOL } from './transport-protocol.ts';

/** Connections of one tenant. */
const CONNECTIONS_MOST = 100;
const BEAT_MS = 10_000;
/** What may wait for a reader. Whoever has more waiting does not read, and only asks. */
const UNREAD_BYTES = 4 * 1024 * 1024;
const LAST_WORDS_MS = 1_000;

const GOING_AWAY = 1001;
const BAD_REQUEST = 4400;
const FORBIDDEN = 4403;

const SPEAKERS = { [TRANSPORT_PROTOCOL]: speakTransport, [LEGACY_PROTOCOL]: speakLegacy };

/** Which of the protocols that a client offers is spoken; false for none. */
export function protocolOf(offered: ReadonlySet<string>): keyof typeof SPEAKERS | false {
  return ([TRANSPORT_PROTOCOL, LEGACY_PROTOCOL] as const).find((one) => offered.has(one)) ?? false;
}

export class StashSockets {
  readonly #parts: SocketParts;
  readonly #byTenant = new Map<string, number>();

  constructor(parts: SocketParts) {
    this.#parts = parts;
  }

  /** Throws what a request to become a WebSocket is refused with. */
  assertAcceptable({ headers, tenancy }: FastifyRequest): void {
    const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((one) => one.trim());
    if (protocolOf(new Set(offered)) === false) {
      const words = `A WebSocket here speaks ${TRANSPORT_PROTOCOL} or ${LEGACY_PROTOCOL}: name one of them as its subprotocol`;
      throw new Failure('invalid_request', words);
    }
    if ((this.#byTenant.get(tenancy.key) ?? 0) < CONNECTIONS_MOST) return;
    const limit = {
      name: 'webSockets',
      allowed: CONNECTIONS_MOST,
      observed: CONNECTIONS_MOST + 1,
      unit: 'count',
    } as const;
    throw new Failure('concurrency_limited', `This tenant has ${CONNECTIONS_MOST} WebSockets on this node already`, {
      limit,
      retryable: true,
      retryAfterMs: 5_000,
    });
  }

  /** Takes a WebSocket over until it ends. */
  open(socket: WebSocket, request: FastifyRequest): void {
    const caller = new SocketCaller(request, this.#parts, () => socket.close(FORBIDDEN, 'Forbidden'));
    const { key } = request.tenancy;
    this.#byTenant.set(key, (this.#byTenant.get(key) ?? 0) + 1);
    const speaker = SPEAKERS[socket.protocol as keyof typeof SPEAKERS](caller, lineOf(socket));
    let isAlive = true;
    const beat = setInterval(() => {
      if (!isAlive) return socket.terminate();
      isAlive = false;
      socket.ping();
      request.tenancy.usedAt = performance.now();
      speaker.beat?.();
      // What cannot be found out now is found out the next time.
      caller.assertEntitled().catch(() => {});
    }, BEAT_MS).unref();
    socket.on('pong', () => {
      isAlive = true;
    });
    socket.on('ping', () => endIfUnread(socket));
    socket.on('message', (text, isBinary) => {
      endIfUnread(socket);
      if (isBinary) return socket.close(UNSUPPORTED, 'Messages are text');
      // Or there is nobody any more to be told anything.
      speaker.hear(String(text)).catch(() => socket.close(BAD_REQUEST, 'This is no message of the protocol'));
    });
    socket.on('error', () => socket.terminate());
    socket.on('close', () => {
      clearInterval(beat);
      caller[Symbol.dispose]();
      speaker.closed();
      const left = (this.#byTenant.get(key) ?? 0) - 1;
      if (left > 0) this.#byTenant.set(key, left);
      else this.#byTenant.delete(key);
    });
  }
}

const UNSUPPORTED = 1003;

function lineOf(socket: WebSocket): Line {
  return {
    send: (text) =>
      new Promise((resolve, reject) => {
        socket.send(text, (error) => (error ? reject(error) : resolve()));
        // Whoever keeps the connection alive, and reads nothing of what is sent.
        endIfUnread(socket);
      }),
    close: (code, reason) => socket.close(code, reason),
  };
}

function endIfUnread(socket: WebSocket): void {
  if (socket.bufferedAmount > UNREAD_BYTES) socket.terminate();
}

/** Says goodbye to all, and ends whoever does not answer. */
export function endAll(sockets: Iterable<WebSocket>): void {
  for (const socket of sockets) {
    socket.close(GOING_AWAY, 'The service is shutting down');
    const late = setTimeout(() => socket.terminate(), LAST_WORDS_MS);
    socket.once('close', () => clearTimeout(late));
  }
}
