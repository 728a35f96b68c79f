/**
 * The HTTP side of the service: routes, who may use them, and what an error looks like. It knows how to ask the
 * engine, and nothing of what is behind it.
 */
import type { Socket } from 'node:net';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type RawReplyDefaultExpression,
  type RawRequestDefaultExpression,
  type RawServerDefault,
} from 'fastify';
import { Failure } from '../core/failure.ts';
import type { Residencies } from '../engine/residencies.ts';
import type { Tenancy } from '../engine/tenancy.ts';
import { Incoming } from '../listening/incoming.ts';
import { readAway } from '../listening/unread-body.ts';
import { AnswerBudget } from './answer-budget.ts';
import { type AuthOptions, authenticate, authenticateAgain, type Caller } from './auth.ts';
import { budgetBodies } from './body-budget.ts';
import { type DispatcharrParts, dispatcharr, MOUNT } from './dispatcharr/scope.ts';
import { docs } from './docs.ts';
import { errorHandler, problem, sendProblem } from './errors.ts';
import { type EventRoutes, events } from './events.ts';
import { type HookRoutes, hooks } from './hooks.ts';
import { type InvocationRoutes, invocations } from './invocations.ts';
import { jobEvents } from './job-events.ts';
import { type JobRoutes, jobs } from './jobs.ts';
import { parseJson } from './json.ts';
import { type OrderRoutes, orders } from './orders.ts';
import { type PackageRoutes, packages } from './packages.ts';
import { type PermissionRoutes, permissions } from './permissions.ts';
import { type PluginRoutes, plugins } from './plugins.ts';
import { type ResidentRoutes, residents } from './residents.ts';
import { type SettingsRoutes, settings } from './settings.ts';
import { type SillyTavernParts, sillytavern } from './sillytavern/scope.ts';
import { serverSentEvents } from './sse.ts';
import { isUpgrade, type StashRoutes, stash } from './stash/routes.ts';
import { uiPage } from './stash/ui/page.ts';
import { uiParts } from './stash/ui/parts.ts';
import { type SystemRoutes, system } from './system.ts';
import { withoutTenant } from './tenant-path.ts';
import { type TenantRoutes, tenants } from './tenants.ts';
import { tokens } from './tokens.ts';
import { type UpdateRoutes, updates } from './updates.ts';

export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression<RawServerDefault>,
  RawReplyDefaultExpression<RawServerDefault>,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

export type AppOptions = {
  requestBytes: number;
  /** The bodies of all requests under way, in bytes. */
  requestBytesAtOnce: number;
  version: string;
  /** How long a caller may take to send a request, and its head alone. Answers have no such limit. */
  requestMs?: number;
  headersMs?: number;
  /** A large body has to come in steadily: some of it each time that so long has passed. */
  paceMs?: number;
  /** Told of every error that is our own bug. */
  bug(error: unknown, invocation: string | undefined): void;
} & AuthOptions &
  Omit<PluginRoutes, 'answers' | 'heard'> &
  ResidentRoutes &
  UpdateRoutes &
  PackageRoutes &
  SettingsRoutes &
  PermissionRoutes &
  TenantRoutes &
  SystemRoutes &
  InvocationRoutes &
  EventRoutes &
  HookRoutes &
  JobRoutes &
  OrderRoutes &
  StashRoutes & { residencies: Residencies; dispatcharr: DispatcharrParts; sillytavern: SillyTavernParts };

