// 115: what a confined program reaches of the network, over real sockets, against real servers on loopback.
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect, createServer, type Server as NetServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { HttpApplication } from '../../src/gateway/application.ts';
import { Allowance } from '../../src/gateway/egress/allowance.ts';
import { TestApplication } from '../support/application.ts';
import { all, rawOf, TestGateway, type TestProgram } from '../support/egress.ts';

const MB = 1_048_576;

/** What names lead to. Each look-up is counted. */
const names = new Map<string, readonly string[]>();
const lookUps: string[] = [];
const resolve = async (host: string) => {
  lookUps.push(host);
  if (host === 'never.example.com') return await new Promise<never>(() => {});
  return names.get(host) ?? [];
};

const echo = (socket: Socket): void => void socket.pipe(socket);

let application: TestApplication;
let http: HttpApplication;
let gateway: TestGateway;
let web: Server;
let raw: NetServer;
/** What the server that knows HTTP was asked. */
const asked: IncomingMessage[] = [];
let webPort = 0;
let rawPort = 0;
/** What the server that knows no HTTP does with a connection. */
let meet = echo;

beforeAll(async () => {
  application = await TestApplication.start({ credential: null });
  http = new HttpApplication({ url: application.url, credential: null });
  web = createHttpServer((request, response) => {
    asked.push(request);
    let bytes = 0;
    request.on('data', (chunk) => {
      bytes += chunk.length;
    });
    request.on('end', () => {
      if (request.url === '/redirect') response.writeHead(302, { location: `http://127.0.0.1:${webPort}/secret` });
      response.end(`you sent ${bytes} bytes`);
    });
  });
  raw = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    meet(socket);
  });
  await Promise.all([web, raw].map((one) => once(one.listen(0, '127.0.0.2'), 'listening')));
  webPort = (web.address() as AddressInfo).port;
  rawPort = (raw.address() as AddressInfo).port;
  names.set('api.example.com', ['127.0.0.2']);
  names.set('xn--bcher-kva.example', ['127.0.0.2']);
  gateway = await TestGateway.open({ application: http, egress: { ranges: ['127.0.0.2/32'], resolve } });
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  web.closeAllConnections();
  web.close();
  raw.close();
  await http[Symbol.asyncDispose]();
  await application[Symbol.asyncDispose]();
  expect(gateway.bugs).toEqual([]);
});

const QUERY = '{"query":"{ version { version } }"}';
const call = (headers = '') =>
  `POST /graphql HTTP/1.1\r\nHost: localhost\r\n${headers}Content-Length: ${QUERY.length}\r\nConnection: close\r\n\r\n${QUERY}`;

