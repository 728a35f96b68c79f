// What jobs are promised to be, on both engines.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { type Claimed, type Job, type JobWish, NO_RETRIES, type Settlement, wishFor } from '../../src/core/job.ts';
import { Store } from '../../src/store/store.ts';
import { testDatabase } from '../support/databases.ts';
import { codeOf, ENGINES, openStoreOn } from '../support/engines.ts';

const scope = new AsyncDisposableStack();
afterAll(() => scope.disposeAsync());

function wish(more: Partial<JobWish> = {}): JobWish {
  return wishFor({ plugin: 'p', task: 'T', args: { n: 1 } }, more);
}

function ended(claimed: Claimed, more: Partial<Settlement> = {}): Settlement {
  const { failures, kills, history } = claimed;
  const result = { state: 'succeeded', output: '"done"', failure: null, report: null } as const;
  return { claimed, events: [], progress: null, failures, kills, history, result, ...more };
}

describe.each(ENGINES)('on the %s engine', (engine) => {
  let store: Store;
  let tenant = '';
  let made = 0;
  beforeAll(async () => {
    store = await openStoreOn(engine, scope, { keepMs: 60_000 });
  });
  beforeEach(async () => {
    made += 1;
    tenant = `t${made}`;
    await store.tenants.create(tenant);
  });

  const jobs = () => store.of(tenant).jobs;
  const add = async (more?: Partial<JobWish>) => (await jobs().add(wish(more))).job;

  /** All that can be claimed now. */
  async function claimAll(): Promise<Claimed[]> {
    const all: Claimed[] = [];
    for (;;) {
      const { claimed, more } = await store.desk.claim(10);
      all.push(...claimed);
      if (!more) return all.filter((one) => one.tenant === tenant);
    }
  }

  test('of what a plugin has asked for itself only so much waits, whatever else waits for it', async () => {
    const own = (plugin = 'p') => {
      const request = { plugin, task: 'T', own: true, args: {} } as const;
      return jobs().add(wish({ request, cause: { plugin, invocation: null }, ownMost: 2 }));
    };
    await add();
    await add({ cause: { plugin: 'other', invocation: 'i' } });
    const asked = await Promise.allSettled([own(), own(), own(), own('q')]);
    expect(asked.map((one) => one.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    await expect(own()).rejects.toMatchObject({
      code: 'queue_full',
      details: { limit: { name: 'residents.ownJobs', allowed: 2, observed: 3, unit: 'count' } },
    });
    expect((await add()).state).toBe('waiting');
    const claimed = await claimAll();
    expect(claimed.filter(({ request }) => request.own === true)).toHaveLength(3);
    expect((await own()).job.request.own).toBe(true);
    for (const one of [...claimed, ...(await claimAll())]) await store.desk.settle(ended(one));
  });

  test('a job waits, runs, and is kept with what came of it', async () => {
    const job = await add();
    expect(job).toMatchObject({ state: 'waiting', attempt: 0, request: { plugin: 'p', task: 'T', args: { n: 1 } } });
    expect(await jobs().position(job)).toBe(1);

    const [claimed] = await claimAll();
    expect(claimed).toMatchObject({ id: job.id, tenant, attempt: 1 });
    expect(await jobs().get(job.id)).toMatchObject({ state: 'running' });
    expect(await jobs().position(await jobs().get(job.id))).toBeNull();

    expect(await store.desk.settle(ended(claimed as Claimed))).toBe(true);
    expect(await jobs().get(job.id)).toMatchObject({ state: 'succeeded', output: '"done"' });
    // Once is enough.
    expect(await store.desk.settle(ended(claimed as Claimed))).toBe(false);
    expect(await claimAll()).toEqual([]);
  });

  test('what is urgent comes first, and what is not due comes later', async () => {
    const later = await add({ start: { delayMs: 300 } });
    const usual = await add();
    const urgent = await add({ priority: 5 });
    expect(await jobs().position(usual)).toBe(2);
    const first = (await store.desk.claim(1)).claimed;
    expect(first.map(({ id }) => id)).toEqual([urgent.id]);
    expect((await claimAll()).map(({ id }) => id)).toEqual([usual.id]);
    await vi.waitFor(async () => expect((await claimAll()).map(({ id }) => id)).toEqual([later.id]), { timeout: 3000 });
  });

  test('jobs that are asked for at the same moment are all there', async () => {
    const all = await Promise.all(Array.from({ length: 300 }, () => add()));
    expect(new Set(all.map(({ id }) => id)).size).toBe(300);
    expect(await claimAll()).toHaveLength(300);
  });

  test('a tenant that is removed takes its jobs along and harms nobody', async () => {
    await store.tenants.create(`${tenant}-gone`);
    const other = store.of(`${tenant}-gone`).jobs;
    await other.add(wish());
    await store.tenants.remove(`${tenant}-gone`);
    const [mine, theirs] = await Promise.allSettled([add(), other.add(wish())]);
    expect(mine.status).toBe('fulfilled');
    expect(theirs).toMatchObject({ status: 'rejected', reason: { code: 'not_found' } });
    expect(await claimAll()).toHaveLength(1);
  });

  test('the jobs of another tenant do not exist', async () => {
    const { id } = await add();
    const other = store.of('default').jobs;
    expect(await codeOf(other.get(id))).toBe('not_found');
    expect(await codeOf(other.cancel(id))).toBe('not_found');
    expect(await codeOf(other.remove(id))).toBe('not_found');
    expect(await codeOf(other.redrive(id))).toBe('not_found');
    expect(await other.events(id, 0, 10)).toEqual([]);
    expect(await other.list({ limit: 100 })).toEqual([]);
    await claimAll();
  });

  test('what was made longer ago than jobs are kept is gone; what is no id is not found', async () => {
    expect(await codeOf(jobs().get('019505e0-0000-7000-8000-000000000000'))).toBe('gone');
    expect(await codeOf(jobs().get('not-an-id'))).toBe('not_found');
    expect(await codeOf(jobs().get('../../etc'))).toBe('not_found');
  });

  test('a list goes from the newest back, by state, plugin and task', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 5; n += 1)
      ids.unshift((await add({ request: { plugin: `p${n % 2}`, task: null, args: {} } })).id);
    const firsts = await jobs().list({ limit: 2 });
    expect(firsts.map(({ id }) => id)).toEqual(ids.slice(0, 2));
    const rest = await jobs().list({ limit: 10, before: ids[1] as string });
    expect(rest.map(({ id }) => id)).toEqual(ids.slice(2));
    expect(await jobs().list({ limit: 10, plugin: 'p1' })).toHaveLength(2);
    expect(await jobs().list({ limit: 10, task: 'T' })).toHaveLength(0);
    expect(await jobs().list({ limit: 10, states: ['running', 'dead'] })).toHaveLength(0);
    await claimAll();
  });

  test('one that waits is cancelled at once; one that runs is asked to stop; one that has ended is not', async () => {
    const waiting = await add();
    expect(await jobs().cancel(waiting.id)).toMatchObject({ state: 'cancelled' });
    expect(await claimAll()).toEqual([]);

    const running = await add();
    const [claimed] = await claimAll();
    expect(await jobs().cancel(running.id)).toMatchObject({ state: 'running', cancelAskedAt: expect.any(Date) });
    expect(await store.desk.cancelled([claimed as Claimed])).toEqual([running.id]);
    await store.desk.settle(
      ended(claimed as Claimed, {
        result: { state: 'cancelled', output: null, failure: new Failure('cancelled', 'Stopped'), report: null },
      }),
    );
    expect(await jobs().get(running.id)).toMatchObject({ state: 'cancelled', failure: { code: 'cancelled' } });
    expect(await codeOf(jobs().cancel(running.id))).toBe('conflict');
    expect(await codeOf(jobs().redrive(running.id))).toBe('conflict');
  });

  test('cancelling and claiming at the same moment end in one of the two', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => add()));
    const [cancels, claimed] = await Promise.all([
      Promise.all(all.map(({ id }) => jobs().cancel(id))),
      (async () => [...(await claimAll()), ...(await claimAll())])(),
    ]);
    const running = new Set(claimed.map(({ id }) => id));
    for (const { id, state } of cancels) expect([id, state]).toEqual([id, running.has(id) ? 'running' : 'cancelled']);
  });

  test('one that is to be run again is run again when it is due', async () => {
    const { id } = await add();
    const [first] = await claimAll();
    const history = [{ attempt: 1, at: new Date().toISOString(), code: 'plugin_error', message: 'no' }];
    await store.desk.settle(ended(first as Claimed, { failures: 1, history, result: { againMs: 200 } }));
    expect(await jobs().get(id)).toMatchObject({ state: 'waiting', attempt: 1, history });
    expect(await claimAll()).toEqual([]);
    await vi.waitFor(async () => expect(await claimAll()).toMatchObject([{ id, attempt: 2, failures: 1 }]));
  });

  test('events are numbered over all attempts, and only who has the job can tell any', async () => {
    const { id } = await add();
    const [first] = await claimAll();
    expect(await store.desk.tell(first as Claimed, [{ kind: 'started', attempt: 1 }], null)).toBe(1);
    const lines = [{ level: 'info' as const, message: 'nul \u0000 and \u2028', atMs: 1 }];
    expect(
      await store.desk.tell(
        first as Claimed,
        [
          { kind: 'log', lines },
          { kind: 'progress', progress: 0.5 },
        ],
        0.5,
      ),
    ).toBe(3);
    expect(await jobs().get(id)).toMatchObject({ progress: 0.5, told: 3 });
    await store.desk.settle(ended(first as Claimed, { events: [{ kind: 'log', lines }] }));
    expect(await store.desk.tell(first as Claimed, [{ kind: 'progress', progress: 1 }], 1)).toBeNull();
    const events = await jobs().events(id, 1, 10);
    expect(events.map(({ seq, event }) => [seq, event.kind])).toEqual([
      [2, 'log'],
      [3, 'progress'],
      [4, 'log'],
    ]);
    expect(events[0]?.event).toEqual({ kind: 'log', lines });
  });

  test('a singleton is there once until it has ended', async () => {
    const one = await jobs().add(wish({ singleton: 'k' }));
    const two = await jobs().add(wish({ singleton: 'k', request: { plugin: 'other', task: null, args: {} } }));
    expect([one.isNew, two.isNew, two.job.id]).toEqual([true, false, one.job.id]);
    const [claimed] = await claimAll();
    expect((await jobs().add(wish({ singleton: 'k' }))).job.id).toBe(one.job.id);
    await store.desk.settle(ended(claimed as Claimed));
    expect((await jobs().add(wish({ singleton: 'k' }))).isNew).toBe(true);
    const many = await Promise.all(Array.from({ length: 10 }, () => jobs().add(wish({ singleton: 'many' }))));
    expect(many.filter(({ isNew }) => isNew)).toHaveLength(1);
    await claimAll();
  });

  test('what is debounced runs once, as it was asked for last, so long after the last asking', async () => {
    const start = { delayMs: 400 };
    const first = await jobs().add(wish({ debounce: 'd', start }));
    await sleep(250);
    const request = { plugin: 'p', task: null, args: { last: true } };
    const second = await jobs().add(wish({ debounce: 'd', start, request }));
    expect([second.isNew, second.job.id]).toEqual([false, first.job.id]);
    await sleep(200);
    expect(await claimAll()).toEqual([]);
    await vi.waitFor(async () =>
      expect(await claimAll()).toMatchObject([{ id: first.job.id, request: { args: { last: true } } }]),
    );
  });

  test('an idempotency key leads to the same job, and to no other request', async () => {
    const idempotency = { key: 'k', hash: Buffer.alloc(32, 1) };
    const [one, two] = await Promise.all([jobs().add(wish({ idempotency })), jobs().add(wish({ idempotency }))]);
    expect(one.job.id).toBe(two.job.id);
    expect([one.isNew, two.isNew].sort()).toEqual([false, true]);
    const other = wish({ idempotency: { key: 'k', hash: Buffer.alloc(32, 2) } });
    expect(await codeOf(jobs().add(other))).toBe('idempotency_key_reused');
    expect(await claimAll()).toHaveLength(1);
  });

  test('as many wait as the quota says, counted exactly', async () => {
    await store.tenants.update(tenant, { quotas: { jobsWaiting: 3 } });
    const all = await Promise.allSettled([
      ...Array.from({ length: 5 }, () => add()),
      ...Array.from({ length: 5 }, (_, n) => add({ singleton: `s${n}` })),
    ]);
    expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
    const refused = all.find(({ status }) => status === 'rejected') as PromiseRejectedResult;
    expect(refused.reason).toMatchObject({
      code: 'queue_full',
      details: { limit: { name: 'quotas.jobsWaiting', allowed: 3, observed: 4 } },
    });
    await claimAll();
    await add();
    await claimAll();
  });

  test('what is kept counts against the quota for it', async () => {
    await store.tenants.update(tenant, { quotas: { storedBytes: 300 } });
    expect(await codeOf(add({ request: { plugin: 'p', task: null, args: { text: 'x'.repeat(300) } } }))).toBe(
      'quota_exceeded',
    );
    await add({ request: { plugin: 'p', task: null, args: { text: 'x'.repeat(270) } } });
    expect(await codeOf(add())).toBe('quota_exceeded');
    await claimAll();
  });

  test('never more of a tenant run than its quota says, however many claim', async () => {
    await store.tenants.update(tenant, { quotas: { jobsRunning: 2 } });
    for (let n = 0; n < 12; n += 1) await add();
    const results = await Promise.all(Array.from({ length: 8 }, () => store.desk.claim(5)));
    const claimed = results.flatMap((one) => one.claimed).filter((one) => one.tenant === tenant);
    expect(claimed).toHaveLength(2);
    let done = 0;
    for (let running = claimed; done < 12; ) {
      await store.desk.settle(ended(running[0] as Claimed));
      done += 1;
      running = [...running.slice(1), ...(await claimAll())];
      expect(running.length).toBeLessThanOrEqual(2);
      if (running.length === 0) break;
    }
    expect(done).toBe(12);
  });

  test('a tenant with a backlog leaves places to the next one that comes', async () => {
    for (let n = 0; n < 30; n += 1) await add({ priority: 100 });
    const running = new Map<string, number>();
    let free = 12;
    const claim = async () => {
      for (;;) {
        const { claimed, more } = await store.desk.claim(free, running);
        for (const one of claimed) running.set(one.tenant, (running.get(one.tenant) ?? 0) + 1);
        free -= claimed.length;
        if (!more || free === 0) return;
      }
    };
    await claim();
    expect(running.get(tenant)).toBe(8);
    const other = `${tenant}-other`;
    await store.tenants.create(other);
    await store.of(other).jobs.add(wish());
    await claim();
    expect(running.get(other)).toBe(1);
  });

  test('a quota that is larger than any number of jobs stops nothing', async () => {
    await store.tenants.update(tenant, { quotas: { jobsRunning: 3_000_000_000 } });
    await add();
    expect(await claimAll()).toHaveLength(1);
  });

  test('what is tried again, asked for anew or waits for its time counts like what is new', async () => {
    await store.tenants.update(tenant, { quotas: { jobsWaiting: 1 } });
    const { id } = await add();
    const [claimed] = await claimAll();
    const failure = new Failure('plugin_error', 'no');
    await store.desk.settle(
      ended(claimed as Claimed, { result: { state: 'dead', output: null, failure, report: null } }),
    );
    await add();
    expect(await codeOf(jobs().redrive(id))).toBe('queue_full');
    await claimAll();

    await store.tenants.update(tenant, { quotas: { jobsWaiting: null, storedBytes: 10_000 } });
    const start = { delayMs: 60_000 };
    await jobs().add(wish({ debounce: 'd', start }));
    const request = { plugin: 'p', task: null, args: { text: 'x'.repeat(20_000) } };
    expect(await codeOf(jobs().add(wish({ debounce: 'd', start, request })))).toBe('quota_exceeded');
    const order = { priority: 0, retries: NO_RETRIES, enabled: true, request };
    const put = store.of(tenant).triggers.put('t', { ...order, on: { plugin: 'q', task: null, end: 'any' } });
    expect(await codeOf(put)).toBe('quota_exceeded');
  });

  test('a time before there was any is now', async () => {
    const job = await add({ start: { at: new Date(-62_167_219_200_000) } });
    expect(job.startAfter.getTime()).toBeGreaterThan(Date.now() - 60_000);
    expect(await claimAll()).toHaveLength(1);
  });

  test('a failed job is tried again when somebody asks for it, and forgotten when somebody asks for that', async () => {
    const { id } = await add();
    const [claimed] = await claimAll();
    expect(await codeOf(jobs().remove(id))).toBe('conflict');
    const failure = new Failure('plugin_error', 'no', { pluginError: { name: 'E', message: 'x' } });
    await store.desk.settle(
      ended(claimed as Claimed, { result: { state: 'dead', output: null, failure, report: null } }),
    );
    expect((await jobs().get(id)).failure).toMatchObject({
      code: 'plugin_error',
      details: { pluginError: { name: 'E' } },
    });
    expect(await jobs().redrive(id)).toMatchObject({ state: 'waiting', failure: null });
    const [again] = await claimAll();
    expect(again).toMatchObject({ id, attempt: 2 });
    await store.desk.settle(ended(again as Claimed));
    await jobs().remove(id);
    expect(await codeOf(jobs().get(id))).toBe('not_found');
  });

  test('a job that the queue has lost is given back to it', async () => {
    const { id } = await add();
    const [claimed] = await claimAll();
    expect(claimed?.id).toBe(id);
    expect(await store.desk.mend()).toBe(0);
  });

  test('a trigger makes a job of the end of another, in a chain that ends', async () => {
    const order = { priority: 0, retries: NO_RETRIES, enabled: true };
    await store.of(tenant).triggers.put('circle', {
      ...order,
      on: { plugin: 'p', task: null, end: 'succeeded' },
      request: { plugin: 'p', task: null, args: {} },
    });
    await add();
    let runs = 0;
    for (let [claimed] = await claimAll(); claimed !== undefined; [claimed] = await claimAll()) {
      await store.desk.settle(ended(claimed));
      runs += 1;
      expect(runs).toBeLessThan(20);
    }
    expect(runs).toBe(9);
    const [last] = await jobs().list({ limit: 1 });
    expect(last).toMatchObject({
      state: 'failed',
      failure: { code: 'hook_loop' },
      cause: { trigger: 'circle', depth: 9 },
    });
  });

  test('a schedule makes its job once, whoever looks, and makes up for what it missed as it was told to', async () => {
    const { schedules } = store.of(tenant);
    const order = { priority: 0, retries: NO_RETRIES, enabled: true, request: { plugin: 'p', task: null, args: {} } };
    const { order: schedule } = await schedules.put('s', {
      ...order,
      cron: '0 3 * * *',
      timeZone: 'Europe/Berlin',
      missed: 'skip',
    });
    await schedules.put('o', { ...order, cron: '0 3 * * *', timeZone: 'Europe/Berlin', missed: 'once' });
    await schedules.put('a', { ...order, cron: '0 3 * * *', timeZone: 'Europe/Berlin', missed: 'all' });
    await schedules.put('off', { ...order, enabled: false, cron: '* * * * *', timeZone: 'UTC', missed: 'all' });
    const dueAt = schedule.nextAt as Date;
    expect(new Intl.DateTimeFormat('en-GB', { timeZone: 'Europe/Berlin', timeStyle: 'short' }).format(dueAt)).toBe(
      '03:00',
    );
    expect(await store.tick(new Date(dueAt.getTime() - 1))).toBe(0);
    await Promise.all([store.tick(dueAt), store.tick(dueAt), store.tick(dueAt)]);
    expect(await jobs().list({ limit: 10 })).toHaveLength(3);
    expect(await schedules.get('s')).toMatchObject({ lastAt: dueAt, lastJob: expect.any(String) });

    // Three days on, an hour late.
    await store.tick(new Date(dueAt.getTime() + 3 * 86_400_000 + 3_600_000));
    const causes = (await jobs().list({ limit: 20 })).map(
      ({ cause }) => cause && 'schedule' in cause && cause.schedule,
    );
    expect(causes.filter((one) => one === 's')).toHaveLength(1);
    expect(causes.filter((one) => one === 'o')).toHaveLength(2);
    expect(causes.filter((one) => one === 'a')).toHaveLength(4);
    await claimAll();
  });

  test('a timetable that is none is refused with the reason', async () => {
    const { schedules } = store.of(tenant);
    const order = { priority: 0, retries: NO_RETRIES, enabled: true, request: { plugin: 'p', task: null, args: {} } };
    const put = (cron: string, timeZone = 'UTC') => schedules.put('x', { ...order, cron, timeZone, missed: 'skip' });
    // The letter H would be another time at each reading.
    for (const cron of ['* * * * * *', '61 * * * *', 'often', '', '0 0 30 2 *', 'H 3 * * *', '28-H(0-28) 3 * * *']) {
      expect([cron, await codeOf(put(cron))]).toEqual([cron, 'invalid_request']);
    }
    expect(await codeOf(put('* * * * *', 'Mars/Olympus'))).toBe('invalid_request');
    expect((await put('0 9-17/2 1,15 JAN-dec Mon-THU')).isNew).toBe(true);
  });
});

