import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createApp } from '../../src/http/app.ts';
import { type FakeService, startFakeService } from '../support/fake.ts';
import { parsed, raw } from '../support/socket.ts';

let service: FakeService;
beforeAll(async () => {
  service = await startFakeService({ config: { requestBytes: 2_048 } });
});
afterAll(() => service[Symbol.asyncDispose]());

const POST = 'POST /v1/plugins/demo/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';

test('bytes that are no HTTP request get a problem document and the end of the connection', async () => {
  for (const bytes of [
    'hello\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    '\u0016\u0003\u0001\u0000\u0005',
    `${POST}Content-Length: x\r\n\r\n`,
  ]) {
    const { status, headers, body } = parsed(await raw(service.url, bytes));
    expect([bytes, status, body.code]).toEqual([bytes, 400, 'invalid_request']);
    expect(headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    expect(headers.get('isopod-error-code')).toBe('invalid_request');
  }
});

test('a request with two lengths is not guessed at', async () => {
  const both = `${POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`;
  const two = `${POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`;
  for (const bytes of [both, two]) expect(parsed(await raw(service.url, bytes)).status).toBe(400);
  expect(service.lines).toEqual([]);
});

test('a header that is too large gets 431', async () => {
  const { status, body } = parsed(
    await raw(service.url, `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`),
  );
  expect([status, body.status, body.code]).toEqual([431, 431, 'invalid_request']);
});

test('a body that is too large gets 413 and says how large it may be', async () => {
  const told = await service.invoke('demo', { args: { text: 'x'.repeat(4_000) } });
  expect([told.status, told.body.code]).toEqual([413, 'payload_too_large']);
  expect(told.body.limit).toEqual({ name: 'requestBytes', allowed: 2_048, observed: 4_020, unit: 'bytes' });

  // One that does not say how large it is.
  const chunk = `1000\r\n${'x'.repeat(0x1000)}\r\n`;
  const untold = parsed(
    await raw(service.url, `${POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`),
  );
  expect([untold.status, untold.body.code]).toEqual([413, 'payload_too_large']);
});

test('who still sends when the answer is known gets to read it', async () => {
  const told = 100_000;
  const { promise, resolve } = Promise.withResolvers<string>();
  const { port } = new URL(service.url);
  const socket = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true });
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  // Written to a connection that the other end has closed, bytes make an error of it.
  socket.on('error', (error) => resolve(String(error))).on('close', () => resolve(text));
  socket.write(`${POST}Connection: close\r\nContent-Length: ${told}\r\n\r\n`);
  for (const _ of [1, 2, 3]) {
    await sleep(30);
    socket.write('x'.repeat(10_000));
  }
  await sleep(30);
  socket.end('x'.repeat(told - 30_000));
  expect(parsed(await promise)).toMatchObject({ status: 413, body: { code: 'payload_too_large' } });
});

test('a body that comes in crumbs is read whole, and gets its answer', async () => {
  const text = JSON.stringify({ args: { text: 'a'.repeat(1_500) } });
  const crumbs = [...text].map((letter) => `1\r\n${letter}\r\n`).join('');
  const head = `${POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n`;
  expect(parsed(await raw(service.url, `${head}${crumbs}0\r\n\r\n`)).status).toBe(200);
});

test('a request without a Host, or with an empty one, is not open to anybody', async () => {
  expect(parsed(await raw(service.url, 'GET /v1/plugins HTTP/1.0\r\n\r\n')).body.code).toBe('forbidden');
  const empty = 'GET /v1/plugins HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n';
  expect(parsed(await raw(service.url, empty)).body.code).toBe('forbidden');
});

test('a path that cannot be decoded is a bad request, whoever asks', async () => {
  const close = 'HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
  for (const path of ['/v1/plugins/%ff', '/v1/plugins/%', '/v1/plugins/%zz']) {
    const { status, body } = parsed(await raw(service.url, `GET ${path} ${close}`));
    expect([path, status, body.code]).toEqual([path, 400, 'invalid_request']);
  }
});

test('whoever is too slow to send a request is told so and let go', async () => {
  const app = await createApp({
    ...({} as Parameters<typeof createApp>[0]),
    tokens: [],
    tenancies: { find: () => ({ rate: null }) } as never,
    requestBytes: 1_024,
    archiveBytes: 1_024,
    dispatcharr: { hub: {} } as never,
    sillytavern: { csrfKey: Buffer.alloc(32), settings: {} } as never,
    version: '0',
    headersMs: 100,
    requestMs: 200,
    unready: () => null,
    bug: () => {},
  });
  try {
    const url = await app.listen({ host: '127.0.0.1', port: 0 });
    const head = parsed(await raw(url, 'GET /healthz HTTP/1.1\r\nHost: loc'));
    expect([head.status, head.body.code]).toEqual([408, 'invalid_request']);
    const body = parsed(await raw(url, `${POST}Content-Length: 100\r\n\r\n{"args":`));
    expect([body.status, body.body.code]).toEqual([408, 'invalid_request']);
  } finally {
    await app.close();
  }
});
