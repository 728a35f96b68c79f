// Many who look on at the same job cost the store no more than one.
import { EventEmitter } from 'node:events';
import type { FastifyReply } from 'fastify';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { type Claimed, type Job, wishFor } from '../../src/core/job.ts';
import type { TenantJobs } from '../../src/core/tenant-store.ts';
import { JobNews } from '../../src/engine/job-news.ts';
import { untilEnded } from '../../src/http/job-wait.ts';
import type { Store } from '../../src/store/store.ts';
import { openStoreOn } from '../support/engines.ts';

const scope = new AsyncDisposableStack();
afterAll(() => scope.disposeAsync());

const WISH = wishFor({ plugin: 'p', task: null, args: {} });

let store: Store;
let news: JobNews;
let job: Job;
let claimed: Claimed;
let jobs: TenantJobs;
let reads: number[] = [];
let pages = 0;
beforeAll(async () => {
  store = await openStoreOn('server', scope);
});
beforeEach(async () => {
  news = scope.use(await JobNews.open(store));
  const mine = store.of('default').jobs;
  job = (await mine.add(WISH)).job;
  claimed = (await store.desk.claim(1)).claimed[0] as Claimed;
  reads = [];
  pages = 0;
  jobs = Object.assign(Object.create(mine) as TenantJobs, {
    get(id: string) {
      reads.push(performance.now());
      return mine.get(id);
    },
    events(...ask: Parameters<TenantJobs['events']>) {
      pages += 1;
      return mine.events(...ask);
    },
  });
});

const owner = () => ({ tenant: 'default', jobs });

test('what many want to know at the same moment is read once', async () => {
  await store.desk.tell(claimed, [{ kind: 'progress', progress: 0.5 }], 0.5);
  const all = Array.from({ length: 300 }, () => news.watch(owner(), job.id, () => {}));
  const seen = await Promise.all(
    all.map(async (watch) => {
      const now = await watch.job();
      return await watch.events(0, now);
    }),
  );
  expect(new Set(seen.map((events) => JSON.stringify(events))).size).toBe(1);
  expect(seen[0]).toMatchObject([{ seq: 1, event: { kind: 'progress', progress: 0.5 } }]);
  expect([reads.length, pages]).toEqual([1, 1]);
});

test('who asks while the job is being read sees what has happened since', async () => {
  const { get } = jobs;
  const read = Promise.withResolvers<void>();
  const told = Promise.withResolvers<void>();
  jobs.get = async (id) => {
    const seen = await get(id);
    read.resolve();
    await told.promise;
    return seen;
  };
  const watch = news.watch(owner(), job.id, () => {});
  const early = watch.job();
  await read.promise;
  await store.desk.tell(claimed, [], 0.25);
  const late = watch.job();
  told.resolve();
  expect(await early).toMatchObject({ progress: null });
  expect(await late).toMatchObject({ progress: 0.25 });
});

test('a job is read a few times in a second, however often something is heard of it', async () => {
  const watch = news.watch(owner(), job.id, () => {});
  for (let at = 0; at < 9; at += 1) await watch.job();
  expect((reads[8] as number) - (reads[0] as number)).toBeGreaterThanOrEqual(990);
});

test('a reading that fails is everybody’s who asked for it, and the next one is tried', async () => {
  const { get } = jobs;
  jobs.get = () => Promise.reject(new Failure('overloaded', 'for a moment'));
  const watch = news.watch(owner(), job.id, () => {});
  const both = await Promise.allSettled([watch.job(), watch.job()]);
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  jobs.get = get;
  expect(await watch.job()).toMatchObject({ id: job.id });
});

test('one tenant cannot have all places of those who wait, and is told whose bound it was', async () => {
  const all = Array.from({ length: 500 }, () => news.watch(owner(), job.id, () => {}));
  const refused = expect.objectContaining({
    code: 'concurrency_limited',
    message: expect.stringContaining('of this tenant'),
    details: expect.objectContaining({ limit: expect.objectContaining({ name: 'waitingForJobs', allowed: 500 }) }),
  });
  expect(() => news.watch(owner(), job.id, () => {})).toThrow(refused);
  using _other = news.watch({ tenant: 'other', jobs }, 'another', () => {});

  // What was asked for has been done: it is no reason to say that it was not.
  const reply = { raw: new EventEmitter() } as unknown as FastifyReply;
  expect(await untilEnded(job, { owner: owner(), news, ms: 60_000, reply })).toBe(job);

  all[0]?.[Symbol.dispose]();
  all[0]?.[Symbol.dispose]();
  all.push(news.watch(owner(), job.id, () => {}));
  expect(() => news.watch(owner(), job.id, () => {})).toThrow(refused);
  for (const watch of all) watch[Symbol.dispose]();
  expect(news.waiting).toBe(1);
});

test('a change of a tenant is heard by those who wait for its jobs, and by nobody else', async () => {
  const [mine, gone, other] = [vi.fn(), vi.fn(), vi.fn()];
  using _mine = news.watch({ tenant: 'acme', jobs }, 'one', mine);
  using _other = news.watch({ tenant: 'beta', jobs }, 'two', other);
  news.watch({ tenant: 'acme', jobs }, 'one', gone)[Symbol.dispose]();
  news.hearTenant('acme');
  expect([mine, gone, other].map((one) => one.mock.calls.length)).toEqual([1, 0, 0]);
  expect(news.waiting).toBe(2);
});
