/** What there is at addresses, and by methods, that no route has: as Django has it. */
import type { FastifyRequest } from 'fastify';
import { Failure } from '../../core/failure.ts';
import type { App } from '../app.ts';
import { NOT_FOUND, sendDetail } from './details.ts';

const READING = ['GET', 'HEAD', 'OPTIONS'];
const WRITING = ['POST', 'PUT', 'PATCH', 'DELETE'];

/** The methods of all routes that are made in a scope after this, by their address below it. */
export function methodsIn(scope: App): Map<string, string[]> {
  const methods = new Map<string, string[]>();
  scope.addHook('onRoute', ({ routePath, method }) => {
    methods.set(routePath, [...new Set([...(methods.get(routePath) ?? []), ...[method].flat()])]);
  });
  return methods;
}

export function closeDeadEnds(scope: App, methods: ReadonlyMap<string, readonly string[]>): void {
  // As it is now: what is made here has methods, too.
  for (const [url, known] of [...methods].map(([at, all]) => [at, [...all]] as const)) {
    for (const [some, needed] of [
      [READING, 'invoke'],
      [WRITING, 'manage'],
    ] as const) {
      refuse(scope, url, { some: some.filter((one) => !known.includes(one)), known, scope: needed });
    }
    addSlash(scope, url.slice(0, -1));
  }
  for (const url of ['', '/*']) notThere(scope, url);
}

type Refusing = { some: string[]; known: readonly string[]; scope: 'invoke' | 'manage' };

/** Whoever may not do anything like it is told that first. */
function refuse(app: App, url: string, { some, known, scope }: Refusing): void {
  if (some.length === 0) return;
  app.route({
    url,
    method: some,
    config: { scope },
    schema: { hide: true },
    // Before the body: nobody will read it.
    onRequest: (request, reply) => {
      reply.header('allow', known.join(', '));
      const words = `Method "${request.method}" not allowed.`;
      sendDetail(reply, new Failure('invalid_request', words), 405, words);
    },
    handler: () => undefined,
  });
}

/** Without its last slash an address leads to the one with it, whoever asks and by whatever method. */
function addSlash(app: App, url: string): void {
  app.route({
    url,
    method: [...READING, ...WRITING],
    config: { open: true },
    schema: { hide: true },
    onRequest: (request, reply) => {
      const location = withSlash(request);
      if (location === null) sendDetail(reply, new Failure('not_found', NOT_FOUND), 404, NOT_FOUND);
      else reply.redirect(location, 301);
    },
    handler: () => undefined,
  });
}

/** Null for an address that is more than a path, of which it would depend on the reader where it leads. */
function withSlash({ originalUrl }: FastifyRequest): string | null {
  const [path = '', ...query] = originalUrl.split('?');
  return path.startsWith('/') ? [`${path}/`, ...query].join('?') : null;
}

function notThere(app: App, url: string): void {
  app.route({
    url,
    method: [...READING, ...WRITING],
    config: { open: true },
    schema: { hide: true },
    onRequest: (_request, reply) => {
      sendDetail(reply, new Failure('not_found', NOT_FOUND), 404, NOT_FOUND);
    },
    handler: () => undefined,
  });
}
