import { type AddressInfo, createServer, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { afterEach, expect, test, vi } from 'vitest';
import type { ApplicationRecord, Target } from '../../src/core/application.ts';
import type { Credential } from '../../src/core/credential.ts';
import { Failure } from '../../src/core/failure.ts';
import { Applications, type ApplicationsOptions } from '../../src/gateway/applications.ts';
import { type Misdeed, TestApplication } from '../support/application.ts';

const VERSION = JSON.stringify({ query: '{ version { version } }' });
const KEY = JSON.stringify({ query: '{ configuration { general { apiKey } } }' });
const patience = new AbortController().signal;

const scope: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of scope.splice(0).reverse()) await one[Symbol.asyncDispose]();
});

async function application(...options: Parameters<typeof TestApplication.start>): Promise<TestApplication> {
  const one = await TestApplication.start(...options);
  scope.push(one);
  return one;
}

type Records = Map<string, ApplicationRecord | null>;

/** Tenants that have no record of their own have one that says nothing. */
function applications({ records = new Map(), ...more }: Partial<ApplicationsOptions> & { records?: Records }) {
  const recorded = (tenant: string) => (tenant === 'nobody' ? undefined : (records.get(tenant) ?? null));
  const one = new Applications({ configured: new Map(), recorded, credentials: {}, ...more });
  scope.push(one);
  return one;
}

function configured(url: string, credential: Credential | null = null): ReadonlyMap<string, Target> {
  return new Map([['default', { url, credential }]]);
}

async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  const error = await promise.then(
    (answer) => expect.fail(`it answered ${inspect(answer).slice(0, 200)}`),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Failure);
  return error as Failure;
}

test.each<[Credential, string]>([
  [{ as: 'apiKey', value: 'a.key-of-stash' }, 'apikey'],
  [{ as: 'header', name: 'X-Auth', value: 'two words&more' }, 'x-auth'],
  [{ as: 'cookie', name: 'sid', value: 'MTcw=abc:d' }, 'cookie'],
])('an application is shown its credential, and nobody else sees it: %j', async (credential, header) => {
  const theirs = await application({ credential });
  const all = applications({ configured: configured(theirs.url, credential) });
  const answer = await all.of('default').graphql(VERSION, patience);
  expect(answer).toEqual({ status: 200, body: '{"data":{"version":{"version":"v0.30.0"}}}' });
  expect(theirs.asked[0]?.headers[header]).toContain(credential.value);

  const told = await all.of('default').graphql(KEY, patience, undefined, 'the-key-of-a-session');
  expect(JSON.parse(told.body).data.configuration.general.apiKey).toBe('the-key-of-a-session');
  expect((await all.of('default').graphql(KEY, patience)).body).toContain('"apiKey":"[redacted]"');

  // Without it there is nothing to be had.
  const without = applications({ configured: configured(theirs.url) });
  expect((await without.of('default').graphql(VERSION, patience)).status).toBe(401);
});

test('a chain goes along where there is one, and the headers are the same otherwise', async () => {
  const theirs = await application({ credential: null });
  const one = applications({ configured: configured(theirs.url) }).of('default');
  await one.graphql(VERSION, patience, 'sealed.chain');
  await one.graphql(VERSION, patience);
  const [first, second] = theirs.asked.map(({ headers }) => headers);
  expect(first).toEqual({ ...second, 'isopod-hook-chain': 'sealed.chain' });
  expect(second).toMatchObject({ 'accept-encoding': 'identity', accept: 'application/json' });
  expect(Object.keys(second ?? {})).not.toContain('cookie');
});

test('115: a cookie that an application sets is not kept, for nobody', async () => {
  const theirs = await application({ credential: { as: 'cookie', name: 'session', value: 'of-the-operator' } });
  const target: Target = { url: theirs.url, credential: { as: 'cookie', name: 'session', value: 'of-the-operator' } };
  const all = applications({ configured: new Map(['default', 'acme'].map((id) => [id, target])) });
  theirs.misdeed = 'sets a cookie';
  for (const tenant of ['default', 'default', 'acme']) {
    expect(Object.keys(await all.of(tenant).graphql(VERSION, patience))).toEqual(['status', 'body']);
  }
  expect(theirs.asked.map(({ headers }) => headers.cookie)).toEqual(Array(3).fill('session=of-the-operator'));
});

