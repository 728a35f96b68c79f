// Events as an application sends them: a real service, real plugins, a real socket.
import { strict as assert } from 'node:assert';
import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Chain } from '../../src/core/chain.ts';
import { Seal } from '../../src/gateway/seal.ts';
import type { Answer, Asking, TestService } from '../support/client.ts';
import { testDatabase } from '../support/databases.ts';
import { startTestService } from '../support/service.ts';

function js(id: string, code: string, hooks: string): Record<string, string> {
  return { [`${id}.yml`]: `name: ${id}\ninterface: js\nexec: [${id}.js]\nhooks:\n${hooks}`, [`${id}.js`]: code };
}

const on = (...triggers: string[]) =>
  `  - { name: on, triggeredBy: [${triggers.join(', ')}], defaultArgs: { mode: hook } }\n`;
const TELL = 'const h = input.Args.hookContext; ({ Output: { mode: input.Args.mode, ...h } });';
const JSON_TYPE = 'application/json';
const STRUCTURED = 'application/cloudevents+json';
const UPDATE = 'Scene.Update.Post';

const plugins = {
  a: js('a', TELL, `${on(UPDATE, UPDATE)}  - { name: later, triggeredBy: [${UPDATE}] }\n`),
  bad: js('bad', 'this is (no JavaScript', on(UPDATE)),
  c: js('c', TELL, on(UPDATE, 'Scene.Create.Post')),
  off: js('off', TELL, on(UPDATE)),
  raw: {
    'raw.yml': `name: raw\ninterface: raw\nexec: [python3, "{pluginDir}/raw.py"]\nhooks:\n${on(UPDATE)}`,
    'raw.py': 'import json, sys\nprint(json.dumps({"output": json.load(sys.stdin)["args"]}))\n',
  },
  refusing: js('refusing', '({ Error: "no\\u2028, \\u001b[31mnever" });', on('Tag.Merge.Post', 'odd "one"')),
  slow: js(
    'slow',
    'util.Sleep(20000);',
    `  - { name: first, triggeredBy: [slow] }\n  - { name: second, triggeredBy: [slow] }\n`,
  ),
  steps: js(
    'steps',
    'log.Info(JSON.stringify(input.Args.hookContext.input)); ({ Output: input.Args.hookContext });',
    on('step'),
  ),
};

let service: TestService & { folder: string };
let token: string;
let seal: Seal;
beforeAll(async () => {
  service = await startTestService({ plugins, config: { tokens: ['sesame-open'], hooks: { depth: 20, width: 30 } } });
  token = 'sesame-open';
  seal = new Seal(await service.service.parts.store.key('gateway'));
  expect((await ask('POST', '/v1/plugins/off/disable')).status).toBe(200);
});
afterAll(() => service[Symbol.asyncDispose]());

function ask(method: string, path: string, asking: Asking = {}): Promise<Answer> {
  return service.ask(method, path, { token, ...asking });
}

function send(body: unknown, headers: Record<string, string> = {}, path = '/v1/events'): Promise<Answer> {
  return ask('POST', path, { body, headers });
}

function chainOf(links: Chain['links'], root = 'begin'): Chain {
  return { root, by: { plugin: 'a', invocation: 'i' }, links };
}

function sealed(chain: Chain, tenant = 'default'): Record<string, string> {
  return { 'isopod-hook-chain': seal.seal(tenant, chain) };
}

const link = (plugin: string, trigger = UPDATE) => ({ plugin, trigger });
const names = ({ body }: Answer) =>
  body.hooks.map((one: { plugin: string; hook: string }) => `${one.plugin}/${one.hook}`);

