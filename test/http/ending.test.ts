import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { onAbort } from '../../src/core/signal.ts';
import { type Act, type FakeService, ok, report, startFakeService } from '../support/fake.ts';

/** A plugin that runs until the test lets it go, or until it is stopped. */
class Held {
  readonly stopped: string[] = [];
  readonly #letGo: (() => void)[] = [];
  running = 0;

  readonly act: Act = (_invocation, signal) =>
    new Promise((resolve) => {
      this.running += 1;
      this.#letGo.push(() => resolve(ok('done')));
      onAbort(signal, (failure) => {
        this.stopped.push(`${failure.code}: ${failure.message}`);
        resolve({ ok: false, failure, ...report() });
      });
    });

  letGo(): void {
    for (const one of this.#letGo.splice(0)) one();
  }
}

let service: FakeService | undefined;
afterEach(() => service?.[Symbol.asyncDispose]());

// Method: a plain socket, since only there it is certain what "gone" means.
test('an invocation whose caller goes away is stopped and settled as cancelled', async () => {
  const held = new Held();
  service = await startFakeService({ act: held.act });
  const body = '{"args":{}}';
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
  socket.write(
    `POST /v1/plugins/demo/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
  );
  await vi.waitFor(() => expect(held.running).toBe(1));
  // The body has long been read: nothing but the caller's leaving ends it.
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(held.stopped).toEqual([]);
  socket.destroy();

  await vi.waitFor(() => expect(held.stopped).toEqual(['cancelled: The caller went away']));
  await vi.waitFor(() => expect(service?.log().map((one) => one.code)).toEqual(['cancelled']));
});

test('a caller that goes away while it waits for a place gives its place in the queue back', async () => {
  const held = new Held();
  service = await startFakeService({ act: held.act, config: { concurrency: { running: 1 } } });
  const first = service.invoke('demo');
  await vi.waitFor(() => expect(held.running).toBe(1));
  const leaving = new AbortController();
  const second = service.invoke('demo', {}, '', { signal: leaving.signal }).catch(() => 'gone');
  const waiting = async () => (await service?.get('/metrics'))?.text.match(/^isopod_waiting (\d+)$/m)?.[1];
  await vi.waitFor(async () => expect(await waiting()).toBe('1'));

  leaving.abort();
  expect(await second).toBe('gone');
  await vi.waitFor(async () => expect(await waiting()).toBe('0'));
  held.letGo();
  expect((await first).status).toBe(200);
  expect(held.running).toBe(1);
});

test('shutting down finishes what runs, refuses what comes and what waits, and says so', async () => {
  const held = new Held();
  service = await startFakeService({ act: held.act, config: { concurrency: { running: 1 }, drainMs: 20_000 } });
  const running = service.invoke('demo');
  await vi.waitFor(() => expect(held.running).toBe(1));
  const waiting = service.invoke('demo');
  const queued = async () => (await service?.get('/metrics'))?.text.includes('isopod_waiting 1\n');
  await vi.waitFor(async () => expect(await queued()).toBe(true));

  const closing = service.service.close();
  const refused = await service.invoke('demo');
  expect([refused.status, refused.body.code, refused.body.retryable]).toEqual([503, 'draining', true]);
  expect(refused.headers.get('retry-after')).toBe('1');
  expect((await waiting).body.code).toBe('draining');
  const ready = await service.get('/readyz');
  expect([ready.status, ready.body.code]).toEqual([503, 'draining']);
  expect((await service.get('/healthz')).status).toBe(200);

  held.letGo();
  expect((await running).body.output).toBe('done');
  await closing;
  await expect(service.get('/healthz')).rejects.toThrow();
});

test('what does not finish in time is stopped', async () => {
  const held = new Held();
  service = await startFakeService({ act: held.act, config: { drainMs: 50 } });
  const running = service.invoke('demo');
  await vi.waitFor(() => expect(held.running).toBe(1));

  await service.service.close();
  const { status, body } = await running;
  expect([status, body.code]).toEqual([503, 'draining']);
});

test('a connection that is kept open and idle does not hold the end up', async () => {
  service = await startFakeService({});
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
  await once(socket, 'connect');
  socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(socket, 'data');

  await Promise.all([once(socket, 'close'), service.service.close()]);
});

test('too many at once are refused by name: the queue is full, or the wait was too long', async () => {
  const held = new Held();
  service = await startFakeService({
    act: held.act,
    config: { concurrency: { running: 1, waiting: 1, waitMs: 100 } },
  });
  const first = service.invoke('demo');
  await vi.waitFor(() => expect(held.running).toBe(1));
  const answers = await Promise.all([service.invoke('demo'), service.invoke('demo')]);

  const byCode = Object.fromEntries(answers.map((one) => [one.body.code, one]));
  expect(byCode.queue_full?.status).toBe(429);
  expect(byCode.queue_full?.body.limit).toEqual({ name: 'waiting', allowed: 1, observed: 2, unit: 'count' });
  expect(byCode.queue_timeout?.status).toBe(503);
  expect(byCode.queue_timeout?.body.limit).toMatchObject({ name: 'waitMs', allowed: 100, unit: 'ms' });
  held.letGo();
  expect((await first).status).toBe(200);
});

test('two services in one process do not meet', async () => {
  service = await startFakeService({ act: async () => ok('first') });
  await using second = await startFakeService({
    act: async () => ({ ok: false, failure: new Failure('plugin_error', 'second'), ...report() }),
    config: { tokens: ['a-long-token'] },
  });
  expect((await service.invoke('demo')).body.output).toBe('first');
  expect((await second.invoke('demo')).status).toBe(401);
  const headers = { authorization: 'Bearer a-long-token' };
  expect((await second.invoke('demo', {}, '', { headers })).body.detail).toBe('second');
  expect((await service.get('/metrics')).text).not.toContain('plugin_error');
  expect(second.lines).toHaveLength(1);

  await second.service.close();
  expect((await service.invoke('demo')).status).toBe(200);
});