test('callers who ask for one key a thousand times keep neither others nor the work of this node waiting', async () => {
  await using database = await testDatabase();
  await using store = await Store.open({ url: database.url, dataDir: '/nowhere', connections: 4 });
  await store.tenants.create('loud');
  await store.of('default').jobs.add(wish());
  const { claimed } = await store.desk.claim(1);
  const admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  await admin.query('begin');
  const hold = `select pg_advisory_xact_lock(hashtextextended($1, 0))`;
  const keys = Array.from({ length: 20 }, (_, at) => `key ${at}`);
  for (const key of keys) await admin.query(hold, [`job key loud ${key}`]);

  // Some under the same key, and some under others, so that each of them waits for the database.
  const loud = store.of('loud').jobs;
  const same = Array.from({ length: 100 }, () =>
    loud.add(wish({ singleton: 'key 0' })).catch((error: unknown) => error),
  );
  const others = keys.slice(1).map((singleton) => loud.add(wish({ singleton })));
  const refused = await Promise.race(same);
  expect(refused).toMatchObject({ code: 'concurrency_limited', details: { limit: { allowed: 64 } } });
  await vi.waitFor(async () => {
    const { rows } = await admin.query(
      `select from pg_locks where locktype = 'advisory' and not granted
       and database = (select oid from pg_database where datname = current_database())`,
    );
    expect(rows).toHaveLength(3);
  });

  const [job] = claimed as [Claimed];
  const { job: quiet } = await store.of('default').jobs.add(wish({ singleton: 'key 0' }));
  expect(await store.of('default').jobs.get(quiet.id)).toMatchObject({ state: 'waiting' });
  expect(await store.desk.keep([job])).toEqual([]);
  expect(await store.desk.tell(job, [], 0.5)).toBe(0);
  expect(await store.tick()).toBe(0);
  expect(await store.desk.settle(ended(job))).toBe(true);
  expect((await store.desk.claim(1)).claimed).toMatchObject([{ id: quiet.id }]);

  await admin.query('commit');
  await admin.end();
  await Promise.all(others);
  const results = await Promise.all(same);
  const ids = new Set(results.flatMap((one) => (one instanceof Failure ? [] : [(one as { job: Job }).job.id])));
  expect(ids.size).toBe(1);
  expect(results.filter((one) => one instanceof Failure)).toHaveLength(100 - 65);
});

