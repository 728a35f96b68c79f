// What operators say about the application of a tenant, and what becomes of its credential: it is sent, and never seen.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { TestApplication } from '../support/application.ts';
import type { Answer, TestService } from '../support/client.ts';
import { testDatabase } from '../support/databases.ts';
import { startTestService, writePlugin } from '../support/service.ts';

const OPERATOR = 'the-operators-own';
const DEFAULT_KEY = 'the-key.of-the-default-tenant';
const ACME_KEY = 'the-key/of"acme&more';
const VARIABLE = 'ISOPOD_CREDENTIAL_ACME';

/** Answers what it was answered, or the error that it got. */
const ASK = {
  'ask.yml': 'name: Ask\ninterface: js\nexec: [ask.js]\n',
  'ask.js': `let Output;
    try { Output = gql.Do(input.Args.query); } catch (error) { Output = { caught: String(error) }; }
    log.Info(JSON.stringify(Output));
    ({ Output })`,
};

const scope = new AsyncDisposableStack();
let theirs: TestApplication;
let acmes: TestApplication;
let node: Node;
let other: Node;
/** Everything that anybody was answered. */
const answers: string[] = [];

type Node = TestService & { folder: string };

beforeAll(async () => {
  theirs = scope.use(await TestApplication.start({ credential: { as: 'apiKey', value: DEFAULT_KEY } }));
  acmes = scope.use(await TestApplication.start({ credential: { as: 'header', name: 'X-Key', value: ACME_KEY } }));
  const { url: databaseUrl } = scope.use(await testDatabase());
  const config = { databaseUrl, tokens: [OPERATOR], logLevel: 'debug', applicationUrl: theirs.url };
  const credentials = { [VARIABLE]: ACME_KEY };
  const start = (more: object) =>
    startTestService({ plugins: { ask: ASK }, config: { ...config, applicationApiKey: DEFAULT_KEY, ...more } });
  node = scope.use(await start({ credentials }));
  other = scope.use(await start({}));
  await operator('POST', '/v1/tenants', { id: 'acme' });
  for (const one of [node, other]) {
    // It has a folder from the first time that it is asked for.
    await operator('GET', '/t/acme/v1/plugins', undefined, one);
    await writePlugin(join(one.folder, 'data/tenants/acme/plugins/stash/ask'), ASK);
    await operator('POST', '/t/acme/v1/plugins/reload', undefined, one);
  }
});
afterAll(() => scope.disposeAsync());

async function operator(method: string, path: string, body?: unknown, one: Node = node): Promise<Answer> {
  const answer = await one.ask(method, path, { token: OPERATOR, body });
  answers.push(JSON.stringify([...answer.headers]), answer.text);
  return answer;
}

async function ask(tenant: string, query: string, one: Node = node): Promise<Answer['body']> {
  const path = `/t/${tenant}/v1/plugins/ask/invocations?include=logs`;
  return (await operator('POST', path, { args: { query } }, one)).body.output;
}

const header = { as: 'header', name: 'X-Key', env: VARIABLE };
const VERSION = { version: { version: 'v0.30.0' } };

test('a tenant has none until an operator names one, and it is shown as it was named', async () => {
  expect((await ask('acme', '{systemStatus{appSchema}}')).caught).toMatch(/No application is configured/);
  const application = { url: acmes.url, credential: header };
  const changed = await operator('PATCH', '/v1/tenants/acme', { application });
  expect([changed.status, changed.body]).toMatchObject([200, { application, credentialIsThere: true }]);
  expect((await operator('GET', '/v1/tenants/acme')).body).toEqual(changed.body);
  // The same again changes nothing but the revision, and what is not named stays.
  await operator('PATCH', '/v1/tenants/acme', { application: changed.body.application });
  expect((await operator('PATCH', '/v1/tenants/acme', { name: 'Acme' })).body).toMatchObject({ application });
  expect(await ask('acme', '{version{version}}')).toEqual(VERSION);
  expect(acmes.asked.at(-1)?.headers['x-key']).toBe(ACME_KEY);
  expect(theirs.asked).toEqual([]);

  const { secret } = (
    await node.ask('POST', '/v1/tenants/acme/tokens', { token: OPERATOR, body: { name: 'a', scopes: ['admin'] } })
  ).body;
  const seen = await node.ask('GET', '/v1/tenants/acme', { token: secret });
  expect(seen.status).toBe(200);
  expect(seen.text).not.toMatch(/application|credential|ISOPOD/);
  const tried = await node.ask('PATCH', '/v1/tenants/acme', { token: secret, body: { application: null } });
  expect(tried.status).toBe(403);
});

