// What an embedded plugin may do to get out, to be taken for us, or to leave something behind: conformance cases 67
// to 81, over HTTP, beside canaries. What is called often is run in every way there is: alone, in a context made
// ahead, and in a frozen realm.
import { strict as assert } from 'node:assert';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Coop, codeOf, type HostileCase, pluginsOf } from '../support/canary.ts';
import type { Answer } from '../support/client.ts';

const ERROR = 'plugin_error';
const CPU = 'plugin_cpu_exceeded';
const LOOP = 'for (;;);';
const OK = 'ok';

const outputIs = (expected: unknown) => (answer: Answer) => assert.deepEqual(answer.body.output, expected);
const textHas = (part: string) => (answer: Answer) => assert(answer.text.includes(part), answer.text);
const errorIs = (name: string, message: string) => (answer: Answer) => {
  const { pluginError } = answer.body;
  assert.deepEqual({ name: pluginError.name, message: pluginError.message }, { name, message });
};

/** Everything that can be reached from the globals and from what a run is given, by any way there is. */
const WALK = `
  const seen = new Set();
  const found = [];
  const look = (value, path) => {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) return;
    seen.add(value);
    if (path.length > 40) return;
    const names = Reflect.ownKeys(value);
    for (const name of names) {
      let inner;
      let descriptor;
      try {
        descriptor = Reflect.getOwnPropertyDescriptor(value, name);
        inner = value[name];
      } catch { continue; }
      look(inner, path.concat(String(name)));
      look(descriptor.get, path.concat('get ' + String(name)));
      look(descriptor.set, path.concat('set ' + String(name)));
    }
    look(Reflect.getPrototypeOf(value), path.concat('[[Prototype]]'));
    for (const species of [Symbol.species, Symbol.for('nodejs.util.inspect.custom')]) {
      try { look(value[species], path.concat(String(species))); } catch {}
    }
    if (typeof value !== 'function') return;
    try {
      const escaped = value.constructor('return typeof process + typeof require + typeof module + typeof ivm')();
      if (typeof escaped === 'string' && escaped !== 'undefined'.repeat(4)) found.push(path.join('.'));
      // All functions are of this realm: those of another would have another Function.
      if (value.constructor === Function && value.constructor('return this')() !== globalThis) found.push('another realm at ' + path.join('.'));
    } catch (error) {
      if (!(error instanceof Error)) found.push('an error of another realm at ' + path.join('.'));
    }
  };
`;

const GLOBALS = `AggregateError Array ArrayBuffer AsyncDisposableStack BigInt BigInt64Array BigUint64Array Boolean
  DataView Date DisposableStack Error EvalError FinalizationRegistry Float16Array Float32Array Float64Array Function
  Infinity Int16Array Int32Array Int8Array Intl Iterator JSON Map Math NaN Number Object Promise Proxy RangeError
  ReferenceError Reflect RegExp Set String SuppressedError Symbol SyntaxError Temporal TypeError URIError Uint16Array
  Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakRef WeakSet console decodeURI decodeURIComponent encodeURI
  encodeURIComponent escape eval globalThis gql input isFinite isNaN log parseFloat parseInt undefined unescape util`
  .split(/\s+/)
  .sort();
/** Of these it depends on the engine whether they are there. */
const PERHAPS = ['Temporal', 'Float16Array', 'AsyncDisposableStack', 'DisposableStack', 'SuppressedError'];