test('hooks of enabled plugins run in order, twice where listed twice, and what does not start stops none of the others', async () => {
  const answer = await send({ type: UPDATE, id: 45, input: { id: '45', title: 'x' }, inputFields: ['id', 'title'] });
  expect(answer.status).toBe(200);
  expect(names(answer)).toEqual(['a/on', 'a/on', 'a/later', 'bad/on', 'c/on', 'raw/on']);
  const { event, hooks } = answer.body;
  expect(event).toMatchObject({ type: UPDATE, object: 45, cause: null, chain: [], root: event.id });
  expect(hooks.map(({ status }: { status: string }) => status)).toEqual(['ran', 'ran', 'ran', 'failed', 'ran', 'ran']);
  const hookContext = { id: 45, type: UPDATE, input: { id: '45', title: 'x' }, inputFields: ['id', 'title'] };
  expect(hooks[0].output).toEqual({ mode: 'hook', ...hookContext });
  expect(hooks[5].output).toEqual({ mode: 'hook', hookContext });
  expect(hooks[3].problem).toMatchObject({ code: 'plugin_boot_failed', status: 502, plugin: { id: 'bad' } });
  expect(hooks[0].ms).toBeGreaterThan(0);
  expect(service.log(hooks[0].invocation)).toMatchObject([
    { plugin: 'a', entry: 'hook on', trigger: UPDATE, root: event.id, depth: 1 },
  ]);
});

test('in JavaScript all four keys are there, and what is empty is not told to others', async () => {
  const { body } = await send({ type: UPDATE });
  expect(body.hooks[0].output).toEqual({ mode: 'hook', id: 0, type: UPDATE, input: null, inputFields: [] });
  expect(body.hooks[5].output.hookContext).toEqual({ type: UPDATE, input: null });
});

test('where nobody listens nothing is run, whatever it is called', async () => {
  for (const type of ['Scene.Nothing', '__proto__', 'x'.repeat(200), '"};{\u2028']) {
    expect([type, (await send({ type })).body.hooks]).toEqual([type, []]);
  }
});

test('what is no event is refused, and where it is wrong is said', async () => {
  const cases: [unknown, string][] = [
    [{}, ''],
    [{ type: '' }, '/type'],
    [{ type: 'x'.repeat(201) }, '/type'],
    [{ type: 'a\nb' }, '/type'],
    [{ type: '\u001b[31m' }, '/type'],
    [{ type: '\ud800' }, '/type'],
    [{ type: 'a', id: '4x5' }, '/id'],
    [{ type: 'a', id: -1 }, '/id'],
    [{ type: 'a', inputFields: 'title' }, '/inputFields'],
    [{ type: 'a', inputFields: [1] }, '/inputFields/0'],
    [{ type: 'a', limits: { wallMs: 0 } }, '/limits/wallMs'],
    [{ type: 'a', name: 'x' }, '/name'],
    [[], ''],
  ];
  for (const [body, pointer] of cases) {
    const answer = await send(body);
    expect([body, answer.status, answer.body.code, answer.body.errors?.[0]?.pointer]).toEqual([
      body,
      400,
      'invalid_request',
      pointer,
    ]);
  }
  expect((await ask('POST', '/v1/events')).status).toBe(400);
  for (const type of ['text/plain', 'application/cloudevents-batch+json']) {
    const answer = await send([], { 'content-type': type });
    expect([type, answer.status, answer.body.detail]).toEqual([type, 415, expect.stringContaining(STRUCTURED)]);
  }
  // Nowhere else is it a body.
  const elsewhere = await ask('POST', '/v1/plugins/c/invocations', {
    body: {},
    headers: { 'content-type': STRUCTURED },
  });
  expect(elsewhere.status).toBe(415);
});

test('a CloudEvent in the structured form is an event, by its own name or one of Stash at its end', async () => {
  const cloud = { specversion: '1.0', id: '1', source: '/app', type: 'org.example.Scene.Create.Post', traceid: 'x' };
  const answer = await send(
    { ...cloud, subject: '7', data: { input: { a: 1 } } },
    { 'content-type': `${STRUCTURED}; charset=utf-8` },
  );
  expect([answer.status, names(answer)]).toEqual([200, ['c/on']]);
  expect(answer.body.hooks[0].output).toEqual({
    mode: 'hook',
    id: 7,
    type: 'Scene.Create.Post',
    input: { a: 1 },
    inputFields: [],
  });
  const told = await send({ ...cloud, id: '2', subject: 'scenes/8', data: { id: 8 } }, { 'content-type': STRUCTURED });
  expect(told.body.event.object).toBe(8);
  const own = await send({ ...cloud, id: '3', type: 'MyScene.Create.Post' }, { 'content-type': STRUCTURED });
  expect([own.body.event.type, own.body.hooks]).toEqual(['MyScene.Create.Post', []]);

  const { specversion: _s, ...unversioned } = cloud;
  const cases: [unknown, string][] = [
    [unversioned, ''],
    [{ ...cloud, specversion: '0.3' }, '/specversion'],
    [{ ...cloud, id: '' }, '/id'],
    [{ ...cloud, source: 1 }, '/source'],
    [{ ...cloud, type: 'a\u0000' }, '/type'],
    [{ ...cloud, subject: 'scenes/8' }, '/subject'],
    [{ ...cloud, datacontenttype: 'text/xml', data: {} }, '/datacontenttype'],
    [{ ...cloud, data: { id: 'x' } }, '/data/id'],
    [{ ...cloud, data: 'text' }, '/data'],
    [{ ...cloud, data: { fields: [] } }, '/data/fields'],
    [{ ...cloud, data_base64: 'aGk=' }, '/data_base64'],
  ];
  for (const [body, pointer] of cases) {
    const answer = await send(body, { 'content-type': STRUCTURED });
    expect([body, answer.status, answer.body.errors?.[0]?.pointer]).toEqual([body, 400, pointer]);
  }
});

