import { expect, test } from 'vitest';
import { plugin, startFakeService } from '../support/fake.ts';

test('a tenant with a quota of requests is told what is left, and refused beyond it; others are not counted', async () => {
  await using service = await startFakeService({ tenants: { slow: [plugin()] } });
  await service.ask('POST', '/v1/tenants', { body: { id: 'slow', quotas: { requestsPerSecond: 3 } } });

  const first = await service.get('/t/slow/v1/plugins');
  expect([first.status, first.headers.get('ratelimit-policy')]).toEqual([200, '"quotas.requestsPerSecond";q=3']);
  expect(first.headers.get('ratelimit')).toMatch(/^"quotas.requestsPerSecond";r=2;t=1$/);

  // Whatever second they fall into, so many do not fit.
  const all = await Promise.all(Array.from({ length: 30 }, () => service.get('/t/slow/v1/plugins')));
  const refused = all.find(({ status }) => status === 429);
  expect(refused?.body).toMatchObject({ code: 'rate_limited', retryable: true });
  expect(refused?.body.limit).toMatchObject({ name: 'quotas.requestsPerSecond', allowed: 3, unit: 'count' });
  expect(refused?.body.limit.observed).toBeGreaterThan(3);
  expect(refused?.headers.get('retry-after')).toBe('1');
  expect(refused?.headers.get('ratelimit-policy')).toBe('"quotas.requestsPerSecond";q=3');
  expect(refused?.headers.get('ratelimit')).toBe('"quotas.requestsPerSecond";r=0;t=1');

  const free = await Promise.all(Array.from({ length: 30 }, () => service.get('/v1/plugins')));
  expect(free.every(({ status, headers }) => status === 200 && headers.get('ratelimit') === null)).toBe(true);

  await service.ask('PATCH', '/v1/tenants/slow', { body: { quotas: { requestsPerSecond: null } } });
  const lifted = await Promise.all(Array.from({ length: 30 }, () => service.get('/t/slow/v1/plugins')));
  expect(lifted.every(({ status }) => status === 200)).toBe(true);
});
