import type { IncomingMessage, ServerResponse } from 'node:http';

/** What takes longer to arrive is not waited for. */
const MOST_MS = 1_000;

type Reply = { raw: ServerResponse; header(name: string, value: string): unknown };

/**
 * A hook of Fastify's, `onSend`. A connection that is closed while its caller still sends is torn from under it, and what
 * we have answered with it: so what nobody has read of a body is read away first. Who has not come to the end of it after
 * a moment may go on, and is not listened to any more.
 */
export function readAway<P>(
  { raw }: { raw: IncomingMessage },
  reply: Reply,
  payload: P,
  done: (error: null, payload: P) => void,
): void {
  restOf(raw, (rest) => {
    if (rest === 'more') reply.header('connection', 'close');
    done(null, payload);
  });
}

/** Reads away what is left of a body, for a moment; at once where there is nothing. Says whether there is more of it. */
export function restOf(request: IncomingMessage, done: (rest: 'none' | 'more') => void): void {
  if (request.complete || request.destroyed || !hasBody(request)) return done('none');
  const over = () => {
    clearTimeout(late);
    request.off('end', over).off('close', over);
    done(request.complete ? 'none' : 'more');
  };
  const late = setTimeout(over, MOST_MS);
  request.once('end', over).once('close', over).resume();
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
