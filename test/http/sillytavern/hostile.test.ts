// Goal: neither a plugin nor a caller takes more from the others than is theirs.
// Method: a real service and a real server in the place of the plugin, and raw sockets on either side.
import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type FakeService, portrait, server, startFakeService } from '../../support/fake.ts';
import { FakeServers, FakeUpstream } from '../../support/fake-servers.ts';

const TOKEN = 'an-operator';
const AS = { authorization: `Bearer ${TOKEN}` };
const SILENCE_MS = 2_000;

let service: FakeService;
let servers: FakeServers;
let upstream: FakeUpstream;
let http: Server;
let handle: (req: IncomingMessage, res: ServerResponse) => void;
let door: { close(): void };

beforeAll(async () => {
  servers = new FakeServers();
  http = createServer((req, res) => handle(req, res));
  const net = createNetServer(
    (socket) =>
      void http.emit(
        'connection',
        socket.on('error', () => {}),
      ),
  );
  net.listen(0, '127.0.0.1');
  door = net;
  await once(net, 'listening');
  upstream = new FakeUpstream((net.address() as AddressInfo).port);
  service = await startFakeService({
    plugins: [server({ id: 'echo' })],
    servers,
    config: {
      tokens: [TOKEN],
      sillytavern: { enabled: true, silenceMs: SILENCE_MS },
      residents: { start: 'demand' },
    },
  });
  servers.upstreams.set('echo', upstream);
  service.runtime.residents.portraits.set('echo', portrait({ name: 'Echo', serves: { id: 'echo', routes: [] } }));
  await service.ask('POST', '/v1/plugins/echo/enable', { token: TOKEN });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  door.close();
  http.closeAllConnections();
});
beforeEach(async () => {
  handle = (_req, res) => res.end('ok');
  // Not one on which an answer was written by hand.
  for (const socket of upstream.open) socket.destroy();
  await vi.waitFor(() => expect(upstream.open.size).toBe(0));
});

/** Nothing of any request is left. */
async function allLeft(timeout = 1_000): Promise<void> {
  await vi.waitFor(() => expect(servers.inside).toBe(0), { timeout });
}

/** Says that over and over again, as fast as it is taken. */
function flood(socket: Socket, text: string): void {
  const bytes = Buffer.from(text.repeat(1_000));
  const more = () => {
    while (!socket.destroyed && socket.write(bytes));
  };
  socket.on('drain', more).on('error', () => {});
  more();
}

function caller(): Socket {
  const { port } = new URL(service.url);
  return connect(Number(port), '127.0.0.1').on('error', () => {});
}

test('an answer that is announced again and again is none, and its connection is ended', async () => {
  for (const line of ['102 P', '103 Early Hints\r\nLink: </x>']) {
    handle = (req) => flood(req.socket, `HTTP/1.1 ${line}\r\n\r\n`);
    const { status, body } = await service.get('/api/plugins/echo/x', AS);
    expect([status, body.code, body.detail]).toEqual([
      502,
      'plugin_invalid_output',
      'The answer of the plugin cannot be passed on: it was announced more than 10 times',
    ]);
    await vi.waitFor(() => expect(upstream.open.size).toBe(0));
  }
  // And now and then, it does not renew how long a plugin may be silent.
  handle = (_req, res) => {
    const saying = setInterval(() => res.writeProcessing(), SILENCE_MS / 3);
    res.once('close', () => clearInterval(saying));
  };
  const { status, body } = await service.get('/api/plugins/echo/x', AS);
  expect([status, body.code]).toEqual([504, 'plugin_timeout']);
  await allLeft();
});

