import { strict as assert } from 'node:assert';
import { expect, test } from 'vitest';
import { Installations } from '../../src/engine/installations.ts';

const never = new AbortController().signal;

/** Installations that end when the test says so. */
function start() {
  const installations = new Installations();
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const install = (tenant: string, name: string, signal = never) =>
    installations.inTurn(tenant, signal, () => {
      begun.push(name);
      const { promise, resolve } = Promise.withResolvers<void>();
      ends.push(resolve);
      return promise;
    });
  /** Ends the one that is under way, or the first that will be. */
  const end = async () => {
    await expect.poll(() => ends.length).toBe(1);
    ends.shift()?.();
  };
  return { begun, install, end };
}

test('one at a time, and tenants take turns', async () => {
  const { begun, install, end } = start();
  const all = [install('a', 'a1'), install('a', 'a2'), install('b', 'b1'), install('b', 'b2'), install('c', 'c1')];
  for (const _ of all) await end();
  await Promise.all(all);
  expect(begun).toEqual(['a1', 'a2', 'b1', 'c1', 'b2']);
});

test('a tenant has two at once, and is told whose bound that is', async () => {
  const { install, end } = start();
  const two = [install('a', '1'), install('a', '2')];
  await assert.rejects(install('a', '3'), {
    code: 'concurrency_limited',
    details: {
      limit: { name: 'installations', allowed: 2, observed: 3, unit: 'count' },
      retryable: true,
      retryAfterMs: 1_000,
    },
  });
  await end();
  await two[0];
  two.push(install('a', '4'));
  for (const one of two.slice(1)) {
    await end();
    await one;
  }
});

test('whoever goes away while it waits gives its place up, and one that fails lets the next one in', async () => {
  const { begun, install, end } = start();
  const leaving = new AbortController();
  const first = install('a', '1');
  const second = install('a', '2', leaving.signal);
  leaving.abort(new Error('gone'));
  await assert.rejects(second, /gone/);
  const third = install('a', '3');
  await end();
  await first;
  await expect.poll(() => begun).toEqual(['1', '3']);
  await end();
  await third;

  const installations = new Installations();
  await assert.rejects(
    installations.inTurn('a', never, () => Promise.reject(new Error('broken'))),
    /broken/,
  );
  expect(await installations.inTurn('a', never, async () => 'fine')).toBe('fine');
});