test('another node hears of it; where the variable is not set it says so and asks nobody', async () => {
  await vi.waitFor(async () => {
    expect((await ask('acme', '{systemStatus{appSchema}}', other)).caught).toMatch(
      /credential of the application is not there/,
    );
  });
  expect((await operator('GET', '/v1/tenants/acme', undefined, other)).body.credentialIsThere).toBe(false);
  expect(acmes.refused).toBe(0);

  const open = await TestApplication.start({ credential: null });
  await using _ = open;
  await ask('acme', '{version{version}}');
  expect(await acmes.connections()).toBeGreaterThan(0);
  await operator('PATCH', '/v1/tenants/acme', { application: { url: open.url } });
  // Nobody has to ask for the new one before the old one is let go of.
  await vi.waitFor(async () => expect(await acmes.connections()).toBe(0));
  expect(await ask('acme', '{version{version}}')).toEqual(VERSION);
  await vi.waitFor(async () => expect(await ask('acme', '{version{version}}', other)).toEqual(VERSION));
  for (const one of [node, other]) {
    const { application, credentialIsThere } = (await operator('GET', '/v1/tenants/acme', undefined, one)).body;
    expect([application, credentialIsThere]).toEqual([{ url: open.url, credential: null }, null]);
  }
  await operator('PATCH', '/v1/tenants/acme', { application: null });
  await vi.waitFor(async () => {
    expect((await ask('acme', '{systemStatus{appSchema}}', other)).caught).toMatch(/No application is configured/);
  });
});

test('the default tenant may have one in its record, too, which counts over the configuration until it is taken away', async () => {
  expect(await ask('default', '{version{version}}')).toEqual(VERSION);
  expect(theirs.asked.at(-1)?.headers.apikey).toBe(DEFAULT_KEY);
  const [before, others] = [theirs.asked.length, acmes.asked.length];
  await operator('PATCH', '/v1/tenants/default', { application: { url: acmes.url, credential: header } });
  await ask('default', '{version{version}}');
  expect([theirs.asked.length, acmes.asked.length]).toEqual([before, others + 1]);
  expect(acmes.asked.at(-1)?.headers.apikey).toBeUndefined();
  await operator('PATCH', '/v1/tenants/default', { application: null });
  await ask('default', '{version{version}}');
  expect([theirs.asked.length, acmes.asked.length]).toEqual([before + 1, others + 1]);
});

