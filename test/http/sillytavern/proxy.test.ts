// Goal: what a caller sends gets to the plugin, and what the plugin answers gets back, as both were sent.
// Method: a real service and a real server in the place of the plugin, and raw sockets where a client would hide things.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { Failure } from '../../../src/core/failure.ts';
import { type FakeService, plugin, portrait, server, startFakeService } from '../../support/fake.ts';
import { FakeServers, FakeUpstream } from '../../support/fake-servers.ts';
import { raw } from '../../support/socket.ts';

type Handle = (req: IncomingMessage, res: ServerResponse) => void;

const SILENCE_MS = 1_000;
const BODY_BYTES = 1_048_576;

let service: FakeService;
let servers: FakeServers;
let upstream: FakeUpstream;
let http: Server;
/** What the plugin does with the next requests. */
let handle: Handle;
/** What it does with the next connection, where that speaks no HTTP. */
let speak: ((socket: Socket) => void) | null;
const doors: { close(): void }[] = [];

beforeAll(async () => {
  servers = new FakeServers();
  http = createServer((req, res) => handle(req, res));
  const door = createNetServer((socket) => {
    socket.on('error', () => {});
    if (speak !== null) speak(socket);
    else http.emit('connection', socket);
  });
  door.listen(0, '127.0.0.1');
  doors.push(door);
  await once(door, 'listening');
  upstream = new FakeUpstream((door.address() as AddressInfo).port);
  const echo = server({ id: 'echo' });
  const other = server({ id: 'other' });
  service = await startFakeService({
    plugins: [echo, other, plugin()],
    servers,
    config: {
      sillytavern: { enabled: true, silenceMs: SILENCE_MS, bodyBytes: BODY_BYTES, csrf: 'off', requests: 40 },
      residents: { start: 'demand' },
      // Not of these bodies, of which no more is held than what is under way.
      requestBytes: 100_000,
      requestBytesAtOnce: 70_000,
    },
  });
  servers.upstreams.set('echo', upstream);
  const routes = Array.from({ length: 9 }, (_, at) => ({ method: 'GET', path: `/r${at}` }));
  service.runtime.residents.portraits.set('echo', portrait({ name: 'Echo', serves: { id: 'echo', routes } }));
  service.runtime.residents.portraits.set('other', portrait({ name: 'Other', serves: { id: 'other', routes: [] } }));
  await service.ask('POST', '/v1/plugins/echo/enable');
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  for (const door of doors) door.close();
  http.closeAllConnections();
});
beforeEach(() => {
  speak = null;
  servers.failure = null;
  handle = (_req, res) => res.end('ok');
});

/** Nothing of any request is left. */
async function allLeft(): Promise<void> {
  await vi.waitFor(() => expect(servers.inside).toBe(0));
}

async function bodyOf(message: AsyncIterable<Buffer>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(message));
}

/** What a request has become when it got there. */
async function seen(path: string, init: RequestInit = {}) {
  const { promise, resolve } = Promise.withResolvers<IncomingMessage>();
  handle = (req, res) => {
    resolve(req);
    res.end('ok');
  };
  const answer = await service.fetch(path, init);
  return { answer, req: await promise };
}