test('a CloudEvent in the binary form has its attributes as headers', async () => {
  const headers = {
    'ce-specversion': '1.0',
    'ce-id': '1',
    'ce-source': 'https://app/',
    'ce-type': 'com.app.Scene.Create.Post',
    'ce-subject': '9',
  };
  const answer = await send({ input: [1], inputFields: ['a'] }, headers);
  expect(answer.body.hooks[0].output).toEqual({
    mode: 'hook',
    id: 9,
    type: 'Scene.Create.Post',
    input: [1],
    inputFields: ['a'],
  });
  const bare = await ask('POST', '/v1/events', { headers: { ...headers, 'ce-id': '%C3%A9' } });
  expect([bare.status, bare.body.event?.object]).toEqual([200, 9]);

  const { 'ce-id': _, ...nameless } = headers;
  const cases: [Record<string, string>, unknown, string][] = [
    [nameless, {}, 'ce-id is missing'],
    [{ ...headers, 'ce-specversion': '2.0' }, {}, 'ce-specversion must be 1.0'],
    [{ ...headers, 'ce-source': '%zz' }, {}, 'ce-source has a %'],
    [{ ...headers, 'ce-type': '%0a' }, {}, '/type'],
    [{ ...headers, 'ce-subject': 'x' }, {}, 'subject'],
    [headers, [], 'is not an object'],
    [headers, { type: 'other' }, 'is not an object'],
    [headers, { id: 'x' }, '/id'],
  ];
  for (const [wrong, body, words] of cases) {
    const refused = await send(body, wrong);
    expect([wrong, refused.status, refused.body.detail]).toEqual([wrong, 400, expect.stringContaining(words)]);
  }
});

test('what is delivered twice is done once, and so is what is asked for twice under a key', async () => {
  const event = { specversion: '1.0', id: 'twice', source: '/app', type: 'step', data: { input: 'twice' } };
  const first = await send(event, { 'content-type': STRUCTURED });
  const second = await send({ ...event, time: '2026-01-01T00:00:00Z' }, { 'content-type': STRUCTURED });
  expect([second.status, second.text, second.headers.get('idempotency-replayed')]).toEqual([200, first.text, 'true']);
  const binary = { 'ce-specversion': '1.0', 'ce-id': 'twice', 'ce-source': '/app', 'ce-type': 'step' };
  expect((await send({}, binary)).text).toBe(first.text);
  const other = await send({ ...event, source: '/another' }, { 'content-type': STRUCTURED });
  expect(other.body.event.id).not.toBe(first.body.event.id);

  const key = { 'idempotency-key': 'mine' };
  const keyed = await send({ type: 'step', id: 1 }, key);
  expect((await send({ type: 'step', id: 1 }, key)).text).toBe(keyed.text);
  expect((await send({ type: 'step', id: 2 }, key)).body.code).toBe('idempotency_key_reused');

  const queued = await send({ ...event, id: 'queued' }, { 'content-type': STRUCTURED, prefer: 'respond-async' });
  const again = await send({ ...event, id: 'queued' }, { 'content-type': STRUCTURED, prefer: 'respond-async' });
  expect([again.status, again.text]).toEqual([202, queued.text]);
  // What was refused did not happen.
  const deep = sealed(chainOf(Array(20).fill(link('x'))));
  expect((await send({ ...event, id: 'deep' }, { 'content-type': STRUCTURED, ...deep })).status).toBe(508);
  expect((await send({ ...event, id: 'deep' }, { 'content-type': STRUCTURED })).status).toBe(200);
});