test('a status that is none is said to be none, whatever its parser makes of it', async () => {
  for (const status of ['000', '099', '600', '999']) {
    handle = (req) => void req.socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`);
    const { status: answered, body } = await service.get('/api/plugins/echo/x', AS);
    expect([status, answered, body.code]).toEqual([status, 502, 'plugin_invalid_output']);
  }
  expect(service.log().filter(({ level }) => level >= 50)).toEqual([]);
});

test('an answer in single bytes comes whole, and no faster than we can carry it beside others', async () => {
  const all = 3_000;
  const inCrumbs = (crumbs: string) => (req: IncomingMessage) =>
    void req.socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${crumbs}0\r\n\r\n`);
  handle = inCrumbs('1\r\nx\r\n'.repeat(all));
  const begun = performance.now();
  const { text } = await service.get('/api/plugins/echo/x', AS);
  expect(text).toBe('x'.repeat(all));
  // Five hundred in 50 ms: it cannot be faster, and may be slower.
  expect(performance.now() - begun).toBeGreaterThan(200);

  // What comes at once goes at once.
  handle = inCrumbs('1\r\ny\r\n'.repeat(400));
  const socket = caller();
  socket.write(`GET /api/plugins/echo/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${AS.authorization}\r\n\r\n`);
  let whole = '';
  socket.setEncoding('latin1').on('data', (some) => {
    whole += some;
  });
  await vi.waitFor(() => expect(whole).toMatch(/\r\n0\r\n\r\n$/));
  const chunks = whole.split('\r\n').filter((line) => /^y+$/.test(line)).length;
  expect(chunks).toBeLessThan(100);
  socket.destroy();
  await allLeft();
});

test('a plugin redirects to its own routes and to other hosts, but to nothing else of ours', async () => {
  const { host, port } = new URL(service.url);
  const asked = async (location: string, { path = '/api/plugins/echo/a/b', status = 307, as = host } = {}) => {
    handle = (_req, res) => res.writeHead(status, { location }).end();
    const socket = caller().setEncoding('latin1');
    const line = `POST ${path} HTTP/1.1\r\nHost: ${as}\r\nAuthorization: ${AS.authorization}\r\n`;
    socket.write(`${line}Connection: close\r\nContent-Length: 0\r\n\r\n`);
    let text = '';
    socket.on('data', (some) => {
      text += some;
    });
    await once(socket, 'close');
    return /\r\nlocation: (.*)\r\n/.exec(text)?.[1] ?? /"code":"(\w+)"/.exec(text)?.[1];
  };
  const utf8 = (text: string) => Buffer.from(text).toString('latin1');
  const refused = [
    ...[
      '/v1/plugins/echo/disable',
      '/',
      '../../../v1/plugins',
      '//LOCALHOST:PORT/v1',
      `http://HOST/v1`,
      '/api/plugins/ec',
    ],
    ...[
      'http://u:p@HOST/v1',
      'http:/v1/x',
      '///HOST/v1',
      '/\\HOST/v1',
      '\\v1',
      '/\tv1',
      '\\\\HOST\\v1',
      'http://HOST.',
    ],
    ...['/api/plugins/echo/../../../v1/x', '/api/plugins/echo/%2e%2E/%2e./../v1/x', '/v1/%2e%2e/api/plugins/echo'],
    ...['http://localhost:PORT/v1', 'http://[::1]:PORT/v1', 'http://127.1:PORT/v1', 'http://0x7f000001:PORT/v1'],
    ...['http://a.localhost:PORT/v1', 'http://0:PORT/v1', 'http://[::ffff:127.0.0.1]:PORT/v1', 'https://HOST/v1'],
    ...[
      'http://example.com\\@HOST/v1',
      'http://%6cocalhost:0PORT/v1',
      utf8('http://ｌocalhost:PORT/v1'),
      '/api/plugins/echoes',
    ],
  ];
  for (const one of refused) {
    const location = one.replace('HOST', host).replace('PORT', port);
    expect([location, await asked(location)]).toEqual([location, 'plugin_invalid_output']);
  }
  const passed = [
    ...['/api/plugins/echo', '/api/plugins/echo?to=/v1', 'c', '../c', '?x', '#x', '//example.com/v1', 'c%2ejs'],
    ...['http://HOST/api/plugins/echo/x', 'https://example.com/a?b=\\', 'http://localhost:1/x', 'app://HOST/v1'],
    utf8('/api/plugins/echo/À'),
  ];
  for (const one of passed) {
    const location = one.replace('HOST', host).replace('PORT', port);
    expect([location, await asked(location)]).toEqual([location, location]);
  }
  // Where it has come through a proxy: as that is called, whatever its port and scheme are.
  for (const location of ['https://front.example:8443/v1', 'http://front.example/v1', 'https:/v1']) {
    expect([location, await asked(location, { as: 'Front.example' })]).toEqual([location, 'plugin_invalid_output']);
  }
  expect(await asked('http://anywhere.example/', { as: '' })).toBe('plugin_invalid_output');
  // By the path of its tenant.
  const tenant = { path: '/t/default/api/plugins/echo/a' };
  expect(await asked('/api/plugins/echo/x', tenant)).toBe('/t/default/api/plugins/echo/x');
  expect(await asked('../../../v1/x', tenant)).toBe('plugin_invalid_output');
  for (const status of [301, 302, 303, 308, 399]) {
    expect(await asked('/v1', { status })).toBe('plugin_invalid_output');
  }
  // Nobody goes there by themselves.
  expect(await asked('/v1', { status: 201 })).toBe('/v1');
  await allLeft();
});

