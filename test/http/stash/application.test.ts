// What of an operation is ours and what is the application's, for callers with tokens: two real sockets.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestApplication } from '../../support/application.ts';
import type { TestService } from '../../support/client.ts';
import { startTestService } from '../../support/service.ts';
import { dataOf, graphql } from '../../support/stash.ts';

let application: TestApplication;
let service: TestService;
beforeAll(async () => {
  application = await TestApplication.start();
  service = await startTestService({
    plugins: { quick: { 'quick.yml': 'name: quick\ninterface: js\nexec: [quick.js]\n', 'quick.js': '1;' } },
    config: {
      applicationUrl: application.url,
      applicationApiKey: application.credential?.value ?? '',
      tokens: ['an-operators-token'],
    },
  });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await application[Symbol.asyncDispose]();
});

const token = 'an-operators-token';

test('an operation of both is answered as one', async () => {
  application.jobs.set('7', {
    id: '7',
    status: 'RUNNING',
    description: 'of the application',
    progress: 0.5,
    addTime: new Date().toISOString(),
  });
  const later = await service.ask('POST', '/v1/jobs', { body: { plugin: 'quick', delayMs: 3_600_000 }, token });
  expect(later.status).toBe(202);
  const data = await dataOf(
    service,
    `query Both { plugins { id } version { version } allTags { name }
      configuration { plugins general { apiKey databasePath } ui }
      jobQueue { description } theirs: findJob(input: { id: "7" }) { id description } }`,
    { token },
  );
  expect(data).toMatchObject({
    plugins: [{ id: 'quick' }],
    version: { version: 'v0.30.0' },
    allTags: [{ name: 'seen' }],
    configuration: { plugins: {}, general: { apiKey: '', databasePath: '/data/stash.sqlite' } },
    jobQueue: [{ description: 'Running plugin task: quick' }, { description: 'of the application' }],
    theirs: { id: '7', description: 'of the application' },
  });
});

test('a token that may only run plugins asks nothing of the application, and all of what is ours', async () => {
  const made = await service.ask('POST', '/v1/tenants/default/tokens', {
    body: { name: 'x', scopes: ['invoke'] },
    token,
  });
  const own = { token: made.body.secret as string };
  expect((await dataOf(service, '{ plugins { id } logs { message } }', own)).plugins).toEqual([{ id: 'quick' }]);
  const before = application.asked.length;
  const theirs = await graphql(service, '{ allTags { name } }', own);
  expect([theirs.status, theirs.body.errors[0].extensions.code]).toEqual([403, 'forbidden']);
  const settings = await graphql(service, '{ configuration { plugins } }', own);
  expect(settings.body.errors[0].extensions.code).toBe('forbidden');
  expect(application.asked.length).toBe(before);
});

test('queries come with GET, and nothing that changes anything', async () => {
  const get = (query: string, more = '') =>
    service.get(`/graphql?query=${encodeURIComponent(query)}${more}`, { authorization: `Bearer ${token}` });
  const { status, body, headers } = await get(
    'query ($x: [ID!]) { configuration { plugins(include: $x) } }',
    '&variables={"x":["quick"]}',
  );
  expect([status, body, headers.get('cache-control')]).toEqual([
    200,
    { data: { configuration: { plugins: {} } } },
    'no-store',
  ]);
  expect((await get('mutation { reloadPlugins }')).status).toBe(405);
  expect((await get('query A { version { version } } mutation B { reloadPlugins }', '&operationName=B')).status).toBe(
    405,
  );
  expect((await get('{', '')).status).toBe(422);
  for (const more of ['&variables=x', '&variables=[1]'])
    expect((await get('{ version { version } }', more)).status).toBe(400);
  expect((await service.get('/graphql', { authorization: `Bearer ${token}` })).status).toBe(400);
  expect((await service.get('/graphql?query={plugins{id}}')).status).toBe(401);
});
