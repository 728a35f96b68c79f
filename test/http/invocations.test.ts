import { afterAll, assert, beforeAll, expect, test } from 'vitest';
import { type FakeService, ok, plugin, report, startFakeService } from '../support/fake.ts';

let service: FakeService;

beforeAll(async () => {
  service = await startFakeService({
    act: async ({ args, entry, limits }) => {
      const logs = [{ level: 'info' as const, message: 'a\u2028b', atMs: 1.5 }];
      if (args.want === 'limits') return ok(limits);
      if (args.want === 'logs') return { ...ok('x'), logs, progress: 0.5 };
      return ok({ entry: entry.kind, args });
    },
    config: { plugins: { demo: { limits: { wallMs: 5_000 } } } },
  });
});

afterAll(() => service[Symbol.asyncDispose]());

test('a task runs over its default arguments and answers output, progress, usage and timings', async () => {
  const answer = await service.invoke('demo', { task: 'Run', args: { a: [1, 'ü'] } });

  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
  expect(answer.body).toEqual({
    id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    output: { entry: 'task', args: { mode: 'run', a: [1, 'ü'] } },
    progress: null,
    usage: {
      cpuMs: 1.5,
      wallMs: 2,
      peakMemoryBytes: 0,
      hostCalls: 0,
      outputBytes: 0,
      logLines: 0,
      logLinesDropped: 0,
    },
    timingsMs: { queue: 0, boot: 0.5, run: expect.any(Number), host: 0 },
  });
  expect(answer.headers.get('isopod-invocation')).toBe(answer.body.id);
  expect(answer.headers.get('server-timing')).toMatch(/^queue;dur=[\d.]+, boot;dur=0\.5, run;dur=[\d.]+, host;dur=0$/);
});

test('without a task it is an operation, which has no default arguments', async () => {
  expect((await service.invoke('demo', {})).body.output).toEqual({ entry: 'operation', args: {} });
});

test('logs come only when they are asked for', async () => {
  const args = { want: 'logs' };
  expect((await service.invoke('demo', { args })).body).not.toHaveProperty('logs');
  const { body } = await service.invoke('demo', { args }, '?include=logs');
  expect(body.logs).toEqual([{ level: 'info', message: 'a\u2028b', atMs: 1.5 }]);
  expect(body.progress).toBe(0.5);
});

test('a caller can lower limits and not raise them, nor can a plugin of its own', async () => {
  const { body } = await service.invoke('demo', { args: { want: 'limits' }, limits: { wallMs: 9_000, cpuMs: 7 } });
  expect(body.output).toMatchObject({ wallMs: 5_000, cpuMs: 7, bootMs: 5_000 });
});

test('keys that mean something to JavaScript reach the plugin as plain data and change nothing', async () => {
  const text = '{"args":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":1}}';
  const { status, text: answer } = await service.invoke('demo', text);

  expect(status).toBe(200);
  expect(answer).toContain(
    '"args":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":1}',
  );
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test('the same keys anywhere else are refused', async () => {
  for (const text of ['{"__proto__":{"args":{}}}', '{"limits":{"__proto__":{"wallMs":1}}}', '{"constructor":1}']) {
    const { status, body } = await service.invoke('demo', text);
    expect([status, body.code]).toEqual([400, 'invalid_request']);
  }
});

test('what does not fit the schema is refused with a pointer to it', async () => {
  const cases: [unknown, string, string][] = [
    [{ args: [] }, '', '/args'],
    [{ arg: {} }, '', '/arg'],
    [{ 'a/b~c': {} }, '', '/a~1b~0c'],
    [{ task: 5 }, '', '/task'],
    [{ limits: { wallMs: '5' } }, '', '/limits/wallMs'],
    [{ limits: { wallMS: 5 } }, '', '/limits/wallMS'],
    [{ limits: { wallMs: 0 } }, '', '/limits/wallMs'],
    [[], '', ''],
    [{}, '?include=everything', '/include'],
    [{}, '?includes=logs', '/includes'],
  ];
  for (const [body, query, pointer] of cases) {
    const answer = await service.invoke('demo', body, query);
    expect(answer.status).toBe(400);
    expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    expect(answer.headers.get('isopod-error-code')).toBe('invalid_request');
    expect(answer.body).toMatchObject({
      type: '/problems/invalid_request',
      status: 400,
      code: 'invalid_request',
      retryable: false,
      errors: [{ pointer, detail: expect.any(String) }],
    });
  }
});

test('what is refused before it runs has an id and timings like any other answer of the route', async () => {
  for (const [body, type] of [
    ['{', 'application/json'],
    ['{"x":1}', 'application/json'],
    ['{}', 'text/plain'],
  ] as const) {
    const answer = await service.invoke('demo', body, '', { headers: { 'content-type': type } });
    expect(answer.body.invocation).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer.headers.get('isopod-invocation')).toBe(answer.body.invocation);
    expect(answer.headers.get('server-timing')).toBe('queue;dur=0, boot;dur=0, run;dur=0, host;dur=0');
  }
});

test('malformed, empty and too deep bodies say what is wrong with them', async () => {
  const deep = `{"args":${'{"a":'.repeat(300)}1${'}'.repeat(300)}}`;
  for (const [text, words] of [
    ['{"args":', /not JSON/],
    ['', /empty/],
    [deep, /nested deeper than 200/],
  ] as const) {
    const { status, body } = await service.invoke('demo', text);
    expect([status, body.code]).toEqual([400, 'invalid_request']);
    expect(body.detail).toMatch(words);
  }
  const quoted = JSON.stringify({ args: { text: `"${'[{'.repeat(500)}` } });
  expect((await service.invoke('demo', quoted)).status).toBe(200);
});

test('a body that is not sent as JSON is refused with 415', async () => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
    const { status, body } = await service.invoke('demo', '{}', '', { headers: { 'content-type': type } });
    expect([status, body.code]).toEqual([415, 'invalid_request']);
  }
});