export async function createApp(options: AppOptions): Promise<App> {
  const {
    requestBytes,
    requestBytesAtOnce,
    version,
    requestMs = 300_000,
    headersMs = 15_000,
    paceMs = 5_000,
    bug,
  } = options;
  const app: App = fastify({
    bodyLimit: requestBytes,
    requestTimeout: requestMs,
    // No time limit on a silent connection as such: a long invocation is one.
    connectionTimeout: 0,
    keepAliveTimeout: 65_000,
    http: {
      IncomingMessage: Incoming,
      // Whose machine is gone without a word is known to be within a minute.
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      headersTimeout: headersMs,
      connectionsCheckingInterval: Math.min(5_000, headersMs),
      shouldUpgradeCallback: isUpgrade,
    },
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    rewriteUrl: ({ url = '/' }) => withoutTenant(url),
    routerOptions: { maxParamLength: 512 },
    // What does not fit is refused, not bent until it does.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true, allErrors: false } },
    clientErrorHandler: refuseBytes,
    frameworkErrors: (error, _request, reply) => {
      sendProblem(reply, new Failure('invalid_request', error.message), { status: error.statusCode ?? 400 });
    },
  }).withTypeProvider<TypeBoxTypeProvider>();

  app.addHook('onSend', readAway);
  parseJson(app);
  app.decorateRequest('tenant', '');
  app.decorateRequest('tenancy', null as unknown as Tenancy);
  app.decorateRequest('caller', null as unknown as Caller);
  app.decorateRequest('invocation', '');
  app.addHook('onRequest', authenticate(options));
  budgetBodies(app, { each: requestBytes, all: requestBytesAtOnce, paceMs, refuseSlow });
  app.addHook('preValidation', authenticateAgain(options));
  app.setErrorHandler(errorHandler(requestBytes, bug));
  app.setNotFoundHandler((request, reply) => {
    const path = request.originalUrl.split('?', 1)[0];
    sendProblem(reply, new Failure('not_found', `There is nothing at ${request.method} ${path}`));
  });

  await docs(app, { version, tokens: options.tokens.length > 0 });
  const methods = methodsByUrl(app);
  invocations(app, options);
  jobs(app, options);
  await serverSentEvents(app);
  jobEvents(app, options);
  orders(app, options);
  await events(app, options);
  hooks(app, options);
  const answers = new AnswerBudget();
  plugins(app, { ...options, heard: options.dispatcharr.heard, answers });
  residents(app, options);
  updates(app, options);
  await packages(app, options);
  settings(app, options);
  permissions(app, options);
  tenants(app, options);
  tokens(app, options);
  uiParts(app);
  uiPage(app);
  await stash(app, options);
  await dispatcharr(app, { ...options, ...options.dispatcharr, answers });
  await sillytavern(app, { ...options, ...options.sillytavern });
  system(app, options);
  app.get('/openapi.json', { config: { open: true }, schema: { hide: true } }, () => app.swagger());
  // By other methods, /v1/plugins/reload is a plugin of that name.
  methods.delete('/v1/plugins/reload');
  // Dispatcharr's addresses say so in words of their own.
  const ours = [...methods].filter(([url]) => url !== MOUNT && !url.startsWith(`${MOUNT}/`));
  for (const [url, known] of ours) refuseOtherMethods(app, url, known);
  return app;
}

function methodsByUrl(app: App): Map<string, string[]> {
  const methods = new Map<string, string[]>();
  app.addHook('onRoute', ({ url, method }) => {
    methods.set(url, [...(methods.get(url) ?? []), ...[method].flat()]);
  });
  return methods;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

function refuseOtherMethods(app: App, url: string, known: readonly string[]): void {
  app.route({
    url,
    method: METHODS.filter((one) => !known.includes(one)),
    config: { scope: 'invoke' },
    schema: { hide: true },
    // Before the body: nobody will read it.
    onRequest: (request, reply) => {
      reply.header('allow', known.join(', '));
      const failure = new Failure(
        'invalid_request',
        `${request.method} is not possible here: there is ${known.join(', ')}`,
      );
      sendProblem(reply, failure, { status: 405 });
    },
    handler: () => undefined,
  });
}

/** Bytes that are no HTTP request, or came too slowly to be one: there is no request to answer, only a socket. */
function refuseBytes(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [line, sentence] = BYTES[error.code ?? ''] ?? ['400 Bad Request', 'This is not HTTP as we know it'];
  const { text, headers } = problem(new Failure('invalid_request', sentence), { status: Number.parseInt(line, 10) });
  const head = Object.entries({ ...headers, 'content-length': Buffer.byteLength(text), connection: 'close' });
  socket.end(`HTTP/1.1 ${line}\r\n${head.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${text}`);
  // Not half of it: whoever goes on sending would keep what is taken for the body.
  socket.destroySoon();
}

function refuseSlow(socket: Socket): void {
  refuseBytes(Object.assign(new Error('too slow'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket);
}

const BYTES: Record<string, [string, string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'The request took too long to arrive'],
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'The header of the request is too large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['413 Payload Too Large', 'The chunk extensions of the request are too large'],
};
