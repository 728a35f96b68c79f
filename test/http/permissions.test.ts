// What plugins are granted, by whom, and what comes of it on their next run.
import { once } from 'node:events';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Grant } from '../../src/core/grant.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Answer, Asking } from '../support/client.ts';
import { all, rawOf } from '../support/egress.ts';
import { type FakeService, ok, plugin, startFakeService } from '../support/fake.ts';

const OPERATOR = 'operator-token';
const asks: Plugin['asks'] = {
  network: ['api.example.com', '*.cdn.example.com:443'],
  files: [{ path: '/srv/media/films', mode: 'ro' }],
  limits: { wallMs: 20_000, hostCalls: 5 },
  reason: 'It fetches posters',
  problem: null,
};

let service: FakeService;
let web: Server;
let folder: string;
/** The runs so far. */
const runs: Pick<Invocation, 'grant' | 'usualLimits'>[] = [];
const secrets: Record<string, string> = {};

/** What a confined program does: it asks for each URL over a connection of its sandbox's own. */
async function act(invocation: Invocation) {
  const { session, args, grant, usualLimits } = invocation;
  runs.push({ grant, usualLimits });
  const path = join(folder, `${invocation.id}.sock`);
  const room = createNetServer((socket) => session.admit(socket)).listen(path);
  await once(room, 'listening');
  const answers = [];
  for (const url of (args.urls as string[] | undefined) ?? []) {
    const { host } = new URL(url);
    const socket = connect(path);
    socket.write(`GET ${url} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    const { status, reason } = rawOf(await all(socket));
    answers.push([status, reason]);
  }
  room.close();
  return ok(answers);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-permissions-'));
  web = createServer((_, response) => response.end('hello'));
  await once(web.listen(0, '127.0.0.2'), 'listening');
  service = await startFakeService({
    act,
    plugins: [plugin(), plugin({ id: 'asking', asks })],
    tenants: { acme: [plugin({ id: 'theirs' })] },
    config: {
      tokens: [OPERATOR],
      egress: { ranges: ['127.0.0.0/8'] },
      plugins: { asking: { limits: { hostCalls: 100 } } },
    },
  });
  await service.ask('POST', '/v1/tenants', { token: OPERATOR, body: { id: 'acme' } });
  for (const [tenant, scope] of [
    ['default', 'invoke'],
    ['default', 'manage'],
    ['acme', 'manage'],
  ]) {
    const body = { name: 'test', scopes: [scope] };
    const made = await service.ask('POST', `/v1/tenants/${tenant}/tokens`, { token: OPERATOR, body });
    secrets[`${tenant} ${scope}`] = made.body.secret;
  }
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  web.close();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  for (const id of ['demo', 'asking']) expect((await ask('DELETE', undefined, { id })).status).toBe(204);
});

type More = Asking & { id?: string; path?: string };

function ask(method: string, body?: unknown, { id = 'demo', path, ...asking }: More = {}): Promise<Answer> {
  return service.ask(method, path ?? `/v1/plugins/${id}/permissions`, { token: OPERATOR, body, ...asking });
}

async function run(id: string, urls: readonly string[] = []): Promise<Answer> {
  return await service.invoke(id, { args: { urls } }, '', { headers: { authorization: `Bearer ${OPERATOR}` } });
}

test('nothing is granted until somebody does, and that in one form; then it is there on the next run', async () => {
  const before = await ask('GET');
  expect(before.body).toEqual({
    granted: { network: [], files: [], limits: {} },
    asked: null,
    missing: { network: [], files: [], limits: {} },
    observe: false,
    revision: expect.any(Number),
  });
  const network = [
    'API.example.com.',
    'BÜCHER.example:8443',
    '*.example.org',
    '0x7f.1',
    '[2001:DB8:0::1]',
    'api.example.com',
  ];
  const files = [{ path: '/srv/media', mode: 'rw' }];
  const limits = { wallMs: 1_000, residentMb: 1_000_000 };
  const put = await ask('PUT', { network, files, limits });
  const granted: Grant = {
    network: ['api.example.com', 'xn--bcher-kva.example:8443', '*.example.org', '127.0.0.1', '[2001:db8::1]'],
    files: [{ path: '/srv/media', mode: 'rw' }],
    limits,
  };
  expect([put.status, put.body.granted, put.headers.get('etag')]).toEqual([200, granted, `"${put.body.revision}"`]);
  runs.length = 0;
  for (let i = 0; i < 2; i += 1) expect((await run('demo')).status).toBe(200);
  const [first, second] = runs;
  expect(first?.grant).toEqual(granted);
  // Runtimes know by the objects that nothing has changed.
  expect([first?.grant === second?.grant, first?.usualLimits === second?.usualLimits]).toEqual([true, true]);
  expect(first?.usualLimits).toMatchObject({ wallMs: 1_000, residentMb: 512 });
  const shown = await service.ask('GET', '/v1/plugins/demo', { token: OPERATOR });
  expect(shown.body.limits.wallMs).toBe(1_000);

  await ask('PUT', { network: ['api.example.com'], limits });
  expect((await ask('GET')).body.granted).toEqual({ ...granted, network: ['api.example.com'] });
  await run('demo');
  expect(runs[2]?.grant.network).toEqual(['api.example.com']);
  expect(runs[2]?.usualLimits).toBe(first?.usualLimits);

  expect((await ask('DELETE')).status).toBe(204);
  expect((await ask('GET')).body.granted).toEqual({ network: [], files: [], limits: {} });
  await run('demo');
  expect(runs[3]?.grant).toEqual({ network: [], files: [], limits: {} });
  expect(runs[3]?.usualLimits.wallMs).toBe(30_000);
});

test('who has not seen what is there does not write over it', async () => {
  const { headers } = await ask('GET');
  const seen = { headers: { 'if-match': headers.get('etag') ?? '' } };
  const puts = await Promise.all(['a.example.com', 'b.example.com'].map((one) => ask('PUT', { network: [one] }, seen)));
  expect(puts.map(({ status }) => status).sort()).toEqual([200, 412]);
  expect((await ask('DELETE', undefined, seen)).status).toBe(412);
  // Also where all was taken away meanwhile, and something else was granted.
  await ask('DELETE');
  await ask('PUT', { network: ['c.example.com'] });
  expect((await ask('PUT', {}, seen)).status).toBe(412);
});

describe('who may grant what', () => {
  test('whoever manages a tenant grants hosts and limits, and operators files', async () => {
    const token = secrets['default manage'] ?? '';
    const network = ['api.example.com'];
    const files = [{ path: '/srv/media', mode: 'ro' }];
    expect((await ask('PUT', { network, limits: { wallMs: 5 } }, { token })).status).toBe(200);
    const refused = await ask('PUT', { network, files }, { token });
    expect([refused.status, refused.body.code, refused.body.detail]).toEqual([
      403,
      'forbidden',
      'Only an operator of this service may grant files of this machine',
    ]);
    await ask('PUT', { network, files });
    // What an operator has granted stays, named or not; it cannot be made more.
    expect((await ask('PUT', { network: [] }, { token })).body.granted.files).toEqual(files);
    expect((await ask('PUT', { network, files }, { token })).status).toBe(200);
    expect((await ask('PUT', { files: [{ path: '/srv/media', mode: 'rw' }] }, { token })).status).toBe(403);
    expect((await ask('PUT', { files: [{ path: '/srv', mode: 'ro' }] }, { token })).status).toBe(403);
    expect((await ask('DELETE', undefined, { token })).status).toBe(204);
    expect((await ask('GET', undefined, { token })).body.granted.files).toEqual([]);
  });

  test('a token that only runs plugins neither sees nor grants, and nobody does for another tenant', async () => {
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const body = method === 'PUT' ? {} : undefined;
      const token = secrets['default invoke'] ?? '';
      expect((await ask(method, body, { token })).body.code).toBe('forbidden');
      const theirs = { token: secrets['default manage'] ?? '', id: 'theirs' };
      const [one, none] = [await ask(method, body, theirs), await ask(method, body, { ...theirs, id: 'nobodys' })];
      expect([one.status, one.text.replaceAll('theirs', 'nobodys')]).toEqual([404, none.text]);
      const path = '/t/acme/v1/plugins/theirs/permissions';
      expect((await ask(method, body, { path, token: secrets['default manage'] ?? '' })).status).toBe(404);
    }
    const path = '/t/acme/v1/plugins/theirs/permissions';
    expect((await ask('PUT', { network: ['api.example.com'] }, { path })).status).toBe(200);
    const own = await ask('GET', undefined, { id: 'theirs', token: secrets['acme manage'] ?? '' });
    expect(own.body.granted.network).toEqual(['api.example.com']);
    expect((await ask('GET', undefined, { path: '/t/acme/v1/plugins/demo/permissions' })).status).toBe(404);
  });
});

test('what cannot be granted is refused with the place where it stands', async () => {
  const hosts = [
    '',
    '*',
    '*.com',
    '*.localhost',
    'api.*.com',
    '*api.example.com',
    'https://api.example.com',
    'api.example.com/path',
    'api.example.com*',
    'user@api.example.com',
    'api.example.com:0',
    'api.example.com:65536',
    'api.example.com:http',
    'api example.com',
    'api..example.com',
    'a%2eexample.com',
    'a\u0000.example.com',
    '*.127.0.0.1',
    '1.2.3.4.5',
    '2001:db8::1',
    '[::1%eth0]',
  ];
  for (const host of hosts) {
    const { status, body } = await ask('PUT', { network: ['good.example.com', host] });
    expect([host, status, body.errors?.[0]?.pointer]).toEqual([host, 400, '/network/1']);
  }
  const link = join(folder, 'link');
  await symlink(service.config.dataDir, link);
  const { dataDir, pluginsDir } = service.config;
  const paths = [
    'srv/media',
    '/',
    '/srv/../etc',
    '/srv//media',
    '/srv/media/',
    '/srv/./media',
    '/srv/\u0000',
    '/srv/a\nb',
    '/proc',
    '/proc/self',
    '/sys/kernel',
    '/dev/mem',
    dataDir,
    join(dataDir, 'postgres'),
    join(dataDir, '..'),
    pluginsDir,
    link,
  ];
  for (const path of paths) {
    const { status, body } = await ask('PUT', { files: [{ path, mode: 'ro' }] });
    expect([path, status, body.errors?.[0]?.pointer]).toEqual([path, 400, '/files/0/path']);
  }
  const many = (count: number) => Array.from({ length: count }, (_, i) => `h${i}.example.com`);
  for (const body of [
    { network: many(33) },
    { files: many(17).map((one) => ({ path: `/srv/${one}`, mode: 'ro' })) },
    { files: [{ path: '/srv', mode: 'rwx' }] },
    {
      files: [
        { path: '/srv', mode: 'ro' },
        { path: '/srv', mode: 'rw' },
      ],
    },
    { limits: { wallMs: 0 } },
    { limits: { colour: 1 } },
    { hosts: [] },
  ]) {
    expect([body, (await ask('PUT', body)).status]).toEqual([body, 400]);
  }
  expect((await ask('PUT', { network: many(32) })).status).toBe(200);
});

test('an ask grants nothing; what is missing of it is shown until it is granted', async () => {
  const listed = async (id: string) => {
    const { body } = await service.ask('GET', '/v1/plugins', { token: OPERATOR });
    return body.plugins.find((one: { id: string }) => one.id === id).permissions;
  };
  const get = async () => (await ask('GET', undefined, { id: 'asking' })).body;
  expect([await listed('asking'), await listed('demo')]).toEqual(['missing', 'complete']);
  const { network, files } = asks;
  expect(await get()).toMatchObject({
    granted: { network: [], files: [] },
    asked: asks,
    // Of limits, it has what it asks for.
    missing: { network, files, limits: {} },
  });
  expect((await run('asking', ['http://api.example.com/'])).body.output).toEqual([[403, 'not granted']]);

  // More than it asks for is enough, and less is not.
  const put = async (body: unknown) => (await ask('PUT', body, { id: 'asking' })).body.missing;
  expect(await put({ network: ['api.example.com:443', '*.example.com'] })).toEqual({ network: [], files, limits: {} });
  expect(await put({ network: ['api.example.com:443', 'a.cdn.example.com'], limits: { wallMs: 10_000 } })).toEqual({
    network,
    files,
    limits: { wallMs: 20_000 },
  });
  expect(await put({ network, files: [{ path: '/srv/media', mode: 'ro' }] })).toEqual({
    network: [],
    files: [],
    limits: {},
  });
  expect(await listed('asking')).toBe('complete');

  // An update that asks for more changes nothing by itself.
  const more = { ...asks, network: [...network, 'more.example.net'] };
  const before = service.catalogue.next;
  service.catalogue.next = [plugin(), plugin({ id: 'asking', asks: more })];
  await service.ask('POST', '/v1/plugins/reload', { token: OPERATOR });
  expect(await listed('asking')).toBe('missing');
  expect(await get()).toMatchObject({ granted: { network }, missing: { network: ['more.example.net'] } });
  const shown = await service.ask('GET', '/v1/plugins/asking', { token: OPERATOR });
  expect(shown.body.asks).toEqual(more);
  service.catalogue.next = before;
});

test('what a plugin tries is told in our log and counted, and while it is observed, proposed', async () => {
  const { port } = web.address() as AddressInfo;
  const own = Number(new URL(service.url).port);
  const hidden = (await run('demo', [`http://secret.example.com/token?x=1`])).body.output;
  expect(hidden).toEqual([[403, 'not granted']]);
  expect((await ask('GET')).body).not.toHaveProperty('observed');

  await ask('PUT', { network: ['127.0.0.2', `127.0.0.2:${port}`, `127.0.0.1:${own}`], observe: true });
  const urls = [
    `http://127.0.0.2:${port}/path`,
    `http://127.0.0.1:${own}/v1/plugins`,
    'http://api.example.com/',
    'http://api.example.com:443/',
    'http://api.example.com/',
    'http://other.example.com:8080/',
    'http://printer.local/',
    'http://[::1]/',
    'http://user@evil.example.com/',
  ];
  const { body } = await run('demo', urls);
  expect(body.output).toEqual([
    [200, 'granted'],
    [403, 'special address'],
    ...Array(6).fill([403, 'not granted']),
    [403, 'malformed'],
  ]);
  const { observed, proposal } = (await ask('GET')).body;
  const rows = observed.map(({ host, port, tries, because }: Record<string, unknown>) => [host, port, tries, because]);
  expect(rows).toEqual([
    ['api.example.com', 80, 2, 'not granted'],
    ['127.0.0.1', own, 1, 'special address'],
    ['127.0.0.2', port, 1, 'granted'],
    ['[::1]', 80, 1, 'not granted'],
    ['api.example.com', 443, 1, 'not granted'],
    ['other.example.com', 8080, 1, 'not granted'],
    ['printer.local', 80, 1, 'not granted'],
  ]);
  expect(proposal).toEqual({ network: ['api.example.com', 'other.example.com:8080'], files: [], limits: {} });
  expect((await ask('PUT', { ...proposal, observe: true })).status).toBe(200);

  const lines = service.log(body.id).filter(({ msg }) => msg === 'egress');
  expect(lines).toHaveLength(urls.length);
  expect(lines[0]).toMatchObject({
    tenant: 'default',
    plugin: 'demo',
    host: '127.0.0.2',
    port,
    verdict: 'allowed',
    because: 'granted',
  });
  expect(service.lines.join('')).not.toMatch(/\/path|token\?x|user@/);
  const metrics = await service.ask('GET', '/metrics', { token: OPERATOR });
  expect(metrics.text).toContain('isopod_egress_total{verdict="refused",because="special address"} 1\n');
  // Whoever is observed anew is observed anew.
  await ask('PUT', {});
  await ask('PUT', { observe: true });
  expect((await ask('GET')).body.observed).toEqual([]);
});
