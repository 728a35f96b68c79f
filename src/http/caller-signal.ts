import type { FastifyReply } from 'fastify';
import { Failure } from '../core/failure.ts';

/** Aborts when the caller goes away before they were answered. */
export function callerSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  // Not `request.signal`: Fastify fires that one as soon as the body has been read.
  const leave = () => {
    if (!reply.raw.writableFinished) gone.abort(new Failure('cancelled', 'The caller went away'));
  };
  if (reply.raw.destroyed) leave();
  else reply.raw.once('close', leave);
  return gone.signal;
}