test('with respond-async each hook becomes a job, with what led to it', async () => {
  const chain = chainOf([link('a')], 'async');
  const answer = await send({ type: UPDATE, id: 3 }, { prefer: 'respond-async', ...sealed(chain) });
  expect([answer.status, answer.headers.get('preference-applied')]).toEqual([202, 'respond-async']);
  expect(answer.body.event).toMatchObject({ cause: chain.by, root: 'async', chain: chain.links });
  const [job] = await Promise.all(
    answer.body.hooks.map(async ({ status, location }: { status: string; location: string }) => {
      expect(status).toBe('queued');
      return await ended(location);
    }),
  );
  expect(job).toMatchObject({
    plugin: 'a',
    hook: 'on',
    state: 'succeeded',
    output: { id: 3, mode: 'hook' },
    chain: [link('a'), link('a')],
    cause: { event: answer.body.event.id, type: UPDATE, by: chain.by },
  });
  expect(service.log(job.invocation)).toMatchObject([
    { entry: 'hook on', root: 'async', depth: 2, causedBy: chain.by },
  ]);
  const waited = await send({ type: 'step' }, { prefer: 'wait=20' });
  expect([waited.status, waited.body.hooks[0].state]).toEqual([200, 'succeeded']);
});

async function ended(path: string): Promise<Answer['body']> {
  return await vi.waitFor(
    async () => {
      const { body } = await ask('GET', path);
      assert(!['waiting', 'running'].includes(body.state), body.state);
      return body;
    },
    { timeout: 15_000, interval: 20 },
  );
}

