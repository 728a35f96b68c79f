import assert from 'node:assert/strict';
import { test } from 'vitest';
import { Redaction } from '../../../runtimes/python/redaction.ts';
import { Words } from '../../../runtimes/python/words.ts';

test('words are found in one pass, however they overlap', () => {
  const words = new Words(['he', 'she', 'hers', 'abc', 'bcd']);
  assert.equal(words.replaced('ushers', '*'), 'u*');
  assert.equal(words.replaced('he she', '*'), '* *');
  assert.equal(words.replaced('xabcdx', '*'), 'x*x');
  assert.equal(words.replaced('abcbcd', '*'), '**');
  assert.equal(words.replaced('nothing', '*'), 'nothing');
  assert.equal(new Words([]).replaced('text', '*'), 'text');
});

test('against a search by hand, over texts of few letters', () => {
  let seed = 1;
  const letters = (most: number) => {
    let text = '';
    seed = (seed * 48_271) % 2_147_483_647;
    for (let length = seed % most; length >= 0; length--) {
      seed = (seed * 48_271) % 2_147_483_647;
      text += 'ab'[seed % 2];
    }
    return text;
  };
  for (let round = 0; round < 500; round++) {
    const words = [letters(4), letters(4), letters(6)];
    const text = letters(40);
    const covered = Array.from(text, (_, at) =>
      words.some((word) => Array.from(word, (_, k) => k).some((k) => text.startsWith(word, at - k) && at - k >= 0)),
    );
    const kept = (marked: string) => [...marked].filter((one) => one !== '*').join('');
    const byHand = [...text].filter((_, at) => !covered[at]).join('');
    assert.equal(kept(new Words(words).replaced(text, '*')), byHand, `${words} in ${text}`);
  }
});

test('a secret is taken out also as JSON and Python write it, and however it is made it costs no more', () => {
  const secrets = [
    'it\'s "so"',
    ...Array.from({ length: 30 }, (_, at) => `${'a'.repeat(100 + at)}b${'a'.repeat(100)}`),
  ];
  const redaction = new Redaction({ secrets: () => secrets });
  for (const text of [secrets[0] ?? '', JSON.stringify(secrets[0]), `{'key': 'it\\'s "so"'}`]) {
    assert.match(redaction.redacted(text), /\[redacted\]/);
  }
  // A look for one after the other took minutes for these.
  for (let line = 0; line < 50; line++) redaction.redacted('a'.repeat(16_384));
});
