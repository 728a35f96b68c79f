import type { FastifyReply } from 'fastify';
import { Failure } from '../core/failure.ts';
import type { Running } from '../engine/invoker.ts';

/** Aborts when the caller goes away before they were answered. */
export function callerSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  whenGone(reply, (failure) => gone.abort(failure));
  return gone.signal;
}

/** The same for an invocation, which ends then. */
export function stopWhenGone(reply: FastifyReply, running: Running): void {
  whenGone(reply, running.stop);
}

// Not `request.signal`: Fastify fires that one as soon as the body has been read.
function whenGone(reply: FastifyReply, tell: (failure: Failure) => void): void {
  const leave = () => {
    if (!reply.raw.writableFinished) tell(new Failure('cancelled', 'The caller went away', { mayGoOn: true }));
  };
  if (reply.raw.destroyed) leave();
  else reply.raw.once('close', leave);
}
