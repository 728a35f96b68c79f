// Files from hosts that the operator has named, over real connections to servers on loopback.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { GuardedFetcher, type GuardedFetcherOptions } from '../../src/gateway/egress/fetcher.ts';

const never = new AbortController().signal;
const RANGES = ['127.0.0.0/8'];
let server: Server;
let other: Server;
let port: number;
let otherPort: number;
let asked: IncomingMessage[] = [];
let answer: RequestListener;

beforeAll(async () => {
  server = createServer((request, response) => {
    asked.push(request);
    answer(request, response);
  });
  other = createServer((_request, response) => void response.end('from the other'));
  port = await listening(server);
  otherPort = await listening(other);
});
afterAll(() => {
  for (const one of [server, other]) one.closeAllConnections();
  server.close();
  other.close();
});
beforeEach(() => {
  asked = [];
  answer = (_request, response) => void response.end('a file');
});

async function listening(one: Server): Promise<number> {
  one.listen(0, '127.0.0.1');
  await once(one, 'listening');
  return (one.address() as AddressInfo).port;
}

function get(path: string, options: Partial<GuardedFetcherOptions> = {}, wish = {}, signal = never) {
  const hosts = [`127.0.0.1:${port}`, `repo.example:${port}`];
  const resolve = async () => ['127.0.0.1'];
  const fetcher = new GuardedFetcher({ hosts, ranges: RANGES, ours: () => [], resolve, ...options });
  const url = path.startsWith('/') ? `http://127.0.0.1:${port}${path}` : path;
  return fetcher.fetch({ url, bytes: 1_000, ms: 5_000, ...wish }, signal);
}

test('a file comes whole, by name or by address, and nobody is told who asks', async () => {
  expect(await get(`http://repo.example:${port}/a?b#c`)).toEqual({ ok: true, bytes: Buffer.from('a file') });
  expect(await get('/')).toEqual({ ok: true, bytes: Buffer.from('a file') });
  expect(asked[0]?.url).toBe('/a?b');
  expect(asked[0]?.headers).toEqual({
    host: `repo.example:${port}`,
    connection: 'close',
    accept: '*/*',
    'accept-encoding': 'identity',
    'user-agent': 'isopod',
  });
});

test('only hosts and ports that were named are asked, and no special address without a word of the operator', async () => {
  const refused = (because: string) => ({ ok: false, because, host: '127.0.0.1', status: null });
  expect(await get('/', { hosts: [] })).toEqual(refused('not allowed'));
  expect(await get('/', { hosts: ['127.0.0.1'] })).toEqual(refused('not allowed'));
  expect(await get('/', { ranges: [] })).toEqual(refused('special address'));
  // Ours is nobody's, whatever the ranges say.
  expect(await get('/', { ours: () => [port] })).toEqual(refused('special address'));
  const name = `http://repo.example:${port}/`;
  expect(await get(name, { ranges: [] })).toMatchObject({ because: 'special address' });
  // One that leads to the internet and to us is a trap.
  expect(await get(name, { ranges: [], resolve: async () => ['93.184.216.34', '127.0.0.1'] })).toMatchObject({
    because: 'special address',
  });
  expect(await get(name, { resolve: async () => [] })).toMatchObject({ because: 'unresolved' });
  for (const url of [
    'file:///etc/passwd',
    'ftp://repo.example/',
    'http://a:b@127.0.0.1/',
    'x',
    `http://${'a'.repeat(5_000)}/`,
  ]) {
    expect([url, await get(url)]).toMatchObject([url, { because: 'no url' }]);
  }
  expect(asked).toEqual([]);
});

test('where an answer leads elsewhere, everything is judged anew', async () => {
  const leadsTo = (location: string, options = {}) => {
    answer = (request, response) => {
      if (request.url === '/file') response.end('found');
      else response.writeHead(302, { location }).end();
    };
    return get('/', options);
  };
  expect(await leadsTo('/file')).toEqual({ ok: true, bytes: Buffer.from('found') });
  const there = `http://127.0.0.1:${otherPort}/`;
  expect(await leadsTo(there)).toMatchObject({ because: 'not allowed' });
  const both = { hosts: [`127.0.0.1:${port}`, `127.0.0.1:${otherPort}`] };
  expect(await leadsTo(there, both)).toEqual({ ok: true, bytes: Buffer.from('from the other') });
  // The first hop is allowed by its range, and the second has none.
  const hosts = [`127.0.0.1:${port}`, '10.1.2.3', '[::1]', '169.254.169.254', 'inside.example'];
  for (const to of [
    'http://10.1.2.3/',
    'http://[::1]/',
    'http://169.254.169.254/',
    'http://0xa010203/',
    'http://inside.example/',
  ]) {
    const options = { hosts, resolve: async () => ['10.1.2.3'] };
    expect([to, await leadsTo(to, options)]).toMatchObject([to, { because: 'special address' }]);
  }
  expect(await leadsTo('file:///etc/passwd')).toMatchObject({ because: 'garbled' });
  expect(await leadsTo('/again')).toMatchObject({ because: 'too many redirects' });
});

test('what is announced again and again is no answer', async () => {
  const announced = (times: number) => {
    answer = (_request, response) => {
      for (let at = 0; at < times; at += 1) response.writeProcessing();
      response.end('found');
    };
    return get('/');
  };
  expect(await announced(10)).toEqual({ ok: true, bytes: Buffer.from('found') });
  expect(await announced(11)).toMatchObject({ because: 'garbled' });
});

test('what is too large, too slow, packed, broken off or no file is not taken', async () => {
  const answers = (one: RequestListener, wish = {}) => {
    answer = one;
    return get('/', {}, wish);
  };
  const large = Buffer.alloc(1_001);
  expect(await answers((_, response) => void response.end(large))).toMatchObject({ because: 'too large' });
  const chunked = await answers((_, response) => {
    response.write(large.subarray(0, 600));
    response.end(large.subarray(600));
  });
  expect(chunked).toMatchObject({ because: 'too large' });
  expect(await answers((_, response) => void response.end(large.subarray(1)))).toMatchObject({ ok: true });
  expect(await answers((_, response) => void response.writeHead(404).end())).toMatchObject({
    because: 'status',
    status: 404,
  });
  expect(await answers((request) => void request.socket.destroy())).toMatchObject({ because: 'unreachable' });
  expect(await answers((request) => void request.socket.end('SSH-2.0\r\n\r\n'))).toMatchObject({ because: 'garbled' });
  const packed: RequestListener = (_, response) =>
    void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('x'));
  expect(await answers(packed)).toMatchObject({ because: 'garbled' });
  const half: RequestListener = (_, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('half');
    setImmediate(() => response.destroy());
  };
  expect(await answers(half)).toMatchObject({ because: 'unreachable' });
  // One that never answers, and one that never ends.
  expect(await answers(() => {}, { ms: 100 })).toMatchObject({ because: 'too slow' });
  expect(await answers((_, response) => void response.write('and'), { ms: 100 })).toMatchObject({
    because: 'too slow',
  });
});

test('whoever gives up is told why, and the connection ends', async () => {
  const gone = new AbortController();
  answer = () => gone.abort(new Error('enough'));
  await expect(get('/', {}, {}, gone.signal)).rejects.toThrow('enough');
  const [request] = asked;
  if (request?.socket.destroyed === false) await once(request.socket, 'close');
});
