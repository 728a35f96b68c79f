// What our own API shows of plugins whose programs stay, and what those may ask of the service.
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Failure } from '../../src/core/failure.ts';
import { Failure as Refusal } from '../../src/core/failure.ts';
import { wishFor } from '../../src/core/job.ts';
import type { ResidentState } from '../../src/core/resident.ts';
import { type FakeService, ok, plugin, portrait, report, resident, startFakeService } from '../support/fake.ts';

const OPERATOR = 'the-operators-own';
const action = { id: 'scan', label: 'Scan', events: ['epg_refresh'], confirm: { required: true } };
const quiet = { id: 'stop', label: 'Stop it' };
const manifest = portrait({ helpUrl: 'https://example.com', actions: [action, quiet] });

const server = resident({ id: 'server', dialect: 'sillytavern', program: { runtime: 'node', file: null } });

let service: FakeService;
let token: string;
beforeAll(async () => {
  service = await startFakeService({
    plugins: [plugin(), resident({ portrait: manifest }), resident({ id: 'legacy', portrait: null }), server],
    config: { tokens: [OPERATOR], residents: { ownJobs: 3 } },
    act: async ({ entry, args, plugin: { id } }) => {
      const logs = [{ level: 'info' as const, message: `said by ${id}`, atMs: 0 }];
      return { ...ok({ task: entry.kind === 'action' ? entry.name : null, args }), ...report(), logs };
    },
  });
  const made = await ask('POST', '/v1/tenants/default/tokens', { body: { name: 'test', scopes: ['invoke'] } });
  token = made.body.secret;
});
afterAll(() => service[Symbol.asyncDispose]());

function ask(method: string, path: string, { token = OPERATOR, body }: { token?: string; body?: unknown } = {}) {
  return service.ask(method, path, { token, body });
}

async function shown(id: string) {
  return (await ask('GET', `/v1/plugins/${id}`)).body;
}

const residents = () => service.runtime.residents;

async function enable(id: string) {
  const answer = await ask('POST', `/v1/plugins/${id}/enable`);
  await vi.waitFor(() => residents().desk(id));
  return answer;
}

test('one that nobody has enabled shows what its manifest says, and nothing of it runs', async () => {
  expect(await shown('stays')).toMatchObject({
    dialect: 'dispatcharr',
    program: 'python',
    enabled: false,
    resident: null,
    url: 'https://example.com',
    description: null,
    portrait: { ...manifest, actions: [action, quiet] },
    tasks: [
      { name: 'scan', description: 'Scan', defaultArgs: {} },
      { name: 'stop', description: 'Stop it', defaultArgs: {} },
    ],
    hooks: [{ name: 'scan', description: '', triggeredBy: ['epg_refresh'] }],
  });
  expect(await shown('demo')).toMatchObject({ resident: null, portrait: null, tasks: [{ name: 'Run' }] });
  expect(residents().asked).toEqual([]);
});

test('it is started when it is enabled, and being disabled waits for its end', async () => {
  expect((await enable('stays')).body).toMatchObject({ id: 'stays', enabled: true });
  const pluginError = { name: 'Error', message: 'its\u001b words', stack: 'at its.js:1' };
  const failure: Failure = new Refusal('plugin_crashed', 'It died', { cause: new Error('of us alone'), pluginError });
  const nextAt = new Date('2026-01-02T03:04:05.678Z');
  const state: Partial<ResidentState> = { residentBytes: 5, runs: 3, deaths: 1, failure, nextAt };
  residents().states.set('stays', state);
  const running = { ...state, is: 'running', since: '1970-01-01T00:00:00.000Z', nextAt: nextAt.toISOString() };
  const told = { name: 'Error', message: 'its words' };
  const resident = { ...running, failure: { code: 'plugin_crashed', message: 'It died', pluginError: told } };
  expect(await shown('stays')).toMatchObject({ enabled: true, resident });
  const { plugins } = (await ask('GET', '/v1/plugins')).body;
  expect(plugins.map((one: { resident: unknown }) => one.resident !== null)).toEqual([false, true, false, false]);

  const { promise, resolve } = Promise.withResolvers<void>();
  residents().leaving = promise;
  let answered = false;
  const disabling = ask('POST', '/v1/plugins/stays/disable').finally(() => {
    answered = true;
  });
  await vi.waitFor(() => expect(residents().asked).toContain('stop stays disable'));
  await ask('GET', '/healthz');
  expect(answered).toBe(false);
  resolve();
  expect((await disabling).body).toMatchObject({ enabled: false });
  residents().states.clear();
});