test('a refresh leads where a redirect may lead, however it is written', async () => {
  const { host } = new URL(service.url);
  const asked = async (refresh: string | string[], { path = '/api/plugins/echo/a/b' } = {}) => {
    handle = (_req, res) => res.writeHead(200, { refresh } as OutgoingHttpHeaders).end();
    const { status, headers } = await service.get(path, AS);
    return status === 200 ? headers.get('refresh') : status;
  };
  const refused = [
    ...[
      '0;url=/v1',
      '0; URL = "/v1"',
      "0,url='/v1'x",
      '0 /v1',
      '0;/v1',
      ' 0.5;\turl=//HOST/v1',
      '.;url=/v1',
      '5;url="/v1',
    ],
    ...['0;uri=/../../../../../v1', '00.0.;url=../../../../v1', "0;url='/\\HOST/v1'"],
  ];
  for (const one of refused) expect([one, await asked(one.replace('HOST', host))]).toEqual([one, 502]);
  expect(await asked(['5', 'url=/v1'])).toBe(502);
  expect([await asked('3'), await asked('3; '), await asked('.')]).toEqual(['3', '3', '0']);
  expect(await asked('0;url=c')).toBe('0; url="c"');
  expect(await asked("0;url='//example.com/v1'")).toBe('0; url="//example.com/v1"');
  const path = '/t/default/api/plugins/echo/a';
  expect(await asked('1;url=/api/plugins/echo/x', { path })).toBe('1; url="/t/default/api/plugins/echo/x"');
  // Which nobody follows.
  for (const none of ['soon', ';url=/v1', '0x;url=/v1', `0;url="a'b"`])
    expect([none, await asked(none)]).toEqual([none, null]);
});

test('an answer is passed on as it is framed: not with a length where there is none, and not packed', async () => {
  handle = (req) => void req.socket.end('HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX-A: b\r\n\r\n');
  const empty = await service.get('/api/plugins/echo/x', AS);
  const { headers } = empty;
  expect([empty.status, headers.get('x-a'), headers.get('content-length')]).toEqual([204, 'b', null]);
  for (const packed of ['gzip', 'gzip, chunked', 'gzip\r\nTransfer-Encoding: chunked', 'identity']) {
    handle = (req) =>
      void req.socket.end(`HTTP/1.1 200 OK\r\nTransfer-Encoding: ${packed}\r\n\r\n2\r\nok\r\n0\r\n\r\n`);
    const { status, body } = await service.get('/api/plugins/echo/x', AS);
    expect([packed, status, body.code]).toEqual([packed, 502, 'plugin_invalid_output']);
  }
  handle = (_req, res) =>
    res
      .writeHead(200, {
        'x-litespeed-location': '/etc/passwd',
        'x-sendfile2': '/etc/passwd 0-',
        'x-sendfile-temporary': '/etc/passwd',
        'x-lighttpd-send-tempfile': '/etc/passwd',
        'x-mine': 'yes',
      })
      .end();
  const told = await service.get('/api/plugins/echo/x', AS);
  expect([...told.headers.keys()].filter((name) => /^x-(?!content-type)/.test(name))).toEqual(['x-mine']);
});

