// Decisions about executors, on made-up ones.
import { expect, test } from 'vitest';
import {
  fillable,
  givesWayToItsOwn,
  givesWayToOthers,
  type Held,
  Holding,
  hasRoom,
  idlest,
  type Wish,
} from '../../../runtimes/isolate/claims.ts';

const NOW = 10_000;
const BOUNDS = { most: 12, perTenant: 4 };

function held(trust: string, lane: 'brief' | 'long', taken = 1, more: Partial<Held> = {}): Held {
  const ages = { usedAt: NOW - 1_000, claimedAt: NOW - 5_000 };
  return { trust, lane, taken, alone: false, isReady: true, isGone: false, retiring: false, ...ages, ...more };
}

const times = (count: number, make: () => Held) => Array.from({ length: count }, make);
const brief = (trust: string): Wish => ({ trust, lane: 'brief', alone: false, depth: 0 });
const long = (trust: string): Wish => ({ trust, lane: 'long', alone: false, depth: 0 });
const alone = (trust: string): Wish => ({ trust, lane: 'long', alone: true, depth: 0 });

test('nobody is given an executor of another circle, a retiring one, or one that is gone', () => {
  const one = held('a', 'long');
  expect(hasRoom(one, long('a'))).toBe(true);
  for (const wish of [long('b'), brief('a'), alone('a')]) expect(hasRoom(one, wish)).toBe(false);
  for (const more of [{ retiring: true }, { isGone: true }]) {
    expect(hasRoom(held('a', 'long', 1, more), long('a'))).toBe(false);
  }
  expect(hasRoom(held('a', 'long', 8), long('a'))).toBe(false);
  expect(hasRoom(held('a', 'brief', 800), brief('a'))).toBe(true);
});

test('what others wait for finds room beside them, also where nothing new is taken any more', () => {
  const full = held('a', 'long', 8, { retiring: true });
  const deep = (depth: number): Wish => ({ ...long('a'), depth });
  expect([0, 1, 2].map((depth) => hasRoom(full, deep(depth)))).toEqual([false, true, true]);
  expect([1, 2].map((depth) => hasRoom({ ...full, taken: 16 }, deep(depth)))).toEqual([false, true]);
  for (const more of [{ alone: true }, { isGone: true }]) expect(hasRoom({ ...full, ...more }, deep(1))).toBe(false);
  expect(hasRoom(full, { ...long('b'), depth: 1 })).toBe(false);
});

test('the bound of a circle keeps one for the other lane, and one for runs that share', () => {
  const long3 = new Holding(
    times(3, () => held('a', 'long')),
    'a',
  );
  expect([long3.isWithin(long('a'), BOUNDS), long3.isWithin(brief('a'), BOUNDS)]).toEqual([false, true]);
  const alone2 = new Holding(
    times(2, () => held('a', 'long', 1, { alone: true, retiring: true })),
    'a',
  );
  expect([alone2.isWithin(alone('a'), BOUNDS), alone2.isWithin(long('a'), BOUNDS)]).toEqual([false, true]);
  const all = [...times(2, () => held('a', 'long')), ...times(2, () => held('a', 'brief'))];
  expect([brief, long, alone].map((wish) => new Holding(all, 'a').isWithin(wish('a'), BOUNDS))).toEqual([
    false,
    false,
    false,
  ]);
});

test('nobody takes a further one of the last that are free, but everybody a first', () => {
  const all = [
    ...times(4, () => held('a', 'long')),
    ...times(4, () => held('b', 'long')),
    ...times(3, () => held('c', 'long')),
  ];
  expect(new Holding(all, 'd').mayHave(long('d'), BOUNDS)).toBe(true);
  expect(new Holding([...all.slice(0, 8), ...times(2, () => held('d', 'brief'))], 'd').mayHave(long('d'), BOUNDS)).toBe(
    true,
  );
  expect(new Holding([...all.slice(0, 9), ...times(2, () => held('d', 'brief'))], 'd').mayHave(long('d'), BOUNDS)).toBe(
    false,
  );
  expect(new Holding([...all, held('d', 'brief')], 'e').mayHave(long('e'), BOUNDS)).toBe(false);
  // Those that do nothing can be had.
  expect(new Holding([...all, held('d', 'brief', 0)], 'e').mayHave(long('e'), BOUNDS)).toBe(true);
});