describe('a connection that only the sandbox has', () => {
  test('is the session: no cookie is needed, another one is refused, and the own one is fine', async () => {
    const [program, other] = [await gateway.program(), await gateway.program()];
    expect((await program.say(call())).body).toContain('v0.30.0');
    expect((await program.say(call(`Cookie: session=${program.session.cookie}\r\n`))).status).toBe(200);
    for (const header of [`Cookie: session=${other.session.cookie}`, `ApiKey: ${other.session.cookie}`, 'ApiKey: x']) {
      expect((await program.say(call(`${header}\r\n`))).status).toBe(401);
    }
    expect(program.session.calls).toBe(2);
    // With a whole URL it is the same place, under each name that programs have for it.
    for (const name of ['localhost', '127.0.0.1', '[::1]']) {
      const whole = call().replace('/graphql', `http://${name}:${gateway.port}/graphql`);
      expect((await program.say(whole)).body).toContain('v0.30.0');
    }
    expect(program.decisions).toEqual([]);
  });

  test('ends with the session, after a moment, and none begins later', async () => {
    const program = await gateway.program([`api.example.com:${rawPort}`]);
    const [idle, tunnel] = [await program.dial(), await program.tunnel(`api.example.com:${rawPort}`)];
    const ended = [idle, tunnel].map((one) => once(one.resume(), 'end'));
    program.session.end();
    await Promise.all(ended);
    expect((await program.say(call())).text).toBe('');
  });

  test('is that of the session it was handed over to, and what is under way goes on until its own ends', async () => {
    const authority = `api.example.com:${rawPort}`;
    const [program, next] = [await gateway.program([authority]), await gateway.program([authority])];
    const [idle, tunnel] = [await program.dial(), await program.tunnel(authority)];
    const shown = program.session.cookie;
    program.session.handOver(next.session);
    tunnel.write('still');
    expect(String((await once(tunnel.resume(), 'data'))[0])).toBe('still');
    // The other way is asked over the connection of before, and with the cookie of before.
    idle.write(call().replace('Connection: close\r\n', ''));
    expect(String((await once(idle, 'data'))[0])).toContain('v0.30.0');
    expect((await next.say(call(`Cookie: session=${shown}\r\n`))).status).toBe(200);
    expect([program.session.calls, next.session.calls]).toEqual([0, 2]);

    program.session.end();
    await once(tunnel, 'end');
    idle.write(call());
    expect(rawOf(await all(idle)).status).toBe(200);
    expect(next.session.calls).toBe(3);
    const last = await next.dial();
    next.session.end();
    expect(await all(last)).toBe('');
  });

  test('is one of so many', async () => {
    const program = await gateway.program();
    const sockets = await Promise.all(Array.from({ length: 80 }, () => program.dial()));
    let gone = 0;
    for (const socket of sockets) {
      socket.resume().once('end', () => {
        gone += 1;
      });
    }
    await vi.waitFor(() => expect(gone).toBe(16));
    const another = await gateway.program();
    expect((await another.say(call())).status).toBe(200);
  });

  test('does not wait for ever for the head of a request', async () => {
    await using quick = await TestGateway.open({ application: http, headersMs: 300 });
    const program = await quick.program();
    expect((await program.say('POST /graphql HTTP/1.1\r\nHost: x\r\nX-')).status).toBe(408);
  });
});

