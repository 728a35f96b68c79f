// Subscriptions as clients of Stash have them: both protocols, over real WebSockets, of a real service.
import { strict as assert } from 'node:assert';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { TestService } from '../../support/client.ts';
import { ok, plugin, startFakeService } from '../../support/fake.ts';
import { startTestService } from '../../support/service.ts';
import { dataOf, type SocketOptions, StashSocket } from '../../support/stash.ts';

function js(id: string, code: string, more = ''): Record<string, string> {
  return { [`${id}.yml`]: `name: ${id}\ninterface: js\nexec: [${id}.js]\n${more}`, [`${id}.js`]: code };
}

const plugins = {
  quick: js('quick', 'log.Info("quick " + input.Args.n); 1;'),
  slow: js(
    'slow',
    'log.Info("begins"); for (let i = 1; i <= 4; i += 1) { log.Progress(i / 5); util.Sleep(300); } log.Info("ends");',
    'tasks: [{name: Slow}]\n',
  ),
  wait: js('wait', 'util.Sleep(60000);'),
  fail: js('fail', '({ Error: "nope" });'),
};

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ plugins });
});
afterAll(() => service[Symbol.asyncDispose]());

const JOBS = 'subscription { jobsSubscribe { type job { id status description progress error } } }';
const LOGS = 'subscription { loggingSubscribe { time level message } }';
const RUN =
  'mutation ($plugin: ID!, $task: String, $args: Map) { runPluginTask(plugin_id: $plugin, task_name: $task, args_map: $args) }';

async function run(plugin: string, more: Record<string, unknown> = {}): Promise<string> {
  return (await dataOf(service, RUN, { variables: { plugin, ...more } })).runPluginTask;
}

/** The words of each protocol for the same. */
const WORDS = {
  'graphql-transport-ws': { begin: 'subscribe', data: 'next', end: 'complete' },
  'graphql-ws': { begin: 'start', data: 'data', end: 'stop' },
} as const;

type Protocol = keyof typeof WORDS;

async function greeted(protocol: Protocol = 'graphql-transport-ws', options: SocketOptions = {}, at = service) {
  const socket = await StashSocket.open(at, { protocol, ...options });
  socket.send({ type: 'connection_init' });
  await socket.got(({ type }) => type === 'connection_ack');
  return socket;
}

