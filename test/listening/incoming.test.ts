import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { Incoming } from '../../src/listening/incoming.ts';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

async function serving(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<Socket> {
  server = createServer({ IncomingMessage: Incoming, requestTimeout: 0 }, handle);
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const socket = connect(port, '127.0.0.1');
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
  return socket;
}

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
const LAST = '0\r\n\r\n';

/** What came of a body, and in how many pieces. */
function gathered() {
  const { promise, resolve } = Promise.withResolvers<{ text: string; pieces: number }>();
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    let text = '';
    let pieces = 0;
    request.on('data', (piece: Buffer) => {
      text += piece;
      pieces += 1;
    });
    request.on('end', () => {
      resolve({ text, pieces });
      response.end();
    });
  };
  return { promise, handle };
}

test('small pieces are handed on together, in their order, and large ones as they are', async () => {
  const { promise, handle } = gathered();
  const socket = await serving(handle);
  const words = Array.from({ length: 3_000 }, (_, at) => `word ${at}; `.padEnd(24, '.'));
  words.splice(1_500, 0, 'x'.repeat(100_000));
  socket.write(words.map(chunk).join('') + LAST);
  const { text, pieces } = await promise;
  assert.equal(text, words.join(''));
  expect(pieces).toBeLessThan(100);
});

test('a piece that nothing follows is not kept back until something does', async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = await serving((request) => request.once('data', (piece) => resolve(String(piece))));
  socket.write(chunk('a'));
  expect(await promise).toBe('a');
});

test('who sends faster than is read waits, however small the pieces are, and nothing is lost', async () => {
  const { promise, resolve } = Promise.withResolvers<IncomingMessage>();
  const { promise: whole, handle } = gathered();
  const socket = await serving((request, response) => {
    resolve(request);
    // Nobody reads yet.
    request.once('readable', () => {});
    request.on('goes on', () => handle(request, response));
  });
  const request = await promise;
  const part = chunk('y'.repeat(100)).repeat(1_000);
  for (let at = 0; at < 300; at += 1) socket.write(part);
  socket.write(LAST);
  // It goes on until nothing more is taken.
  for (let before = -1; before !== request.socket.bytesRead; await sleep(200)) before = request.socket.bytesRead;
  expect(request.socket.bytesRead).toBeLessThan(2_000_000);
  request.emit('goes on');
  assert.equal((await whole).text.length, 300 * 1_000 * 100);
});

test('a flood of single bytes is read slowly, and loses none of them', async () => {
  const { promise, handle } = gathered();
  let from: Socket | undefined;
  const flooding = await serving((request) => {
    from = request.socket;
    request.resume();
  });
  const flood = chunk('z').repeat(200_000);
  flooding.on('error', () => {}).write(flood);
  await expect.poll(() => from?.bytesRead ?? 0).toBeGreaterThan(10_000);
  await sleep(300);
  // One look at the socket brings 64 KiB, and then there is a pause of seconds.
  expect(from?.bytesRead).toBeLessThan(flood.length / 2);
  flooding.destroy();
  server?.close();

  const patient = await serving(handle);
  patient.write(chunk('z').repeat(5_000) + LAST);
  expect((await promise).text.length).toBe(5_000);
});