const CASES: HostileCase[] = [
  {
    name: '67, 68: nothing that a plugin can reach leads to another realm or to the process',
    code: `${WALK}
      look(globalThis, []);
      look(input, ['input']);
      for (const make of [
        () => null.x, () => gql.Do({ toString() { throw new Error('x'); } }), () => gql.Do('{ a }'), () => gql.Do('x', 5),
        () => gql.Do('x', { f() {} }), () => new Array(-1), () => decodeURI('%'), () => eval('('), () => input.x.y,
        () => gql.Do(Symbol('x')), () => util.Sleep(Symbol('x')), () => util.Sleep({ valueOf() { throw new Error('x'); } }),
        () => log.Info({ toJSON() { null.x; } }), () => log.Progress(5n), () => { const f = () => f(); f(); },
      ]) {
        try { look(make(), [String(make)]); } catch (error) {
          look(error, [String(make)]);
          if (!(error instanceof Error)) found.push(String(make));
        }
      }
      const loading = import('node:fs');
      look(loading, ['import']);
      if (!(loading instanceof Promise)) found.push('import');
      loading.catch((error) => { look(error, ['import']); log.Info('found ' + JSON.stringify(found)); });
      look((function () { return this; })(), ['this']);
      look((function () { return arguments; })(), ['arguments']);
      look(async () => {}, ['async']);
      look(function* () {}, ['generator']);
      ({ Output: { found, many: seen.size > 600 } });`,
    expect: OK,
    check: outputIs({ found: [], many: true }),
  },
  {
    name: '67: the stack that prepareStackTrace is shown has no function, receiver or file of another realm in it',
    code: `
      const seen = [];
      Error.prepareStackTrace = (error, sites) => {
        for (const site of sites) {
          const [self, callee] = [site.getThis(), site.getFunction()];
          if (self !== undefined && !(self instanceof Object)) seen.push('this: ' + typeof self);
          if (callee !== undefined && callee.constructor !== Function) seen.push('function: ' + callee);
          if (String(site.getFileName()).startsWith('/')) seen.push('file: ' + site.getFileName());
        }
        return 'prepared';
      };
      const stacks = [new Error('x').stack];
      try { gql.Do(Symbol('x')); } catch (error) { stacks.push(error.stack); }
      try { log.Info({ toJSON() { stacks.push(new Error('y').stack); } }); } catch {}
      ({ Output: { seen, stacks } });`,
    expect: OK,
    check: outputIs({ seen: [], stacks: ['prepared', 'prepared', 'prepared'] }),
  },
  {
    name: '67: the caller of a function of ours is not to be had',
    code: `
      const callers = [];
      function peek() { try { callers.push(typeof peek.caller, typeof peek.arguments.callee.caller); } catch { callers.push('refused'); } }
      gql.Do.length; log.Info({ toJSON: peek }); ({ Output: callers.includes('function') });`,
    expect: OK,
    check: outputIs(false),
  },
  {
    name: '69: these are the globals, and no others',
    code: '({ Output: Object.getOwnPropertyNames(globalThis) });',
    expect: OK,
    check({ body }) {
      const names = body.output.filter((name: string) => !PERHAPS.includes(name)).sort();
      assert.deepEqual(
        names,
        GLOBALS.filter((name) => !PERHAPS.includes(name)),
      );
    },
  },
  {
    name: '69: and none of them has a symbol',
    code: '({ Output: Object.getOwnPropertySymbols(globalThis).map(String) });',
    expect: OK,
    check: outputIs([]),
  },
  {
    name: '71: an answer with __proto__ in it is plain data',
    code: `({ Output: JSON.parse('{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}') });`,
    expect: OK,
    check(answer) {
      textHas('{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}')(answer);
      assert.equal(({} as Record<string, unknown>).admin, undefined);
      assert.equal(answer.body.admin, undefined);
    },
  },
  {
    name: '72: an answer cannot say what was used, who it is, or whether it went well',
    code: `({ Output: 1, id: 'forged', usage: { cpuMs: -1 }, timingsMs: {}, progress: 1, logs: ['forged'], ok: true });`,
    expect: OK,
    check: ({ text, body }) => {
      assert(!text.includes('forged'));
      assert.deepEqual(body.logs, []);
      assert(body.usage.cpuMs >= 0);
    },
  },
  {
    name: "72: built-ins of the plugin's own make change at most its own answer",
    code: `
      const forged = '{"forged":1}';
      JSON.stringify = () => forged; JSON.parse = () => ({ forged: 1 });
      Promise.prototype.then = () => forged; Promise.resolve = () => forged; globalThis.Promise = class {};
      String.prototype.slice = () => forged; String.prototype.indexOf = () => 0; String.prototype.toString = () => forged;
      String.prototype[Symbol.iterator] = function* () { yield forged; };
      Function.prototype.call = () => forged; Function.prototype.apply = () => forged; Reflect.apply = () => forged;
      Object.keys = () => [forged]; Object.defineProperty = () => forged; Array.isArray = () => true;
      Date.now = () => 1e300; Number.prototype.toString = () => forged; Math.trunc = () => 1e300;
      Object.prototype.error = forged; Object.prototype.code = forged; Object.prototype.usage = forged;
      Object.prototype.reference = true; Object.prototype.copy = true; Object.prototype.release = true;
      globalThis.String = () => forged; globalThis.Number = () => 7; globalThis.Error = class {};
      log.Info('hello');
      ({ Output: { mine: true } });`,
    expect: OK,
    check({ body }) {
      assert.deepEqual(body.output, { mine: true });
      assert.deepEqual(Object.keys(body).sort(), ['id', 'logs', 'output', 'progress', 'timingsMs', 'usage']);
      assert.equal(body.logs[0].message.endsWith('hello'), true);
      assert(Number.isFinite(body.logs[0].atMs) && body.usage.cpuMs < 300);
    },
  },
  {
    name: '72: a setter on Array.prototype sees nothing of ours',
    code: `
      const caught = [];
      for (const at of [0, 1, 2]) Object.defineProperty(Array.prototype, at, {
        set(value) { caught[at + 5] = String(value); }, get() { return 'forged'; }, configurable: true,
      });
      log.Info('one'); log.Warn({ a: 1 }); try { gql.Do('{ a }', { a: ['x'] }); } catch {}
      log.Info('caught ' + Object.keys(caught).length);
      ({ Output: { caught: Object.keys(caught).length } });`,
    expect: OK,
    check(answer) {
      outputIs({ caught: 0 })(answer);
      assert.equal(answer.body.logs.length, 3);
      assert(!answer.text.includes('forged'));
    },
  },
  {
    name: '72: Object.prototype.toJSON may change the answer of the plugin, and nothing else',
    code: `Object.prototype.toJSON = () => 'own words'; String.prototype.toJSON = () => 'forged'; log.Info('x'); ({ Output: {} });`,
    expect: OK,
    check({ body }) {
      assert.equal(body.output, 'own words');
      assert(body.logs[0].message.endsWith('] x'));
      assert.equal(typeof body.usage.cpuMs, 'number');
    },
  },
  {
    name: '72: a log line that looks like the end of an answer is a log line',
    code: `log.Info('"]}\\n{"Output":"forged"}\\u2028\\r\\n\\u001b[31m'); ({ Output: 'a\\n\\u2028"}' });`,
    expect: OK,
    check: outputIs('a\n\u2028"}'),
  },
  {
    name: '117: an error with line feeds, quotes and escapes in its name breaks no line and no header',
    code: `throw Object.assign(new Error('a\\r\\nx-forged: 1\\u2028"}'), { name: 'N\\r\\nSet-Cookie: a=b\\u001b[2J' });`,
    expect: ERROR,
    check({ headers, body }) {
      assert.equal(headers.get('set-cookie'), null);
      assert.equal(headers.get('x-forged'), null);
      assert(body.pluginError.message.includes('x-forged'));
    },
  },
  { name: '73: throwing null', code: 'throw null;', expect: ERROR, check: errorIs('object', 'null') },
  { name: '73: throwing undefined', code: 'throw undefined;', expect: ERROR, check: errorIs('undefined', 'undefined') },
  { name: '73: throwing a symbol', code: `throw Symbol('s');`, expect: ERROR, check: errorIs('symbol', 'Symbol(s)') },
  { name: '73: throwing a BigInt', code: 'throw 5n;', expect: ERROR, check: errorIs('bigint', '5') },
  { name: '73: throwing a function', code: 'throw function evil() {};', expect: ERROR },
  { name: '73: throwing an object without a prototype', code: 'throw Object.create(null);', expect: ERROR },
  {
    name: '73: throwing a message of a million letters, which is cut',
    code: `throw new Error('x'.repeat(1e6));`,
    expect: ERROR,
    check: ({ text }) => assert(text.length < 50_000),
  },
  {
    name: '73: throwing the words of isolated-vm',
    code: `throw new Error('illegal access');`,
    expect: ERROR,
    check: errorIs('Error', 'illegal access'),
  },
  ...[
    'Script execution timed out.',
    'Isolate was disposed during execution due to memory limit',
    'Isolate is disposed',
    'Array buffer allocation failed',
    'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory',
  ].map((words) => ({
    name: `73: throwing ${JSON.stringify(words)} is no way to end a run for another reason`,
    code: `throw new Error(${JSON.stringify(words)});`,
    expect: ERROR,
    check: errorIs('Error', words),
  })),
  {
    name: '73: rejecting with the words of isolated-vm, unhandled',
    code: `Promise.reject(new Error('Script execution timed out.')); Promise.reject(new Error('Isolate is disposed')); ({ Output: 1 });`,
    expect: OK,
    check: outputIs(1),
  },
  {
    name: '73: throwing a proxy whose traps throw',
    code: `throw new Proxy({}, { get() { throw new Error('trap'); }, getPrototypeOf() { throw new Error('trap'); } });`,
    expect: ERROR,
  },
  { name: '73: throwing a proxy whose traps loop', code: `throw new Proxy({}, { get() { ${LOOP} } });`, expect: CPU },
  {
    name: '73: throwing a revoked proxy',
    code: 'const r = Proxy.revocable({}, {}); r.revoke(); throw r.proxy;',
    expect: ERROR,
  },
  {
    name: '73: throwing what throws itself when it is looked at',
    code: `const evil = { get message() { throw evil; }, toString() { throw evil; } }; throw evil;`,
    expect: ERROR,
  },
  {
    name: '74: an error of range is no lack of memory',
    code: `throw new RangeError('Maximum call stack size exceeded');`,
    expect: ERROR,
    check: errorIs('RangeError', 'Maximum call stack size exceeded'),
  },
  {
    name: '74: nor is a stack that overflows while the answer is written',
    code: `({ Output: { toJSON() { return this.toJSON(); } } });`,
    expect: ['plugin_invalid_output', ERROR],
  },
  {
    name: '75: what is told of a missing application has no path of ours in it',
    code: `gql.Do('{ a }');`,
    expect: ERROR,
    check: ({ text }) => assert(!/\/work|\/home|\/tmp|node_modules|runtimes|node:internal|\.ts\b/.test(text), text),
  },
  {
    name: '75: the stack of an error names the script, and not where it is',
    code: `null.x;`,
    expect: ERROR,
    check: ({ text }) => assert(!/\/work|\/home|\/tmp|node_modules|runtimes|node:internal|\.ts\b/.test(text), text),
  },
  {
    name: "76: rejections that nobody handles are nobody's",
    code: `for (let i = 0; i < 1000; i += 1) Promise.reject(new Error('evil ' + i)); ({ Output: 1 });`,
    expect: OK,
    check: outputIs(1),
  },
  ...(
    [
      ['a BigInt', '5n', undefined],
      ['a BigInt inside', '{ a: [5n] }', undefined],
      ['something cyclic', '(() => { const a = {}; a.a = a; return a; })()', undefined],
      ['a date that is none', 'new Date(NaN)', null],
      ['no number', 'NaN', null],
      ['minus zero', '-0', 0],
      ['infinity', '[Infinity, -Infinity]', [null, null]],
      ['a map', 'new Map([[1, 2]])', {}],
      ['a function', '() => 1', null],
      ['a symbol', `Symbol('x')`, null],
      ['functions inside', '{ f() {}, a: [() => 1], s: Symbol.iterator, u: undefined }', { a: [null] }],
      ['a string with half of a pair', `'\\ud800'`, '\ud800'],
      ['a typed array', 'new Uint8Array([1, 2])', { 0: 1, 1: 2 }],
      ['wrapped values', `[new String('a'), new Number(1), new Boolean(false)]`, ['a', 1, false]],
      ['a proxy of a list', 'new Proxy([1, 2], {})', [1, 2]],
      ['a field that throws', `{ get a() { throw new Error('x'); } }`, undefined],
    ] as const
  ).map(([what, value, expected]) => ({
    name: `77: ${what} as output ${expected === undefined ? 'is refused' : `is ${JSON.stringify(expected)}`}`,
    code: `({ Output: ${value} });`,
    expect: expected === undefined ? 'plugin_invalid_output' : OK,
    ...(expected === undefined ? {} : { check: outputIs(expected) }),
  })),
  {
    name: '77: a list with four billion holes as output',
    code: 'const a = []; a.length = 2 ** 32 - 1; ({ Output: a });',
    expect: [CPU, 'plugin_memory_exceeded', 'plugin_invalid_output'],
  },
  {
    name: '80: there are no clocks finer than a millisecond',
    code: `({ Output: [typeof performance, typeof process, Number.isInteger(Date.now())] });`,
    expect: OK,
    check: outputIs(['undefined', 'undefined', true]),
  },
];

