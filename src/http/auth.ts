/**
 * Who may talk to us. With tokens configured: whoever shows one. Without: whoever is on this machine and is not a web
 * page of somebody else. A page can make a browser send requests to loopback, and can point a host name of its own at
 * it (DNS rebinding); so `Host` must be a loopback name, and `Origin` must be ours.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify';
import { Failure } from '../core/failure.ts';
import type { Scope } from '../core/tenant.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose plugins this request is about. */
    tenant: string;
  }
  interface FastifyContextConfig {
    /** Answers anybody: says nothing about anyone. */
    open?: boolean;
    /** What the bearer of a token must be allowed. */
    scope?: Scope;
  }
}

/** The only tenant there is until tokens name theirs. */
export const TENANT = 'default';

type Hook = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => void;

export function authenticate(tokens: readonly string[]): Hook {
  const refusal = tokens.length === 0 ? stranger : noToken(tokens.map(digest));
  return (request, _reply, done) => {
    done(request.routeOptions.config.open === true ? undefined : refusal(request.headers));
  };
}

type Refusal = (headers: FastifyRequest['headers']) => Failure | undefined;

function noToken(digests: readonly Buffer[]): Refusal {
  return ({ authorization }) => {
    if (authorization === undefined) return new Failure('unauthenticated', 'This needs a token');
    const shown = /^bearer +(\S+)$/i.exec(authorization)?.[1];
    if (shown === undefined) return new Failure('unauthenticated', 'The Authorization header is not "Bearer <token>"');
    const mine = digest(shown);
    let known = false;
    // Always all of them: how long it takes must not tell how close a guess was.
    for (const one of digests) known = timingSafeEqual(one, mine) || known;
    return known ? undefined : new Failure('unauthenticated', 'This token is not known');
  };
}

function digest(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}

const stranger: Refusal = (headers) => {
  const { host, origin } = headers;
  if (host === undefined || !isLoopbackHost(host)) {
    return new Failure('forbidden', 'Without a token this service answers only to a loopback name in the Host header');
  }
  if (origin !== undefined && origin !== `http://${host}`) {
    return new Failure('forbidden', 'Without a token this service does not answer pages of another origin');
  }
  const site = headers['sec-fetch-site'];
  if (site === 'cross-site' || site === 'same-site') {
    return new Failure('forbidden', 'Without a token this service does not answer pages of another origin');
  }
  return undefined;
};

/** Whether a `Host` header names this machine. */
export function isLoopbackHost(host: string): boolean {
  return /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]|localhost)(:\d{1,5})?$/i.test(host);
}

/** Whether nobody from outside this machine can reach an address we listen on. */
export function isLoopbackAddress(address: string): boolean {
  return address === '::1' || (!address.includes(':') && isLoopbackHost(address));
}
