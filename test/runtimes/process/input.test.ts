// What a raw plugin finds on standard input, byte for byte.
import { strict as assert } from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'vitest';
import { opened, rawInput } from '../../../runtimes/process/input.ts';
import { serverConnection } from '../../../src/core/invocation.ts';

const connection = serverConnection(
  { scheme: 'http', host: '0.0.0.0', port: 9999, dir: '/stash' },
  'MTcw',
  '/plugins/demo',
);

function argsOf(args: Record<string, unknown>): string {
  return [...rawInput({ connection, args })]
    .join('')
    .replace(/^.*\},"args":/, '')
    .slice(0, -1);
}

test('it is one object, its connection in the order of Stash, and no newline', () => {
  assert.equal(
    [...rawInput({ connection, args: { mode: 'hook' } })].join(''),
    '{"server_connection":{"Scheme":"http","Host":"0.0.0.0","Port":9999,"SessionCookie":{"Name":"session",' +
      '"Value":"MTcw","Path":"","Domain":"","Expires":"0001-01-01T00:00:00Z","RawExpires":"","MaxAge":0,' +
      '"Secure":false,"HttpOnly":false,"SameSite":0,"Raw":"","Unparsed":null},"Dir":"/stash",' +
      '"PluginDir":"/plugins/demo"},"args":{"mode":"hook"}}',
  );
});

test('maps are sorted by key, at every depth, by bytes', () => {
  assert.equal(argsOf({ b: 1, a: { d: [{ z: 1, y: 2 }], c: 2 } }), '{"a":{"c":2,"d":[{"y":2,"z":1}]},"b":1}');
  assert.equal(argsOf({ 10: 1, 9: 2, B: 3, a: 4 }), '{"10":1,"9":2,"B":3,"a":4}');
  // In UTF-16 the pair of a smiley comes before U+FF41, in UTF-8 behind it.
  assert.equal(argsOf({ '\u{1f600}': 1, '\uff41': 2 }), '{"\uff41":2,"\u{1f600}":1}');
});

test('text is escaped as Go escapes it', () => {
  assert.equal(
    argsOf({ t: '<a href="x">&\u2028\u2029\u0001\n\t\\é\u007f\ud800' }),
    '{"t":"\\u003ca href=\\"x\\"\\u003e\\u0026\\u2028\\u2029\\u0001\\n\\t\\\\é\u007f\ufffd"}',
  );
  assert.equal(argsOf({ '<k>': 1 }), '{"\\u003ck\\u003e":1}');
});

test('values are what they are in JSON', () => {
  const args = { a: null, b: true, c: -0, d: 1e21, e: 1e-7, f: [], g: {}, h: undefined, i: '' };
  assert.equal(argsOf(args), '{"a":null,"b":true,"c":-0,"d":1e+21,"e":1e-7,"f":[],"g":{},"i":""}');
  assert.equal(argsOf(JSON.parse('{"__proto__":{"a":1}}')), '{"__proto__":{"a":1}}');
});

// What is large comes in pieces, and looks as if it had come in one.
const random = (count: number) => Array.from({ length: count }, (_, at) => (at * 7919) % 100_003);
const LARGE: Record<string, Record<string, unknown>> = {
  'a long text': { t: 'abc'.repeat(100_000) },
  'pairs across every border': { t: `x${'\u{1f600}'.repeat(50_000)}`, u: '\u{1f600}'.repeat(50_000) },
  'a long key': { ['k'.repeat(100_000)]: 1, a: 2 },
  'many numbers': { n: random(100_000) },
  'many objects': { n: random(20_000).map((b) => ({ b, a: [`${b}`, null, {}, []] })) },
  'many keys': Object.fromEntries(random(50_000).map((n) => [`k${n}`, n])),
  'many keys that have surrogates': Object.fromEntries(
    random(10_000).map((n) => [n % 2 ? `\uff41${n}` : `\u{1f600}${n}`, n]),
  ),
};

for (const [what, args] of Object.entries(LARGE)) {
  test(`${what}: the same text, in pieces that are short in making`, () => {
    assert.equal(argsOf(args), JSON.stringify(inOrder(args)));
    const pieces = [...rawInput({ connection, args })];
    assert(pieces.length > 4, `${pieces.length} pieces`);
    for (const piece of pieces) assert(piece.length < 70_000, `a piece of ${piece.length}`);
    // Sorting has nothing to show before its end: then there are empty ones.
    if (what.startsWith('many keys')) assert(pieces.filter((piece) => piece === '').length > 4);
  });
}

test('others get their turn while a large input is written', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'isopod-input-'));
  let turns = 0;
  let done = false;
  const count = () => {
    turns++;
    if (!done) setImmediate(count);
  };
  setImmediate(count);
  const args = { n: random(1_000_000) };
  await using file = await opened(rawInput({ connection, args }), folder);
  done = true;
  assert.equal((await file.stat()).size, [...rawInput({ connection, args })].join('').length);
  assert(turns > 50, `${turns} turns`);
  await rm(folder, { recursive: true });
});

/** With all maps sorted by key, for an ordinary encoder to write down. */
function inOrder(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(inOrder);
  const members = Object.entries(value).sort(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  return Object.fromEntries(members.map(([key, one]) => [key, inOrder(one)]));
}