describe('a host that was granted', () => {
  test('is asked over a connection of its own, for what was written and nothing else', async () => {
    const program = await gateway.program([`api.example.com:${webPort}`]);
    const authority = `api.example.com:${webPort}`;
    asked.length = 0;
    const answer = await program.say(
      [
        `POST http://${authority}/a/../b?c=d%20e HTTP/1.1`,
        `Host: ${authority}`,
        'X-Mine: 1',
        'X-Mine: 2',
        'Cookie: session=of-the-host',
        'Connection: close, X-Hop',
        'X-Hop: secret',
        'Proxy-Authorization: Basic eA==',
        'Proxy-Connection: keep-alive',
        'Keep-Alive: timeout=5',
        'TE: trailers',
        'Upgrade: websocket',
        'Transfer-Encoding: chunked',
        '',
        '5\r\nhello\r\n0\r\n\r\n',
      ].join('\r\n'),
    );
    expect([answer.status, answer.reason]).toEqual([200, 'granted']);
    expect(answer.body).toContain('you sent 5 bytes');
    const [request] = asked;
    expect([request?.method, request?.url]).toEqual(['POST', '/a/../b?c=d%20e']);
    expect(request?.headers).toEqual({
      host: authority,
      'x-mine': '1, 2',
      cookie: 'session=of-the-host',
      'transfer-encoding': 'chunked',
      via: '1.1 isopod',
      connection: 'close',
    });
    expect(program.decisions).toEqual([
      { host: 'api.example.com', port: webPort, verdict: 'allowed', because: 'granted' },
    ]);
  });

  test('is asked again over the same connection of the program, with and without a body', async () => {
    const program = await gateway.program([`api.example.com:${webPort}`]);
    const socket = await program.dial();
    const url = `http://api.example.com:${webPort}/`;
    const host = `Host: api.example.com:${webPort}\r\n`;
    socket.write(`GET ${url} HTTP/1.1\r\n${host}\r\n`);
    socket.write(`PUT ${url} HTTP/1.1\r\n${host}Content-Length: 3\r\n\r\nabc`);
    socket.write(`POST ${url} HTTP/1.1\r\n${host}Connection: close\r\n\r\n`);
    const text = await all(socket);
    expect(text.match(/you sent \d bytes/g)).toEqual(['you sent 0 bytes', 'you sent 3 bytes', 'you sent 0 bytes']);
  });

  test('is tunnelled to, however much it is, and either side may end first', async () => {
    const authority = `api.example.com:${rawPort}`;
    const program = await gateway.program([`*.example.com:${rawPort}`]);
    const tunnel = await program.tunnel(authority);
    const sent = Buffer.alloc(8 * MB, 'x');
    const back = all(tunnel);
    // The far end is told of the end, and its echo still comes.
    tunnel.end(sent);
    expect((await back).length).toBe(sent.length);

    meet = (socket) => void socket.end('bye');
    expect(await all(await program.tunnel(authority))).toBe('bye');
    // What was sent along with CONNECT is not lost.
    meet = (socket) => void socket.once('data', (chunk) => socket.end(`got ${chunk}`));
    const eager = await program.say(`CONNECT ${authority} HTTP/1.1\r\nHost: api.example.com\r\n\r\nearly`);
    expect([eager.status, eager.body]).toEqual([200, 'got early']);
    meet = (socket) => void socket.once('data', () => socket.resetAndDestroy());
    const reset = await program.say(`CONNECT ${authority} HTTP/1.1\r\nHost: api.example.com\r\n\r\nearly`);
    expect([reset.status, reset.body]).toEqual([200, '']);
    meet = echo;
  });

  test('is left when the program goes', async () => {
    const program = await gateway.program([`api.example.com:${rawPort}`]);
    const left = new Promise<void>((resolve) => {
      meet = (socket) => void socket.resume().once('end', resolve).once('close', resolve);
    });
    (await program.tunnel(`api.example.com:${rawPort}`)).destroy();
    await left;
    meet = echo;
  });

  test('redirects nobody: that is an answer, and its target a new question', async () => {
    const program = await gateway.program([`api.example.com:${webPort}`]);
    const host = `Host: api.example.com:${webPort}`;
    const answer = await program.ask(`GET http://api.example.com:${webPort}/redirect`, [host]);
    const location = /^location: (.*)$/im.exec(answer.head)?.[1] ?? '';
    expect([answer.status, location]).toEqual([302, `http://127.0.0.1:${webPort}/secret`]);
    const next = await program.ask(`GET ${location}`, [`Host: 127.0.0.1:${webPort}`]);
    expect([next.status, next.reason]).toEqual([403, 'not granted']);
  });

  test('is written in many ways, and granted in any of them', async () => {
    const grants = [`BÜCHER.example.:${webPort}`, `Api.Example.COM:${webPort}`, `0x7f.2:${webPort}`];
    const program = await gateway.program(grants);
    for (const name of [
      'xn--bcher-kva.example',
      'XN--BCHER-KVA.example.',
      'api.example.com.',
      '127.0.0.2',
      '2130706434',
    ]) {
      const authority = `${name}:${webPort}`;
      const answer = await program.ask(`GET http://${authority}/`, [`Host: ${authority}`]);
      expect([name, answer.status, answer.reason]).toEqual([name, 200, 'granted']);
    }
  });
});

