import { expect, test } from 'vitest';
import { Places } from '../../src/core/places.ts';

test('what is added is found under its number until it is deleted', () => {
  const places = new Places<string>();
  const a = places.add('a');
  const b = places.add('b');
  expect([places.get(a), places.get(b), places.size]).toEqual(['a', 'b', 2]);
  places.delete(a);
  expect([places.get(a), places.get(b), places.size]).toEqual([undefined, 'b', 1]);
  expect([...places]).toEqual(['b']);
});

test('a place is used again, a number only after tens of thousands of others', () => {
  const places = new Places<number>();
  const seen = new Set<number>();
  const take = () => {
    const number = places.add(0);
    places.delete(number);
    expect(places.get(number)).toBeUndefined();
    expect(number).toBeLessThanOrEqual(0xffff_ffff);
    seen.add(number);
  };
  for (let i = 0; i < 65_535; i += 1) take();
  expect(seen.size).toBe(65_535);
  for (let i = 0; i < 5; i += 1) take();
  expect(seen.size).toBe(65_535);
});

test('deleting twice gives one place back', () => {
  const places = new Places<string>();
  const a = places.add('a');
  places.delete(a);
  places.delete(a);
  const b = places.add('b');
  places.delete(a);
  const c = places.add('c');
  expect([places.get(b), places.get(c), places.size]).toEqual(['b', 'c', 2]);
});

test('there is an end to it', () => {
  const places = new Places<number>();
  for (let i = 0; i < 65_536; i += 1) places.add(i);
  expect(() => places.add(0)).toThrow(RangeError);
});
