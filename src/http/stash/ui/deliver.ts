import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Failure } from '../../../core/failure.ts';
import { sendProblem } from '../../errors.ts';
import { wantedOf } from './conditional.ts';
import { FENCE } from './media-type.ts';

/** Something to be sent whole or in part. It is let go of when that is done. */
export type Content = {
  bytes: number;
  etag: string;
  headers: Record<string, string>;
  /** Exactly so many bytes, or an error. */
  read(from: number, length: number): Readable;
} & AsyncDisposable;

/**
 * Answers with as much of it as the request wants. The connection is cut when there turns out to be less than was
 * promised: nothing else may follow on it then.
 */
export async function deliver(request: FastifyRequest, reply: FastifyReply, content: Content): Promise<void> {
  await using it = content;
  const wanted = wantedOf(request.method, request.headers, it);
  if (wanted.status === 412 || wanted.status === 416) {
    if (wanted.status === 416) reply.header('content-range', `bytes */${it.bytes}`);
    const failure = new Failure('invalid_request', SENTENCES[wanted.status]);
    sendProblem(reply, failure, { status: wanted.status });
    return;
  }
  const { 'content-type': type = '', ...others } = it.headers;
  const headers: Record<string, string | number> = { ...FENCE, ...others, etag: it.etag, 'accept-ranges': 'bytes' };
  if (wanted.status !== 304) {
    headers['content-type'] = type;
    headers['content-length'] = wanted.length;
  }
  if (wanted.status === 206) {
    headers['content-range'] = `bytes ${wanted.from}-${wanted.from + wanted.length - 1}/${it.bytes}`;
  }
  reply.hijack();
  const { raw } = reply;
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value);
  raw.writeHead(wanted.status, headers);
  if (wanted.status === 304 || request.method === 'HEAD') raw.end();
  // Whoever goes away, and a file that shrinks, end the connection, which is all that is left to do.
  else await pipeline(it.read(wanted.from, wanted.length), raw).catch(() => raw.destroy());
}

const SENTENCES = {
  412: 'It is not what If-Match names any more',
  416: 'The Range begins behind the end',
} as const;