/** Called often, these leave what they can for whoever comes next, and tell what they find. */
const LEAVERS: Record<string, string> = {
  globals: `const found = typeof left; globalThis.left = 1; ({ Output: found });`,
  'declared globals': `var before = typeof secret; var secret = input.Args; ({ Output: before });`,
  prototypes: `
    const found = typeof {}.polluted; Object.prototype.polluted = 1; ({ Output: found });`,
  'computed prototypes': `
    const key = ['__pro', 'to__'].join(''); const found = typeof {}.polluted;
    try { ({})[key].polluted = 1; } catch {} ({ Output: found });`,
  'prototypes by their constructor': `
    const found = typeof [].polluted; try { [].constructor.prototype.polluted = 1; } catch {} ({ Output: found });`,
  'built-ins': `
    const found = typeof Math.polluted + typeof JSON.polluted + typeof log.polluted + typeof gql.polluted;
    for (const one of [Math, JSON, log, gql, util, console]) try { one.polluted = () => 1; } catch {}
    ({ Output: found.replaceAll('undefined', '') || 'undefined' });`,
  symbols: `
    const key = Symbol.for('left'); const found = typeof globalThis[key]; try { globalThis[key] = 1; } catch {}
    ({ Output: found });`,
  'regular expressions': `
    const found = RegExp.$1 === '' ? 'undefined' : RegExp.$1; /(.+)/.exec('secret'); ({ Output: found });`,
  'stack traces': `
    const found = typeof Error.prepareStackTrace; Error.prepareStackTrace = () => 'left'; ({ Output: found });`,
  'the input': `
    const found = typeof input.left; try { input.left = 1; } catch {} try { input.Args.left = 1; } catch {}
    ({ Output: found });`,
  functions: `
    function counter() { const found = typeof counter.left; try { counter.left = 1; } catch {} return found; }
    ({ Output: counter() });`,
  templates: `
    const tag = (parts) => parts; const strings = () => tag\`a\`; const map = new WeakMap();
    const found = typeof map.get(strings()); map.set(strings(), 1); ({ Output: found });`,
};
const FINDER = `
  const names = Object.keys(Object.prototype).concat(Object.keys(Array.prototype));
  ({ Output: [names.length, typeof polluted, typeof left, typeof {}.polluted, typeof [].polluted, typeof Math.polluted,
    typeof JSON.polluted, typeof log.polluted, typeof Error.prepareStackTrace, typeof secret].join() });`;