test('ids in the path are data', async () => {
  for (const id of ['../demo', '..%2fdemo', 'demo\u0000', '__proto__', 'constructor', 'a'.repeat(400)]) {
    const { status, body } = await service.invoke(id, {});
    expect([id, status, body.code]).toEqual([id, 404, 'not_found']);
  }
  const { status } = await service.fetch('/v1/plugins/%zz/invocations', { method: 'POST' });
  expect(status).toBe(400);
});

test('a task that is not there is named, with those that are', async () => {
  const { status, body } = await service.invoke('demo', { task: 'Walk' });
  expect([status, body.code]).toEqual([404, 'not_found']);
  expect(body.detail).toBe('Plugin "demo" has no task "Walk": it has "Run"');
  expect(body.invocation).toBeTruthy();
});

test('a trace context is taken over into the answer and the log, and a broken one is not', async () => {
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const answer = await service.invoke('demo', {}, '', { headers: { traceparent } });
  expect(answer.headers.get('traceparent')).toBe(traceparent);
  expect(service.log(answer.body.id)).toMatchObject([{ traceparent }]);

  const broken = await service.invoke('demo', {}, '', { headers: { traceparent: '00-zz-00-01' } });
  expect(broken.headers.get('traceparent')).toBeNull();
  expect(service.log(broken.body.id)[0]).not.toHaveProperty('traceparent');
});

test('each settled invocation is one line in the log', async () => {
  const { body } = await service.invoke('demo', { task: 'Run' });
  const [line, ...more] = service.log(body.id);
  expect(more).toEqual([]);
  expect(line).toMatchObject({
    tenant: 'default',
    plugin: 'demo',
    entry: 'task Run',
    code: 'ok',
    wallMs: 2,
    cpuMs: 1.5,
    msg: 'settled',
  });
});

test('nothing a caller or a plugin says can break a line of the log', async () => {
  const nasty = 'a\nb\r\u001b[31mc\u2028d\u0085e\u009b{"f":"g\u007f';
  await using other = await startFakeService({
    plugins: [plugin(), plugin({ id: 'other', program: { runtime: 'none' } })],
    act: async () => {
      const { Failure } = await import('../../src/core/failure.ts');
      const pluginError = { name: 'Error', message: nasty, stack: nasty };
      return { ok: false, failure: new Failure('plugin_error', 'It failed', { pluginError }), ...report() };
    },
  });
  await other.invoke(nasty, { task: nasty });
  await other.invoke('demo', {});
  const unknown = await other.invoke('demo', { task: nasty });

  expect(other.lines).toHaveLength(3);
  for (const line of other.lines) {
    assert(line.endsWith('\n'));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are the subject
    expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
  }
  expect(unknown.status).toBe(404);
});