test('one that answers requests runs while its tenant lets such plugins, and who enables it is told where that does not', async () => {
  const off = expect.stringMatching('Server plugins are off for this tenant');
  const held = { id: 'server', enabled: true, heldBack: off, resident: null, program: 'node', tasks: [], hooks: [] };
  expect(await shown('server')).toMatchObject({ enabled: false, heldBack: null });
  expect((await ask('POST', '/v1/plugins/server/enable')).body).toMatchObject(held);
  expect((await ask('POST', '/v1/plugins/server/reload')).body).toMatchObject(held);
  expect((await ask('GET', '/v1/plugins')).body.plugins[3]).toMatchObject(held);
  const invoked = async () => (await ask('POST', '/v1/plugins/server/invocations', { body: {} })).body;
  expect(await invoked()).toMatchObject({ code: 'plugin_disabled', detail: off });
  expect(residents().asked).not.toContain('start server');

  const change = (enableServerPlugins: boolean | null) =>
    ask('PATCH', '/v1/tenants/default', { body: { enableServerPlugins } });
  expect((await change(true)).body).toMatchObject({ enableServerPlugins: true });
  await vi.waitFor(() => expect(residents().asked).toContain('start server'));
  expect(await shown('server')).toMatchObject({ enabled: true, heldBack: null, resident: { is: 'running' } });
  expect((await ask('GET', '/v1/tenant', { token })).body).toMatchObject({ serverPlugins: true });
  expect(await invoked()).toMatchObject({ code: 'invalid_request', detail: expect.stringMatching('answers requests') });
  expect((await change(null)).body).toMatchObject({ enableServerPlugins: null });
  await vi.waitFor(() => expect(residents().asked).toContain('stop server disable'));
  expect(await shown('server')).toMatchObject(held);
  expect((await ask('GET', '/v1/tenant', { token })).body).toMatchObject({ serverPlugins: false });
  expect((await ask('POST', '/v1/plugins/server/disable')).body).toMatchObject({ enabled: false, heldBack: null });
  const { plugins } = (await ask('GET', '/api/plugins/plugins/')).body;
  expect(plugins.map(({ key }: { key: string }) => key)).toEqual(['legacy', 'stays']);
});

test('what its code says of itself is remembered, over what its manifest says', async () => {
  const { pluginStates } = service.service.parts.store.of('default');
  const source = { repo: 1, slug: 's', version: '1', isPrerelease: false, isDeprecated: false };
  await pluginStates.know('legacy', { dialect: 'dispatcharr', portrait: null, isLoaded: false, source });
  await enable('legacy');
  expect((await shown('legacy')).portrait).toMatchObject({ name: 'legacy', actions: [] });

  const desk = residents().desk('legacy');
  const told = portrait({ name: 'Old\u0000 \ud83done', version: '7', actions: [quiet] });
  desk.described(portrait({ name: 'Said first' }));
  desk.described(told);
  await vi.waitFor(async () => expect((await shown('legacy')).version).toBe('7'));
  expect(await shown('legacy')).toMatchObject({ name: 'Old \ufffdone', tasks: [{ name: 'stop' }] });
  const known = await pluginStates.get('legacy');
  expect(known.known).toMatchObject({ isLoaded: true, source, portrait: { version: '7' } });
  // What its code says counts while it is enabled.
  await ask('POST', '/v1/plugins/legacy/disable');
  expect((await shown('legacy')).portrait).toMatchObject({ name: 'legacy', actions: [] });
});

test('reloading one stops and starts it alone, and one that stays nowhere is refused', async () => {
  await enable('stays');
  await enable('legacy');
  residents().asked.length = 0;
  expect((await ask('POST', '/v1/plugins/stays/reload')).body).toMatchObject({ id: 'stays', enabled: true });
  await vi.waitFor(() => expect(residents().asked).toEqual(['stop stays reload', 'start stays']));
  const refused = await ask('POST', '/v1/plugins/demo/reload');
  expect([refused.status, refused.body.code]).toEqual([409, 'conflict']);
  expect((await ask('POST', '/v1/plugins/nope/reload')).status).toBe(404);
  expect((await ask('POST', '/v1/plugins/stays/reload', { token })).status).toBe(403);
});

test('the newest of what it has logged can be read, and of others what is still known', async () => {
  const at = new Date('2026-01-02T03:04:05.678Z');
  const line = (message: string) => ({ at, level: 'info' as const, message, invocation: null });
  residents().lines.set('stays', ['a', 'b', 'c'].map(line));
  const { status, body } = await ask('GET', '/v1/plugins/stays/logs?limit=2', { token });
  expect([status, body]).toEqual([200, { lines: ['b', 'c'].map((one) => ({ ...line(one), at: at.toISOString() })) }]);
  for (const limit of ['0', '1001', 'x']) {
    expect((await ask('GET', `/v1/plugins/stays/logs?limit=${limit}`)).status).toBe(400);
  }
  expect((await ask('GET', '/v1/plugins/nope/logs')).status).toBe(404);

  const headers = { authorization: `Bearer ${OPERATOR}` };
  const ran = await service.invoke('demo', {}, '', { headers });
  await service.invoke('stays', { task: 'scan' }, '', { headers });
  const { lines } = (await ask('GET', '/v1/plugins/demo/logs')).body;
  expect(lines).toEqual([
    {
      at: expect.any(String),
      level: 'info',
      message: 'said by demo',
      invocation: ran.headers.get('isopod-invocation'),
    },
  ]);
});