const FOUND_NOTHING = ['0', ...Array(9).fill('undefined')].join();

let coop: Coop;

beforeAll(async () => {
  const leavers = Object.entries(LEAVERS).map(([what, code]) => [`leaver-${what.replaceAll(' ', '-')}`, code]);
  const codes = { ...pluginsOf(CASES), ...Object.fromEntries(leavers), finder: FINDER };
  coop = await Coop.start(codes, { limits: { cpuMs: 300, wallMs: 3000, heapMb: 64, residentMb: 256 } });
  // The finder is run in all ways, too, before there is anything to find.
  for (let times = 0; times < 6; times += 1) {
    assert.equal((await coop.service.invoke('finder')).body.output, FOUND_NOTHING);
    if (times === 2) await sleep(200);
  }
});

afterAll(() => coop[Symbol.asyncDispose]());

CASES.forEach((one, at) => {
  test(one.name, () => coop.runCase(`case-${at}`, one));
});

describe('70: nothing is left for the next run of the same plugin or of another, however they are run', () => {
  test.each(Object.keys(LEAVERS))('in %s', async (what) => {
    const plugin = `leaver-${what.replaceAll(' ', '-')}`;
    for (let times = 0; times < 8; times += 1) {
      const answer = await coop.service.invoke(plugin, { args: { times } });
      assert.equal(codeOf(answer), 'ok', answer.text);
      assert.equal(answer.body.output, 'undefined');
      assert.equal((await coop.service.invoke('finder')).body.output, FOUND_NOTHING);
      if (times === 2) await sleep(200);
    }
    assert.equal(({} as Record<string, unknown>).polluted, undefined);
    await coop.assertUnharmed();
  });
});
