/**
 * Who may talk to us, and about whose plugins. A token is an operator's, who may do everything for all tenants, or one
 * that a tenant has, which opens that tenant alone. Without operators' tokens in the configuration, whoever is on this
 * machine is an operator, but for web pages of somebody else. A page can make a browser send requests to loopback, and
 * can point a host name of its own at it (DNS rebinding); so `Host` must be a loopback name, and `Origin` must be ours.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import type { FastifyContextConfig, FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify';
import { Failure } from '../core/failure.ts';
import { DEFAULT_TENANT, includes, type Scope } from '../core/tenant.ts';
import type { Bearers, Found, Held } from '../engine/bearers.ts';
import { noTenant } from '../engine/invoker.ts';
import type { Tenancies } from '../engine/tenancies.ts';
import type { Tenancy } from '../engine/tenancy.ts';
import { rateLimit } from './rate-limit.ts';
import { tenantIn } from './tenant-path.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose plugins this request is about. */
    tenant: string;
    /** What is loaded of that tenant. Neither is there on open routes. */
    tenancy: Tenancy;
    caller: Caller;
  }
  interface FastifyContextConfig {
    /** Answers anybody: says nothing about anyone. */
    open?: boolean;
    /** What a token must allow. A route that is not open and says nothing here is for operators alone. */
    scope?: Scope;
    /** Tokens may be shown as API keys there, too: `X-API-Key: t`, or `Authorization: ApiKey t`. */
    apiKeys?: boolean;
  }
}

/** Who asks. */
export type Caller = {
  /** Of the tenant whose token it is; an operator's, where no path says otherwise. */
  tenant: string;
  scopes: readonly Scope[];
  isOperator: boolean;
  /** What a tenant's token was found to open; null for an operator. */
  held: Held | null;
};

export type AuthOptions = { tokens: readonly string[]; bearers: Bearers; tenancies: Tenancies };

type Hook = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => void;

export function authenticate({ tokens, bearers, tenancies }: AuthOptions): Hook {
  const digests = tokens.map(digest);
  const callerOf = ({ headers }: FastifyRequest, config: FastifyContextConfig) => {
    const shown = shownIn(headers, config);
    if (tokens.length === 0) return openCaller(headers, shown, bearers);
    return shown === undefined ? nobodyKnown(headers) : tokenCaller(shown, digests, bearers);
  };
  return (request, reply, done) => {
    // Made anew each time it is asked for.
    const { config } = request.routeOptions;
    if (config.open === true) return done();
    const caller = callerOf(request, config);
    if (!(caller instanceof Promise)) return enter({ request, reply, config, done }, caller, tenancies);
    caller.then((one) => enter({ request, reply, config, done }, one, tenancies), done);
  };
}

type Rights = Pick<AuthOptions, 'bearers' | 'tenancies'>;

/**
 * For after the body was read, which may have taken a minute: whoever has lost their token or their tenant meanwhile is
 * answered as if they had only come now, whoever has got the tenant's name.
 */
export function authenticateAgain(rights: Rights): Hook {
  return (request, _reply, done) => {
    // Open routes have neither a tenant nor a caller.
    if (request.tenancy === null || isCurrent(request, rights)) return done();
    stillEntitled(request, rights).then(done, done);
  };
}

/** For what goes on long after its request. Rejects where that would not be let in any more. */
export async function stillEntitled(request: FastifyRequest, rights: Rights): Promise<undefined> {
  if (!isCurrent(request, rights)) await renewed(request, rights);
}

function isCurrent({ tenancy, caller: { held } }: FastifyRequest, { tenancies }: Rights): boolean {
  return tenancies.has(tenancy) && (held === null || held.until > Date.now());
}

async function renewed(request: FastifyRequest, { bearers, tenancies }: Rights): Promise<void> {
  const { caller, headers, routeOptions } = request;
  if (caller.held !== null) {
    const now = await bearer(shownIn(headers, routeOptions.config) ?? '', bearers);
    if (now instanceof Failure) throw now;
    request.caller = now;
  }
  const tenancy = await tenancies.again(request.tenancy);
  if (tenancy === undefined) throw caller.held === null ? noTenant(request.tenant) : judged(undefined);
  request.tenancy = tenancy;
}

// ── who asks ──────────────────────────────────────────────────────────────────────────────────────────────────────

type Judged = Caller | Failure;

const OPERATOR: Caller = Object.freeze({
  tenant: DEFAULT_TENANT,
  scopes: ['admin'] as const,
  isOperator: true,
  held: null,
});