test.each<[string, unknown, string]>([
  ['a scheme that is not HTTP', { url: 'file:///etc/passwd' }, '/application/url'],
  ['a password', { url: 'http://me:sesame@host' }, '/application/url'],
  ['a line feed', { url: 'http://host/\r\nX: y' }, '/application/url'],
  ['a port that is none', { url: 'http://host:99999' }, '/application/url'],
  ['no URL', {}, '/application'],
  ['a value', { url: 'http://host', credential: { as: 'apiKey', value: 'sesame' } }, '/application/credential'],
  [
    'a variable of ours',
    { url: 'http://host', credential: { as: 'apiKey', env: 'ISOPOD_TOKEN' } },
    '/application/credential/env',
  ],
  [
    'a variable of others',
    { url: 'http://host', credential: { as: 'apiKey', env: 'PATH' } },
    '/application/credential/env',
  ],
  [
    'a name for an API key',
    { url: 'http://host', credential: { ...header, as: 'apiKey' } },
    '/application/credential/name',
  ],
  ['no name', { url: 'http://host', credential: { as: 'cookie', env: VARIABLE } }, '/application/credential/name'],
  [
    'a name with a line feed',
    { url: 'http://host', credential: { ...header, name: 'X\r\nY' } },
    '/application/credential/name',
  ],
  [
    'the header of the host',
    { url: 'http://host', credential: { ...header, name: 'HOST' } },
    '/application/credential/name',
  ],
  [
    'cookies as a header',
    { url: 'http://host', credential: { ...header, name: 'Cookie' } },
    '/application/credential/name',
  ],
  ['another kind', { url: 'http://host', credential: { ...header, as: 'query' } }, '/application/credential/as'],
])('an application with %s is refused, with the place', async (_, application, at) => {
  const before = (await operator('GET', '/v1/tenants/acme')).body;
  for (const [method, path, body] of [
    ['PATCH', '/v1/tenants/acme', { application }],
    ['POST', '/v1/tenants', { id: 'wrong', application }],
  ] as const) {
    const { status, body: problem, text } = await operator(method, path, body);
    expect([status, problem.code]).toEqual([400, 'invalid_request']);
    expect(problem.errors.map(({ pointer }: { pointer: string }) => pointer)).toContain(at);
    expect(text).not.toContain('sesame');
  }
  expect((await operator('GET', '/v1/tenants/acme')).body).toEqual(before);
  expect((await operator('GET', '/v1/tenants/wrong')).status).toBe(404);
});

// Goal: whatever an application does, its credential comes out nowhere.
// Method: plugins ask for it and for what fails; then all that was answered and written is searched.
test('the credential of an application is in no answer, no problem, no log line and no backup', async () => {
  await operator('PATCH', '/v1/tenants/acme', { application: { url: acmes.url, credential: header } });
  for (const [tenant, application] of [
    ['default', theirs],
    ['acme', acmes],
  ] as const) {
    const told = await ask(tenant, '{configuration{general{apiKey databasePath}}}');
    expect(told.configuration.general.databasePath).toBe('/data/stash.sqlite');
    for (const query of ['{nothing}', '{', '{findJob(input:{id:7}){id}}']) await ask(tenant, query);
    for (const misdeed of [
      'garbage',
      'html',
      'closes',
      'redirect',
      'many headers',
      'sets a cookie',
      'half an answer',
    ] as const) {
      application.misdeed = misdeed;
      await ask(tenant, '{version{version}}');
    }
    application.misdeed = null;
    expect(application.refused).toBe(0);
  }
  await operator('POST', '/v1/tenants', { id: 'third', application: { url: acmes.url, credential: header } });
  for (const path of ['/v1/tenants', '/v1/tenants/third', '/v1/plugins', '/metrics', '/openapi.json', '/readyz']) {
    expect((await operator('GET', path)).status).toBe(200);
  }
  const file = join(node.folder, 'backup.gz');
  await node.service.parts.store.backup(file);
  const backup = gunzipSync(await readFile(file)).toString();
  expect(backup).toContain(VARIABLE);

  const everything = [...answers, ...node.lines, ...other.lines, backup].join('\n');
  expect(everything).toContain('/data/stash.sqlite');
  const keys = [DEFAULT_KEY, ACME_KEY].flatMap((key) => [
    key,
    JSON.stringify(key),
    JSON.stringify(JSON.stringify(key)),
  ]);
  const written = keys.flatMap((key) => [key.replace(/^[\\"]+|[\\"]+$/g, ''), encodeURIComponent(key)]);
  for (const one of written) expect([one, everything.includes(one)]).toEqual([one, false]);
});
