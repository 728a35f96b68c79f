// What plugins tell whoever listens, over a real socket.
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Update } from '../../src/core/resident.ts';
import { eventsOf, type SeenEvent } from '../support/events.ts';
import { type FakeService, resident, startFakeService } from '../support/fake.ts';

const OPERATOR = 'the-operators-own';

let service: FakeService;
beforeAll(async () => {
  service = await startFakeService({
    plugins: [resident(), resident({ id: 'other' })],
    tenants: { acme: [resident({ id: 'theirs' })] },
    config: { tokens: [OPERATOR] },
  });
  await operator('POST', '/v1/tenants', { id: 'acme' });
  for (const path of ['/v1/plugins/stays', '/v1/plugins/other', '/t/acme/v1/plugins/theirs']) {
    await operator('POST', `${path}/enable`);
  }
  await vi.waitFor(() => {
    for (const one of ['stays', 'other']) service.runtime.residents.desk(one);
    service.runtime.residents.desk('theirs', 'acme');
  });
});
afterAll(() => service[Symbol.asyncDispose]());

function operator(method: string, path: string, body?: unknown) {
  return service.ask(method, path, { token: OPERATOR, body });
}

function tell(plugin: string, data: unknown, more: Partial<Update> & { tenant?: string } = {}) {
  const { tenant, ...update } = more;
  service.runtime.residents
    .desk(plugin, tenant)
    .updated({ group: 'updates', event: 'progress', data, invocation: null, ...update });
}

type Listening = { path?: string; token?: string; after?: string };

/** Resolves when the stream has begun, with what will have come of it when so many have come or it has ended. */
async function listen(count: number, { path = '/v1/updates', token = OPERATOR, after }: Listening = {}) {
  const headers = { authorization: `Bearer ${token}`, ...(after === undefined ? {} : { 'last-event-id': after }) };
  const { promise, resolve } = Promise.withResolvers<void>();
  const seen = eventsOf(service.url + path, { headers, opened: resolve, enough: ({ length }) => length >= count });
  await Promise.race([promise, seen]);
  return { seen };
}

const dataIn = (events: readonly SeenEvent[]) => events.map(({ data }) => (data as { data: unknown }).data);

test('who listens hears what plugins of the tenant tell, and whoever was cut off hears what was missed', async () => {
  tell('stays', 'before');
  const all = await listen(3);
  const some = await listen(1, { path: '/v1/updates?plugin=other' });
  const theirs = await listen(1, { path: '/t/acme/v1/updates' });
  tell('stays', { done: 0.5, line: 'a\nb' }, { invocation: 'i', group: 'g' });
  tell('other', 2);
  tell('stays', null, { event: 'complete' });
  tell('theirs', 'not yours', { tenant: 'acme' });

  const heard = await all.seen;
  expect(heard.map(({ event }) => event)).toEqual(['update', 'update', 'update']);
  expect(heard.map(({ data }) => data)).toEqual([
    {
      at: expect.any(String),
      plugin: 'stays',
      invocation: 'i',
      group: 'g',
      event: 'progress',
      data: { done: 0.5, line: 'a\nb' },
    },
    { at: expect.any(String), plugin: 'other', invocation: null, group: 'updates', event: 'progress', data: 2 },
    { at: expect.any(String), plugin: 'stays', invocation: null, group: 'updates', event: 'complete', data: null },
  ]);
  expect(dataIn(await some.seen)).toEqual([2]);
  expect(dataIn(await theirs.seen)).toEqual(['not yours']);

  const [first] = heard;
  const late = await listen(2, { after: first?.id ?? '' });
  expect(dataIn(await late.seen)).toEqual([2, null]);
  const stranger = await listen(4, { after: '00000000-7' });
  expect(dataIn(await stranger.seen)).toHaveLength(4);
});

test('only the newest are kept, what is too large is refused, and who is slow misses some', async () => {
  for (let at = 0; at < 250; at += 1) tell('stays', at);
  tell('stays', 'x'.repeat(65_536));
  const deep = JSON.parse(`${'['.repeat(5_000)}${']'.repeat(5_000)}`);
  tell('stays', deep);
  const { seen } = await listen(200, { after: '00000000-0' });
  expect(dataIn(await seen)).toEqual(Array.from({ length: 200 }, (_, at) => at + 50));
  expect((await operator('GET', '/metrics')).text).toMatch(/isopod_updates_total\{verdict="refused"\} 2\n/);
});

test('it ends with the token, before anything more is told, and with the tenant', async () => {
  const made = await operator('POST', '/v1/tenants/acme/tokens', { name: 'test', scopes: ['invoke'] });
  const { id, secret: token } = made.body;
  const held = await listen(1, { token });
  const path = '/t/acme/v1/updates';
  const mine = await listen(1, { path });
  await operator('DELETE', `/v1/tenants/acme/tokens/${id}`);
  tell('theirs', 'secret', { tenant: 'acme' });
  expect(await held.seen).toEqual([]);
  expect(dataIn(await mine.seen)).toEqual(['secret']);
  expect((await service.get('/v1/updates', { authorization: `Bearer ${token}` })).status).toBe(401);

  const last = await listen(1, { path });
  await operator('DELETE', '/v1/tenants/acme');
  expect(await last.seen).toEqual([]);
  await operator('POST', '/v1/tenants', { id: 'acme' });
  const anew = await listen(1, { path, after: '00000000-0' });
  await operator('DELETE', '/v1/tenants/acme');
  expect(await anew.seen).toEqual([]);
});

test('no more than so many of a tenant listen at once', async () => {
  const streams = await Promise.all(Array.from({ length: 100 }, () => listen(1)));
  const { status, body } = await operator('GET', '/v1/updates');
  expect([status, body.code, body.limit.name]).toEqual([429, 'concurrency_limited', 'listeners']);
  tell('stays', 'last');
  for (const { seen } of streams) expect(dataIn(await seen)).toEqual(['last']);
  await vi.waitFor(async () => {
    const again = await listen(1);
    tell('stays', 'room again');
    expect(dataIn(await again.seen)).toEqual(['room again']);
  });
});
