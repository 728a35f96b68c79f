import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { OpenSession } from '../sessions.ts';
import type { Egress, Wish } from './egress.ts';
import { REASON_HEADER, valuesOf } from './headers.ts';
import { answerRaw, failure, refusal } from './refusal.ts';
import { agrees, targetOfConnect } from './target.ts';

/** Bytes both ways, whatever they are, to the host that CONNECT names. Either side may end its own way first. */
export async function tunnel(
  egress: Egress,
  session: OpenSession,
  request: IncomingMessage,
  client: Socket,
  head: Buffer,
): Promise<void> {
  const gone = new AbortController();
  client.once('close', () => gone.abort());
  const way = await egress.open(session, wishOf(request), gone.signal);
  if ('refused' in way) return answerRaw(client, refusal(way.refused));
  if ('failed' in way) return answerRaw(client, failure(way.failed));
  const { socket: server, allowance } = way;
  const end = () => {
    client.destroy();
    server.destroy();
  };
  if (client.destroyed) return end();
  client.once('close', () => server.destroy());
  server.once('close', () => {
    // What it has said in the end may still be on its way.
    if (!server.readableEnded || client.writableFinished) client.destroy();
    else client.once('finish', () => client.destroy());
  });
  client.write(`HTTP/1.1 200 Connection Established\r\n${REASON_HEADER}: granted\r\n\r\n`);
  if (head.length > 0) client.unshift(head);
  client.pipe(allowance.counted().on('error', end)).pipe(server);
  server.pipe(allowance.counted().on('error', end)).pipe(client);
}

function wishOf({ url = '', rawHeaders }: IncomingMessage): Wish {
  const target = targetOfConnect(url);
  const hasBody = ['content-length', 'transfer-encoding'].some((name) => valuesOf(rawHeaders, name).length > 0);
  // Some name the host alone there.
  const isFine = target !== null && !hasBody && agrees(valuesOf(rawHeaders, 'host'), target, target.port);
  return { words: url, target: isFine ? target : null };
}