test('whoever still sends when they are answered gets the answer, also where the connection ends with it', async () => {
  const inOne = (res: ServerResponse) => res.end('early');
  const inTwo = (res: ServerResponse) => res.write('early') && res.end();
  for (const [answered, connection] of [
    [inOne, 'close'],
    [inTwo, 'close'],
    [inOne, 'keep-alive'],
  ] as const) {
    handle = (_req, res) => void answered(res);
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1').setEncoding('latin1');
    const bytes = 8 * 2 ** 20;
    const head = `POST /api/plugins/echo/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${AS.authorization}\r\n`;
    socket.write(`${head}Connection: ${connection}\r\nContent-Length: ${bytes}\r\n\r\n`);
    // As who reads the answer when they have sent all.
    const sent = await new Promise((resolve) => {
      socket.once('error', resolve).write(Buffer.alloc(bytes, 'x'), () => resolve('all'));
    });
    expect([connection, sent]).toEqual([connection, 'all']);
    let text = '';
    const closed = once(socket, 'close');
    socket.on('data', (some) => {
      text += some;
    });
    await vi.waitFor(() => expect(text).toMatch(/^HTTP\/1.1 200 .*early/s));
    if (connection === 'close') await closed;
    socket.destroy();
  }
  await allLeft();
});

test('what may be a token of ours does not get to a plugin, and what we say of limits it does not say', async () => {
  await service.ask('POST', '/v1/tenants', { token: TOKEN, body: { id: 'paced', name: 'Paced' } });
  const { promise, resolve } = Promise.withResolvers<IncomingMessage>();
  handle = (req, res) => {
    resolve(req);
    res.writeHead(200, { date: 'Thu, 01 Jan 1970 00:00:00 GMT', ratelimit: '"its own";r=0;t=9', 'retry-after': '7' });
    res.end();
  };
  const quotas = { requestsPerSecond: 1_000 };
  await service.ask('PATCH', '/v1/tenants/default', { token: TOKEN, body: { quotas } });
  const { headers } = await service.get('/api/plugins/echo/x', { ...AS, 'x-api-key': TOKEN });
  expect((await promise).headers).not.toHaveProperty('x-api-key');
  expect((await promise).headers).not.toHaveProperty('authorization');
  expect(headers.get('ratelimit')).toMatch(/^"quotas.requestsPerSecond";r=\d+;t=\d+$/);
  expect(headers.get('date')).not.toContain('1970');
  expect(headers.get('retry-after')).toBe('7');
});

test('a caller that leaves while nobody reads what they send gives up their place', async () => {
  const leaving = async (how: 'end' | 'resetAndDestroy' | 'destroy', bytes: number) => {
    const came = Promise.withResolvers<void>();
    handle = (req, res) => {
      req.on('error', () => {});
      const saying = how === 'destroy' ? setInterval(() => res.write('on and on'), SILENCE_MS / 5) : undefined;
      res.once('close', () => clearInterval(saying));
      came.resolve();
    };
    const socket = caller();
    const head = `POST /api/plugins/echo/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${AS.authorization}\r\n`;
    socket.write(`${head}Content-Length: 50000000\r\n\r\n`);
    socket.write(Buffer.alloc(bytes));
    await came.promise;
    socket[how]();
    await allLeft(SILENCE_MS * 1.75);
    return service.log().findLast(({ msg }) => msg === 'served').code;
  };
  // It is looked for them every so often, and of more than is read ahead the plugin's silence tells.
  expect(await leaving('end', 300_000)).toBe('cancelled');
  expect(await leaving('resetAndDestroy', 300_000)).toBe('cancelled');
  expect(await leaving('end', 6_000_000)).toMatch(/^(cancelled|plugin_timeout)$/);
  expect(await leaving('resetAndDestroy', 6_000_000)).toMatch(/^(cancelled|plugin_timeout)$/);
  expect(await leaving('destroy', 6_000_000)).toBe('cancelled');
});

