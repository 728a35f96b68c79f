import { fastifySSE } from '@fastify/sse';
import type { FastifyReply } from 'fastify';
import { onAbort } from '../core/signal.ts';
import type { App } from './app.ts';

/** A comment, so that nobody on the way takes the connection for dead. */
const HEARTBEAT_MS = 10_000;

/** Server-sent events, for routes with `sse: { kind: 'manual' }`. */
export async function serverSentEvents(app: App): Promise<void> {
  await app.register(fastifySSE, { heartbeatInterval: HEARTBEAT_MS, serializer: String });
}

/** Resolves when it was written, or the client has gone. */
export type Send = (id: string, event: string, data: string) => Promise<void>;

/** `gone` is aborted when the client has gone. */
export function openStream(reply: FastifyReply): { send: Send; gone: AbortSignal } {
  const gone = new AbortController();
  reply.sse.onClose(() => gone.abort());
  const send: Send = async (id, event, data) => {
    if (gone.signal.aborted) return;
    // What is written to a client that has gone is never said to have been.
    const { promise: left, resolve } = Promise.withResolvers<void>();
    using _left = onAbort(gone.signal, () => resolve());
    await Promise.race([reply.sse.send({ id, event, data }), left]);
  };
  return { send, gone: gone.signal };
}
