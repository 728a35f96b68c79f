import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Pace } from '../../src/core/pace.ts';

test('pieces are done one at a time, with what is ready in between, and who has many takes turns with who has few', async () => {
  const pace = new Pace();
  const done: string[] = [];
  const piece = async (who: string, name: string) => {
    await pace.turn(who);
    done.push(name);
  };
  const all = ['a1', 'a2', 'a3', 'b1'].map((name) => piece(name.charAt(0), name));
  const other = (async () => {
    for (let i = 0; i < 3; i += 1) {
      await turn();
      done.push('-');
    }
  })();
  await Promise.all([...all, other]);
  expect(done.filter((one) => one !== '-')).toEqual(['a1', 'b1', 'a2', 'a3']);
  // Nobody has to wait for two of them.
  expect(done.join(' ')).not.toMatch(/a1 b1 a2|b1 a2 a3/);
  await piece('c', 'c1');
  expect(done.at(-1)).toBe('c1');
});