test('paths, queries, methods and bodies get there byte for byte', async () => {
  for (const path of ['', '/', '?a=b?c', '/x/../../../etc/passwd', '/%2e%2e%2fother/x', '/a%2Fb//c;d?e=%zz#f']) {
    const line = `GET /api/plugins/echo${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
    const { promise, resolve } = Promise.withResolvers<string>();
    handle = (req, res) => {
      resolve(req.url ?? '');
      res.end();
    };
    expect(await raw(service.url, line)).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(await promise).toBe(`/api/plugins/echo${path}`);
  }
  const bytes = randomBytes(300_000);
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    for (const type of ['application/json', 'multipart/form-data', 'x']) {
      handle = async (req, res) => {
        const body = await bodyOf(req);
        res.end(
          JSON.stringify([req.method, req.headers['content-type'], createHash('sha1').update(body).digest('hex')]),
        );
      };
      const sha1 = createHash('sha1').update(bytes).digest('hex');
      const { text } = await service.fetch('/api/plugins/echo/x', {
        method,
        body: bytes,
        headers: { 'content-type': type },
      });
      expect(JSON.parse(text)).toEqual([method, type, sha1]);
    }
  }
  expect((await seen('/api/plugins/echo/x', { method: 'OPTIONS' })).req.method).toBe('OPTIONS');
  const withBody =
    'GET /api/plugins/echo/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc';
  handle = async (req, res) => res.end(await bodyOf(req));
  expect(await raw(service.url, withBody)).toMatch(/\r\n\r\n3\r\nabc\r\n0\r\n\r\n$|\r\n\r\nabc$/);
  await allLeft();
});

test('the address is read once, as it was sent, and what is reserved or no address is not a plugin', async () => {
  for (const path of ['/api/plugins/%65cho/x', '/api/%70lugins/echo', 'http://localhost/api/plugins/echo/x']) {
    const text = await raw(service.url, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    expect([path, text.slice(0, 12)]).toEqual([path, 'HTTP/1.1 404']);
  }
  expect((await service.get('/api/plugins/plugins/nothing/at/all')).body).toEqual({ detail: 'Not found.' });
  expect((await service.get('/api/plugins/Echo!/')).body).toEqual({ detail: 'Not found.' });
  const { status, body } = await service.get('/api/plugins/nobody/x');
  expect([status, body.code, body.detail]).toEqual([404, 'not_found', 'No plugin answers at /api/plugins/nobody']);
});

test('headers get there but for those that are of our connection or of our own', async () => {
  const head = [
    'POST /t/default/api/plugins/echo/x HTTP/1.1',
    'Host: localhost:80',
    'Connection: close, X-Hop',
    'X-Hop: 1',
    'Keep-Alive: 1',
    'TE: trailers',
    'Expect: 100-continue',
    'X-CSRF-Token: t',
    'Proxy-Authorization: x',
    'Forwarded: for=1.2.3.4',
    'X-Forwarded-For: 1.2.3.4',
    'X-Forwarded-Prefix: /evil',
    'Isopod-User: ada',
    'Isopod-Request: mine',
    'Cookie: a=1; isopod-session=s; b=2',
    'X-Two: 1',
    'x-two: 2',
    'Range: bytes=0-1',
    'Transfer-Encoding: chunked',
  ];
  const { promise, resolve } = Promise.withResolvers<[IncomingMessage, string]>();
  handle = async (req, res) => {
    resolve([req, String(await bodyOf(req))]);
    res.end();
  };
  await raw(service.url, `${head.join('\r\n')}\r\n\r\n3\r\nabc\r\n0\r\n\r\n`);
  const [{ headers, headersDistinct, url }, body] = await promise;
  expect([url, body]).toEqual(['/api/plugins/echo/x', 'abc']);
  expect(headers).toEqual({
    host: 'localhost:80',
    connection: 'keep-alive',
    'transfer-encoding': 'chunked',
    cookie: 'a=1; b=2',
    'x-two': '1, 2',
    range: 'bytes=0-1',
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-proto': 'http',
    'x-forwarded-host': 'localhost:80',
    'x-forwarded-prefix': '/t/default',
    'isopod-user': 'told',
    'isopod-request': servers.visits.at(-1)?.id,
  });
  expect(headersDistinct['x-two']).toEqual(['1', '2']);
});

test('headers come back but for those by which a plugin would act on more than itself', async () => {
  handle = (_req, res) => {
    res.writeHead(201, 'Made of words', [
      ...['X-Own', '1', 'X-Own', '2', 'ETag', '"x"', 'Content-Security-Policy', "default-src 'self'"],
      ...['Connection', 'x-hop', 'X-Hop', '1', 'Isopod-Verdict', 'fine', 'Service-Worker-Allowed', '/'],
      ...['Clear-Site-Data', '"*"', 'Strict-Transport-Security', 'max-age=1', 'Alt-Svc', 'h3=":1"', 'NEL', '{}'],
      ...['Report-To', '{}', 'X-Accel-Redirect', '/secret', 'X-Content-Type-Options', 'sniff'],
      ...['Set-Cookie', 'a=1; Path=/; Domain=localhost; HttpOnly', 'Set-Cookie', 'isopod-session=x'],
      ...['Set-Cookie', '=isopod-session=x', 'Set-Cookie', 'b=2; path=/t/default/api/plugins/echo/deep'],
      ...['Set-Cookie', 'c=3; Path=/api/plugins/other', 'Location', '/api/plugins/echo/next'],
    ]);
    res.end('made');
  };
  const { status, headers, text } = await service.get('/t/default/api/plugins/echo/x');
  expect([status, text]).toEqual([201, 'made']);
  expect(headers.getSetCookie()).toEqual([
    'a=1; HttpOnly; Path=/t/default/api/plugins/echo',
    'b=2; Path=/t/default/api/plugins/echo/deep',
    'c=3; Path=/t/default/api/plugins/echo',
  ]);
  const { date, 'isopod-request': id, ...others } = Object.fromEntries(headers);
  delete others['set-cookie'];
  expect(others).toEqual({
    'x-own': '1, 2',
    etag: '"x"',
    location: '/t/default/api/plugins/echo/next',
    'content-security-policy':
      "default-src 'self', sandbox allow-scripts allow-forms allow-popups allow-downloads allow-modals",
    'x-content-type-options': 'nosniff',
    'isopod-isolation': 'none',
    connection: 'keep-alive',
    'keep-alive': expect.any(String),
    'transfer-encoding': 'chunked',
  });
  expect(id).toBe(servers.visits.at(-1)?.id);
  expect(date).toBeDefined();
});

test('answers without a body, parts of files, redirects and reason phrases come as they are', async () => {
  handle = (_req, res) => res.writeHead(204).end();
  expect((await service.get('/api/plugins/echo')).status).toBe(204);
  handle = (_req, res) => res.writeHead(304, { etag: '"x"' }).end();
  expect((await service.get('/api/plugins/echo')).status).toBe(304);
  handle = (_req, res) => res.writeHead(200, { 'content-length': 5 }).end();
  const head = await service.fetch('/api/plugins/echo', { method: 'HEAD' });
  expect([head.status, head.headers.get('content-length'), head.text]).toEqual([200, '5', '']);
  handle = (req, res) => res.writeHead(206, { 'content-range': 'bytes 0-1/5' }).end(req.headers.range);
  const part = await service.get('/api/plugins/echo', { range: 'bytes=0-1' });
  expect([part.status, part.headers.get('content-range'), part.text]).toEqual([206, 'bytes 0-1/5', 'bytes=0-1']);
  handle = (_req, res) => res.writeHead(302, 'Over there', { location: 'https://example.com/' }).end();
  const line = 'GET /api/plugins/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
  const text = await raw(service.url, line);
  expect(text).toMatch(/^HTTP\/1\.1 302 Over there\r\n/);
  expect(text).toContain('location: https://example.com/\r\n');
  handle = (_req, res) => res.writeEarlyHints({ link: '</x>; rel=preload' }, () => res.end('late'));
  expect((await service.get('/api/plugins/echo')).text).toBe('late');
  handle = (_req, res) => res.setHeader('x', Buffer.from('ä').toString('latin1')).end();
  expect((await service.get('/api/plugins/echo')).headers.get('x')).toBe(Buffer.from('ä').toString('latin1'));
  await allLeft();
});

test('what a plugin streams comes when it is written, longer than it may be silent, and ends for it when the caller goes', async () => {
  const gone = Promise.withResolvers<void>();
  handle = async (_req, res) => {
    res.once('close', gone.resolve);
    res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
  };
  const leave = new AbortController();
  // The head alone.
  const answer = await fetch(`${service.url}/api/plugins/echo/events`, { signal: leave.signal });
  expect(answer.headers.get('content-type')).toBe('text/event-stream');
  leave.abort();
  await gone.promise;
  await allLeft();

  handle = async (_req, res) => {
    res.writeHead(200);
    for (let at = 0; at < 5; at += 1) {
      res.write(`${at}`);
      await setTimeout(SILENCE_MS * 0.4);
    }
    res.end();
  };
  expect((await service.get('/api/plugins/echo/slow')).text).toBe('01234');
  expect(service.log().filter(({ msg, code }) => msg === 'served' && code === 'cancelled')).toHaveLength(1);
});

test('a caller that goes before there is an answer ends the request at the plugin, and what it sends', async () => {
  for (const path of ['/wait', '/upload']) {
    const came = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<void>();
    handle = (req) => {
      req.resume();
      req.on('error', () => {});
      req.socket.once('close', gone.resolve);
      came.resolve();
    };
    const { port } = new URL(service.url);
    const socket = connect(Number(port), '127.0.0.1');
    const length = path === '/upload' ? 'Content-Length: 1000\r\n' : '';
    socket.write(`POST /api/plugins/echo${path} HTTP/1.1\r\nHost: localhost\r\n${length}\r\n`);
    if (path === '/upload') socket.write('some');
    await came.promise;
    socket.destroy();
    await gone.promise;
    await allLeft();
  }
});

test('nothing is left of many requests that were given up at any time', async () => {
  handle = async (req, res) => {
    req.resume();
    res.on('error', () => {});
    res.write('x');
    await setTimeout(20);
    res.write('y'.repeat(100_000));
    await setTimeout(20);
    res.end();
  };
  const one = async (at: number) => {
    const signal = AbortSignal.timeout(at * 2);
    const body = at % 3 === 0 ? { method: 'POST', body: 'z'.repeat(200_000) } : {};
    await service.fetch('/api/plugins/echo/x', { signal, ...body }).catch(() => {});
  };
  await Promise.all(Array.from({ length: 35 }, (_, at) => one(at)));
  await allLeft();
  // Every place is free again: all of them at once.
  handle = (_req, res) => res.end('ok');
  const all = await Promise.all(Array.from({ length: 40 }, () => service.get('/api/plugins/echo/x')));
  expect(new Set(all.map(({ status }) => status))).toEqual(new Set([200]));
});

test('a large answer waits for whoever reads it', async () => {
  const all = 64 * 1_048_576;
  let written = 0;
  handle = async (_req, res) => {
    for (const chunk = Buffer.alloc(1_048_576); written < all; written += chunk.length) {
      if (!res.write(chunk)) await once(res, 'drain');
    }
    res.end();
  };
  const { port } = new URL(service.url);
  const asked = request({ port, path: '/api/plugins/echo/large' }).end();
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  let before = -1;
  await vi.waitFor(
    () => {
      const still = before === written;
      before = written;
      expect(still && written > 0).toBe(true);
    },
    { interval: 50 },
  );
  expect(written).toBeLessThan(all / 2);
  let read = 0;
  for await (const chunk of answer) read += (chunk as Buffer).length;
  expect(read).toBe(all);
  await allLeft();
});

test('whoever stops reading is let go of', async () => {
  const gone = Promise.withResolvers<void>();
  handle = (_req, res) => {
    res.on('error', () => {}).once('close', gone.resolve);
    res.write(Buffer.alloc(32 * 1_048_576));
  };
  const { port } = new URL(service.url);
  const asked = request({ port, path: '/api/plugins/echo/large' })
    .on('error', () => {})
    .end();
  await once(asked, 'response');
  await gone.promise;
  await allLeft();
});

test('bodies have a limit, whether they say how long they are or not, and their senders are told', async () => {
  handle = (req, res) => void req.resume().once('end', () => res.end('all of it'));
  const at = { name: 'sillytavern.bodyBytes', allowed: BODY_BYTES, unit: 'bytes' };
  const before = servers.visits.length;
  const told = await service.fetch('/api/plugins/echo', { method: 'POST', body: Buffer.alloc(BODY_BYTES + 1) });
  expect([told.status, told.body.code, told.body.limit]).toEqual([
    413,
    'payload_too_large',
    { ...at, observed: BODY_BYTES + 1 },
  ]);
  expect(servers.visits.length).toBe(before);

  const stream = new ReadableStream({
    start(controller) {
      for (let sent = 0; sent < 3; sent += 1) controller.enqueue(new Uint8Array(BODY_BYTES / 2));
      controller.close();
    },
  });
  const init: RequestInit = { method: 'POST', body: stream };
  const { status, body } = await service.fetch('/api/plugins/echo', Object.assign(init, { duplex: 'half' }));
  expect([status, body.code, body.limit]).toEqual([413, 'payload_too_large', { ...at, observed: expect.any(Number) }]);
  expect(body.limit.observed).toBeGreaterThan(BODY_BYTES);

  const most = await service.fetch('/api/plugins/echo', { method: 'POST', body: Buffer.alloc(BODY_BYTES) });
  expect([most.status, most.text]).toEqual([200, 'all of it']);
  await allLeft();
});

test('an answer that comes before its request is whole is passed on, and the connection can be used again', async () => {
  handle = (_req, res) => res.writeHead(403).end('no');
  const { port, hostname } = new URL(service.url);
  const socket = connect(Number(port), hostname).setEncoding('utf8');
  let text = '';
  socket.on('data', (more) => {
    text += more;
  });
  socket.write('POST /api/plugins/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\nabc');
  await vi.waitFor(() => expect(text).toMatch(/^HTTP\/1\.1 403 /));
  await allLeft();
  socket.write(Buffer.alloc(199_997));
  socket.write('GET /api/plugins/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  await once(socket, 'close');
  expect(text.match(/HTTP\/1\.1 403 /g)).toHaveLength(2);
});

test('what a plugin answers that is no answer is said to be none', async () => {
  const OK = 'HTTP/1.1 200 OK\r\n';
  const cases: [string, string, string][] = [
    ['no HTTP', 'hello\r\n\r\n', 'plugin_invalid_output'],
    ['another protocol', 'SSH-2.0-x\r\n', 'plugin_invalid_output'],
    ['two lengths', `${OK}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, 'plugin_invalid_output'],
    [
      'a length and chunks',
      `${OK}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      'plugin_invalid_output',
    ],
    ['endless headers', `${OK}${'X-Y: zzzzzzzzzz\r\n'.repeat(5_000)}`, 'plugin_invalid_output'],
    [
      'an upgrade',
      'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n',
      'plugin_invalid_output',
    ],
    ['nothing', '', 'plugin_invalid_output'],
    ['half a head', `${OK}Content-Le`, 'plugin_invalid_output'],
    ['a status that is none', 'HTTP/1.1 99 Low\r\n\r\n', 'plugin_invalid_output'],
  ];
  for (const [what, bytes, code] of cases) {
    // Not one that was opened for another case.
    for (const socket of upstream.open) socket.destroy();
    speak = (socket) => socket.once('data', () => socket.end(bytes));
    const { status, body, headers } = await service.get('/api/plugins/echo/x');
    expect([what, status, body.code]).toEqual([what, 502, code]);
    expect(headers.get('isopod-request')).toBe(body.request);
    expect(body.plugin).toEqual({ id: 'echo', version: '1.0' });
  }
  for (const bytes of [`${OK}Content-Length: 9\r\n\r\nabc`, `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nab`]) {
    speak = (socket) => socket.once('data', () => socket.end(bytes));
    await expect(service.get('/api/plugins/echo/x')).rejects.toThrow();
  }
  // Only its end says how long it is.
  speak = (socket) => socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\n\r\nold'));
  expect((await service.get('/api/plugins/echo/x')).text).toBe('old');
  await allLeft();
});

test('silence has a limit: before an answer, in it, and where a connection is never made', async () => {
  handle = () => {};
  const { status, body } = await service.get('/api/plugins/echo/x');
  const limit = { name: 'sillytavern.silenceMs', allowed: SILENCE_MS, unit: 'ms' };
  expect([status, body.code, body.limit]).toEqual([504, 'plugin_timeout', { ...limit, observed: expect.any(Number) }]);
  expect(body.limit.observed).toBeGreaterThanOrEqual(SILENCE_MS - 5);
  handle = (_req, res) => res.write('half');
  await expect(service.get('/api/plugins/echo/x')).rejects.toThrow();
  const dial = vi.spyOn(upstream, 'dial').mockReturnValue(new Promise(() => {}));
  for (const socket of upstream.open) socket.destroy();
  await vi.waitFor(() => expect(upstream.open.size).toBe(0));
  expect((await service.get('/api/plugins/echo/x')).status).toBe(504);
  dial.mockRestore();
  // Whose silence it is makes a difference.
  handle = (req) => void req.resume();
  const stopped = await raw(
    service.url,
    'POST /api/plugins/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc',
  );
  expect(stopped).toMatch(/^HTTP\/1\.1 408 /);
  await allLeft();
});

test('what the host of a plugin says of an answer is said in our words', async () => {
  handle = (_req, res) => res.writeHead(404, { 'isopod-verdict': 'unrouted' }).end('Cannot GET');
  const lost = await service.get('/api/plugins/echo/what?ever');
  expect([lost.status, lost.body.code]).toEqual([404, 'not_found']);
  expect(lost.body.detail).toBe(
    'Plugin "echo" has no route for GET /what; it has GET /r0, GET /r1, GET /r2, GET /r3, GET /r4, GET /r5, GET /r6, GET /r7, 1 more',
  );
  handle = (_req, res) => res.writeHead(404).end('its own');
  expect((await service.get('/api/plugins/echo/what')).text).toBe('its own');

  handle = (_req, res) => {
    res.writeHead(500, { 'isopod-verdict': 'fault' }).end();
    // Told by another way, later.
    void setTimeout(30).then(() => {
      const pluginError = { name: 'TypeError', message: 'x is not a function' };
      servers.failure = new Failure('plugin_error', 'The plugin has thrown', { pluginError });
    });
  };
  const { status, body, headers } = await service.get('/api/plugins/echo/x');
  expect([status, body.code, body.pluginError]).toEqual([
    502,
    'plugin_error',
    { name: 'TypeError', message: 'x is not a function' },
  ]);
  expect([headers.get('isopod-isolation'), headers.get('isopod-error-code')]).toEqual(['none', 'plugin_error']);
  expect(service.log().find(({ request }) => request === body.request)).toMatchObject({
    msg: 'served',
    plugin: 'echo',
    tenant: 'default',
    code: 'plugin_error',
    status: 500,
    pluginError: 'TypeError: x is not a function',
  });
  await allLeft();
});

test('why nobody is let in has the status that says who must act', async () => {
  const cases: [Failure, number][] = [
    [new Failure('plugin_boot_failed', 'x'), 502],
    [new Failure('plugin_crashed', 'x'), 502],
    [new Failure('plugin_quarantined', 'x', { retryAfterMs: 5_000 }), 503],
    [new Failure('plugin_timeout', 'x'), 504],
    [new Failure('plugin_disabled', 'x'), 409],
    [new Failure('concurrency_limited', 'x'), 429],
    [new Failure('internal', 'secret'), 500],
  ];
  for (const [failure, expected] of cases) {
    servers.closed = failure;
    const { status, body, headers } = await service.fetch('/api/plugins/echo/x', { method: 'POST', body: 'x' });
    expect([failure.code, status, body.code]).toEqual([failure.code, expected, failure.code]);
    expect(headers.get('isopod-request')).toMatch(/^[0-9a-f-]{36}$/);
    if (failure.code === 'plugin_quarantined') expect(headers.get('retry-after')).toBe('5');
  }
  servers.closed = null;
  // Of a plugin that was never enabled nothing is known but what it is called.
  const { status, body } = await service.get('/api/plugins/other/x');
  expect([status, body.code, body.detail]).toEqual([409, 'plugin_disabled', 'Plugin "other" is disabled']);
  await allLeft();
});

test('whoever asks says for whom, within bounds', async () => {
  const visitor = async (headers: Record<string, string>) => {
    const { status, body } = await service.get('/api/plugins/echo', headers);
    return status === 200 ? servers.visits.at(-1)?.visitor : [status, body.code];
  };
  expect(await visitor({})).toEqual({ handle: 'default-user', name: 'User', admin: true });
  expect(await visitor({ 'isopod-user': 'ada' })).toEqual({ handle: 'ada', name: 'ada', admin: false });
  const ada = { 'isopod-user': 'ada', 'isopod-user-name': Buffer.from('Adä').toString('latin1') };
  expect(await visitor({ ...ada, 'isopod-user-admin': 'true' })).toEqual({ handle: 'ada', name: 'Adä', admin: true });
  // As proxies leave what they cannot take away.
  expect(await visitor({ 'isopod-user': 'ada', 'isopod-user-name': '', 'isopod-user-admin': '' })).toEqual({
    handle: 'ada',
    name: 'ada',
    admin: false,
  });
  const bad = { 'isopod-user': ['', 'Ada', '../x', 'a, b', 'a'.repeat(65)], 'isopod-user-admin': ['yes'] };
  for (const [name, values] of Object.entries({ ...bad, 'isopod-user-name': ['\xff\xfe', 'n'.repeat(201)] })) {
    for (const value of values)
      expect([name, value, await visitor({ [name]: value })]).toEqual([name, value, [400, 'invalid_request']]);
  }
});

test('a page of a plugin, which has an origin that is nobody’s, can ask for nothing in the name of who looks at it', async () => {
  const asPage = [{ origin: 'null' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }];
  for (const headers of asPage) {
    for (const path of ['/api/plugins/echo', '/v1/plugins', '/csrf-token', '/api/plugins/plugins/']) {
      expect([path, (await service.get(path, headers as Record<string, string>)).status]).toEqual([path, 403]);
    }
  }
});

test('what a plugin has registered is shown, with where it is found', async () => {
  const { body } = await service.get('/v1/plugins/echo/routes');
  expect(body).toMatchObject({ address: 'echo', base: '/api/plugins/echo', name: 'Echo', isHeard: true });
  expect(body.routes[0]).toEqual({ method: 'GET', path: '/r0' });
  expect((await service.get('/t/default/v1/plugins/echo/routes')).body.base).toBe('/t/default/api/plugins/echo');
  const silent = await service.get('/v1/plugins/other/routes');
  expect(silent.body).toMatchObject({
    address: null,
    base: null,
    routes: [],
    isHeard: false,
    hint: expect.any(String),
  });
  expect((await service.get('/v1/plugins/demo/routes')).body.code).toBe('conflict');
  expect((await service.get('/v1/plugins/nobody/routes')).status).toBe(404);
});

test('what was served is counted by what came of it', async () => {
  const { text } = await service.get('/metrics');
  expect(text).toMatch(/isopod_served_total\{code="ok",status="2xx"\} \d+\n/);
  expect(text).toMatch(/isopod_served_total\{code="plugin_timeout",status="none"\} \d+\n/);
  expect(text).toMatch(/isopod_served_seconds_count \d+\n/);
  expect(service.log().find(({ msg, code }) => msg === 'served' && code === 'ok')).toMatchObject({
    plugin: 'echo',
    status: 200,
  });
});

test('when its process dies, whoever waits is told so, and its connections are closed', async () => {
  handle = () => {};
  const asked = service.get('/api/plugins/echo/x');
  await vi.waitFor(() => expect(servers.inside).toBe(1));
  // The connection ends first, as it would.
  for (const socket of upstream.open) socket.destroy();
  upstream.die(new Failure('plugin_crashed', 'Its process has ended'));
  const { status, body } = await asked;
  expect([status, body.code, body.detail]).toEqual([502, 'plugin_crashed', 'Its process has ended']);
  expect((await service.get('/api/plugins/echo/x')).body.code).toBe('plugin_crashed');
  await vi.waitFor(() => expect(upstream.open.size).toBe(0));
  await allLeft();
});
