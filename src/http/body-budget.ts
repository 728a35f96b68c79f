import type { Socket } from 'node:net';
import type { FastifyRequest } from 'fastify';
import { Failure } from '../core/failure.ts';
import { mayTake, partOf } from '../core/fairness.ts';
import type { App } from './app.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Its body goes on as it comes, and no more of it is held than what is under way. */
    streams?: boolean;
  }
}

/** Bodies below this are not counted: connections bound them well enough. */
const LIGHT_BYTES = 64 * 1024;
/** What has to arrive of a counted body in each `paceMs`. */
const PACE_BYTES = 64 * 1024;

export type BodyBudget = {
  /** The most that a body may have where its route does not say. */
  each: number;
  all: number;
  paceMs: number;
  /** Answers whoever sends too slowly, and ends the connection. */
  refuseSlow(socket: Socket): void;
};

/**
 * Bounds what the bodies of all requests may take together, from the head of a request until its answer has been sent:
 * what a body becomes in memory is many times its size, and it is kept for as long as its invocation waits and runs.
 * Whoever does not fit in is refused before anything is read. No tenant may take more while it has twice what is left,
 * and what was announced has to come.
 */
export function budgetBodies(app: App, { each, all, paceMs, refuseSlow }: BodyBudget): void {
  const byTenant = new Map<string, number>();
  let taken = 0;
  app.addHook('onRequest', (request, reply, done) => {
    const bytes = announced(request, request.routeOptions.bodyLimit ?? each);
    if (bytes <= LIGHT_BYTES || request.routeOptions.config.streams === true) return done();
    const { tenant } = request;
    const mine = byTenant.get(tenant) ?? 0;
    if (taken + bytes > all) {
      const limit = { name: 'requestBytesAtOnce', allowed: all, observed: taken + bytes, unit: 'bytes' } as const;
      const words = 'The requests that are under way have all the memory there is for them';
      return done(new Failure('overloaded', words, { limit, retryable: true, retryAfterMs: 1000 }));
    }
    if (!mayTake(mine, all - taken)) return done(overShare(partOf(all - taken + mine), mine + bytes));
    taken += bytes;
    byTenant.set(tenant, mine + bytes);
    const pace = setInterval(keepsPace(request), paceMs, refuseSlow).unref();
    reply.raw.once('close', () => {
      clearInterval(pace);
      taken -= bytes;
      const left = (byTenant.get(tenant) ?? 0) - bytes;
      if (left > 0) byTenant.set(tenant, left);
      else byTenant.delete(tenant);
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

function overShare(allowed: number, observed: number): Failure {
  const limit = { name: 'requestBytesAtOnce', allowed, observed, unit: 'bytes' } as const;
  const words = 'The requests of this tenant that are under way have its part of the memory for requests';
  return new Failure('concurrency_limited', words, { limit, retryable: true, retryAfterMs: 1000 });
}

/** To be called again and again: `refuse` is called when too little of the body has come since the last time. */
function keepsPace({ raw }: FastifyRequest): (refuse: BodyBudget['refuseSlow']) => void {
  const { socket } = raw;
  let seen = socket.bytesRead;
  return (refuse) => {
    if (raw.complete) return;
    if (socket.bytesRead - seen < PACE_BYTES) refuse(socket);
    seen = socket.bytesRead;
  };
}
