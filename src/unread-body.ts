import type { IncomingMessage, ServerResponse } from 'node:http';

/** What takes longer to arrive is not waited for. */
const MOST_MS = 1_000;

type Exchange = { raw: IncomingMessage };
type Answer = { raw: ServerResponse; getHeader(name: string): unknown };

/**
 * A hook of Fastify's, `onSend`. A connection that is closed while its caller still sends is torn from under it, and what
 * we have answered with it: so what nobody has read of a body is read away first, for a moment.
 */
export function readAway<P>(
  request: Exchange,
  reply: Answer,
  payload: P,
  done: (error: null, payload: P) => void,
): void {
  const { raw } = request;
  if (raw.complete || !hasBody(raw) || stays(reply)) return done(null, payload);
  const over = () => {
    clearTimeout(late);
    raw.off('end', over).off('close', over);
    done(null, payload);
  };
  const late = setTimeout(over, MOST_MS);
  raw.once('end', over).once('close', over).resume();
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Node itself reads away what is left of a body where another request may follow. */
function stays(reply: Answer): boolean {
  return reply.raw.shouldKeepAlive && reply.getHeader('connection') !== 'close';
}
