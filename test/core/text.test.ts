import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { cut } from '../../src/core/text.ts';

test('what is cut is marked, and keeps nothing else in memory', () => {
  expect([cut('short', 5), cut('longer', 5), cut('€uro', 2)]).toEqual(['short', 'longe…', '€u…']);
  // Half of a character is none.
  expect(cut('ab😀', 3).isWellFormed()).toBe(true);
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const used = () => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = used();
  const kept = Array.from({ length: 30 }, (_, at) => cut(Buffer.alloc(10_000_000, 97 + (at % 26)).toString(), 100));
  expect(used() - before).toBeLessThan(100_000_000);
  expect(kept).toHaveLength(30);
});
