import { type ClientRequest, type IncomingMessage, type ServerResponse, request as send } from 'node:http';
import { pipeline } from 'node:stream';
import { INTERIM_MOST } from '../../core/interim.ts';
import type { OpenSession } from '../sessions.ts';
import type { Allowance } from './allowance.ts';
import type { Egress, Wish } from './egress.ts';
import { bytesOf, passedOn, REASON_HEADER, valuesOf } from './headers.ts';
import { answer, failure, refusal } from './refusal.ts';
import { agrees, type Target, targetOfUrl } from './target.ts';

const HTTP = 80;

/** One request for another host, over a connection of its own. Redirects are the caller's to follow: as new requests. */
export async function forward(
  egress: Egress,
  session: OpenSession,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  request.on('error', () => {});
  const { wish, path } = asked(request);
  const way = await egress.open(session, wish, gone.signal);
  if ('refused' in way) return answer(response, refusal(way.refused));
  if ('failed' in way) return answer(response, failure(way.failed));
  const { socket, allowance } = way;
  // Ours when it has been answered, gone when nobody is there for an answer.
  if (gone.signal.aborted) return void socket.destroy();
  gone.signal.addEventListener('abort', () => socket.destroy(), { once: true });

  let outgoing: ClientRequest;
  try {
    const headers = headersFor(request, wish.target as Target);
    allowance.take(bytesOf(headers));
    outgoing = send({
      createConnection: () => socket,
      method: request.method ?? 'GET',
      path,
      // Flat, which the types do not know: as they came, in their order.
      headers: headers as unknown as Record<string, string>,
    });
  } catch {
    socket.destroy();
    return answer(response, refusal('malformed'));
  }
  outgoing.maxHeadersCount = 0;
  const fail = () => {
    socket.destroy();
    // What has begun is broken off by whoever passes it on.
    if (!response.headersSent) answer(response, allowance.isExhausted ? refusal('exhausted') : failure('garbled'));
  };
  // Some of what goes wrong with an answer is told by the end alone.
  outgoing.on('error', fail).on('close', fail);
  let interim = 0;
  outgoing.on('information', ({ rawHeaders }) => {
    interim += 1;
    if (!allowance.take(bytesOf(rawHeaders)) || interim > INTERIM_MOST) fail();
  });
  // What has come in one piece is told even after it was broken off.
  outgoing.on('response', (incoming) => socket.destroyed || passBack(incoming, allowance, request, response));
  const counted = allowance.counted();
  counted.on('error', fail);
  request.pipe(counted).pipe(outgoing);
}

function passBack(
  incoming: IncomingMessage,
  allowance: Allowance,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  allowance.take(bytesOf(incoming.rawHeaders));
  // Nobody reads the rest of a request that was answered early.
  const last = request.complete ? [] : ['Connection', 'close'];
  response.sendDate = false;
  try {
    const headers = [...passedOn(incoming.rawHeaders), REASON_HEADER, 'granted', ...last];
    response.writeHead(incoming.statusCode ?? 502, incoming.statusMessage ?? '', headers);
  } catch {
    incoming.destroy();
    return answer(response, failure('garbled'));
  }
  pipeline(incoming, allowance.counted(), response, (error) => {
    if (error) response.destroy();
  });
}

/** What is wanted, and the path to ask for there. */
function asked({ url = '', rawHeaders }: IncomingMessage): { wish: Wish; path: string } {
  const found = targetOfUrl(url);
  const words = url.replace(/^(\w+:\/\/[^/?#]*).*$/s, '$1');
  const lengths = valuesOf(rawHeaders, 'content-length');
  const encodings = valuesOf(rawHeaders, 'transfer-encoding');
  const isFramed =
    lengths.length + encodings.length <= 1 && encodings.every((one) => one.trim().toLowerCase() === 'chunked');
  const isFine = found !== null && isFramed && agrees(valuesOf(rawHeaders, 'host'), found.target, HTTP);
  return { wish: { words, target: isFine ? found.target : null }, path: found?.path ?? '/' };
}

/** As Node has it for requests that need not say how long they are. */
const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE']);

function headersFor({ rawHeaders, method = 'GET' }: IncomingMessage, { host, port }: Target): string[] {
  const kept = passedOn(rawHeaders);
  const headers = ['Host', port === HTTP ? host : `${host}:${port}`];
  for (let at = 0; at + 1 < kept.length; at += 2) {
    if (kept[at]?.toLowerCase() !== 'host') headers.push(kept[at] as string, kept[at + 1] as string);
  }
  if (valuesOf(rawHeaders, 'transfer-encoding').length > 0) headers.push('Transfer-Encoding', 'chunked');
  else if (valuesOf(rawHeaders, 'content-length').length === 0 && !BODILESS.has(method)) {
    headers.push('Content-Length', '0');
  }
  return [...headers, 'Via', '1.1 isopod', 'Connection', 'close'];
}
