import { type Static, Type } from 'typebox';
import { BLAMED, type Blamed, FAILURE_CODES, Failure, type FailureCode } from '../core/failure.ts';
import type { App } from './app.ts';
import { STATUS, titleOf } from './errors.ts';
import { Problems } from './schemas.ts';

export type SystemRoutes = {
  /** Why the service cannot take invocations now; null where it can. */
  unready(): Failure | null;
  /** In the text format of Prometheus. */
  metrics(): Promise<{ contentType: string; text: string }>;
};

const Status = Type.Object({ status: Type.String() });

export function system(app: App, { unready, metrics }: SystemRoutes): void {
  const tags = ['system'];

  app.get(
    '/healthz',
    {
      config: { open: true },
      schema: { operationId: 'health', summary: 'Whether the process is alive', tags, response: { 200: Status } },
    },
    async () => ({ status: 'ok' }),
  );

  app.get(
    '/readyz',
    {
      config: { open: true },
      schema: {
        operationId: 'ready',
        summary: 'Whether it takes invocations: plugins are loaded, executors are up, it is not shutting down',
        tags,
        response: { 200: Status, ...Problems(503) },
      },
    },
    async () => {
      const failure = unready();
      if (failure !== null) throw failure;
      return { status: 'ready' };
    },
  );

  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'metrics',
        summary: 'Numbers for Prometheus',
        tags,
        response: { 200: { description: 'Text format', content: { 'text/plain': { schema: Type.String() } } } },
      },
    },
    async (_request, reply) => {
      const { contentType, text } = await metrics();
      return reply.type(contentType).send(text);
    },
  );

  app.get(
    '/problems',
    {
      config: { open: true },
      schema: {
        operationId: 'problems',
        summary: 'Every kind of problem, what it means and what to do about it',
        tags,
        response: { 200: Type.Object({ problems: Type.Array(Explanation) }) },
      },
    },
    async () => ({ problems: FAILURE_CODES.map(explanation) }),
  );

  app.get(
    '/problems/:code',
    {
      config: { open: true },
      schema: {
        operationId: 'problem',
        summary: 'What a kind of problem means and what to do about it',
        tags,
        params: Type.Object({ code: Type.String() }),
        response: { 200: Explanation, ...Problems(404) },
      },
    },
    async ({ params, headers }, reply) => {
      const code = FAILURE_CODES.find((one) => one === params.code);
      if (code === undefined)
        throw new Failure('not_found', `There is no problem "${params.code}": GET /problems has them all`);
      const explained = explanation(code);
      if (!/\btext\/html\b/.test(headers.accept ?? '')) return explained;
      return reply
        .headers({
          'content-type': 'text/html; charset=utf-8',
          'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
          'x-content-type-options': 'nosniff',
          'referrer-policy': 'no-referrer',
        })
        .serializer(asIs)
        .send(page(explained) as unknown as Static<typeof Explanation>);
    },
  );
}

const Explanation = Type.Object({
  code: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  blame: Type.Enum([...BLAMED], { description: 'Who must act' }),
  hint: Type.String({ description: 'What to do' }),
});

function explanation(code: FailureCode): Static<typeof Explanation> {
  const { blame, hint } = new Failure(code, '');
  return { code, title: titleOf(code), status: STATUS[code], blame, hint };
}

const WHO = {
  caller: 'whoever asked',
  plugin: 'the author of the plugin',
  application: 'whoever runs the application',
  host: 'whoever runs this service',
} as const satisfies Record<Blamed, string>;

/** Every word of it is from our own table. */
function page({ code, title, status, blame, hint }: Static<typeof Explanation>): string {
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${title} · isopod</title>
<h1>${title}</h1>
<p>Code <code>${code}</code>, HTTP status ${status}. Who must act: ${WHO[blame]}.</p>
<p>${hint.replaceAll('"', '&quot;')}</p>
</html>
`;
}

const asIs = (text: unknown) => text as string;