function nobodyKnown({ authorization }: FastifyRequest['headers']): Failure {
  const words = authorization === undefined ? 'This needs a token' : 'The Authorization header is not "Bearer <token>"';
  return new Failure('unauthenticated', words);
}

function tokenCaller(shown: string, digests: readonly Buffer[], bearers: Bearers): Judged | Promise<Judged> {
  const mine = digest(shown);
  let known = false;
  // Always all of them: how long it takes must not tell how close a guess was.
  for (const one of digests) known = timingSafeEqual(one, mine) || known;
  return known ? OPERATOR : bearer(shown, bearers);
}

/** A token that is shown counts as what it is; whoever holds a revoked one is nobody, wherever they are. */
function openCaller(
  headers: FastifyRequest['headers'],
  shown: string | undefined,
  bearers: Bearers,
): Judged | Promise<Judged> {
  if (shown !== undefined) return bearer(shown, bearers);
  return stranger(headers) ?? OPERATOR;
}

function bearer(secret: string, bearers: Bearers): Judged | Promise<Judged> {
  const found = bearers.find(secret);
  return found instanceof Promise ? found.then(judged) : judged(found);
}

function judged(found: Found): Judged {
  if (found === undefined) return new Failure('unauthenticated', 'This token is not known');
  if ('token' in found) return { tenant: found.tenant, scopes: found.scopes, isOperator: false, held: found };
  const { ended, at } = found;
  const words = ended === 'expired' ? `This token expired at ${at.toISOString()}` : 'This token was revoked';
  return new Failure('unauthenticated', words);
}

/** The token that a request shows, in one of the ways in which its route takes it. */
export function shownIn(
  headers: FastifyRequest['headers'],
  { apiKeys = false }: FastifyContextConfig,
): string | undefined {
  const { authorization } = headers;
  const way = apiKeys ? /^(?:bearer|apikey) +(\S+)$/i : /^bearer +(\S+)$/i;
  const shown = authorization === undefined ? undefined : way.exec(authorization)?.[1];
  if (shown !== undefined || !apiKeys) return shown;
  const key = headers['x-api-key'];
  // Sent twice, it has a comma and a space in it.
  return typeof key === 'string' && /^\S+$/.test(key) ? key : undefined;
}

// ── what they may do, and with whose plugins ──────────────────────────────────────────────────────────────────────

type Entering = {
  request: FastifyRequest;
  reply: FastifyReply;
  config: FastifyContextConfig & { url?: string };
  done: HookHandlerDoneFunction;
};

function enter(entering: Entering, caller: Judged, tenancies: Tenancies): void {
  const { request, config, done } = entering;
  if (caller instanceof Failure) return done(caller);
  const id = tenantIn(request.originalUrl) ?? caller.tenant;
  if (!caller.isOperator) {
    if (id !== caller.tenant) return done(noTenant(id));
    // What is not there has no address, and needs no scope.
    const refusal = config.url === undefined ? undefined : missing(caller, config.scope);
    if (refusal !== undefined) return done(refusal);
  }
  request.tenant = id;
  request.caller = caller;
  const tenancy = tenancies.find(id);
  if (tenancy instanceof Promise) tenancy.then((one) => admit(entering, one), done);
  else admit(entering, tenancy);
}

function admit({ request, reply, done }: Entering, tenancy: Tenancy | undefined): void {
  if (tenancy === undefined) return done(noTenant(request.tenant));
  tenancy.usedAt = performance.now();
  request.tenancy = tenancy;
  if (tenancy.rate === null) return done();
  tenancy.rate.take().then((allowance) => {
    reply.headers(rateLimit('quotas.requestsPerSecond', allowance));
    done();
  }, done);
}

function missing({ scopes }: Caller, needed: Scope | undefined): Failure | undefined {
  if (needed === undefined) return new Failure('forbidden', 'Only an operator of this service may do this');
  if (includes(scopes, needed)) return undefined;
  const has = scopes.length === 0 ? 'none' : scopes.map((one) => `"${one}"`).join(', ');
  return new Failure('forbidden', `This needs a token with the scope "${needed}"; this one has ${has}`);
}

function digest(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}

function stranger(headers: FastifyRequest['headers']): Failure | undefined {
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
}

/** Whether a `Host` header names this machine. */
export function isLoopbackHost(host: string): boolean {
  return /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]|localhost)(:\d{1,5})?$/i.test(host);
}

/** Whether nobody from outside this machine can reach an address we listen on. */
export function isLoopbackAddress(address: string): boolean {
  return address === '::1' || (!address.includes(':') && isLoopbackHost(address));
}
