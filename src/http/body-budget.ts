import type { FastifyRequest } from 'fastify';
import { Failure } from '../core/failure.ts';
import type { App } from './app.ts';

/** Bodies below this are not counted: connections bound them well enough. */
const LIGHT_BYTES = 64 * 1024;

/**
 * Bounds what the bodies of all requests may take together, from the head of a request until its answer has been sent:
 * what a body becomes in memory is many times its size, and it is kept for as long as its invocation waits and runs.
 * Whoever does not fit in is refused before anything is read.
 */
export function budgetBodies(app: App, { each, all }: { each: number; all: number }): void {
  let taken = 0;
  app.addHook('onRequest', (request, reply, done) => {
    const bytes = announced(request, request.routeOptions.bodyLimit ?? each);
    if (bytes <= LIGHT_BYTES) return done();
    if (taken + bytes > all) {
      const limit = { name: 'requestBytesAtOnce', allowed: all, observed: taken + bytes, unit: 'bytes' } as const;
      const words = 'The requests that are under way have all the memory there is for them';
      return done(new Failure('overloaded', words, { limit, retryable: true, retryAfterMs: 1000 }));
    }
    taken += bytes;
    reply.raw.once('close', () => {
      taken -= bytes;
    });
    done();
  });
}

/** A body without a length may become as long as any. */
function announced({ headers }: FastifyRequest, most: number): number {
  const length = headers['content-length'];
  if (length === undefined) return headers['transfer-encoding'] === undefined ? 0 : most;
  return Math.min(Number(length), most);
}
