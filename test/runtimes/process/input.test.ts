// What a raw plugin finds on standard input, byte for byte.
import { strict as assert } from 'node:assert';
import { test } from 'vitest';
import { rawInput } from '../../../runtimes/process/input.ts';
import { serverConnection } from '../../../src/core/invocation.ts';

const connection = serverConnection(
  { scheme: 'http', host: '0.0.0.0', port: 9999, dir: '/stash' },
  'MTcw',
  '/plugins/demo',
);

function argsOf(args: Record<string, unknown>): string {
  return rawInput({ connection, args })
    .replace(/^.*\},"args":/, '')
    .slice(0, -1);
}

test('it is one object, its connection in the order of Stash, and no newline', () => {
  assert.equal(
    rawInput({ connection, args: { mode: 'hook' } }),
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