test('when callers have every connection, the work of this node goes on', async () => {
  await using database = await testDatabase();
  await using store = await Store.open({ url: database.url, dataDir: '/nowhere', connections: 2 });
  await store.of('default').jobs.add(wish());
  const { claimed } = await store.desk.claim(1);
  const admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  await admin.query('begin');
  await admin.query('lock table isopod.tokens');
  const callers = Array.from({ length: 50 }, () => store.tenants.tokens('default'));

  const [job] = claimed as [Claimed];
  expect(await store.desk.keep([job])).toEqual([]);
  expect(await store.desk.settle(ended(job))).toBe(true);

  await admin.query('commit');
  await admin.end();
  await Promise.all(callers);
});

test('nodes that start at the same moment on an empty database do not get in the way of each other', async () => {
  for (let round = 0; round < 3; round += 1) {
    await using database = await testDatabase('empty');
    const complaints: unknown[] = [];
    const options = { url: database.url, dataDir: '/nowhere', complain: (error: unknown) => complaints.push(error) };
    await using stores = new AsyncDisposableStack();
    const all = await Promise.all(Array.from({ length: 4 }, () => Store.open(options)));
    for (const store of all) stores.use(store);
    const added = await Promise.all(all.map((store) => store.of('default').jobs.add(wish())));
    const claimed = await Promise.all(all.map((store) => store.desk.claim(4)));
    expect(claimed.flatMap((one) => one.claimed.map(({ id }) => id)).sort()).toEqual(
      added.map(({ job }) => job.id).sort(),
    );
    expect(complaints).toEqual([]);
  }
});
