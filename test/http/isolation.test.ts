import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Grade, Isolation } from '../../src/core/isolation.ts';
import { type FakeService, startFakeService } from '../support/fake.ts';

const TOKEN = 'operators-only';
let service: FakeService;
/** What the next look finds. */
const grade: Grade = 'fenced';
let looks = 0;

beforeAll(async () => {
  service = await startFakeService({
    tenants: { acme: [] },
    config: { tokens: [TOKEN], isolation: { check: 'demand' } },
  });
  Object.assign(service.runtime, {
    attest: async () => {
      looks += 1;
      return Object.assign(service.runtime, { isolation: isolation(grade) }).isolation;
    },
  });
  await operator('POST', '/v1/tenants', { id: 'acme' });
});
afterAll(() => service[Symbol.asyncDispose]());

function isolation(of: Grade): Isolation {
  const layer = {
    id: 'network',
    name: 'Network',
    neededFrom: 'contained',
    state: 'absent',
    evidence: 'reached: tcp',
  } as const;
  return { tier: 'landlock', grade: of, layers: [layer], raise: 'Install bubblewrap', checkedAt: new Date() };
}

const operator = (method: string, path: string, body?: unknown) => service.ask(method, path, { token: TOKEN, body });
const invoke = () => operator('POST', '/v1/plugins/demo/invocations', {});

test('before anybody has looked nothing is proven, and that is what everything says', async () => {
  const { body } = await operator('GET', '/v1/system/isolation');
  expect(body).toMatchObject({ least: 'none', processes: null, executors: { grade: 'none', checkedAt: null } });
  expect((await invoke()).headers.get('isopod-isolation')).toBe('none');
});

test('a look is taken once, however many ask, and is known everywhere after it', async () => {
  const answers = await Promise.all([1, 2, 3].map(() => operator('POST', '/v1/system/isolation/check')));
  for (const { status, body } of answers) expect([status, body.executors.grade]).toEqual([200, 'fenced']);
  expect((await operator('POST', '/v1/system/isolation/check')).body.executors.grade).toBe('fenced');
  expect(looks).toBe(1);

  const { body } = await operator('GET', '/v1/system/isolation');
  expect(body.executors).toMatchObject({
    tier: 'landlock',
    raise: 'Install bubblewrap',
    layers: [{ id: 'network', state: 'absent' }],
  });
  expect((await invoke()).headers.get('isopod-isolation')).toBe('fenced');
  expect((await operator('GET', '/v1/plugins/demo')).body.explain).toMatchObject({ runtime: 'fake', grade: 'fenced' });
  expect((await operator('GET', '/metrics')).text).toContain('isopod_isolation_grade{of="executors"} 2\n');
});

test('below the least grade of a tenant nothing of it is run, and it is said what is missing and what would help', async () => {
  const changed = await operator('PATCH', '/v1/tenants/default', { leastGrade: 'contained' });
  expect(changed.body.leastGrade).toBe('contained');
  const { status, body, headers } = await invoke();
  expect([status, body.code, body.retryable]).toEqual([503, 'sandbox_unavailable', false]);
  expect(body.detail).toBe(
    'It would run at the isolation grade "fenced" and "contained" is the least: missing: Network. Install bubblewrap',
  );
  expect(headers.get('isopod-isolation')).toBeNull();
  // Whoever is refused has taken nothing; and a job is not even made.
  expect((await operator('GET', '/metrics')).text).toContain('isopod_running 0\n');
  const job = await service.ask('POST', '/v1/plugins/demo/invocations', {
    token: TOKEN,
    body: {},
    headers: { prefer: 'respond-async' },
  });
  expect([job.status, job.body.code]).toEqual([503, 'sandbox_unavailable']);

  expect((await operator('PATCH', '/v1/tenants/default', { leastGrade: 'limited' })).status).toBe(200);
  expect((await invoke()).status).toBe(200);
  expect((await operator('PATCH', '/v1/tenants/default', { leastGrade: null })).body.leastGrade).toBeNull();
  expect((await operator('PATCH', '/v1/tenants/default', { leastGrade: 'utmost' })).status).toBe(400);
});

test('only operators see how they are confined, and set what is the least', async () => {
  const { body } = await operator('POST', '/v1/tenants/acme/tokens', { name: 'all of it', scopes: ['admin'] });
  const admin = (method: string, path: string, change?: unknown) =>
    service.ask(method, path, { token: body.secret, body: change });
  expect((await admin('GET', '/v1/system/isolation')).status).toBe(403);
  expect((await admin('POST', '/v1/system/isolation/check')).status).toBe(403);
  expect((await admin('PATCH', '/v1/tenants/acme', { leastGrade: 'none' })).status).toBe(403);
  expect((await service.get('/v1/system/isolation')).status).toBe(401);
});

test('what is the least for all is checked before anything is served, and a tenant cannot go below it', async () => {
  await using strict = await startFakeService({ config: { isolation: { least: 'full', check: 'demand' } } });
  const ready = await strict.get('/readyz');
  expect([ready.status, ready.body.code]).toEqual([503, 'sandbox_unavailable']);
  expect(strict.log().find(({ msg }) => msg.startsWith('Isolation: '))).toMatchObject({ level: 40 });
  await strict.ask('PATCH', '/v1/tenants/default', { body: { leastGrade: 'limited' } });
  const { status, body } = await strict.invoke('demo');
  expect([status, body.code]).toEqual([503, 'sandbox_unavailable']);
  expect(body.detail).toContain('"full" is the least: nothing was proven yet');
});