describe('what was not granted', () => {
  const reasons = async (program: TestProgram, authorities: readonly string[]) =>
    await Promise.all(authorities.map(async (one) => [one, (await program.connect(one)).reason]));
  const each = (authorities: readonly string[], reason: string) => authorities.map((one) => [one, reason]);

  test('is refused by name, by port and by what is below or above it', async () => {
    const program = await gateway.program(['*.example.com', 'other.org:8443', 'exact.org']);
    const refused = [
      'example.com:443',
      'example.com.evil.net:443',
      'evilexample.com:443',
      'api.example.com:22',
      'api.example.com:8443',
      'other.org:443',
      'sub.exact.org:443',
      'exact.org:65535',
      '127.0.0.1:80',
      '[::1]:80',
      'localhost:80',
    ];
    expect(await reasons(program, refused)).toEqual(each(refused, 'not granted'));
    const unknown = ['exact.org:443', 'a.b.example.com:80'];
    expect(await reasons(program, unknown)).toEqual(each(unknown, 'unresolved'));
    const nothing = await gateway.program();
    expect(await reasons(nothing, ['api.example.com:443'])).toEqual(each(['api.example.com:443'], 'not granted'));
    // Nobody is asked about names that nobody may go to.
    expect(lookUps).not.toContain('example.com.evil.net');
  });

  test('is what has a special address, whatever it is called and however that is written', async () => {
    const special = {
      'loopback.example.com': ['127.0.0.1'],
      'any.example.com': ['0.0.0.0'],
      'private.example.com': ['10.0.0.1'],
      'home.example.com': ['192.168.1.1'],
      'carrier.example.com': ['100.64.0.1'],
      'metadata.example.com': ['169.254.169.254'],
      'azure.example.com': ['168.63.129.16'],
      'all.example.com': ['255.255.255.255'],
      'many.example.com': ['224.0.0.1'],
      'documented.example.com': ['192.0.2.1'],
      'six.example.com': ['::1'],
      'none.example.com': ['::'],
      'mapped.example.com': ['::ffff:127.0.0.1'],
      'compatible.example.com': ['::127.0.0.1'],
      'nat64.example.com': ['64:ff9b::7f00:1'],
      'nat64-of-our-own.example.com': ['64:ff9b:1::1'],
      '6to4.example.com': ['2002:7f00:1::1'],
      'teredo.example.com': ['2001:0:4136:e378:8000:63bf:3fff:fdd2'],
      'unique.example.com': ['fd12:3456::1'],
      'aws.example.com': ['fd00:ec2::254'],
      'link.example.com': ['fe80::1'],
      'zone.example.com': ['fe80::1%lo'],
      'unused.example.com': ['4000::1'],
      // One good address does not make a host good.
      'split.example.com': ['93.184.215.14', '::1'],
      'two.example.com': ['2606:2800:21f:cb07:6820:80da:af6b:8b2c', '10.0.0.1'],
      'nonsense.example.com': ['not an address'],
    };
    for (const [name, addresses] of Object.entries(special)) names.set(name, addresses);
    // More than go at once: what is not to be found out here.
    const egress = { ranges: ['127.0.0.2/32'], resolve, connections: 100 };
    await using wide = await TestGateway.open({ application: http, egress });
    const program = await wide.program(['*.example.com', '127.0.0.1', '[::ffff:127.0.0.1]', '169.254.169.254']);
    const authorities = [
      ...Object.keys(special).map((name) => `${name}:443`),
      '127.0.0.1:80',
      '127.1:80',
      '0x7f.1:80',
      '0177.0.0.1:80',
      '2130706433:80',
      '[::ffff:127.0.0.1]:80',
      '[::ffff:7f00:1]:80',
      '169.254.169.254:80',
    ];
    expect(await reasons(program, authorities)).toEqual(each(authorities, 'special address'));
  });

  test('is judged by one look-up, whose answer is gone to', async () => {
    const authority = `turning.example.com:${rawPort}`;
    const answers = [['127.0.0.2'], ['127.0.0.1'], ['127.0.0.2']];
    let turn = 0;
    const turning = async () => answers[turn++] ?? [];
    await using other = await TestGateway.open({
      application: http,
      egress: { ranges: ['127.0.0.2/32'], resolve: turning },
    });
    const program = await other.program([authority]);
    meet = (socket) => void socket.end(String(socket.localAddress));
    expect(await all(await program.tunnel(authority))).toBe('127.0.0.2');
    expect((await program.connect(authority)).reason).toBe('special address');
    expect(await all(await program.tunnel(authority))).toBe('127.0.0.2');
    meet = echo;
    expect(turn).toBe(3);
  });

  test('is us, also where the operator has named our range', async () => {
    const ranges = ['127.0.0.0/8', '169.254.0.0/16', 'fd00::/8', '0.0.0.0/0', '::/0'];
    await using wide = await TestGateway.open({
      application: http,
      egress: { ranges, resolve, ours: () => [rawPort] },
    });
    const never = ['169.254.169.254', '[fd00:ec2::254]', '0.0.0.0'];
    const hosts = ['127.0.0.1', '127.0.0.2', 'api.example.com', ...never];
    const ports = [wide.port, rawPort, webPort];
    const program = await wide.program(hosts.flatMap((one) => ports.map((port) => `${one}:${port}`)));
    const special = [
      ...hosts.flatMap((one) => [`${one}:${wide.port}`, `${one}:${rawPort}`]),
      ...never.map((one) => `${one}:${webPort}`),
    ];
    expect(await reasons(program, special)).toEqual(each(special, 'special address'));
    const fine = `api.example.com:${webPort}`;
    expect((await program.ask(`GET http://${fine}/`, [`Host: ${fine}`])).status).toBe(200);
  });

  test('is what is asked for in a way that two could understand differently', async () => {
    const program = await gateway.program([`api.example.com:${webPort}`, 'evil.net']);
    const good = `api.example.com:${webPort}`;
    const host = `Host: ${good}`;
    const malformed: [string, ...string[]][] = [
      [`GET http://${good}/`, 'Host: evil.net'],
      [`GET http://${good}/`, `Host: api.example.com`],
      [`GET http://${good}/`, host, 'Host: evil.net'],
      [`GET http://${good}/`, host, host],
      [`GET http://${good}@evil.net/`, host],
      [`GET http://evil.net@${good}/`, host],
      [`GET http://api.example.com:0/`, host],
      [`GET http://api.example.com:99999/`, host],
      [`GET https://${good}/`, host],
      [`GET ftp://${good}/`, host],
      [`POST http://${good}/`, host, 'Transfer-Encoding: gzip, chunked'],
      [`CONNECT api.example.com`, host],
      [`CONNECT ${good}`, 'Host: evil.net'],
      [`CONNECT ${good}`, host, 'Content-Length: 5'],
      [`CONNECT user@${good}`, host],
      [`CONNECT api.example.com:0`, host],
    ];
    // Refused as no HTTP, or as malformed: whichever is the first to see it.
    const nonsense: [string, ...string[]][] = [
      [`GET http://api.example.com%2eevil.net:${webPort}/`, host],
      [`GET http://${good}\\@evil.net/`, host],
      [`GET http://${good}#@evil.net/`, host],
      [`GET http://api.example.com:/`, host],
      [`GET http:///`, host],
      [`GET file:///etc/passwd`, host],
      [`GET gopher://${good}/`, host],
      [`GET data:text/plain,x`, host],
      [`GET http://${good}/\rx`, host],
      [`GET http://${good}/`, host, 'X: a\rb'],
      [`POST http://${good}/`, host, 'Transfer-Encoding: chunked', 'Content-Length: 5'],
    ];
    asked.length = 0;
    for (const [line, ...headers] of malformed) {
      const answer = await program.ask(line, headers);
      expect([line, headers, answer.status, answer.reason]).toEqual([line, headers, 403, 'malformed']);
    }
    for (const [line, ...headers] of nonsense) {
      const answer = await program.ask(line, headers);
      expect([line, answer.status === 400 || answer.reason === 'malformed']).toEqual([line, true]);
    }
    expect(asked).toEqual([]);
    expect(new Set(program.decisions.map(({ because }) => because))).toEqual(new Set(['malformed']));
  });

  test('is told in names and ports, never in paths', async () => {
    const program = await gateway.program();
    await program.ask('GET http://Secrets.example.net:8080/token/abc?password=x', ['Host: secrets.example.net:8080']);
    await program.ask('GET http://user:word@secrets.example.net/p?q', ['Host: x']);
    await program.connect(`${'x'.repeat(300)}.net:443`);
    expect(program.decisions).toEqual([
      { host: 'secrets.example.net', port: 8080, verdict: 'refused', because: 'not granted' },
      { host: 'http://…@secrets.example.net', port: 0, verdict: 'refused', because: 'malformed' },
      { host: 'x'.repeat(255), port: 0, verdict: 'refused', because: 'malformed' },
    ]);
  });

  test('is everything, for whoever is no program of ours', async () => {
    const say = async (text: string) => {
      const socket = connect(gateway.port, '127.0.0.1');
      socket.write(text);
      return rawOf(await all(socket)).status;
    };
    const { cookie } = (await gateway.program(['api.example.com'])).session;
    expect(await say(`CONNECT api.example.com:443 HTTP/1.1\r\nCookie: session=${cookie}\r\n\r\n`)).toBe(401);
    const get = 'GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n';
    expect(await say(`${get}Cookie: session=${cookie}\r\n\r\n`)).toBe(401);
  });
});

