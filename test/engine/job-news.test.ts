import { expect, test, vi } from 'vitest';
import { JobNews } from '../../src/engine/job-news.ts';

test('a change of a tenant is heard by those who wait for its jobs, and by nobody else', async () => {
  using news = await JobNews.open({ onJobs: async () => ({ [Symbol.dispose]() {} }) });
  const [mine, gone, other] = [vi.fn(), vi.fn(), vi.fn()];
  using _mine = news.watch('acme', 'one', mine);
  using _other = news.watch('beta', 'two', other);
  news.watch('acme', 'one', gone)[Symbol.dispose]();
  news.hearTenant('acme');
  expect([mine, gone, other].map((one) => one.mock.calls.length)).toEqual([1, 0, 0]);
  expect(news.waiting).toBe(2);
});
