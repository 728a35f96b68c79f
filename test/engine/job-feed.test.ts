// What happens to jobs on another node: two stores on one real database are two nodes as far as jobs are concerned.
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { wishFor } from '../../src/core/job.ts';
import { numberOfJob } from '../../src/core/job-number.ts';
import { DEFAULT_TENANT } from '../../src/core/tenant.ts';
import { type JobChange, JobFeed } from '../../src/engine/job-feed.ts';
import { Store } from '../../src/store/store.ts';
import { testDatabase } from '../support/databases.ts';

let here: Store;
let there: Store;
const scope = new AsyncDisposableStack();
beforeAll(async () => {
  const { url } = scope.use(await testDatabase());
  here = scope.use(await Store.open({ url, dataDir: '/nowhere' }));
  there = scope.use(await Store.open({ url, dataDir: '/nowhere' }));
});
afterAll(() => scope.disposeAsync());

const wish = () => wishFor({ plugin: 'demo', task: null, args: {}, description: 'a "word"' });

async function listening(tenant = DEFAULT_TENANT) {
  const own = new DisposableStack();
  const feed = own.use(await JobFeed.open(here));
  const changes: JobChange[] = [];
  own.use(feed.listen(tenant, (change) => changes.push(change)));
  const of = (id: string) => changes.filter(({ job }) => job.id === id).map(({ what }) => what);
  return { changes, of, [Symbol.dispose]: () => own.dispose() };
}

test('a job of another node is told when it comes, begins, gets on and ends', async () => {
  using feed = await listening();
  const { job } = await there.of(DEFAULT_TENANT).jobs.add(wish());
  await vi.waitFor(() => expect(feed.of(job.id)).toEqual(['added']));
  expect(feed.changes[0]?.job.request.description).toBe('a "word"');
  const { claimed } = await there.desk.claim(1);
  await there.desk.tell(claimed[0] as never, [{ kind: 'progress', progress: 0.5 }], 0.5);
  await vi.waitFor(() => expect(feed.changes.at(-1)).toMatchObject({ what: 'changed', job: { progress: 0.5 } }));
  const result = { state: 'succeeded', output: '1', failure: null, report: null } as const;
  const claim = claimed[0] as NonNullable<(typeof claimed)[0]>;
  await there.desk.settle({ claimed: claim, events: [], progress: 1, failures: 0, kills: 0, history: [], result });
  await vi.waitFor(() => expect(feed.changes.at(-1)).toMatchObject({ what: 'ended', job: { state: 'succeeded' } }));
  expect(new Set(feed.of(job.id))).toEqual(new Set(['added', 'changed', 'ended']));
});

test('what was there before is not told as new, and its end is', async () => {
  const jobs = there.of(DEFAULT_TENANT).jobs;
  const { job } = await jobs.add(wish());
  using feed = await listening();
  const { job: next } = await jobs.add(wish());
  await vi.waitFor(() => expect(feed.of(next.id)).toEqual(['added']));
  await jobs.cancel(job.id);
  await vi.waitFor(() => expect(feed.of(job.id)).toEqual(['ended']));
  await jobs.cancel(next.id);
  await vi.waitFor(() => expect(feed.of(next.id)).toEqual(['added', 'ended']));
});

test('a job that came and went between two looks is told, and nothing of another tenant is', async () => {
  await there.tenants.create('acme');
  using feed = await listening();
  const { job: first } = await there.of(DEFAULT_TENANT).jobs.add(wish());
  await vi.waitFor(() => expect(feed.of(first.id)).toEqual(['added']));
  const { job: foreign } = await there.of('acme').jobs.add(wish());
  const { job } = await there.of(DEFAULT_TENANT).jobs.add(wish());
  await there.of(DEFAULT_TENANT).jobs.cancel(job.id);
  await vi.waitFor(() => expect(feed.of(job.id)).toEqual(['added', 'ended']));
  expect(feed.of(foreign.id)).toEqual([]);
  await there.of(DEFAULT_TENANT).jobs.cancel(first.id);
});

test('who has stopped listening is told nothing, and nobody looks for them', async () => {
  const feed = await listening();
  feed[Symbol.dispose]();
  using other = await listening();
  const { job } = await there.of(DEFAULT_TENANT).jobs.add(wish());
  await vi.waitFor(() => expect(other.of(job.id)).toEqual(['added']));
  expect(feed.changes).toEqual([]);
  await there.of(DEFAULT_TENANT).jobs.cancel(job.id);
});

test('a job is found by its number, by the tenant that has it alone', async () => {
  const { job } = await there.of(DEFAULT_TENANT).jobs.add(wish());
  const number = numberOfJob(job.id);
  expect((await here.of(DEFAULT_TENANT).jobs.numbered(number))?.id).toBe(job.id);
  expect(await here.of(DEFAULT_TENANT).jobs.numbered(number + 1)).toBeUndefined();
  expect(await here.of('acme').jobs.numbered(number)).toBeUndefined();
});
