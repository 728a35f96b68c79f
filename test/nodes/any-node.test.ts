// Two nodes as one service: whichever is asked, and whichever is lost.
import { strict as assert } from 'node:assert';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { eventsOf } from '../support/events.ts';
import { isThere, js, type Node, Nodes, python } from '../support/nodes.ts';

// Nodes take their time to start where cores are shared.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const scope = new AsyncDisposableStack();
let nodes: Nodes;
let a: Node;
let b: Node;

beforeAll(async () => {
  nodes = scope.use(
    await Nodes.open({
      plugins: {
        ...js('add', '({ Output: input.Args.a + input.Args.b });'),
        ...js('once', '({ Output: input.Args.key });'),
        ...js('talk', 'log.Info("one"); util.Sleep(input.Args.ms); log.Info("two"); ({ Output: "said" });'),
        ...python('wait', 'print("\\x01i\\x02here", file=sys.stderr, flush=True)\ntime.sleep(args["s"])'),
      },
    }),
  );
  [a, b] = await Promise.all([nodes.start(), nodes.start({ ISOPOD_JOBS_AT_ONCE: '0' })]);
});
afterAll(() => scope.disposeAsync());

test('a job that one node was asked for is run by another, and known to both', async () => {
  const id = await b.add('add', { a: 20, b: 22 });
  expect(await a.job(id)).toMatchObject({ state: 'succeeded', output: 42 });
  expect(await b.job(id)).toMatchObject({ state: 'succeeded', output: 42 });
  expect((await b.get('/v1/jobs?plugin=add')).body.jobs).toMatchObject([{ id }]);
});

test('whoever waits for a job at one node is told of its end at another', async () => {
  const waited = await b.post('/v1/jobs', { plugin: 'add', args: { a: 1, b: 2 } }, { prefer: 'wait=20' });
  expect(waited).toMatchObject({ status: 200, body: { state: 'succeeded', output: 3 } });
});

test('events of a job go on at another node where a client was cut off', async () => {
  const id = await a.add('talk', { ms: 1_500 });
  const url = ({ url }: Node) => `${url}/v1/jobs/${id}/events`;
  const first = await eventsOf(url(a), { enough: (seen) => seen.some(({ event }) => event === 'started') });
  const rest = await eventsOf(url(b), { headers: { 'last-event-id': first.at(-1)?.id ?? '' } });
  expect(rest.at(-1)).toMatchObject({ event: 'outcome', data: { state: 'succeeded', output: 'said' } });
  const all = await eventsOf(url(b));
  expect([...first, ...rest].map(({ id: seen }) => seen)).toEqual(all.map(({ id: seen }) => seen));
  expect(JSON.stringify(all.filter(({ event }) => event === 'log'))).toMatch(/one.*two/);
});

test('cancelling at one node ends the plugin that runs on another', async () => {
  const id = await a.add('wait', { s: 60 });
  const plugin = await vi.waitFor(
    () => a.below().find(({ command }) => command.includes('wait.py')) ?? assert.fail('it does not run'),
    { timeout: 15_000 },
  );
  expect(await b.job(id, 'running')).toMatchObject({ node: expect.any(String) });
  const cancelled = await b.post(`/v1/jobs/${id}/cancel`);
  expect(cancelled).toMatchObject({
    status: 200,
    body: {
      state: 'cancelled',
      cancel: { stopped: expect.stringMatching(/^(terminated|killed)$/) },
      problem: { code: 'cancelled' },
    },
  });
  expect(isThere(plugin)).toBe(false);
});

test('requests under one key that reach both nodes at once make one job', async () => {
  const keys = Array.from({ length: 20 }, (_, n) => `order-${n}`);
  const answers = await Promise.all(
    keys.flatMap((key) =>
      [a, b].map((node) => node.post('/v1/jobs', { plugin: 'once', args: { key } }, { 'idempotency-key': key })),
    ),
  );
  const ids = answers.map(({ status, body, text }) => {
    assert([200, 202].includes(status), text);
    return body.id as string;
  });
  expect(new Set(ids).size).toBe(keys.length);
  for (const [n, key] of keys.entries()) expect(await b.job(ids[2 * n] as string)).toMatchObject({ output: key });
  expect((await b.get('/v1/jobs?plugin=once&limit=200')).body.jobs).toHaveLength(keys.length);
});

test('a schedule that two nodes look at fires once', async () => {
  const put = await a.put('/v1/schedules/each-minute', {
    cron: '* * * * *',
    run: { plugin: 'once', args: { key: 'now' } },
  });
  expect(put.status).toBe(201);
  // Nobody wants to wait for a full minute.
  await nodes.sql('update schedules set next_at = now()');
  const firings = () =>
    nodes.sql(`select cause ->> 'dueAt' as due, count(*)::int from jobs where cause is not null group by 1`);
  await vi.waitFor(async () => expect(await firings()).not.toEqual([]), { timeout: 10_000 });
  // Both have looked again by then.
  await sleep(2_500);
  for (const firing of await firings()) expect(firing).toMatchObject({ count: 1 });
});