describe.each(Object.keys(WORDS) as Protocol[])('in %s', (protocol) => {
  const { begin, data, end } = WORDS[protocol];

  /** What has come for an operation, in order. */
  const of = (socket: StashSocket, id: string, field: string) =>
    socket.messages.filter((one) => one.type === data && one.id === id).map((one) => one.payload.data[field]);

  test('a job is added, changes and is removed, each told in its order', async () => {
    using socket = await greeted(protocol);
    socket.send({ type: begin, id: 'jobs', payload: { query: JOBS } });
    const job = await run('slow', { task: 'Slow' });
    await socket.got((one) => one.type === data && one.payload.data.jobsSubscribe.type === 'REMOVE');
    const told = of(socket, 'jobs', 'jobsSubscribe').filter((one) => one.job.id === job);
    expect(told[0]).toMatchObject({ type: 'ADD', job: { description: 'Running plugin task: Slow' } });
    expect(told.at(-1)).toMatchObject({ type: 'REMOVE', job: { status: 'FINISHED', error: null } });
    const between = told.slice(1, -1);
    expect(between.length).toBeGreaterThan(0);
    for (const one of between) expect(one).toMatchObject({ type: 'UPDATE', job: { status: 'RUNNING' } });
    const progress = between.map((one) => one.job.progress);
    expect(progress).toEqual([...progress].sort());
    expect(progress.at(-1)).toBeGreaterThan(0);
  });

  test('a job that is over at once is added and removed all the same, with its error', async () => {
    using socket = await greeted(protocol);
    socket.send({ type: begin, id: '1', payload: { query: JOBS } });
    // Whoever subscribes is not told when that is so; what is added after something was heard is heard.
    await run('quick', { args: { n: 0 } });
    await socket.got((one) => one.type === data && one.payload.data.jobsSubscribe.type === 'REMOVE');
    const jobs = await Promise.all(Array.from({ length: 10 }, () => run('fail')));
    for (const job of jobs) {
      const removed = ({ type, payload }: (typeof socket.messages)[number]) =>
        type === data && payload.data.jobsSubscribe.type === 'REMOVE' && payload.data.jobsSubscribe.job.id === job;
      const { payload } = await socket.got(removed);
      expect(payload.data.jobsSubscribe.job).toMatchObject({ status: 'FINISHED', error: 'nope' });
      const types = of(socket, '1', 'jobsSubscribe')
        .filter((one) => one.job.id === job)
        .map((one) => one.type);
      expect([types[0], types.at(-1), types.filter((one) => one !== 'UPDATE').length]).toEqual(['ADD', 'REMOVE', 2]);
    }
  });

  test('lines come in batches while a job runs', async () => {
    using socket = await greeted(protocol);
    socket.send({ type: begin, id: 'logs', payload: { query: LOGS } });
    // Until it listens.
    await vi.waitFor(
      async () => {
        await run('quick', { args: { n: 1 } });
        expect(of(socket, 'logs', 'loggingSubscribe').length).toBeGreaterThan(0);
      },
      { timeout: 10_000, interval: 100 },
    );
    await run('slow', { task: 'Slow' });
    const holds = (words: string) => (one: (typeof socket.messages)[number]) =>
      one.type === data &&
      one.payload.data.loggingSubscribe.some((line: { message: string }) => line.message.endsWith(words));
    await socket.got(holds('begins'));
    await socket.got(holds('ends'));
    const lines = of(socket, 'logs', 'loggingSubscribe').flat();
    expect(lines.find(({ message }) => message === '[Plugin / slow] begins')).toMatchObject({ level: 'Info' });
    expect(lines.filter(({ message }) => message.endsWith('ends'))).toHaveLength(1);
  });

  test('what is asked once is answered once, and nothing comes after the end of a subscription', async () => {
    using socket = await greeted(protocol);
    socket.send({
      type: begin,
      id: 'a',
      payload: {
        query: 'query ($x: [ID!]) { plugins { id } configuration { plugins(include: $x) } }',
        variables: { x: ['quick'] },
      },
    });
    const { payload } = await socket.got((one) => one.type === data && one.id === 'a');
    expect(payload.data.plugins).toHaveLength(4);
    await socket.got((one) => one.type === 'complete' && one.id === 'a');
    socket.send({ type: begin, id: 'b', payload: { query: JOBS } });
    await run('quick', { args: { n: 2 } });
    await socket.got((one) => one.type === data && one.id === 'b' && one.payload.data.jobsSubscribe.type === 'REMOVE');
    socket.send({ type: end, id: 'b' });
    socket.send({ type: begin, id: 'c', payload: { query: '{ version { version } }' } });
    await socket.got((one) => one.type === 'complete' && one.id === 'c');
    const heard = () => of(socket, 'b', 'jobsSubscribe').length;
    const before = heard();
    using other = await greeted(protocol);
    other.send({ type: begin, id: 'd', payload: { query: JOBS } });
    await run('quick', { args: { n: 3 } });
    await other.got((one) => one.type === data && one.payload.data.jobsSubscribe.type === 'REMOVE');
    expect(heard()).toBe(before);
  });

  test('what is wrong with an operation is its error, and the socket stays', async () => {
    using socket = await greeted(protocol);
    const wrong = [
      '{',
      'subscription { nothing }',
      'subscription { jobsSubscribe { type } loggingSubscribe { time } }',
      ' ',
    ];
    for (const [at, query] of wrong.entries()) {
      socket.send({ type: begin, id: `w${at}`, payload: { query } });
      const { type, payload } = await socket.got(({ id }) => id === `w${at}`);
      const errors = type === 'error' ? [payload].flat() : payload.errors;
      expect([query, errors.length > 0, typeof errors[0].message]).toEqual([query, true, 'string']);
    }
    socket.send({ type: begin, id: 'x', payload: { query: 'mutation { runPluginOperation(plugin_id: "fail") }' } });
    const { payload } = await socket.got((one) => one.type === data && one.id === 'x');
    expect(payload.errors[0]).toMatchObject({
      message: 'nope',
      path: ['runPluginOperation'],
      extensions: { code: 'plugin_error' },
    });
  });

  test('a connection has twenty operations at once, and what it waits for ends with it', async () => {
    const socket = await greeted(protocol);
    const query = 'mutation { runPluginOperation(plugin_id: "wait") }';
    for (let at = 0; at < 21; at += 1) socket.send({ type: begin, id: `${at}`, payload: { query } });
    const refused = await socket.got(({ type }) => type === 'error');
    expect([refused.payload].flat()[0].extensions.code).toBe('concurrency_limited');
    await vi.waitFor(() => expect(service.service.running).toBe(20));
    socket[Symbol.dispose]();
    await vi.waitFor(() => expect(service.service.running).toBe(0), { timeout: 10_000 });
  });

  test('what is no message of the protocol ends the connection', async () => {
    for (const message of ['nonsense', '[]', '{"type":"next","id":"1"}', '{"type":"data","id":"1"}', 'null']) {
      using socket = await greeted(protocol);
      socket.send(message);
      expect([message, (await socket.ended()).code]).toEqual([message, 4400]);
    }
    using early = await StashSocket.open(service, { protocol });
    early.send({ type: begin, id: '1', payload: { query: JOBS } });
    expect((await early.ended()).code).toBe(4401);
    using large = await greeted(protocol);
    large.send({ type: begin, id: '1', payload: { query: `{ ${'x'.repeat(1_100_000)} }` } });
    expect((await large.ended()).code).toBe(1009);
  });
});