test('a caller who goes away stops the hook that runs, and the rest is not begun', async () => {
  const before = service.lines.length;
  const text = JSON.stringify({ type: 'slow' });
  const asked = httpRequest(`${service.url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': JSON_TYPE, authorization: `Bearer ${token}` },
  });
  asked.on('error', () => {});
  asked.end(text);
  await vi.waitFor(() => expect(service.service.running).toBe(1), { timeout: 10_000 });
  asked.destroy();
  const lines = await vi.waitFor(
    () => {
      const found = service.lines.slice(before).map((one) => JSON.parse(one));
      expect(found.filter(({ plugin }) => plugin === 'slow')).toHaveLength(1);
      return found;
    },
    { timeout: 10_000 },
  );
  expect(lines[0]).toMatchObject({ entry: 'hook first', code: 'cancelled', detail: 'operation cancelled' });
  expect(service.service.running).toBe(0);
});

test('a plugin that stands ten times for the trigger in what led to an event is passed over, and the chain is named', async () => {
  const nine = await send({ type: 'step' }, sealed(chainOf(Array(9).fill(link('steps', 'step')), 'nine')));
  expect(nine.body.hooks[0].status).toBe('ran');
  const ten = await send({ type: 'step' }, sealed(chainOf(Array(10).fill(link('steps', 'step')), 'ten')));
  expect([ten.status, ten.body.hooks]).toEqual([
    200,
    [
      {
        plugin: 'steps',
        hook: 'on',
        status: 'skipped',
        reason: expect.stringContaining('steps (step) → steps (step)'),
      },
    ],
  ]);
});

test('116: a chain that is too long, or has become too wide, is refused with its links', async () => {
  const chain = chainOf([...Array(10).fill(link('steps', 'other')), ...Array(10).fill(link('a'))], 'deep');
  const deep = await send({ type: 'step' }, sealed(chain));
  expect([deep.status, deep.body.code, deep.body.limit]).toEqual([
    508,
    'hook_loop',
    { name: 'hooks.depth', allowed: 20, observed: 21, unit: 'count' },
  ]);
  expect(deep.body.detail).toContain('a (Scene.Update.Post) → steps (step)');
  expect((await send({ type: 'step' }, { prefer: 'respond-async', ...sealed(chain) })).status).toBe(508);

  const wide = sealed(chainOf([link('a', 'wide')], 'wide'));
  for (let count = 0; count < 30; count += 1)
    expect([count, (await send({ type: 'step' }, wide)).status]).toEqual([count, 200]);
  const refused = await send({ type: 'step' }, wide);
  expect([refused.status, refused.body.limit]).toEqual([
    508,
    { name: 'hooks.width', allowed: 30, observed: 31, unit: 'count' },
  ]);
  expect(refused.body.detail).toContain('a (wide)');
  expect((await send({ type: 'step' }, sealed(chainOf([link('a', 'wide')], 'another')))).status).toBe(200);
});

test('what led to an event is taken from nobody but us', async () => {
  const mine = sealed(chainOf([link('a')]))['isopod-hook-chain'] ?? '';
  const theirs = sealed(chainOf([link('a')]), 'acme')['isopod-hook-chain'] ?? '';
  for (const text of ['x', mine.slice(0, -2), `${mine}x`, theirs, 'a'.repeat(15_000)]) {
    const answer = await send({ type: 'step' }, { 'isopod-hook-chain': text });
    expect([text.length, answer.status, answer.body.code]).toEqual([text.length, 400, 'invalid_request']);
  }
});

test('117: no type and no input breaks a line of the log', async () => {
  const before = service.lines.length;
  const nasty = '"}\n\u001b[31m\u2028\u0000';
  await send({ type: 'odd "one"', input: { [nasty]: nasty }, inputFields: [nasty] });
  const chain = { root: nasty, by: { plugin: nasty, invocation: nasty }, links: [link(nasty, nasty)] };
  expect((await send({ type: 'step', input: nasty }, sealed(chain))).body.hooks[0].output.input).toBe(nasty);
  const lines = service.lines.slice(before);
  expect(lines.length).toBe(2);
  for (const line of lines) {
    expect(['\n', '\u001b', '\u2028'].filter((one) => line.slice(0, -1).includes(one))).toEqual([]);
    expect(JSON.parse(line).msg).toBe('settled');
  }
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ plugin: 'refusing', trigger: 'odd "one"' });
});

test('of another tenant nothing is run, seen or held', async () => {
  expect((await ask('POST', '/v1/tenants', { body: { id: 'acme' } })).status).toBe(201);
  const own = await send({ type: UPDATE }, {}, '/t/acme/v1/events');
  expect([own.status, own.body.hooks]).toEqual([200, []]);
  expect((await ask('PATCH', '/t/acme/v1/hooks', { body: { paused: true } })).status).toBe(200);
  expect((await send({ type: UPDATE }, {}, '/t/acme/v1/events')).status).toBe(202);
  expect((await send({ type: 'step' })).status).toBe(200);
  expect((await ask('GET', '/v1/hooks')).body).toMatchObject({ paused: false, held: 0 });
  expect((await ask('GET', '/t/acme/v1/hooks')).body).toMatchObject({ paused: true, held: 1, triggers: [] });
  const { body } = await ask('POST', '/v1/tenants/acme/tokens', { body: { name: 'app', scopes: ['invoke'] } });
  const asApp = { token: body.secret };
  expect((await ask('PATCH', '/v1/hooks', { ...asApp, body: { paused: false } })).body.code).toBe('forbidden');
  expect((await ask('POST', '/v1/events', { ...asApp, body: { type: UPDATE } })).status).toBe(202);
  expect((await ask('GET', '/v1/hooks', asApp)).body.held).toBe(2);
});

test('the policy says which triggers set off what, and is changed by who has seen it', async () => {
  const seen = await ask('GET', '/v1/hooks');
  expect(seen.body).toMatchObject({ order: 'sequential', paused: false, defer: null });
  expect(seen.body.triggers.find(({ trigger }: { trigger: string }) => trigger === 'Scene.Create.Post')).toEqual({
    trigger: 'Scene.Create.Post',
    hooks: [{ plugin: 'c', hook: 'on' }],
  });
  expect(JSON.stringify(seen.body.triggers)).not.toContain('"off"');
  const headers = { 'if-match': seen.headers.get('etag') ?? '' };
  const changed = await ask('PATCH', '/v1/hooks', { body: { order: 'parallel' }, headers });
  expect([changed.status, changed.body.order]).toEqual([200, 'parallel']);
  expect((await ask('PATCH', '/v1/hooks', { body: { order: 'sequential' }, headers })).status).toBe(412);
  const answer = await send({ type: UPDATE, id: 1 });
  expect(names(answer)).toEqual(['a/on', 'a/on', 'a/later', 'bad/on', 'c/on', 'raw/on']);
  expect((await ask('PATCH', '/v1/hooks', { body: { order: 'sequential' } })).body.order).toBe('sequential');
  for (const body of [
    { order: 'odd' },
    { defer: { how: 'batch' } },
    { defer: { how: 'debounce', ms: 5 } },
    { revision: 3 },
    { defer: { how: 'batch', ms: 0 } },
  ]) {
    expect([body, (await ask('PATCH', '/v1/hooks', { body })).status]).toEqual([body, 400]);
  }
});

async function jobsOf(plugin: string, count: number): Promise<Answer['body'][]> {
  return await vi.waitFor(
    async () => {
      const { body } = await ask('GET', `/v1/jobs?plugin=${plugin}&state=succeeded`);
      expect(body.jobs).toHaveLength(count);
      return await Promise.all(
        body.jobs.toReversed().map(async ({ id }: { id: string }) => (await ask('GET', `/v1/jobs/${id}`)).body),
      );
    },
    { timeout: 20_000, interval: 50 },
  );
}

async function forgetJobs(): Promise<void> {
  const { body } = await ask('GET', '/v1/jobs?limit=200&state=succeeded,failed,cancelled,dead');
  for (const { id } of body.jobs) await ask('DELETE', `/v1/jobs/${id}`);
}

test('while hooks are paused events are kept, and go out in their order when that is over', async () => {
  await forgetJobs();
  expect((await ask('PATCH', '/v1/hooks', { body: { paused: true } })).status).toBe(200);
  const chain = chainOf([link('a')], 'kept');
  for (let id = 1; id <= 5; id += 1) {
    const { status, body } = await send({ type: 'step', id, input: { nul: '\u0000' } }, id === 1 ? sealed(chain) : {});
    expect([status, body.held]).toEqual([202, { until: null, why: 'paused' }]);
  }
  const deep = await send({ type: 'step' }, sealed(chainOf(Array(20).fill(link('a')))));
  expect(deep.status).toBe(508);
  expect((await ask('GET', '/v1/hooks')).body.held).toBe(5);
  expect((await ask('PATCH', '/v1/hooks', { body: { paused: false } })).status).toBe(200);
  const jobs = await jobsOf('steps', 5);
  expect(jobs.map(({ output }) => output.id)).toEqual([1, 2, 3, 4, 5]);
  expect(jobs[0]).toMatchObject({
    cause: { by: chain.by, type: 'step' },
    chain: [link('a'), link('steps', 'step')],
    args: { hookContext: { input: { nul: '\u0000' } } },
  });
  expect((await ask('GET', '/v1/hooks')).body.held).toBe(0);
});

test('events of the same object become one, with the newest input and the names of all that was sent', async () => {
  await forgetJobs();
  const defer = { how: 'debounce', ms: 1_500, mostMs: 60_000 };
  expect((await ask('PATCH', '/v1/hooks', { body: { defer } })).body.defer).toEqual(defer);
  const first = await send(
    { type: 'step', id: 1, input: 'a', inputFields: ['x'] },
    sealed(chainOf([link('a'), link('c')])),
  );
  const second = await send({ type: 'step', id: 1, input: 'b', inputFields: ['y', 'x'] });
  expect(second.body.event.id).toBe(first.body.event.id);
  expect(second.body.event.chain).toHaveLength(2);
  expect(Date.parse(second.body.held.until)).toBeGreaterThan(Date.parse(first.body.held.until));
  expect(second.body.held.why).toBe('debounce');
  await send({ type: 'step', id: 2, input: 'c', inputFields: ['x'] });
  await send({ type: 'step', id: 2, input: 'd' });
  await send({ type: 'step', input: 'of none' });
  await send({ type: 'step', input: 'of none either' });
  const jobs = await jobsOf('steps', 4);
  const told = jobs.map(({ output: { id, input, inputFields } }) => [id, input, inputFields]);
  expect(told).toHaveLength(4);
  expect(told).toContainEqual([1, 'b', ['x', 'y']]);
  expect(told).toContainEqual([2, 'd', []]);
  expect(told).toContainEqual([0, 'of none', []]);
  expect(told).toContainEqual([0, 'of none either', []]);
});

test('what is debounced does not wait for ever', async () => {
  await ask('PATCH', '/v1/hooks', { body: { defer: { how: 'debounce', ms: 60_000, mostMs: 120_000 } } });
  const first = await send({ type: 'nobody', id: 9 });
  await ask('PATCH', '/v1/hooks', { body: { defer: { how: 'debounce', ms: 60_000, mostMs: 60_001 } } });
  const second = await send({ type: 'nobody', id: 9 });
  const third = await send({ type: 'nobody', id: 9 });
  expect(second.body.event.id).toBe(first.body.event.id);
  expect(third.body.held.until).toBe(second.body.held.until);
  await ask('PATCH', '/v1/hooks', { body: { defer: null } });
});

test('a batch goes out together, when its first event has waited for its time', async () => {
  await forgetJobs();
  await ask('PATCH', '/v1/hooks', { body: { defer: { how: 'batch', ms: 1_500 } } });
  const first = await send({ type: 'step', id: 1 });
  const second = await send({ type: 'step', id: 1 });
  expect(second.body.held).toEqual({ until: first.body.held.until, why: 'batch' });
  await ask('PATCH', '/v1/hooks', { body: { defer: null } });
  expect((await send({ type: 'step', id: 2 })).body.hooks[0].status).toBe('ran');
  const jobs = await jobsOf('steps', 2);
  expect(jobs.map(({ cause }) => cause.event)).toEqual([first.body.event.id, second.body.event.id]);
  expect(Date.parse(jobs[0].createdAt)).toBeGreaterThanOrEqual(Date.parse(first.body.held.until));
});

test('what is kept outlives the service, and keeps its order', async () => {
  await using database = await testDatabase();
  const config = { databaseUrl: database.url };
  {
    await using before = await startTestService({ plugins: { steps: plugins.steps }, config });
    expect((await before.ask('PATCH', '/v1/hooks', { body: { paused: true } })).status).toBe(200);
    for (let id = 1; id <= 20; id += 1) {
      expect((await before.ask('POST', '/v1/events', { body: { type: 'step', id } })).status).toBe(202);
    }
  }
  await using after = await startTestService({ plugins: { steps: plugins.steps }, config });
  expect((await after.get('/v1/hooks')).body).toMatchObject({ paused: true, held: 20 });
  expect((await after.ask('POST', '/v1/events', { body: { type: 'step', id: 21 } })).status).toBe(202);
  await after.ask('PATCH', '/v1/hooks', { body: { paused: false } });
  const jobs = await vi.waitFor(
    async () => {
      const { body } = await after.get('/v1/jobs?state=succeeded');
      expect(body.jobs).toHaveLength(21);
      return await Promise.all(
        body.jobs.toReversed().map(async ({ id }: { id: string }) => (await after.get(`/v1/jobs/${id}`)).body),
      );
    },
    { timeout: 20_000, interval: 100 },
  );
  expect(jobs.map(({ output }) => output.id)).toEqual(Array.from({ length: 21 }, (_, at) => at + 1));
});

test('where a tenant may have few jobs waiting, its events wait until there is room for theirs', async () => {
  const takingTime = js('steps', 'util.Sleep(200); ({ Output: 1 });', on('step'));
  await using small = await startTestService({ plugins: { steps: takingTime }, config: { jobs: { atOnce: 1 } } });
  const patched = await small.ask('PATCH', '/v1/tenants/default', { body: { quotas: { jobsWaiting: 2 } } });
  expect(patched.status).toBe(200);
  await small.ask('PATCH', '/v1/hooks', { body: { paused: true } });
  for (let id = 1; id <= 6; id += 1) await small.ask('POST', '/v1/events', { body: { type: 'step', id } });
  await small.ask('PATCH', '/v1/hooks', { body: { paused: false } });
  await vi.waitFor(async () => expect((await small.get('/v1/jobs?state=succeeded')).body.jobs).toHaveLength(6), {
    timeout: 15_000,
    interval: 100,
  });
  expect((await small.get('/v1/jobs?state=failed')).body.jobs).toEqual([]);
});
