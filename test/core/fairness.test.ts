import { expect, test } from 'vitest';
import { first, Lines, mayTake } from '../../src/core/fairness.ts';

function linesOf(words: string): Lines<string, string> {
  const lines = new Lines<string, string>();
  for (const word of words.split(' ')) lines.add(word.charAt(0), word);
  return lines;
}

function drained(lines: Lines<string, string>, closed = ''): string {
  const order: string[] = [];
  for (;;) {
    const next = lines.next((line, key) => (closed.includes(key) ? undefined : first(line)));
    if (next === undefined) return order.join(' ');
    order.push(next);
  }
}

test('lines take turns, and in each who came first is first', () => {
  expect(drained(linesOf('a1 a2 a3 a4 b1 c1 c2'))).toBe('a1 b1 c1 a2 c2 a3 a4');
});

test('a line that is passed over keeps its turn', () => {
  const lines = linesOf('a1 a2 b1 b2');
  expect(drained(lines, 'a')).toBe('b1 b2');
  lines.add('b', 'b3');
  expect(drained(lines)).toBe('a1 b3 a2');
});

test('who leaves a line is not served, and an empty line is none', () => {
  const lines = linesOf('a1 a2 b1');
  lines.delete('a', 'a1');
  lines.delete('b', 'b1');
  lines.delete('b', 'b1');
  lines.delete('c', 'c1');
  expect([lines.size, [...lines].length]).toEqual([1, 1]);
  expect(drained(lines)).toBe('a2');
  expect([lines.size, [...lines].length]).toEqual([0, 0]);
});

test('the position is the turn in which one is served', () => {
  const words = 'a1 a2 a3 b1 c1 c2 d1 a4 d2 d3';
  const order = drained(linesOf(words)).split(' ');
  const lines = linesOf(words);
  for (const word of words.split(' ')) {
    expect([word, lines.position(word.charAt(0), word)]).toEqual([word, order.indexOf(word) + 1]);
  }
});

test('whoever takes all that they may leave something to those who come after them', () => {
  const most = 12;
  const had: number[] = [];
  let free = most;
  for (let taker = 0; taker < 4; taker += 1) {
    let mine = 0;
    while (mayTake(mine, free)) [mine, free] = [mine + 1, free - 1];
    had.push(mine);
  }
  expect(had).toEqual([8, 3, 1, 0]);
  expect(mayTake(0, 0)).toBe(false);
  expect(mayTake(0, 1)).toBe(true);
});