test('the library that Stash’s web page uses understands us', async () => {
  const client = createClient({
    url: `${service.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    lazy: true,
  });
  const events = client.iterate<{ jobsSubscribe: { type: string } }>({ query: JOBS });
  const types: string[] = [];
  const reading = (async () => {
    for await (const { data } of events) {
      types.push(String(data?.jobsSubscribe.type));
      if (types.includes('REMOVE')) break;
    }
  })();
  await vi.waitFor(
    async () => {
      await run('quick', { args: { n: 4 } });
      expect(types).toContain('REMOVE');
    },
    { timeout: 10_000, interval: 300 },
  );
  await reading;
  await client.dispose();
});

test('the old protocol says that it is there, and where both are offered the new one is spoken', async () => {
  using old = await greeted('graphql-ws');
  await old.got(({ type }) => type === 'ka');
  old.send({ type: 'connection_terminate' });
  expect((await old.ended()).code).toBe(1000);
  using both = await StashSocket.open(service, { protocol: ['graphql-ws', 'graphql-transport-ws'] });
  expect(both.socket.protocol).toBe('graphql-transport-ws');
  both.send({ type: 'connection_init' });
  await both.got(({ type }) => type === 'connection_ack');
  both.send({ type: 'ping', payload: { x: 1 } });
  expect(await both.got(({ type }) => type === 'pong')).toEqual({ type: 'pong', payload: { x: 1 } });
});

test('other subprotocols, pages of somebody else, and other addresses get no WebSocket', async () => {
  const { host } = new URL(service.url);
  const cases: [SocketOptions, number][] = [
    [{ protocol: 'mqtt' }, 400],
    [{ protocol: [] }, 400],
    [{ headers: { origin: 'https://evil.example' } }, 403],
    [{ headers: { origin: 'null' } }, 403],
    [{ headers: { host: 'evil.example' } }, 403],
    [{ headers: { 'sec-fetch-site': 'cross-site' } }, 403],
    [{ headers: { authorization: 'Bearer isopod_AAAAAAAAAAAA_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' } }, 401],
    [{ path: '/t/nobody/graphql' }, 404],
  ];
  for (const [options, status] of cases) {
    await expect(StashSocket.open(service, options), JSON.stringify(options)).rejects.toThrow(`status ${status}`);
  }
  using own = await StashSocket.open(service, { headers: { origin: `http://${host}` }, path: '/t/default/graphql' });
  expect(own.socket.protocol).toBe('graphql-transport-ws');
});

test('a request to become a WebSocket anywhere else is a request as any', async () => {
  for (const [method, path, status] of [
    ['GET', '/v1/plugins', 200],
    ['GET', '/healthz', 200],
    ['POST', '/graphql', 200],
    ['GET', '/nothing', 404],
  ] as const) {
    const { port, host } = new URL(service.url);
    const socket = connect(Number(port), '127.0.0.1');
    const body = method === 'POST' ? '{"query":"{ plugins { id } }"}' : '';
    socket.write(
      `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nContent-Type: application/json\r\n' +
        `Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    const [head] = await once(socket, 'data');
    expect([path, String(head).split('\r\n')[0]]).toEqual([path, expect.stringContaining(String(status))]);
    socket.destroy();
  }
});

test('who is refused a WebSocket keeps no connection', async () => {
  const { port } = new URL(service.url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.write(
    'GET /graphql HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
  );
  const [head] = await once(socket, 'data');
  expect(String(head)).toMatch(/^HTTP\/1\.1 403 /);
  await once(socket.resume(), 'end');
});

test('a tenant’s token opens its own tenant, and a revoked one keeps nothing open', async () => {
  await using own = await startTestService({ plugins, config: { tokens: ['an-operators-token'] } });
  const ask = (method: string, path: string, body?: unknown) =>
    own.ask(method, path, { body, token: 'an-operators-token' });
  await expect(StashSocket.open(own)).rejects.toThrow('status 401');
  for (const id of ['acme', 'other']) expect((await ask('POST', '/v1/tenants', { id })).status).toBe(201);
  const made = await ask('POST', '/v1/tenants/acme/tokens', { name: 'x', scopes: ['invoke'] });
  const { id, secret } = made.body;
  const headers = { authorization: `Bearer ${secret}` };
  await expect(StashSocket.open(own, { headers, path: '/t/other/graphql' })).rejects.toThrow('status 404');
  using socket = await greeted('graphql-transport-ws', { headers }, own);
  socket.send({ type: 'subscribe', id: '1', payload: { query: '{ jobQueue { id } logs { message } }' } });
  expect((await socket.got((one) => one.id === '1')).payload.data).toEqual({ jobQueue: null, logs: [] });
  const manage = 'mutation { reloadPlugins }';
  socket.send({ type: 'subscribe', id: '2', payload: { query: manage } });
  expect((await socket.got((one) => one.id === '2')).payload.errors[0].extensions.code).toBe('forbidden');

  using idle = await greeted('graphql-ws', { headers }, own);
  expect((await ask('DELETE', `/v1/tenants/acme/tokens/${id}`)).status).toBe(204);
  await vi.waitFor(async () => {
    if (socket.closed === null)
      socket.send({ type: 'subscribe', id: `${performance.now()}`, payload: { query: '{ __typename }' } });
    expect(socket.closed?.code).toBe(4403);
  });
  expect((await idle.ended(15_000)).code).toBe(4403);
});

test('a tenant sees no jobs and no lines of another', async () => {
  await dataOf(service, 'mutation { a: runPluginOperation(plugin_id: "quick", args: { n: "mine" }) }');
  expect((await service.ask('POST', '/v1/tenants', { body: { id: 'acme' } })).status).toBe(201);
  const id = await run('quick', { args: { n: 5 } });
  const seen = await dataOf(
    service,
    `{ logs { message } jobQueue { id } findJob(input: { id: "${id}" }) { id } plugins { id } }`,
    { tenant: 'acme' },
  );
  expect(seen).toEqual({ logs: [], jobQueue: null, findJob: null, plugins: expect.anything() });
  const stopped = await run('wait');
  await dataOf(service, `mutation { stopJob(job_id: "${stopped}") stopAllJobs }`, { tenant: 'acme' });
  await vi.waitFor(async () => {
    const { findJob } = await dataOf(service, `{ findJob(input: { id: "${stopped}" }) { status } }`);
    expect(findJob.status).toBe('RUNNING');
  });
  await dataOf(service, `mutation { stopJob(job_id: "${stopped}") }`);
});

test('who gets the name of a tenant that is gone sees no lines of it', async () => {
  const act = async () => ({ ...ok(1), logs: [{ level: 'info' as const, message: 'theirs', atMs: 0 }] });
  await using fake = await startFakeService({ tenants: { again: [plugin()] }, act });
  const make = async () => expect((await fake.ask('POST', '/v1/tenants', { body: { id: 'again' } })).status).toBe(201);
  const lines = async () => (await dataOf(fake, '{ logs { message } }', { tenant: 'again' })).logs;
  await make();
  await dataOf(fake, 'mutation { runPluginOperation(plugin_id: "demo") }', { tenant: 'again' });
  expect(await lines()).toEqual([{ message: 'theirs' }]);
  expect((await fake.ask('DELETE', '/v1/tenants/again')).status).toBe(204);
  await make();
  expect(await lines()).toEqual([]);
});

test('a tenant has a hundred connections at once', async () => {
  const sockets = await Promise.all(Array.from({ length: 100 }, () => StashSocket.open(service)));
  await expect(StashSocket.open(service)).rejects.toThrow('status 429');
  for (const socket of sockets) socket[Symbol.dispose]();
  await vi.waitFor(async () => (await StashSocket.open(service))[Symbol.dispose](), { timeout: 5_000 });
});

test('the service ends with its sockets, whether they answer or not', async () => {
  const ending = await startTestService({ plugins });
  const polite = await greeted('graphql-transport-ws', {}, ending);
  polite.send({ type: 'subscribe', id: '1', payload: { query: JOBS } });
  const { port, host } = new URL(ending.url);
  // One that never says a word.
  const mute = connect(Number(port), '127.0.0.1');
  mute.write(
    `GET /graphql HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-ws\r\n\r\n',
  );
  mute.on('error', () => {});
  const [head] = await once(mute, 'data');
  assert.match(String(head), /101/);
  const gone = once(mute, 'close');
  mute.resume();
  await ending[Symbol.asyncDispose]();
  expect((await polite.ended()).code).toBe(1001);
  await gone;
});

test('nothing has been a bug of ours', () => {
  expect(service.log().filter(({ level }) => level >= 50)).toEqual([]);
});