test('requests that come ahead of an answer in one connection take no place before their turn', async () => {
  const head = (path: string) =>
    `GET /api/plugins/echo/${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${AS.authorization}\r\n\r\n`;
  const waiting: ServerResponse[] = [];
  const seen: (string | undefined)[] = [];
  handle = (req, res) => {
    seen.push(req.url);
    waiting.push(res);
  };
  const socket = caller().setEncoding('latin1');
  let text = '';
  socket.on('data', (some) => {
    text += some;
  });
  socket.write([1, 2, 3].map((at) => head(`${at}`)).join(''));
  for (const at of [1, 2, 3]) {
    await vi.waitFor(() => expect(waiting.length).toBe(at));
    expect([servers.inside, seen.at(-1)]).toEqual([1, `/api/plugins/echo/${at}`]);
    waiting[at - 1]?.end(`answer ${at}`);
    await vi.waitFor(() => expect(text).toContain(`answer ${at}`));
  }
  // Those that still wait are not asked when the connection ends.
  socket.write(head('4') + head('5'));
  await vi.waitFor(() => expect(waiting.length).toBe(4));
  socket.destroy();
  await allLeft();
  expect(seen.length).toBe(4);

  const many = caller();
  many.write(head('never').repeat(2_000));
  await new Promise((resolve) => many.resume().once('close', resolve));
  await allLeft();
});

test('a token that was revoked opens no answer that it waits for, and ends its waiting', async () => {
  const revoked = async (waitMs = 0) => {
    const body = { name: 'x', scopes: ['invoke'] };
    const made = await service.ask('POST', '/v1/tenants/default/tokens', { token: TOKEN, body });
    const came = Promise.withResolvers<ServerResponse>();
    handle = (_req, res) => came.resolve(res);
    const asked = service.get('/api/plugins/echo/x', { authorization: `Bearer ${made.body.secret}` });
    const res = await came.promise;
    await setTimeout(waitMs);
    await service.ask('DELETE', `/v1/tenants/default/tokens/${made.body.id}`, { token: TOKEN });
    return { asked, res };
  };
  const silent = await revoked();
  const { status, body } = await silent.asked;
  expect([status, body.code]).toEqual([401, 'unauthenticated']);
  await vi.waitFor(() => expect(silent.res.destroyed).toBe(true));

  // Just after it was looked for the last time.
  const late = await revoked(SILENCE_MS * 0.6);
  late.res.end('secret');
  expect((await late.asked).status).toBe(401);

  // What comes late comes whole to whoever has not lost theirs, with a body and without.
  const ways: [string, number][] = [
    ['GET', 0],
    ['GET', 5],
    ['HEAD', 5],
    ['GET', 300_000],
  ];
  handle = async (req, res) => {
    const [, length] = ways[Number(req.headers.way)] ?? ['', 0];
    await setTimeout(SILENCE_MS * 0.6);
    res.writeHead(200, { 'content-length': length }).end('x'.repeat(length));
  };
  const told = async ([method]: [string, number], way: number) =>
    await service.fetch('/api/plugins/echo/x', { method, headers: { ...AS, way: `${way}` } });
  const all = await Promise.all(ways.map(told));
  expect(all.map(({ status, text }) => [status, text.length])).toEqual([
    [200, 0],
    [200, 5],
    [200, 0],
    [200, 300_000],
  ]);
  await allLeft();
});
