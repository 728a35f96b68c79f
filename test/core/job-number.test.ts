import { expect, test } from 'vitest';
import { idsNumbered, isOurNumber, jobNumberIn, numberOfJob } from '../../src/core/job-number.ts';
import { firstIdAt, JobIds, madeAt } from '../../src/store/jobs/job-id.ts';

const NOW = Date.UTC(2026, 5, 1);

test('the number of a job leads back to it, and to none that was made before or after', () => {
  const ids = new JobIds();
  const all = Array.from({ length: 5_000 }, (_, i) => ids.next(NOW + Math.floor(i / 2_000)));
  const numbers = all.map(numberOfJob);
  expect(new Set(numbers).size).toBe(all.length);
  for (const [at, number] of numbers.entries()) {
    expect(isOurNumber(number)).toBe(true);
    const { first, last } = idsNumbered(number);
    const found = all.slice(Math.max(0, at - 2), at + 3).filter((id) => first <= id && id <= last);
    expect(found).toEqual([all[at]]);
  }
});

test('ids are in the order in which they are made, when the clock stands still, and when it goes back', () => {
  const ids = new JobIds();
  const times = [...Array.from({ length: 9_000 }, () => NOW), NOW - 5_000, NOW - 1, NOW + 10];
  const all = times.map((time) => ids.next(time));
  expect(all).toEqual([...all].sort());
  for (const id of all) expect(madeAt(id)).toBeGreaterThanOrEqual(NOW);
  expect(madeAt(all.at(-1) as string)).toBe(NOW + 10);
});

test('the first id of a time is before all that are made then, and after those made before', () => {
  const [before, then] = [new JobIds().next(NOW - 1), new JobIds().next(NOW)];
  expect([before < firstIdAt(NOW), firstIdAt(NOW) <= then]).toEqual([true, true]);
  expect(madeAt(firstIdAt(NOW))).toBe(NOW);
});

test('a number is what is written in digits, and those of an application are small', () => {
  expect(['7', '0012', String(2 ** 62)].map(jobNumberIn)).toEqual([7, 12, 2 ** 62]);
  expect(['', ' 7', '7.0', '-7', '1e3', '7\n', 'x', '99999999999999999999'].map(jobNumberIn)).toEqual(
    Array(8).fill(null),
  );
  expect([0, 7, 2 ** 40 - 1, 2 ** 40, Number.MAX_SAFE_INTEGER, 2 ** 60].map(isOurNumber)).toEqual([
    false,
    false,
    false,
    true,
    true,
    false,
  ]);
});
