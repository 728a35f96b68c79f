import { expect, test } from 'vitest';
import { Redaction } from '../../src/gateway/redaction.ts';

const KEY = 'k/ey&"1<2>.$&';

test.each([
  ['as it is', `${KEY} and ${KEY}`, 'ours and ours'],
  ['in JSON', JSON.stringify({ k: KEY }), '{"k":"ours"}'],
  ['in JSON that has more escaped, as Go has it', JSON.stringify(`\n${KEY}`).replace(/[&<>]/g, unicode), '"\\nours"'],
  ['in JSON that has slashes escaped', JSON.stringify(KEY).replaceAll('/', '\\/'), '"ours"'],
  ['in JSON that has everything escaped', `"${Array.from(KEY, unicode).join('')}"`, '"ours"'],
  [
    'in capital hexadecimal',
    `"${Array.from(KEY, unicode)
      .join('')
      .replace(/[a-f]/g, (one) => one.toUpperCase())}"`,
    '"ours"',
  ],
  ['in JSON in JSON', JSON.stringify(JSON.stringify({ k: KEY })), '"{\\"k\\":\\"ours\\"}"'],
  ['in JSON in JSON, as Go has it', JSON.stringify(JSON.stringify(KEY).replace(/[&<>]/g, unicode)), '"\\"ours\\""'],
  ['in a URL', `http://host/?apikey=${encodeURIComponent(KEY)}&x`, 'http://host/?apikey=ours&x'],
  ['next to an escape', `"\\\\${JSON.stringify(KEY).slice(1)}`, '"\\\\ours"'],
])('a credential is found %s', (_, text, expected) => {
  expect(new Redaction(KEY).of(text, 'ours')).toBe(expected);
});

test('what is said of its kind is not needed to find it', () => {
  const redaction = new Redaction('Bearer eyJhbGci.x-y_z');
  expect(redaction.of('"Bearer eyJhbGci.x-y_z" eyJhbGci.x-y_z bearer eyJhbGci.x-y_z', '*')).toBe('"*" * bearer *');
  expect(redaction.of('"Bearer eyJhbGciOx-y_z"', '*')).toBe('"Bearer eyJhbGciOx-y_z"');
});

test('what is put in its place is a part of the JSON, and no pattern', () => {
  expect(new Redaction(KEY).of(JSON.stringify(KEY), '$&"\\')).toBe(JSON.stringify('$&"\\'));
  expect(new Redaction(KEY).of(JSON.stringify(`\n${KEY}`), '$&"\\')).toBe(JSON.stringify('\n$&"\\'));
});

// Goal: a text that is made to be hard to search costs no more than its length.
// Method: texts of a megabyte that begin like it over and over; a search that goes back takes minutes for them.
test('no text makes the search go back over it', () => {
  const redaction = new Redaction('""""//aaaaaaaa');
  for (const part of ['\\', '\\"', '"', '\\/', 'a', '""""//', '\\u0022', '\\\\\\\\\\\\\\"']) {
    const text = `\\${part.repeat(1_000_000 / part.length)}`;
    expect(redaction.of(text, '*')).toBe(text);
  }
}, 10_000);

function unicode(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