describe('what there may be of it', () => {
  const small = (egress: Record<string, number>) =>
    TestGateway.open({ application: http, egress: { ranges: ['127.0.0.2/32'], resolve, ...egress } });

  test('so many connections at once, and a place again when one ends', async () => {
    await using two = await small({ connections: 2 });
    const authority = `api.example.com:${rawPort}`;
    const program = await two.program([authority]);
    const first = await program.tunnel(authority);
    await program.tunnel(authority);
    expect((await program.connect(authority)).reason).toBe('exhausted');
    const other = await two.program([authority]);
    (await other.tunnel(authority)).destroy();
    first.destroy();
    await vi.waitFor(async () => (await program.tunnel(authority)).destroy());
  });

  test('so many bytes, both ways together; an endless answer ends, and nothing comes after it', async () => {
    await using gate = await small({ bytes: 2 * MB });
    const authority = `api.example.com:${rawPort}`;
    const endless = (head: string) => (socket: Socket) => {
      socket.once('data', () => {
        socket.write(head);
        const more = () => {
          while (!socket.destroyed && socket.write(Buffer.alloc(65_536, 'x')));
        };
        socket.on('drain', more);
        more();
      });
    };
    meet = endless('');
    const one = await gate.program([authority]);
    const tunnel = await one.tunnel(authority);
    tunnel.write('go');
    const got = (await all(tunnel)).length;
    expect(got).toBeGreaterThan(MB);
    expect(got).toBeLessThanOrEqual(2 * MB);
    expect((await one.connect(authority)).reason).toBe('exhausted');
    expect(one.decisions.map(({ because }) => because)).toEqual(['granted', 'exhausted', 'exhausted']);

    meet = endless('HTTP/1.1 200 OK\r\n\r\n');
    const two = await gate.program([authority]);
    const answer = await two.ask(`GET http://${authority}/`, [`Host: ${authority}`]);
    expect([answer.status, answer.text.length <= 2.1 * MB]).toEqual([200, true]);

    // What is sent counts, too.
    meet = (socket) => void socket.resume();
    const three = await gate.program([authority]);
    const upload = await three.tunnel(authority);
    upload.write(Buffer.alloc(3 * MB));
    await all(upload);
    expect(three.decisions.at(-1)?.because).toBe('exhausted');
    meet = echo;
  });

  test('so much time to be found and reached, and so much silence', async () => {
    await using quick = await small({ connectMs: 300, idleMs: 300 });
    const authority = `api.example.com:${rawPort}`;
    const program = await quick.program(['never.example.com', authority, 'api.example.com:1']);
    expect((await program.connect('never.example.com:443')).reason).toBe('unresolved');
    const nobody = await program.connect('api.example.com:1');
    expect([nobody.status, nobody.reason]).toEqual([502, 'granted']);
    expect(await all(await program.tunnel(authority))).toBe('');
    // An answer that never comes is none.
    meet = (socket) => void socket.resume();
    const silent = await program.ask(`GET http://${authority}/`, [`Host: ${authority}`]);
    expect([silent.status, silent.reason]).toEqual([502, 'granted']);
    meet = echo;
  });

  test('answers that are some', async () => {
    const authority = `api.example.com:${rawPort}`;
    const program = await gateway.program([authority]);
    const own = 'Isopod-Egress: exhausted\r\nProxy-Authenticate: x\r\n';
    const answers: [string, string, number][] = [
      ['no HTTP', 'hello\r\n\r\n', 502],
      ['very many headers', `HTTP/1.1 200 OK\r\n${'X: 1\r\n'.repeat(100_000)}\r\n`, 502],
      ['an upgrade', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes', 502],
      ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab', 502],
      ['nothing', '', 502],
      ['our own word', `HTTP/1.1 200 OK\r\n${own}Content-Length: 2\r\n\r\nok`, 200],
    ];
    for (const [what, text, status] of answers) {
      meet = (socket) => void socket.once('data', () => socket.end(text));
      const answer = await program.ask(`GET http://${authority}/`, [`Host: ${authority}`]);
      expect([what, answer.status, answer.reason]).toEqual([what, status, 'granted']);
      expect(answer.head).not.toMatch(/proxy-authenticate/i);
    }
    meet = echo;
  });

  test('an answer that comes after a few announcements, and not one that is announced again and again', async () => {
    const authority = `api.example.com:${rawPort}`;
    const program = await gateway.program([authority]);
    const ask = () => program.ask(`GET http://${authority}/`, [`Host: ${authority}`]);
    const early = 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n';
    const end = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
    for (const [times, status] of [
      [10, 200],
      [11, 502],
    ] as const) {
      meet = (socket) => void socket.once('data', () => socket.end(early.repeat(times) + end));
      expect([times, (await ask()).status]).toEqual([times, status]);
    }
    const left = new Promise<void>((resolve) => {
      meet = (socket) => {
        const more = () => {
          while (!socket.destroyed && socket.write('HTTP/1.1 102 P\r\n\r\n'.repeat(100)));
        };
        socket.once('close', () => resolve()).on('drain', more);
        socket.resume();
        more();
      };
    });
    expect((await ask()).status).toBe(502);
    await left;
    meet = echo;
  });

  test('crumbs, as many as we can carry beside others, and nothing is lost of them', async () => {
    const authority = `api.example.com:${rawPort}`;
    const program = await gateway.program([authority]);
    const all = 3_000;
    const crumbs = `Transfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(all)}0\r\n\r\n`;
    meet = (socket) => void socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n${crumbs}`));
    const begun = performance.now();
    const { text } = await program.ask(`GET http://${authority}/`, [`Host: ${authority}`]);
    const chunks = text.slice(text.indexOf('\r\n\r\n')).split('\r\n');
    expect(chunks.filter((line) => /^x+$/.test(line)).join('')).toBe('x'.repeat(all));
    // Five hundred in 50 ms: it cannot be faster, and may be slower.
    expect(performance.now() - begun).toBeGreaterThan(200);
    meet = echo;
  });

  test('so many attempts a minute, of which those that nobody has granted take nothing from the others', async () => {
    const authority = `api.example.com:${webPort}`;
    const program = await gateway.program([authority]);
    const line = 'GET http://no.example.net/ HTTP/1.1\r\nHost: no.example.net\r\nConnection: close\r\n\r\n';
    const reasons: (string | undefined)[] = [];
    for (let at = 0; at < 5; at += 1) {
      const some = Array.from({ length: 22 }, async () => reasons.push((await program.say(line)).reason));
      await Promise.all(some);
    }
    expect(reasons.filter((one) => one === 'not granted').length).toBe(99);
    expect(program.decisions.length).toBe(100);
    expect(program.decisions.at(-1)?.because).toBe('exhausted');
    expect((await program.ask(`GET http://${authority}/`, [`Host: ${authority}`])).status).toBe(200);

    const allowance = new Allowance({ connections: 1, bytes: 1 }, () => {});
    for (let minute = 0; minute < 90; minute += 1) {
      const now = 1_000 + minute * 60_000;
      const told = Array.from({ length: 1_002 }, () => allowance.attempt('granted', now));
      expect(told.slice(997)).toEqual(['fine', 'fine', 'last', 'untold', 'untold']);
      expect(allowance.attempt('astray', now)).toBe('fine');
    }
  });
});
