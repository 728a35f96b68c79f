// What an embedded plugin may do to take memory for itself: conformance cases 11 and 36 to 65, over HTTP.
import { strict as assert } from 'node:assert';
import { afterAll, beforeAll, test } from 'vitest';
import { Coop, type HostileCase, pluginsOf } from '../support/canary.ts';
import type { Answer } from '../support/client.ts';

const MEMORY = 'plugin_memory_exceeded';

const rangeError = ({ body }: Answer) => assert.equal(body.pluginError.name, 'RangeError');
const referenceError = ({ body }: Answer) => assert.equal(body.pluginError.name, 'ReferenceError');

const CASES: HostileCase[] = [
  { name: '11: an array from a length of four billion', code: 'Array.from({ length: 2 ** 32 - 1 });', expect: MEMORY },
  {
    name: '36: a string that doubles until there can be no longer one fails as a script does',
    code: `let s = 'x'; for (;;) s += s;`,
    expect: 'plugin_error',
    check({ body }) {
      assert.equal(body.pluginError.name, 'RangeError');
      assert.equal(body.pluginError.message, 'Invalid string length');
    },
  },
  {
    name: '36: long strings, flattened and kept',
    code: `const kept = []; for (let i = 0; ; i += 1) { const s = 'ab'.repeat(1e6) + i; s.charCodeAt(5); kept.push(s + 'x'); /x/.test(kept[i]); }`,
    expect: MEMORY,
  },
  { name: '37: an array of objects', code: 'const a = []; for (;;) a.push({ a: 1 });', expect: MEMORY },
  { name: '37: an array of numbers', code: 'const a = []; for (;;) a.push(0.5 + a.length);', expect: MEMORY },
  { name: '38: a map', code: 'const m = new Map(); for (let i = 0; ; i += 1) m.set(i, i);', expect: MEMORY },
  { name: '39: a set', code: 'const s = new Set(); for (let i = 0; ; i += 1) s.add(i);', expect: MEMORY },
  {
    name: '40: an object of ten million keys',
    code: `const o = {}; for (let i = 0; i < 1e7; i += 1) o['k' + i] = i;`,
    expect: MEMORY,
  },
  {
    name: '41: a sparse array that is filled from its end',
    code: 'const a = new Array(1e8); for (let i = 1e8 - 1; i >= 0; i -= 1) a[i] = i;',
    expect: MEMORY,
  },
  {
    name: '42: a long string in pieces',
    code: `'x'.repeat(2 ** 28).split('');`,
    expect: [MEMORY, 'plugin_cpu_exceeded'],
  },
  { name: '44: JSON of many numbers', code: `JSON.parse('[' + '0,'.repeat(5e7) + '0]');`, expect: MEMORY },
  {
    name: '46: a regular expression with many matches',
    code: `const a = []; for (;;) a.push('ab'.repeat(1e6).match(/a|b/g));`,
    expect: MEMORY,
  },
  {
    name: '48: typed arrays end in an error that the plugin may handle',
    code: 'const a = []; for (;;) a.push(new Uint8Array(1e6));',
    expect: 'plugin_error',
    check: rangeError,
  },
  {
    name: '49: there is no memory of WebAssembly',
    code: 'new WebAssembly.Memory({ initial: 1600 });',
    expect: 'plugin_error',
    check: referenceError,
  },
  {
    name: '50: and no instance that could grow its own',
    code: 'new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])));',
    expect: 'plugin_error',
    check: referenceError,
  },
  {
    name: '52: a buffer that grows',
    code: `const b = new ArrayBuffer(1, { maxByteLength: 2 ** 31 - 1 }); b.resize(2 ** 31 - 1); new Uint8Array(b).fill(1);`,
    expect: [MEMORY, 'plugin_error'],
  },
  {
    name: '53: there are no shared buffers',
    code: 'new SharedArrayBuffer(1, { maxByteLength: 2 ** 31 });',
    expect: 'plugin_error',
    check: referenceError,
  },
  {
    name: '55: promises that never settle, kept',
    code: 'const a = []; for (;;) a.push(new Promise(() => {}));',
    expect: MEMORY,
  },
  {
    name: '55: promises that wait for one that never settles',
    code: 'const never = new Promise(() => {}); for (;;) never.then(() => 1);',
    expect: MEMORY,
  },
  { name: '56: symbols for ever', code: `for (let i = 0; ; i += 1) Symbol.for('s' + i);`, expect: MEMORY },
  {
    name: '57: traces of deep stacks',
    code: `Error.stackTraceLimit = 1e9; const a = []; const f = (n) => (n > 0 ? f(n - 1) : a.push(new Error('x')));
      for (;;) f(2000);`,
    expect: MEMORY,
  },
  {
    name: '59: the segments of a long text',
    code: `const a = []; const s = new Intl.Segmenter('en', { granularity: 'word' });
      for (;;) for (const one of s.segment('ab cd '.repeat(1000))) a.push(one);`,
    expect: MEMORY,
  },
  {
    name: '61: there is no way to make a context',
    code: '({ Output: [typeof ShadowRealm, typeof ivm, typeof require] });',
    expect: 'ok',
    check: ({ body }) => assert.deepEqual(body.output, ['undefined', 'undefined', 'undefined']),
  },
  {
    name: '62: recursion without an end is an error of the script',
    code: 'const f = () => f() + 1; f();',
    expect: 'plugin_error',
    check: rangeError,
  },
  {
    name: '64: a proxy of a proxy of a proxy',
    code: 'let p = {}; for (;;) p = new Proxy(p, {});',
    expect: MEMORY,
  },
  {
    name: '64: a million proxies, asked for something',
    code: 'let p = {}; for (let i = 0; i < 2e5; i += 1) p = new Proxy(p, {}); ({ Output: p.a });',
    expect: 'plugin_error',
    check: rangeError,
  },
  {
    name: '65: an output a million deep',
    code: 'let o = {}; for (let i = 0; i < 1e6; i += 1) o = { o }; ({ Output: o });',
    limits: { heapMb: 128 },
    expect: 'plugin_invalid_output',
  },
  {
    name: '65: an error a million causes deep',
    code: `let e = new Error('x'); for (let i = 0; i < 1e4; i += 1) e = new Error('x', { cause: e }); throw e;`,
    expect: 'plugin_error',
  },
];

/** Ended by the heap of the isolate, or by what the executor weighs as a whole: either is named as the limit. */
const NAMES = ['heapMb', 'residentMb'];

let coop: Coop;

beforeAll(async () => {
  const limits = { cpuMs: 15_000, wallMs: 20_000, heapMb: 128, residentMb: 256 };
  coop = await Coop.start(pluginsOf(CASES), { limits });
});

afterAll(() => coop[Symbol.asyncDispose]());

CASES.forEach((one, at) => {
  const check = ({ body }: Answer) => assert(NAMES.includes(body.limit.name), JSON.stringify(body));
  const limits = { heapMb: 48 };
  test(one.name, () => coop.runCase(`case-${at}`, { limits, ...(one.expect === MEMORY ? { check } : {}), ...one }));
});

// The last, as it is about all that came before.
test('the memory of the executors is soon what it was before', () => coop.assertMemoryIsBack(), 20_000);
