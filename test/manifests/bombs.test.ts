import assert from 'node:assert/strict';
import { beforeAll, describe, test } from 'vitest';
import { load } from '../../src/manifests/stash.ts';

// Goal: no file of the size that we read costs more than a moment, whatever is in it.
// Method: run the loader itself, without the limits of the thread around it, warmed up as in a running service.
const SIZE = 256 * 1024;
const fill = (part: string) => part.repeat(Math.floor(SIZE / part.length));
const lines = (count: number, line: (index: number) => string) =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n');
const tenOf = (anchor: string) => `[${Array(10).fill(`*${anchor}`).join(', ')}]`;

const bombs: Record<string, { text: string; reason: RegExp }> = {
  'a billion laughs under a key that nobody knows': {
    text: `x: &a0 [lol]\n${lines(30, (i) => `y${i}: &a${i + 1} ${tenOf(`a${i}`)}`)}`,
    reason: /unknown key "x"/,
  },
  'a billion laughs in a list of texts': {
    text: `exec:\n- &a0 [lol]\n${lines(30, (i) => `- &a${i + 1} ${tenOf(`a${i}`)}`)}`,
    reason: /must be text/,
  },
  'merges of merges of merges': {
    text: `tasks:\n- &a0 {name: x}\n${lines(30, (i) => `- &a${i + 1} {<<: ${tenOf(`a${i}`)}}`)}`,
    reason: /expand to more than 50000 values/,
  },
  'one long text, many times': {
    text: `exec: [&a "${'x'.repeat(100_000)}", ${'*a,'.repeat(10_000)}]`,
    reason: /more than 1000000 characters/,
  },
  'brackets inside of brackets': { text: fill('['), reason: /more than 64 levels/ },
  'mappings inside of mappings': { text: fill('{a: '), reason: /more than 64 levels/ },
  'lists inside of lists': { text: fill('- '), reason: /more than 64 levels/ },
  'keys that are keys of keys': { text: fill('? '), reason: /more than 64 levels/ },
  'deep indents': { text: lines(700, (i) => `${' '.repeat(i)}a:`), reason: /more than 64 levels/ },
  'very many keys': { text: lines(30_000, (i) => `k${i}:`), reason: /more than 50000 parts/ },
  'very many comments': { text: fill('#\n'), reason: /more than 50000 parts/ },
  'nothing but anchors': { text: fill('&a '), reason: /more than 50000 parts/ },
  'nothing but aliases': { text: fill('*a '), reason: /more than 50000 parts/ },
  'nothing but closing brackets': { text: fill(']'), reason: /not valid YAML/ },
  'nothing but commas': { text: `[${fill(',')}`, reason: /more than 50000 parts/ },
  'nothing but directives': { text: fill('%A\n'), reason: /only the directives/ },
  'nothing but ends of documents': { text: fill('...\n'), reason: /more than 50000 parts/ },
  'nothing but exclamation marks': { text: fill('!'), reason: /not valid YAML/ },
};

describe('a bomb is refused at once, with a reason:', () => {
  beforeAll(() => {
    for (const { text } of Object.values(bombs)) verdictOf(text);
  });

  for (const [name, { text, reason }] of Object.entries(bombs)) {
    test(name, () => {
      const startedAt = performance.now();
      const verdict = verdictOf(text);
      const ms = performance.now() - startedAt;

      assert(!verdict.ok, 'it was accepted');
      assert.match(verdict.refusal.reason, reason);
      assert.notEqual(verdict.refusal.line, null);
      // Some tens of ms here; without the limits they take seconds, or for ever.
      assert(ms < 1_000, `${ms} ms`);
    });
  }
});

function verdictOf(text: string) {
  return load({ file: 'stash/bomb.yml', path: '/plugins/stash/bomb.yml', bytes: Buffer.from(text) });
}