test('a task that it wants to be run becomes a job of its tenant', async () => {
  await enable('stays');
  const desk = residents().desk('stays');
  const args = { args: [1, 'a\u0000'], kwargs: { deep: [{}] } };
  const id = await desk.enqueue({ task: 'tasks.refresh', args, delayMs: 0, invocation: 'i' });
  const job = await vi.waitFor(async () => {
    const { body } = await ask('GET', `/v1/jobs/${id}`, { token });
    expect(body.state).toBe('succeeded');
    return body;
  });
  const cause = { plugin: 'stays', invocation: 'i' };
  expect(job).toMatchObject({ plugin: 'stays', task: 'shared_task:tasks.refresh', args, cause });
  expect(job.output).toEqual({ task: 'shared_task:tasks.refresh', args });

  const later = await desk.enqueue({ task: 'x', args: {}, delayMs: 60_000, invocation: null });
  const { body } = await ask('GET', `/v1/jobs/${later}`);
  expect(body).toMatchObject({ state: 'waiting', cause: { plugin: 'stays', invocation: null } });
  expect(Date.parse(body.startAfter) - Date.parse(body.createdAt)).toBeGreaterThan(50_000);

  const wish = { task: 'x', args: {}, delayMs: 0, invocation: null };
  const refused: [Partial<typeof wish>, string][] = [
    [{ task: 'a\u0000' }, 'invalid_request'],
    [{ task: 'x'.repeat(600) }, 'invalid_request'],
    [{ delayMs: 1e12 }, 'invalid_request'],
    [{ delayMs: Number.NaN }, 'invalid_request'],
    [{ args: { a: 'x'.repeat(1_100_000) } }, 'payload_too_large'],
  ];
  for (const [more, code] of refused) await expect(desk.enqueue({ ...wish, ...more })).rejects.toMatchObject({ code });
  // One of its own waits already.
  const ahead = { ...wish, delayMs: 60_000 };
  const asked = await Promise.allSettled([ahead, ahead, ahead].map((one) => desk.enqueue(one)));
  expect(asked.map((one) => one.status).sort()).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  await expect(desk.enqueue(ahead)).rejects.toMatchObject({
    code: 'queue_full',
    details: { limit: { name: 'residents.ownJobs', allowed: 3, observed: 4 } },
  });
  await ask('PATCH', '/v1/tenants/default', { body: { quotas: { jobsWaiting: 1 } } });
  await expect(desk.enqueue(wish)).rejects.toMatchObject({
    code: 'queue_full',
    details: { limit: { name: 'quotas.jobsWaiting' } },
  });
  await ask('PATCH', '/v1/tenants/default', { body: { quotas: { jobsWaiting: null } } });
});

test('a task of its own is run for itself alone, also when it is run again', async () => {
  await enable('legacy');
  const task = 'shared_task:tasks.wipe';
  const wanted = { plugin: 'legacy', task, args: { own: true }, own: true };
  const headers = { authorization: `Bearer ${OPERATOR}` };
  const ran = await service.invoke('legacy', { task, args: {}, own: true }, '', { headers });
  expect([400, 404]).toContain(ran.status);
  expect((await service.invoke('legacy', { task, args: {} }, '', { headers })).body.code).toBe('not_found');
  for (const body of [wanted, { plugin: 'legacy', task }]) {
    expect([400, 404]).toContain((await ask('POST', '/v1/jobs', { body })).status);
  }
  // Nor where nobody looks before it runs.
  const { jobs } = service.service.parts.store.of('default');
  const { job } = await jobs.add(wishFor({ plugin: 'legacy', task, args: {} }));
  const ended = (id: string, state: string) =>
    vi.waitFor(async () => expect((await ask('GET', `/v1/jobs/${id}`)).body.state).toBe(state));
  await ended(job.id, 'failed');

  const desk = residents().desk('legacy');
  await ask('POST', '/v1/plugins/legacy/disable');
  const own = await desk.enqueue({ task: 'tasks.wipe', args: {}, delayMs: 0, invocation: null });
  await ended(own, 'failed');
  await enable('legacy');
  expect((await ask('POST', `/v1/jobs/${own}/redrive`)).status).toBe(202);
  await ended(own, 'succeeded');
});
