import { type Static, Type } from 'typebox';
import { BLAMED, type Blamed, FAILURE_CODES, Failure, type FailureCode } from '../core/failure.ts';
import { GRADES, type Isolation } from '../core/isolation.ts';
import { RUNTIME_KINDS, type RuntimeKind } from '../core/runtime.ts';
import type { Isolations } from '../engine/isolation.ts';
import type { App } from './app.ts';
import { STATUS, titleOf } from './errors.ts';
import { OrNull, Problems } from './schemas.ts';

export type SystemRoutes = {
  isolations: Isolations;
  /** Why the service cannot take invocations now; null where it can. */
  unready(): Failure | null;
  /** In the text format of Prometheus. */
  metrics(): Promise<{ contentType: string; text: string }>;
};

const Status = Type.Object({ status: Type.String() });

export function system(app: App, { isolations, unready, metrics }: SystemRoutes): void {
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
    '/v1/system/isolation',
    {
      schema: {
        operationId: 'isolation',
        summary: 'What holds programs back on this node, layer by layer, as it was proven last; operators only',
        tags,
        response: { 200: IsolationAnswer, ...Problems(401, 403) },
      },
    },
    async () => shown(isolations),
  );

  app.post(
    '/v1/system/isolation/check',
    {
      schema: {
        operationId: 'checkIsolation',
        summary:
          'Prove it anew, by trying to get out; what was proven less than ten seconds ago counts; operators only',
        tags,
        response: { 200: IsolationAnswer, ...Problems(401, 403) },
      },
    },
    async () => {
      await isolations.check();
      return shown(isolations);
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

const Grade = Type.Enum([...GRADES]);

const IsolationOfKind = Type.Object({
  grade: Grade,
  tier: Type.String({ description: 'How it is confined. What counts is what was proven' }),
  raise: OrNull(Type.String(), { description: 'What would raise the grade' }),
  checkedAt: OrNull(Type.String({ format: 'date-time' }), { description: 'null: it was never tried' }),
  layers: Type.Array(
    Type.Object({
      id: Type.String(),
      name: Type.String(),
      neededFrom: OrNull(Grade, { description: 'The lowest grade that cannot do without it' }),
      state: Type.Enum(['proven', 'absent', 'not needed']),
      evidence: Type.String({ description: 'What was tried, and what came of it' }),
    }),
  ),
});

const IsolationAnswer = Type.Object({
  least: Type.Enum([...GRADES], { description: 'Below this nothing is run; a tenant may want more' }),
  ...(Object.fromEntries(RUNTIME_KINDS.map((kind) => [kind, OrNull(IsolationOfKind)])) as Record<
    RuntimeKind,
    ReturnType<typeof OrNull<typeof IsolationOfKind>>
  >),
});

function shown(isolations: Isolations): Static<typeof IsolationAnswer> {
  const all = Object.fromEntries(isolations.all().map(([kind, one]) => [kind, isolationOf(one)]));
  return { least: isolations.least, processes: null, executors: null, residents: null, servers: null, ...all };
}

function isolationOf({ checkedAt, layers, ...isolation }: Isolation): Static<typeof IsolationOfKind> {
  const isKnown = checkedAt.getTime() > 0;
  return { ...isolation, layers: [...layers], checkedAt: isKnown ? checkedAt.toISOString() : null };
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
