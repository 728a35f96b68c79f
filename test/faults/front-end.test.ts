// What plugins and callers may do to the process that serves HTTP: its memory, its threads, its time, its words.
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TestService } from '../support/client.ts';
import { startTestService } from '../support/service.ts';

const js = (id: string, source: string, name = id) => ({
  [`${id}.yml`]: `name: ${JSON.stringify(name)}\ninterface: js\nexec: [${id}.js]\n`,
  [`${id}.js`]: source,
});

let service: TestService & { folder: string };
beforeAll(async () => {
  service = await startTestService({
    plugins: {
      fine: js('fine', '({ Output: "fine" });'),
      size: js('size', '({ Output: input.Args.a.length });'),
      pipe: js('pipe', ''),
      wordy: js('wordy', 'for (let i = 0; i < 500; i += 1) log.Info("x"); ({ Output: 1 });', 'n'.repeat(200_000)),
      euro: js('euro', 'for (let i = 0; i < 200; i += 1) log.Info("\\u20ac".repeat(2000)); ({ Output: 1 });'),
      last: js('last', 'log.Info("one"); log.Warn("about to loop"); for (;;);'),
      caller: js('caller', 'gql.Do("\\u20ac".repeat(45e6));'),
      endless: js('endless', `${Array.from({ length: 40_000 }, (_, i) => `let a${i};`).join('')} ({ Output: 1 });`),
    },
    config: {
      limits: { cpuMs: 4000, wallMs: 20_000 },
      requestBytes: 10_485_760,
      requestBytesAtOnce: 25_000_000,
      applicationUrl: 'http://127.0.0.1:9',
    },
  });
  const script = join(service.folder, 'plugins/stash/pipe/pipe.js');
  rmSync(script);
  execFileSync('mkfifo', [script]);
});
afterAll(() => service[Symbol.asyncDispose]());

test('a script that is a pipe is refused at once, and holds nobody up', async () => {
  const calls = Array.from({ length: 12 }, () => service.invoke('pipe', { limits: { wallMs: 2000 } }));
  const beside = await service.invoke('fine');
  assert.equal(beside.body.output, 'fine');
  for (const { body } of await Promise.all(calls)) assert.equal(body.code, 'plugin_boot_failed', body.detail);
});

test('arguments that would fill the heap of a plugin are the fault of the caller, and nothing is held against it', async () => {
  const heavy = `{"limits":{"heapMb":32},"args":{"a":[${'[],'.repeat(450_000)}0]}}`;
  for (let times = 0; times < 4; times += 1) {
    const { status, body } = await service.invoke('fine', heavy);
    expect({ status, code: body.code, limit: body.limit.name }).toEqual({
      status: 413,
      code: 'payload_too_large',
      limit: 'heapMb',
    });
  }
  assert.equal((await service.invoke('fine')).body.output, 'fine');
});

test('so many values that parsing them would hold up everybody are not parsed', async () => {
  const { status, body } = await service.invoke('fine', `{"args":{"a":[${'[],'.repeat(3_000_000)}0]}}`);
  expect([status, body.code]).toEqual([400, 'invalid_request']);
  assert.match(body.detail, /more than 1000000 values/);
});

test('large arguments that fit are taken', async () => {
  const { body } = await service.invoke('size', { args: { a: 'x'.repeat(5_000_000) } });
  assert.equal(body.output, 5_000_000, body.detail);
});

test('all bodies together have a bound, and who is beyond it is told to come back', async () => {
  const text = JSON.stringify({ args: { a: 'x'.repeat(9_000_000) } });
  const answers = await Promise.all(Array.from({ length: 8 }, () => service.invoke('size', text)));
  const codes = answers.map(({ status, body }) => (status === 200 ? 'ok' : body.code));
  assert(codes.includes('ok') && codes.includes('overloaded'), codes.join());
  const refused = answers.find(({ status }) => status === 503);
  expect(refused?.body.limit).toMatchObject({ name: 'requestBytesAtOnce', allowed: 25_000_000, unit: 'bytes' });
  expect(refused?.headers.get('retry-after')).toBe('1');
  // What was taken is given back.
  assert.equal((await service.invoke('size', text)).status, 200);
});

test('a body that is not UTF-8 is refused instead of being bent', async () => {
  const body = Buffer.from('{"args":{"a":"\xff"}}', 'latin1');
  const answer = await service.fetch('/v1/plugins/size/invocations', {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json' },
  });
  expect([answer.status, answer.body.code]).toEqual([400, 'invalid_request']);
});

test('a long name does not make long lines', async () => {
  const { text, body } = await service.invoke('wordy', {}, '?include=logs');
  assert.equal(body.logs.length, 500);
  assert(text.length < 500 * 300, String(text.length));
});

test('the bytes of a log are bytes, and not letters', async () => {
  const { body } = await service.invoke('euro', {}, '?include=logs');
  const bytes = body.logs.reduce(
    (sum: number, { message }: { message: string }) => sum + Buffer.byteLength(message),
    0,
  );
  assert(bytes < service.config.limits.logBytes * 1.2, String(bytes));
  assert.equal(body.logs.length + body.usage.logLinesDropped, 200);
});

test('what a plugin has said before it was ended is told', async () => {
  const { body } = await service.invoke('last', { limits: { cpuMs: 300 } }, '?include=logs');
  assert.equal(body.code, 'plugin_cpu_exceeded');
  assert.deepEqual(
    body.logs.map(({ message }: { message: string }) => message.replace(/^\[.*?\] /, '')),
    ['one', 'about to loop'],
  );
});

test('a call of the application that is too large ends the plugin, and not its neighbours', async () => {
  const beside = service.invoke('last', { limits: { cpuMs: 1200 } });
  await sleep(200);
  const { body } = await service.invoke('caller');
  expect([body.code, body.limit?.name]).toEqual(['plugin_resource_exceeded', 'hostCallLetters']);
  assert.equal((await beside).body.code, 'plugin_cpu_exceeded');
});

test('lower limits on the first call, or empty ones, keep no plugin from the quick ways', async () => {
  await using other = await startTestService({ plugins: { first: js('first', '({ Output: 1 });') } });
  await other.invoke('first', { limits: { wallMs: 5000 } });
  for (let times = 0; times < 50; times += 1) {
    await other.invoke('first', { limits: {} });
    if ((await other.get('/v1/plugins/first')).body.explain.way === 'a frozen realm') break;
    await sleep(20);
  }
  for (let times = 0; times < 5; times += 1) await other.invoke('first');
  const { body } = await other.invoke('first', { limits: {} });
  assert.equal(body.timingsMs.boot, 0, JSON.stringify(body));
});

test('a source that takes long to read holds up no other', async () => {
  await service.invoke('endless');
  for (const id of ['fine', 'euro']) await service.invoke(id);
  for (let times = 0; times < 200; times += 1) {
    await service.invoke('fine');
    if ((await service.get('/v1/plugins/fine')).body.explain.way === 'a frozen realm') break;
    await sleep(50);
  }
  assert.equal((await service.get('/v1/plugins/fine')).body.explain.way, 'a frozen realm');
});
