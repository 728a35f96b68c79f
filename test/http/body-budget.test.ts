import { connect, type Socket } from 'node:net';
import { expect, test, vi } from 'vitest';
import { createApp } from '../../src/http/app.ts';
import type { Answer } from '../support/client.ts';
import { type FakeService, startFakeService } from '../support/fake.ts';
import { parsed, raw } from '../support/socket.ts';

const OPERATOR = 'the-operators-own';
const heavy = { args: { text: 'x'.repeat(150_000) } };

test('a tenant that announces much and sends nothing leaves room for the others', async () => {
  await using service = await startFakeService({
    config: {
      tokens: [OPERATOR],
      requestBytes: 200_000,
      requestBytesAtOnce: 900_000,
      packages: { archiveBytes: 1_024 },
    },
  });
  const [greedy, other] = [await tokenOf(service, 'greedy'), await tokenOf(service, 'other')];
  await using slow = new Announcing(service.url, greedy, 200_000);
  for (let times = 0; times < 5; times += 1) slow.another();
  // With three it has 600 kB, which is twice the 300 kB that are left.
  // Whether they send the rest is waited for, a moment, before they are answered.
  await vi.waitUntil(() => slow.answers.length === 2, { timeout: 10_000 });
  for (const line of slow.answers) expect(line).toBe('HTTP/1.1 429 Too Many Requests');

  const refused = await invoke(service, greedy);
  expect([refused.status, refused.body.code]).toEqual([429, 'concurrency_limited']);
  expect(refused.body.limit).toEqual({
    name: 'requestBytesAtOnce',
    allowed: 600_000,
    observed: 600_000 + JSON.stringify(heavy).length,
    unit: 'bytes',
  });
  // No such plugin, but it got as far as that.
  expect((await invoke(service, other)).status).toBe(404);

  expect(slow.answers).toHaveLength(2);
  slow.end();
  await vi.waitFor(async () => expect((await invoke(service, greedy)).status).toBe(404));
});

test('a large body that does not come in steadily is refused, and what was held for it is free again', async () => {
  const app = await createApp({
    ...({} as Parameters<typeof createApp>[0]),
    tokens: [],
    tenancies: { find: () => ({ rate: null }) } as never,
    requestBytes: 200_000,
    requestBytesAtOnce: 200_000,
    archiveBytes: 1_024,
    dispatcharr: { hub: {} } as never,
    sillytavern: { csrfKey: Buffer.alloc(32), settings: {} } as never,
    version: '0',
    paceMs: 100,
    unready: () => null,
    bug: () => {},
  });
  try {
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    const head = 'POST /v1/plugins/demo/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
    for (let times = 0; times < 2; times += 1) {
      const { status, body } = parsed(await raw(url, `${head}Content-Length: 200000\r\n\r\n{"args":`));
      expect([status, body.code]).toEqual([408, 'invalid_request']);
    }
  } finally {
    await app.close();
  }
});

async function tokenOf(service: FakeService, tenant: string): Promise<string> {
  await service.ask('POST', '/v1/tenants', { token: OPERATOR, body: { id: tenant } });
  const wanted = { token: OPERATOR, body: { name: 'x', scopes: ['invoke'] } };
  return (await service.ask('POST', `/v1/tenants/${tenant}/tokens`, wanted)).body.secret;
}

function invoke(service: FakeService, token: string): Promise<Answer> {
  return service.ask('POST', '/v1/plugins/demo/invocations', { token, body: heavy });
}

/** Requests that say how long their body is, and send one byte of it. */
class Announcing implements AsyncDisposable {
  readonly #url: URL;
  readonly #head: string;
  readonly #sockets: Socket[] = [];
  /** The first lines of the answers so far. */
  readonly answers: string[] = [];

  constructor(url: string, token: string, bytes: number) {
    this.#url = new URL(url);
    const lines = ['POST /v1/plugins/demo/invocations HTTP/1.1', 'Host: localhost', 'Content-Type: application/json'];
    lines.push(`Authorization: Bearer ${token}`, `Content-Length: ${bytes}`);
    this.#head = lines.join('\r\n');
  }

  another(): void {
    const socket = connect(Number(this.#url.port), this.#url.hostname).setEncoding('utf8');
    this.#sockets.push(socket);
    socket.once('data', (text) => this.answers.push(String(text).split('\r\n', 1)[0] ?? ''));
    socket.write(`${this.#head}\r\n\r\n{`);
  }

  end(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
  }
}
