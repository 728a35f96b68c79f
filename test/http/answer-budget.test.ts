import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Plugin } from '../../src/core/plugin.ts';
import { type FakeService, plugin, portrait, startFakeService } from '../support/fake.ts';

const OPERATOR = 'the-operators-own';
const LIST = '/api/plugins/plugins/';

let service: FakeService;
beforeAll(async () => {
  service = await startFakeService({
    tenants: { large: many(40), greedy: many(12), small: many(0) },
    config: { tokens: [OPERATOR] },
  });
  for (const id of ['large', 'greedy', 'small']) {
    await service.ask('POST', '/v1/tenants', { token: OPERATOR, body: { id } });
  }
});
afterAll(() => service[Symbol.asyncDispose]());

/** Each has 600 KiB, twice as many in our own list. */
function many(count: number): Plugin[] {
  const description = 'x'.repeat(600 * 1024);
  return Array.from({ length: count }, (_, at) =>
    plugin({
      id: `plugin_${at}`,
      dialect: 'dispatcharr',
      program: { runtime: 'python' },
      entries: [],
      portrait: portrait({ description }),
    }),
  );
}

const list = (tenant: string, path = LIST) => service.ask('GET', `/t/${tenant}${path}`, { token: OPERATOR });

test('a list that is longer than an answer may be is refused with the limit that it has hit', async () => {
  const words = 'This list is longer than the 16777216 bytes that an answer may have';
  const theirs = await list('large');
  expect([theirs.status, theirs.body]).toEqual([503, { success: false, error: words }]);
  expect(theirs.headers.get('isopod-error-code')).toBe('overloaded');
  const ours = await list('large', '/v1/plugins');
  expect(ours).toMatchObject({ status: 503, body: { code: 'overloaded', detail: words, retryable: false } });
  expect(ours.body.limit).toMatchObject({ name: 'answerBytes', allowed: 16_777_216 });
  expect((await list('greedy')).body.plugins).toHaveLength(12);
});

test('who asks for long lists and does not read them leaves room for others, and gives it back', async () => {
  const { port, hostname } = new URL(service.url);
  const sockets: Socket[] = [];
  try {
    for (let times = 0; times < 7; times += 1) {
      const socket = connect(Number(port), hostname);
      sockets.push(socket);
      // The first bytes of the answer, and no more.
      await new Promise<void>((resolve) => {
        socket.once('readable', resolve);
        socket.write(`GET /t/greedy${LIST} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${OPERATOR}\r\n\r\n`);
      });
    }
    const refused = await list('greedy');
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '1']);
    expect(refused.headers.get('isopod-error-code')).toBe('concurrency_limited');
    expect((await list('greedy', '/v1/plugins')).body).toMatchObject({ limit: { name: 'answerBytesAtOnce' } });
    expect((await list('small')).status).toBe(200);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  await vi.waitFor(async () => expect((await list('greedy')).status).toBe(200));
});
