// Goal: whatever a plugin that answers requests does, and whatever a caller sends to get at one, it is that plugin and that
// caller who feel it: others are answered meanwhile, and what went wrong is named.
// Method: the whole service, sockets, and after each test a look at the neighbour, the health and the requests still inside.
import { readdir, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { marked } from '../support/process.ts';
import { startTestService, writePlugin } from '../support/service.ts';
import { raw } from '../support/socket.ts';

const FIXTURES = resolve(import.meta.dirname, '../fixtures');
const SILENCE_MS = 6_000;
const BLOCKED_MS = 2_000;
const SECRET = 'what-nobody-else-may-read';

let service: Awaited<ReturnType<typeof startTestService>>;
/** Of the neighbours, here and at another tenant, from before anything was tried. */
let before: unknown[];

const neighbours = () =>
  Promise.all(['', '/t/acme'].map(async (of) => (await service.get(`${of}/api/plugins/neighbour/hello`)).body.self));

beforeAll(async () => {
  const plugins = {
    'sillytavern/hostile': join(FIXTURES, 'node/hostile'),
    'sillytavern/liar': join(FIXTURES, 'sillytavern/liar'),
    'sillytavern/neighbour.mjs': join(FIXTURES, 'sillytavern/neighbour.mjs'),
  };
  service = await startTestService({
    plugins,
    config: {
      // Many die here that are to be there again at once.
      residents: { deaths: 1_000, windowMs: 1 },
      limits: { residentMb: 256, bootMs: 30_000 },
      sillytavern: { enabled: true, csrf: 'off', silenceMs: SILENCE_MS, blockedMs: BLOCKED_MS },
    },
  });
  await service.ask('POST', '/v1/tenants', { body: { id: 'acme', enableServerPlugins: true } });
  const others = join(service.config.dataDir, 'tenants/acme/plugins/sillytavern');
  await writePlugin(join(others, 'theirs.mjs'), join(FIXTURES, 'sillytavern/neighbour.mjs'));
  await writeFile(join(service.folder, 'isopod.yaml'), `tokens: [${SECRET}]`);
  for (const path of ['hostile', 'liar', 'neighbour']
    .map((id) => `/v1/plugins/${id}`)
    .concat('/t/acme/v1/plugins/theirs')) {
    await service.ask('POST', path.replace(/[^/]+$/, 'reload'));
    await service.ask('POST', `${path}/enable`);
    const { body } = await service.ask('POST', `${path}/reload`);
    expect([path, body.resident.is]).toEqual([path, 'running']);
  }
  before = await neighbours();
  expect(before).toEqual([expect.any(String), expect.any(String)]);
}, 60_000);

beforeEach(async () => {
  for (const of of ['', '/t/acme']) await service.get(`${of}/api/plugins/neighbour/seen`);
});

/** Nobody has come to the neighbour, which is who it was, and nothing is left of any request. */
afterEach(async () => {
  for (const of of ['', '/t/acme']) {
    expect((await service.get(`${of}/api/plugins/neighbour/seen`)).body).toEqual([]);
  }
  expect(await neighbours()).toEqual(before);
  expect((await service.get('/healthz')).status).toBe(200);
  await expect.poll(async () => (await service.get('/metrics')).text).toContain('isopod_serving 0\n');
  const { plugins } = (await service.get('/v1/plugins')).body;
  for (const { resident } of plugins) expect(resident.running).toBe(0);
  expect(service.log().filter(({ level }) => level >= 50)).toEqual([]);
});

afterAll(async () => {
  const mark = service.folder;
  expect(marked(mark)).not.toEqual([]);
  await service[Symbol.asyncDispose]();
  expect(marked(mark)).toEqual([]);
});

const at = (path: string, init: RequestInit = {}) => service.fetch(`/api/plugins/${path}`, init);

/** One request as its lines are, over a connection of its own. */
function line(first: string, ...headers: string[]): Promise<string> {
  const all = [first, 'Host: localhost', ...headers, 'Connection: close', '', ''];
  return raw(service.url, all.join('\r\n'));
}

/** What a request has come to, and that its program is there for the next one. */
async function named(path: string, init: RequestInit = {}) {
  const { status, body, headers } = await at(path, init);
  expect(headers.get('isopod-error-code')).toBe(body.code);
  expect(body.plugin.id).toBe(path.split('/', 1)[0]);
  return { status, code: body.code, limit: body.limit?.name, own: body.pluginError?.message, detail: body.detail };
}

async function isBack(): Promise<void> {
  await expect.poll(async () => (await at('hostile/count')).status, { timeout: 20_000 }).toBe(200);
}

describe('it gets at nothing', () => {
  test('of this machine, of ours, and of other tenants, by itself or by a child', async () => {
    const theirs = join(service.config.dataDir, 'tenants/acme');
    expect(await readdir(join(theirs, 'plugins/sillytavern'))).toEqual(['theirs.mjs']);
    const paths = [
      '/etc/shadow',
      '/proc/1/environ',
      '../../../../../../../../etc/shadow',
      join(service.folder, 'isopod.yaml'),
      join(service.folder, 'plugins/sillytavern/neighbour.mjs'),
      join(theirs, 'plugins/sillytavern/theirs.mjs'),
      `/proc/${process.pid}/environ`,
    ];
    const { body } = await service.ask('POST', '/api/plugins/hostile/read', { body: { paths } });
    expect(Object.keys(body)).toEqual(paths);
    for (const [path, [itself, child]] of Object.entries<string[]>(body)) {
      expect([path, itself]).toEqual([path, expect.stringMatching(/^(ERR_ACCESS_DENIED|ENOENT)$/)]);
      expect([path, child]).toEqual([path, expect.stringMatching(/^failed: /)]);
    }
    // Nor by what it asks of us with what it knows.
    expect((await at('hostile/environment')).text).not.toMatch(/TOKEN|DATABASE|postgres/i);
    expect((await at('hostile/kill-parent')).body).toEqual(['EPERM', 'EPERM']);
    expect((await at('hostile/fork')).body).toBe('ERR_ACCESS_DENIED');
  });

  test('of the network, ours included', async () => {
    const door = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await new Promise((resolve) => door.once('listening', resolve));
    const port = (door.address() as { port: number }).port;
    let came = 0;
    door.on('connection', () => {
      came += 1;
    });
    for (const body of [
      { port, host: '127.0.0.1' },
      { port: Number(new URL(service.url).port), host: '127.0.0.1' },
    ]) {
      const { body: told } = await service.ask('POST', '/api/plugins/hostile/reach', { body });
      expect(['ECONNREFUSED', 'ENETUNREACH', 'timeout']).toContain(told);
    }
    expect(came).toBe(0);
    door.close();
    // By the way that there is, nobody is found either, and its log says who refused that.
    for (const [url, told] of [
      ['http://plain.example/', 403],
      ['https://secret.example:8443/', 'failed'],
    ] as const) {
      expect((await service.ask('POST', '/api/plugins/hostile/fetch', { body: { url } })).body).toBe(told);
    }
    const { lines } = (await service.get('/v1/plugins/hostile/logs')).body;
    const messages = lines.map(({ message }: { message: string }) => message);
    for (const host of ['plain.example:80', 'secret.example:8443']) {
      expect(messages).toContainEqual(expect.stringContaining(`refused the way to "${host}": not granted`));
    }
  });

  test('by paths of requests that it puts together with its own', async () => {
    expect((await at('liar/any/seen.txt')).text).toBe('may be seen\n');
    expect((await at('liar/static/seen.txt')).text).toBe('may be seen\n');
    const up = '/..'.repeat(12);
    const encoded = '%2f..'.repeat(12);
    for (const path of [
      `static${up}/etc/passwd`,
      `static/${encoded}%2fetc%2fpasswd`,
      'static/..%2fsecret.txt',
      `any${up}/etc/passwd`,
      `any/${encoded}%2fetc%2fpasswd`,
      `any${up}/proc/1/environ`,
      `download?path=/etc/passwd`,
      `download?path=..${up}/etc/passwd`,
      'static/%00',
      'any/seen.txt%00.png',
    ]) {
      const text = await line(`GET /api/plugins/liar/${path} HTTP/1.1`);
      expect([path, text.split('\r\n', 1)[0]]).toEqual([path, expect.stringMatching(/^HTTP\/1\.1 (400|403|404|502) /)]);
      expect([path, text]).toEqual([path, expect.not.stringMatching(/root:|its own secret|PATH=/)]);
    }
  });
});

describe('its caller is told, and others are answered meanwhile, when it', () => {
  test('blocks its event loop', async () => {
    const response = await fetch(`${service.url}/api/plugins/liar/block`);
    const reader = response.body?.getReader();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('begun');
    const blocked = [named('liar/seen'), named('liar/mirror', { method: 'POST', body: 'x' })];
    let isOver = false;
    const over = Promise.all(blocked).finally(() => {
      isOver = true;
    });
    let meanwhile = 0;
    for (; !isOver; meanwhile += 1) {
      const answers = [service.get('/api/plugins/neighbour/seen'), at('hostile/count'), service.get('/healthz')];
      for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    }
    expect(meanwhile).toBeGreaterThan(10);
    const told = { status: 504, code: 'plugin_timeout', limit: 'sillytavern.blockedMs' };
    expect(await over).toMatchObject([told, told]);
    await expect(reader?.read()).rejects.toThrow();
    await expect.poll(async () => (await at('liar/static/seen.txt')).status, { timeout: 20_000 }).toBe(200);
    expect((await service.get('/v1/plugins/liar/logs')).text).toContain('event loop is blocked');
  });

  test('never answers, or stops in the middle', async () => {
    const startedAt = (await service.get('/v1/plugins/liar')).body.resident.startedAt;
    const [silent] = await Promise.all([
      named('liar/never'),
      expect(at('liar/first')).rejects.toThrow(),
      expect(at('liar/endless-extension')).rejects.toThrow(),
    ]);
    expect(silent).toMatchObject({ status: 504, code: 'plugin_timeout', limit: 'sillytavern.silenceMs' });
    // It is not ended for that.
    expect((await service.get('/v1/plugins/liar')).body.resident.startedAt).toBe(startedAt);
    await expect.poll(async () => (await at('liar/open')).body).toBe(0);
  });

  test('throws in a timer, exits, aborts, or fills its memory', async () => {
    const waiting = named('hostile/silent');
    expect((await at('hostile/timer')).text).toBe('soon');
    expect(await waiting).toMatchObject({ status: 502, code: 'plugin_crashed', own: 'in a timer' });
    await isBack();
    for (const path of ['hostile/exit', 'hostile/abort', 'hostile/leak']) {
      const code = path.endsWith('leak') ? 'plugin_memory_exceeded' : 'plugin_crashed';
      expect([path, await named(path)]).toMatchObject([path, { status: 502, code }]);
      await isBack();
      const { resident } = (await service.get('/v1/plugins/hostile')).body;
      expect([path, resident]).toMatchObject([path, { is: 'running', failure: { code } }]);
    }
    const { text } = await service.get('/v1/plugins/hostile/logs');
    for (const word of ['in a timer', 'exit status 3', 'SIGABRT', 'plugin_memory_exceeded'])
      expect(text).toContain(word);
  });
});

describe('what it answers that is none is named, and cannot be taken for ours', () => {
  test('garbage, two lengths, upgrades, and headers without end', async () => {
    for (const path of ['garbage', 'nothing', 'lengths', 'both', 'upgrade', 'bare', 'nul', 'cookies', 'endless-head']) {
      expect([path, await named(`liar/${path}`)]).toMatchObject([path, { status: 502, code: 'plugin_invalid_output' }]);
    }
    await expect(at('liar/short')).rejects.toThrow();
    // A name with a line break in it is refused before it leaves.
    const split = await named(`liar/split?told=${encodeURIComponent('a\r\nSet-Cookie: b=c')}`);
    expect(split).toMatchObject({ status: 502, code: 'plugin_error', own: expect.stringContaining('X-Told') });
    await expect.poll(async () => (await at('liar/open')).body).toBe(0);
  });

  test('a second answer for whoever comes next', async () => {
    for (let time = 0; time < 5; time += 1) {
      expect((await at('liar/trailing')).text).toBe('ok');
      const [one, other] = await Promise.all([at('liar/mirror?a'), at('liar/mirror?b')]);
      expect([one.body?.url, other.body?.url]).toEqual(['/api/plugins/liar/mirror?a', '/api/plugins/liar/mirror?b']);
    }
  });

  test('headers that only we may say, and our cookie', async () => {
    const { status, headers } = await at('liar/forged');
    expect(status).toBe(200);
    expect(headers.get('isopod-request')).toMatch(/^[0-9a-f-]{36}$/);
    expect(headers.get('isopod-isolation')).toBe((await at('liar/seen')).headers.get('isopod-isolation'));
    for (const name of ['isopod-anything', 'isopod-error-code', 'strict-transport-security', 'clear-site-data']) {
      expect([name, headers.get(name)]).toEqual([name, null]);
    }
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toContain('sandbox');
    expect(headers.getSetCookie()).toEqual(['wide=1; Path=/api/plugins/liar']);
  });

  test('an answer without end, whose caller leaves', async () => {
    for (const path of ['endless-body', 'first']) {
      const controller = new AbortController();
      const response = await fetch(`${service.url}/api/plugins/liar/${path}`, { signal: controller.signal });
      const reader = response.body?.getReader();
      expect((await reader?.read())?.value?.length).toBeGreaterThan(0);
      expect((await at('liar/open')).body).toBe(1);
      controller.abort();
      await expect.poll(async () => (await at('liar/open')).body).toBe(0);
    }
  });
});

describe('whoever asks', () => {
  /** What the plugin has been asked for since the last look. */
  const seen = async () => ((await at('liar/seen')).body as string[]).filter((one) => !one.endsWith('/seen'));

  test('gets to no other plugin, and to nothing of ours, by the way a path is written', async () => {
    await seen();
    for (const path of [
      '/../neighbour/x',
      '/%2e%2e/neighbour/x',
      '/..%2fneighbour%2fx',
      '/..\\neighbour\\x',
      '/mirror/../../neighbour/x',
      '/..;/neighbour/x',
      '/mirror%0d%0aX-Injected:%20yes',
      '/mirror?a=%0d%0aGET%20/api/plugins/neighbour/x',
      '//neighbour/x',
      '/%2F%2Fneighbour/x',
    ]) {
      const text = await line(`GET /api/plugins/liar${path} HTTP/1.1`);
      const [asked = '', ...more] = await seen();
      // It has come to the one whom the path names first, as it was written.
      expect([path, asked, more]).toEqual([path, `GET /api/plugins/liar${path}`, []]);
      expect(text).not.toMatch(/x-injected: yes/i);
    }
    for (const target of [
      '//neighbour/api/plugins/liar/mirror',
      'http://neighbour/api/plugins/liar/mirror',
      '/api/plugins/%6ciar/mirror',
      '/api/plugins//liar/mirror',
      '/api/plugins/./liar/mirror',
      '/api/plugins%2fliar/mirror',
      '/v1/../api/plugins/liar/mirror',
      '/t/../api/plugins/liar/mirror',
      '/t/acme/api/plugins/liar/mirror',
      '/t/acme/../../api/plugins/liar/mirror',
      '/t/acme%2f..%2fdefault/api/plugins/liar/mirror',
    ]) {
      const text = await line(`GET ${target} HTTP/1.1`);
      expect([target, text.split(' ')[1], await seen()]).toEqual([target, expect.stringMatching(/^40[04]$/), []]);
    }
  });

  test('cannot hide a request in another, or say what only we say', async () => {
    await seen();
    const hidden = 'GET /api/plugins/neighbour/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n';
    const head = 'POST /api/plugins/liar/mirror HTTP/1.1\r\nHost: localhost\r\n';
    for (const [what, bytes] of Object.entries({
      'a length and chunks': `${head}Content-Length: ${hidden.length + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
      'two lengths': `${head}Content-Length: 0\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
      'another coding': `${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${hidden}`,
      'a coding by another name': `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${hidden}`,
      'a space before the colon': `${head}Content-Length : ${hidden.length}\r\n\r\n${hidden}`,
      'a length that is none': `${head}Content-Length: +${hidden.length}\r\n\r\n${hidden}`,
      'bare line feeds': `POST /api/plugins/liar/mirror HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n${hidden}`,
      'a folded header': `${head}X-A: b\r\n Content-Length: ${hidden.length}\r\n\r\n`,
      'a carriage return in a header': `${head}X-A: b\rContent-Length: 9\r\n\r\n`,
      'a chunk that is none': `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n${hidden}`,
    })) {
      const text = await raw(service.url, bytes);
      expect([what, text.match(/HTTP\/1\.1 \d+/g)]).toEqual([what, ['HTTP/1.1 400']]);
      expect([what, (await seen()).filter((one) => one.includes('hidden'))]).toEqual([what, []]);
    }
    // Nobody is talked to in anything but HTTP.
    for (const protocol of ['websocket', 'h2c']) {
      const text = await line('GET /api/plugins/liar/mirror HTTP/1.1', `Connection: Upgrade`, `Upgrade: ${protocol}`);
      expect([protocol, text]).toEqual([protocol, expect.stringMatching(/^HTTP\/1\.1 200 /)]);
      expect(text).not.toMatch(/"upgrade"/i);
    }
    // A body that is one is a body, whatever is in it.
    const { body } = await at('liar/mirror', {
      method: 'POST',
      body: JSON.stringify({ hidden }),
      headers: { 'content-type': 'application/json' },
    });
    expect(body.body).toEqual({ hidden });

    const told = await at('liar/mirror', {
      headers: {
        'isopod-request': 'forged',
        'isopod-verdict': 'fault',
        'isopod-anything': 'forged',
        'x-forwarded-for': '6.6.6.6',
        'x-csrf-token': 'secret',
        cookie: 'a=b; isopod-session=secret; Isopod-Other=secret',
      },
    });
    expect(told.text).not.toMatch(/forged|6\.6\.6\.6|secret|isopod/i);
    expect(told.body.headers).toMatchObject({ cookie: 'a=b', 'x-forwarded-for': '127.0.0.1' });
    for (const user of ['../ada', 'ada/../..', 'Ada', '__proto__', 'a'.repeat(65)]) {
      const { status, body: refused } = await at('liar/mirror', { headers: { 'isopod-user': user } });
      expect([user, status, refused.code]).toEqual([user, 400, 'invalid_request']);
    }
  });

  test('leaves nothing behind by leaving, whenever that is', async () => {
    const { port, hostname } = new URL(service.url);
    const leave = (bytes: string, ms: number) =>
      new Promise<void>((resolve) => {
        const socket = connect(Number(port), hostname, () => {
          socket.write(bytes);
          setTimeout(() => socket.destroy(), ms);
        });
        socket.on('error', () => {}).on('close', () => resolve());
      });
    const head = (path: string) => `/api/plugins/liar/${path} HTTP/1.1\r\nHost: localhost\r\n`;
    await Promise.all(
      Array.from({ length: 20 }, (_, time) => [
        leave(`GET ${head('never')}\r\n`, time),
        leave(`GET ${head('endless-body')}\r\n`, time),
        leave(`POST ${head('mirror')}Content-Length: 1000\r\n\r\nhalf`, time),
        leave(`POST ${head('mirror')}Transfer-Encoding: chunked\r\n\r\n5\r\nha`, time),
      ]).flat(),
    );
    await expect.poll(async () => (await at('liar/open')).body).toBe(0);
  });
});

test('a tenant that is removed takes its requests and its programs along, whoever waits for which answer', async () => {
  await service.ask('POST', '/v1/tenants', { body: { id: 'beta', enableServerPlugins: true } });
  const { body: made } = await service.ask('POST', '/v1/tenants/beta/tokens', {
    body: { name: 'x', scopes: ['invoke'] },
  });
  await writePlugin(
    join(service.config.dataDir, 'tenants/beta/plugins/sillytavern/liar'),
    join(FIXTURES, 'sillytavern/liar'),
  );
  for (const does of ['reload', 'liar/enable']) await service.ask('POST', `/t/beta/v1/plugins/${does}`);
  const base = `${service.url}/t/beta/api/plugins/liar`;
  const headers = { authorization: `Bearer ${made.secret}` };
  const dripping = await Promise.all([fetch(`${base}/drip`), fetch(`${base}/drip`, { headers })]);
  const waiting = [fetch(`${base}/never`), fetch(`${base}/never`, { headers })];
  await expect.poll(async () => (await service.get('/t/beta/api/plugins/liar/open')).body).toBe(4);
  expect(marked('tenants/beta')).not.toEqual([]);
  expect((await service.ask('DELETE', '/v1/tenants/beta')).status).toBe(204);
  expect(marked('tenants/beta')).toEqual([]);
  for (const response of dripping) await expect(response.text()).rejects.toThrow();
  for (const answer of waiting) expect((await answer).status).toBe(409);
  expect((await service.get('/t/beta/api/plugins/liar/open')).status).toBe(404);
}, 30_000);