test('the record of a tenant counts over the configuration, and a tenant without either has none', async () => {
  const [inFile, inRecord] = [await application({ credential: null }), await application({ credential: null })];
  const records: Records = new Map([['acme', { url: inRecord.url, credential: null }]]);
  const target = { url: inFile.url, credential: null };
  const all = applications({
    configured: new Map([
      ['acme', target],
      ['beta', target],
      ['nobody', target],
    ]),
    records,
  });
  for (const tenant of ['acme', 'beta']) await all.of(tenant).graphql(VERSION, patience);
  expect([inFile.asked.length, inRecord.asked.length]).toEqual([1, 1]);
  for (const tenant of ['gamma', 'nobody']) {
    expect(all.of(tenant).isThere).toBe(false);
    expect((await failureOf(all.of(tenant).graphql(VERSION, patience))).message).toMatch(
      /^No application is configured/,
    );
  }
  expect(inFile.asked).toHaveLength(1);
});

test('a credential that a record names is taken from this node; where it is not there, nothing is asked', async () => {
  const theirs = await application({ credential: { as: 'header', name: 'X-Key', value: 'of-acme-alone' } });
  const form = { as: 'header', name: 'X-Key' } as const;
  const record = (env: string): ApplicationRecord => ({ url: theirs.url, credential: { ...form, env } });
  const cookie: ApplicationRecord = {
    url: theirs.url,
    credential: { as: 'cookie', name: 's', env: 'ISOPOD_CREDENTIAL_B' },
  };
  const all = applications({
    records: new Map([
      ['acme', record('ISOPOD_CREDENTIAL_ACME')],
      ['beta', record('ISOPOD_CREDENTIAL_BETA')],
      ['gamma', cookie],
      ['delta', record('constructor')],
    ]),
    credentials: { ISOPOD_CREDENTIAL_ACME: 'of-acme-alone', ISOPOD_CREDENTIAL_B: 'a; b=of-beta' },
  });
  expect((await all.of('acme').graphql(VERSION, patience)).status).toBe(200);
  for (const tenant of ['beta', 'gamma', 'delta']) {
    const { message } = await failureOf(all.of(tenant).graphql(VERSION, patience));
    // Whose it is and what it is called is nothing for plugins.
    expect(message).toMatch(/^The credential of the application.* on this node/);
    expect(message).not.toMatch(/ISOPOD|of-beta/);
  }
  expect([theirs.asked.length, theirs.refused]).toEqual([1, 0]);
});

test('another record is asked from the next call on; what is under way ends where it began, and then its connections', async () => {
  const [before, after] = [await application({ credential: null }), await application({ credential: null })];
  const records: Records = new Map([['acme', { url: before.url, credential: null }]]);
  const all = applications({ records });
  const held = all.of('acme');
  before.misdeed = 'slowly';
  const underWay = held.graphql(VERSION, patience);
  await vi.waitFor(() => expect(before.asked).toHaveLength(1));

  // A record that says the same is no other application: what is known of it stays known.
  records.set('acme', { url: before.url, credential: null });
  all.look('acme');
  expect(all.of('acme')).toBe(held);

  records.set('acme', { url: after.url, credential: null });
  all.look('acme');
  expect(all.of('acme')).not.toBe(held);
  // Also whoever still has the old one.
  for (const one of [all.of('acme'), held]) expect((await one.graphql(VERSION, patience)).status).toBe(200);
  expect([before.asked.length, after.asked.length]).toEqual([1, 2]);
  expect((await underWay).status).toBe(200);
  await vi.waitFor(async () => expect(await before.connections()).toBe(0));

  records.set('acme', null);
  expect((await failureOf(held.graphql(VERSION, patience))).message).toMatch(/^No application is configured/);
  expect(before.asked).toHaveLength(1);
});

test('only so many are held, and never is one let go of that is being called', async () => {
  const theirs = await application({ credential: null });
  const record = { url: theirs.url, credential: null };
  const ids = Array.from({ length: 6 }, (_, i) => `t${i}`);
  const all = applications({ records: new Map(ids.map((id) => [id, record])), heldMost: 2 });
  theirs.misdeed = 'never';
  const controller = new AbortController();
  const busy = all.of('t0');
  const waiting = busy.graphql(VERSION, controller.signal).catch((reason) => reason);
  await vi.waitFor(() => expect(theirs.asked).toHaveLength(1));
  theirs.misdeed = null;
  for (const id of ids.slice(1)) await all.of(id).graphql(VERSION, patience);
  expect(all.size).toBe(2);
  expect(all.of('t0')).toBe(busy);
  await vi.waitFor(async () => expect(await theirs.connections()).toBe(2));
  controller.abort(new Failure('cancelled', 'enough'));
  expect((await waiting).code).toBe('cancelled');
});

