import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { App } from './app.ts';

/** The API reference, made from the schemas of the routes: a document at /openapi.json and a page at /docs. */
export async function docs(app: App, { version, tokens }: { version: string; tokens: boolean }): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'isopod',
        version,
        description:
          'Runs plugins you do not trust. Whatever goes wrong is a problem document (RFC 9457) whose `code` says what ' +
          'happened and whose status says who must act: 4xx the caller, 502 and 504 the plugin, 503 us.',
        license: { name: 'MIT' },
      },
      ...(tokens
        ? { components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } }, security: [{ token: [] }] }
        : {}),
    },
  });
  app.get('/', { config: { open: true }, schema: { hide: true } }, (_request, reply) => reply.redirect('/docs'));
  // The reference says nothing about anyone, and a browser that opens it has no token to show.
  app.addHook('onRoute', (route) => {
    if (/^\/docs(\/|$)/.test(route.url)) route.config = { ...route.config, open: true };
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    // What the page shows comes from here alone.
    uiConfig: { validatorUrl: null, persistAuthorization: false },
    // A page that is asked for over plain HTTP cannot load its parts over HTTPS.
    transformStaticCSP: (header) => `${header.replace(/upgrade-insecure-requests;? ?/, '')}; frame-ancestors 'none'`,
    uiHooks: {
      onRequest: (_request, reply, done) => {
        reply.headers({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
        done();
      },
    },
  });
}
