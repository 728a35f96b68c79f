// Goal: what a body takes of our memory while it waits is what its bytes are, however they come, and all of them arrive.
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Upload } from '../../../src/http/sillytavern/upload.ts';

/** A request whose body comes in these pieces. */
async function sending(pieces: readonly string[]): Promise<{ request: IncomingMessage } & AsyncDisposable> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  const chunks = pieces.map((one) => `${one.length.toString(16)}\r\n${one}\r\n`).join('');
  socket.write(`POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`);
  const [request] = await once(server, 'request');
  const close = async () => {
    socket.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { request, [Symbol.asyncDispose]: close };
}

test('what comes in single bytes while nobody reads waits as few pieces', async () => {
  const bytes = Array.from({ length: 20_000 }, (_, at) => String(at % 10));
  await using sent = await sending(bytes);
  const upload = new Upload(sent.request, 1_000_000);
  upload.read(0);
  await once(sent.request, 'end');
  expect(upload.given).toBe(0);
  const got: Buffer[] = [];
  await once(
    upload.on('data', (piece) => got.push(piece)),
    'end',
  );
  expect(got.length).toBeLessThan(5);
  expect(Buffer.concat(got).toString()).toBe(bytes.join(''));
  expect(upload.given).toBe(20_000);
});

test('whoever reads slowly gets all of it in its order', async () => {
  const pieces = Array.from({ length: 60_000 }, (_, at) => String(at % 10).repeat(at % 1_000 === 0 ? 2_000 : 4));
  await using sent = await sending(pieces);
  const upload = new Upload(sent.request, 10_000_000);
  const got: Buffer[] = [];
  for await (const piece of upload) {
    got.push(piece);
    await setImmediate();
  }
  expect(Buffer.concat(got).toString()).toBe(pieces.join(''));
  expect(got.length).toBeLessThan(2_000);
});
