// Several services on one database: what is done on one is seen on the other.
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { testDatabase } from './support/databases.ts';
import { startTestService, writePlugin } from './support/service.ts';

const OPERATOR = 'the-operators-own';

const greet = {
  'greet.yml': [
    'name: Greet',
    'exec: [greet.js]',
    'interface: js',
    'settings: {warmth: {displayName: Warmth, type: NUMBER}}',
    'tasks: [{name: Hello}]',
  ].join('\n'),
  'greet.js': '({ Output: "hello" })',
};

type Node = Awaited<ReturnType<typeof startTestService>>;

const scope = new AsyncDisposableStack();
let one: Node;
let other: Node;
beforeAll(async () => {
  const config = { tokens: [OPERATOR] };
  one = scope.use(await startTestService({ plugins: { greet }, config }));
  const { databaseUrl } = one.config;
  other = scope.use(await startTestService({ plugins: { greet }, config: { ...config, databaseUrl } }));
});
afterAll(() => scope.disposeAsync());

const operator = (node: Node, method: string, path: string, body?: unknown) =>
  node.ask(method, path, { token: OPERATOR, body });

const soon = <T>(look: () => Promise<T>, expected: T) =>
  vi.waitFor(async () => expect(await look()).toEqual(expected), { timeout: 5_000, interval: 20 });

test('a plugin that is disabled on one node is disabled on all, and settings are the same', async () => {
  const code = async (node: Node) => {
    const { status, body } = await node.ask('POST', '/v1/plugins/greet/invocations', { token: OPERATOR, body: {} });
    return body.code ?? status;
  };
  expect([await code(one), await code(other)]).toEqual([200, 200]);
  await operator(one, 'POST', '/v1/plugins/greet/disable');
  expect(await code(one)).toBe('plugin_disabled');
  await soon(() => code(other), 'plugin_disabled');
  await operator(other, 'POST', '/v1/plugins/greet/enable');
  expect(await code(other)).toBe(200);
  await soon(() => code(one), 200);

  const put = await operator(one, 'PUT', '/v1/plugins/greet/settings', { warmth: 3 });
  const got = await operator(other, 'GET', '/v1/plugins/greet/settings');
  expect([got.body, got.headers.get('etag')]).toEqual([{ warmth: 3 }, put.headers.get('etag')]);
});

test('writers on both nodes lose nothing', async () => {
  const seen = { 'if-match': (await operator(one, 'GET', '/v1/plugins/greet/settings')).headers.get('etag') ?? '' };
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, i) =>
      (i % 2 === 0 ? one : other).ask('PUT', '/v1/plugins/greet/settings', {
        token: OPERATOR,
        body: { warmth: i },
        headers: seen,
      }),
    ),
  );
  expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(7).fill(412)]);
});

test('a tenant that is made on one node runs its own plugins on the other, and is gone from both', async () => {
  await operator(one, 'POST', '/v1/tenants', { id: 'acme', limits: { wallMs: 4_000 } });
  const made = await operator(one, 'POST', '/v1/tenants/acme/tokens', { name: 'x', scopes: ['manage'] });
  const token = made.body.secret;
  const folder = join(other.config.dataDir, 'tenants', 'acme');
  await writePlugin(join(folder, 'plugins', 'stash', 'own'), {
    'own.yml': greet['greet.yml'],
    'own.js': '',
    'greet.js': '({ Output: "from acme" })',
  });

  const run = await other.ask('POST', '/v1/plugins/own/invocations', { token, body: {} });
  expect([run.status, run.body.output]).toEqual([200, 'from acme']);
  // What the default tenant has is not there.
  expect((await other.ask('POST', '/v1/plugins/greet/invocations', { token, body: {} })).status).toBe(404);
  const limits = async () => (await other.ask('GET', '/v1/plugins/own', { token })).body.limits?.wallMs;
  expect(await limits()).toBe(4_000);
  await operator(one, 'PATCH', '/v1/tenants/acme', { limits: { wallMs: 3_000 } });
  await soon(limits, 3_000);

  // One tenant's reload is nobody else's.
  await writePlugin(join(folder, 'plugins', 'stash', 'more'), { 'more.yml': 'name: More' });
  await writePlugin(join(other.config.pluginsDir, 'stash', 'more'), { 'more.yml': 'name: More' });
  expect((await other.ask('POST', '/v1/plugins/reload', { token })).body.added).toEqual(['more']);
  expect((await operator(other, 'GET', '/v1/plugins/more')).status).toBe(404);

  expect((await operator(one, 'DELETE', '/v1/tenants/acme')).status).toBe(204);
  await soon(async () => (await other.ask('GET', '/v1/tenant', { token })).status, 401);
  await soon(async () => (await operator(other, 'GET', '/t/acme/v1/plugins')).status, 404);
  await vi.waitFor(() => expect(access(folder)).rejects.toThrow(), { timeout: 5_000 });
});

test('a token that is revoked on one node opens nothing on the other, although it was just used there', async () => {
  const made = await operator(one, 'POST', '/v1/tenants/default/tokens', { name: 'x', scopes: ['invoke'] });
  const ask = async () => (await other.ask('GET', '/v1/tenant', { token: made.body.secret })).status;
  expect(await ask()).toBe(200);
  await operator(one, 'DELETE', `/v1/tenants/default/tokens/${made.body.id}`);
  await soon(ask, 401);
});

test('while the database is gone nobody is told that their token is wrong, and operators are served', async () => {
  const database = await testDatabase();
  const config = { tokens: [OPERATOR], databaseUrl: database.url };
  await using node = await startTestService({ plugins: { greet }, config });
  await database[Symbol.asyncDispose]();

  const unknown = await node.ask('GET', '/v1/tenant', { token: `isopod_${'x'.repeat(12)}_${'x'.repeat(32)}` });
  expect([unknown.status, unknown.headers.get('retry-after') !== null]).toEqual([503, true]);
  expect((await operator(node, 'POST', '/v1/plugins/greet/invocations', {})).status).toBe(200);
  expect((await operator(node, 'GET', '/t/acme/v1/plugins')).status).toBe(503);
});