test('how many more could be filled', () => {
  expect(fillable([brief('a'), brief('a'), brief('a')])).toBe(1);
  expect(fillable(Array.from({ length: 9 }, () => long('a')))).toBe(2);
  expect(fillable([brief('a'), long('a'), alone('a'), alone('a')])).toBe(4);
});

test('the least recently used gives way, if it is not in use or just was', () => {
  const all = [
    held('a', 'long', 1, { usedAt: NOW - 9_000 }),
    held('b', 'long', 0, { usedAt: NOW - 7_000 }),
    held('c', 'long', 0, { usedAt: NOW - 8_000 }),
    held('d', 'long', 0, { usedAt: NOW - 9_000, isGone: true }),
    { ...held('e', 'long', 0, { usedAt: NOW - 9_500 }), trust: undefined, lane: 'spare' as const },
  ];
  expect(idlest(all, { brief: NOW, long: NOW - 100 })).toBe(all[2]);
  expect(idlest(all, { brief: NOW, long: NOW - 8_500 })).toBeUndefined();
});

test('a circle at its own bound gives up what it has on the other lane, when that does nothing', () => {
  const all = [held('a', 'long'), held('a', 'long'), held('a', 'brief'), held('a', 'brief', 0)];
  expect(givesWayToItsOwn(all, long('a'), BOUNDS)).toBe(all[3]);
  expect(givesWayToItsOwn(all.slice(0, 3), long('a'), BOUNDS)).toBeUndefined();
  // The bound of the lane itself is not helped by the other lane.
  const three = [...times(3, () => held('a', 'long')), held('a', 'brief', 0)];
  expect(givesWayToItsOwn(three, long('a'), BOUNDS)).toBeUndefined();
});

test('a run that has to be alone gets the place of an executor that is shared by the fewest', () => {
  const all = [held('a', 'long', 3), held('a', 'long', 2), held('a', 'long', 8), held('a', 'brief')];
  expect(givesWayToItsOwn(all, alone('a'), BOUNDS)).toBe(all[1]);
});

test('with all busy, the circle with the most gives up one, to whoever has less', () => {
  const all = [...times(3, () => held('a', 'long', 4)), ...times(2, () => held('b', 'long')), held('c', 'long')];
  expect(givesWayToOthers(all, brief('d'), NOW)?.trust).toBe('a');
  expect(givesWayToOthers(all, long('c'), NOW)?.trust).toBe('a');
  // To have two where the other has two would be no more even than before.
  expect(givesWayToOthers(all, long('b'), NOW)).toBeUndefined();
  expect(givesWayToOthers(all, brief('b'), NOW)?.trust).toBe('a');
});

test('where all have the same, a circle can only have the one lane for the other', () => {
  const all = [held('a', 'long'), held('b', 'long')];
  expect(givesWayToOthers(all, brief('a'), NOW)).toBe(all[0]);
  expect(givesWayToOthers(all, long('a'), NOW)).toBeUndefined();
  expect(givesWayToOthers(all, alone('a'), NOW)).toBe(all[0]);
});

test('nobody gives up what was given to them just now, nor twice', () => {
  const recent = held('a', 'long', 1, { claimedAt: NOW - 10 });
  const retiring = held('a', 'long', 1, { retiring: true });
  expect(givesWayToOthers([recent, recent], brief('b'), NOW)).toBeUndefined();
  expect(givesWayToOthers([retiring, retiring], brief('b'), NOW)).toBeUndefined();
});
