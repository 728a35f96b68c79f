/**
 * A page of somebody else's can make a browser send a request, but cannot read what `GET /csrf-token` answers: so whoever
 * changes something and shows no token of ours shows that one. Contract: SillyTavern's `csrf-sync`.
 */
import cookie from '@fastify/cookie';
import csrfProtection from '@fastify/csrf-protection';
import type { FastifyError, FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify';
import { Type } from 'typebox';
import { Failure } from '../../core/failure.ts';
import type { App } from '../app.ts';
import { shownIn } from '../auth.ts';
import { Problems } from '../schemas.ts';
import { SESSION_COOKIE } from './cookies.ts';

export type CsrfOptions = {
  /** What our cookie is signed with: the same on all nodes. */
  csrfKey: Buffer;
  settings: { csrf: 'on' | 'off' };
};

export type Protect = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => void;

/** As their clients know it where nothing is checked. */
const DISABLED = 'disabled';

const EXEMPT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

export async function csrf(scope: App, { csrfKey, settings }: CsrfOptions): Promise<Protect> {
  await scope.register(cookie, { secret: csrfKey.toString('base64url') });
  await scope.register(csrfProtection, {
    cookieKey: SESSION_COOKIE,
    cookieOpts: { path: '/', httpOnly: true, sameSite: 'strict', signed: true },
    getToken: ({ headers }) => {
      const shown = headers['x-csrf-token'];
      return typeof shown === 'string' ? shown : undefined;
    },
  });

  scope.get(
    '/csrf-token',
    {
      config: { scope: 'invoke' },
      schema: {
        operationId: 'csrfToken',
        summary: 'What to show in x-csrf-token, with the cookie that comes along',
        description: 'For pages that ask routes of server plugins and have no token of ours.',
        tags: ['plugins'],
        response: { 200: Type.Object({ token: Type.String() }), ...Problems(401, 403, 404, 429, 503) },
      },
    },
    async (_request, reply) => {
      reply.header('cache-control', 'no-store');
      return { token: settings.csrf === 'off' ? DISABLED : reply.generateCsrf() };
    },
  );

  if (settings.csrf === 'off') return (_request, _reply, done) => done();
  return (request, reply, done) => {
    // Not what a browser sends by itself.
    if (EXEMPT.has(request.method) || shownIn(request.headers, {}) !== undefined) return done();
    scope.csrfProtection(request, reply, done);
  };
}

type Handler = (error: unknown, request: FastifyRequest, reply: FastifyReply) => FastifyReply;

export function refusingStrangers(handle: Handler): Handler {
  return (error, request, reply) => {
    const { code } = error as Partial<FastifyError>;
    const isOfCsrf = code === 'FST_CSRF_MISSING_SECRET' || code === 'FST_CSRF_INVALID_TOKEN';
    return handle(isOfCsrf ? stranger(code) : error, request, reply);
  };
}

function stranger(code: string): Failure {
  const wrong =
    code === 'FST_CSRF_MISSING_SECRET'
      ? 'the cookie of GET /csrf-token is missing'
      : 'the header x-csrf-token is wrong';
  const words = `This needs a token of ours, or what GET /csrf-token answers in the header x-csrf-token, with its cookie: ${wrong}`;
  return new Failure('forbidden', words);
}