// Goal: an application that misbehaves costs the call that asked it, and nothing beyond it.
// Method: a real one that does it, then a call of another tenant's application, and a look at our own memory.
const BREAKS: Record<Exclude<Misdeed, 'slowly' | 'sets a cookie'>, RegExp | number> = {
  never: /^enough$/,
  trickle: /^enough$/,
  garbage: 200,
  'half an answer': 200,
  text: 200,
  'no data': 200,
  html: 500,
  redirect: 307,
  closes: /closed the connection before it answered$/,
  'breaks off': /closed the connection before it answered$/,
  huge: /answered with more than 16777216 bytes$/,
  'huge as it says': /answered with more than 16777216 bytes$/,
  endless: /answered with more than 16777216 bytes$/,
  'a bomb': /packed its answer, although it was asked not to$/,
  'many headers': /answered with too many headers$/,
};

test.each(Object.entries(BREAKS) as [keyof typeof BREAKS, RegExp | number][])(
  'an application that answers with %j harms nobody',
  async (misdeed, expected) => {
    const [bad, good] = [await application({ credential: null }), await application({ credential: null })];
    const targetOf = ({ url }: TestApplication): Target => ({ url, credential: null });
    const all = applications({
      configured: new Map([
        ['bad', targetOf(bad)],
        ['good', targetOf(good)],
      ]),
    });
    bad.misdeed = misdeed;
    const controller = new AbortController();
    const call = all.of('bad').graphql(VERSION, controller.signal);
    call.catch(() => {});
    await vi.waitFor(() => expect(bad.asked).toHaveLength(1));
    expect((await all.of('good').graphql(VERSION, patience)).status).toBe(200);
    if (String(expected) === '/^enough$/') controller.abort(new Failure('plugin_timeout', 'enough'));
    if (typeof expected === 'number') expect((await call).status).toBe(expected);
    else expect((await failureOf(call)).message).toMatch(expected);
    // Nobody went after it, and the same one is asked again.
    expect(bad.asked).toHaveLength(1);
    bad.misdeed = null;
    expect((await all.of('bad').graphql(VERSION, patience)).status).toBe(200);
  },
);

test('answers that are on their way share their room: what is too much for it is ended', async () => {
  const begun: Socket[] = [];
  const url = await server((socket) => {
    begun.push(socket);
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 3000001\r\n\r\n${'x'.repeat(3_000_000)}`);
  });
  const all = applications({ configured: configured(url), answerBytes: 8_000_000, answerBytesAtOnce: 10_000_000 });
  const ask = () => Promise.allSettled(Array.from({ length: 4 }, () => all.of('default').graphql(VERSION, patience)));
  // Twice, as all of it is given back.
  for (const _ of [1, 2]) {
    const answers = ask();
    await vi.waitFor(() => expect(begun.filter(({ destroyed }) => destroyed)).toHaveLength(1));
    for (const socket of begun.splice(0)) socket.end('x');
    const refused = (await answers).flatMap((one) => (one.status === 'rejected' ? [one.reason as Failure] : []));
    expect(refused.map(({ code, details }) => [code, details.limit?.name])).toEqual([
      ['application_error', 'gateway.answerBytesAtOnce'],
    ]);
  }
});

test('an answer of very many small pieces is held as what it is', async () => {
  const pieces = 400_000;
  const text = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(pieces)}0\r\n\r\n`;
  const url = await server((socket) => socket.end(text));
  const answer = await applications({ configured: configured(url) })
    .of('default')
    .graphql(VERSION, patience);
  expect(answer.body).toBe('x'.repeat(pieces));
});

test('what an application sends back of a request is not in the failure, nor in what is logged of it', async () => {
  const url = await server((socket, head) => socket.end(head));
  const all = applications({ configured: configured(url, { as: 'apiKey', value: 'never-to-be-seen' }) });
  const failure = await failureOf(all.of('default').graphql(VERSION, patience));
  expect(failure.message).toMatch(/did not answer as HTTP does$/);
  const whole = inspect(failure, { depth: 10, showHidden: true });
  expect(whole).toContain('does not match the HTTP/1.1 protocol');
  expect(whole).not.toContain('never-to-be-seen');
});

/** Does as the test says with the bytes of each connection. Gives its URL. */
async function server(act: (socket: Socket, head: Buffer) => void): Promise<string> {
  const one = createServer((socket) =>
    socket.on('error', () => {}).once('data', (head) => act(socket, Buffer.from(head))),
  );
  await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
  scope.push({ [Symbol.asyncDispose]: () => new Promise((resolve) => one.close(() => resolve())) });
  return `http://127.0.0.1:${(one.address() as AddressInfo).port}`;
}
