// Which programs are let into the frozen realm, and in which words the others are told why not.
import { strict as assert } from 'node:assert';
import { describe, test } from 'vitest';
import judge from '../../../runtimes/isolate/suitability.ts';

const FROZEN = [
  '',
  '42',
  '({ Output: input.Args.n + 1 })',
  'const log = 1; let gql; class util {} ({ Output: log })',
  'const counts = {}; for (const w of words()) counts[w] = (counts[w] || 0) + 1; function words() { return []; }',
  'class A { #x = 1; get x() { return this.#x; } } new A().x',
  'class Mine extends Error { constructor(m) { super(m); this.name = "Mine"; } }',
  'function* g() { yield 1; } [...g()]',
  'try { input.Args.list[0].title } catch (e) { log.Error(e.message); }',
  'try { JSON.parse("x") } catch (e) { if (!(e instanceof SyntaxError)) throw e; }',
  '[1, 2].map(String).filter(Boolean).sort()',
  'Object.keys(Object.assign({}, { a: 1 }))',
  'const o = { constructor() {} }; o',
  'function f() { return arguments.length + (this === undefined); }',
  'typeof require === "undefined" && typeof Map',
  'log.Info(new Date().getTime() + Math.max(1, Number("2")) + parseInt("3", 10))',
  'const o = {}; o[k] = o[k] || []; o[k][i] += 1; for (const { id, ...rest } of list) o[id] = rest;',
  'class A { static #n = this.name; static { this.m = 1; } f = () => this; [k]() { return this; } }',
  'try { const { title, path: { name: n } } = JSON.parse(input.Args.json); n.list.map((x) => x.title); } catch {}',
  'k in {}',
  'class A extends B { #x; has(o) { return #x in o && "a" in o; } }',
  'label: for (;;) break label;',
  '<!-- a comment\n1',
];

/** In a fresh context made ahead, on an executor's main thread. */
const FRESH: [source: string, because: string][] = [
  ['\nthis.x', 'line 2: "this" at the top level'],
  ['\n\nvar log = 1;', 'line 3: top-level "log" declared anew'],
  ['if (1) { var { gql } = {}; }', 'line 1: top-level "gql" declared anew'],
  ['function util() {}', 'line 1: top-level "util" declared anew'],
  ['const Map = 1;', 'line 1: a built-in name, "Map", declared anew'],
  ['const [a, { b: Set = 1 }] = [];', 'line 1: a built-in name, "Set", declared anew'],
  ['1;\nparseInt = 1;', 'line 2: an assignment to "parseInt"'],
  ['Math.abs = 1;', 'line 1: a write to "Math"'],
  ['delete JSON.parse;', 'line 1: a write to "JSON"'],
  ['log.Info = 1;', 'line 1: a write to "log"'],
  ['[Math.abs] = [1];', 'line 1: a write to "Math"'],
  ['for (console.log of []);', 'line 1: a write to "console"'],
  ['Array.prototype.x = 1;', 'line 1: a write to "Array"'],
  ['Array.prototype', 'line 1: ".prototype"'],
  ['[].__proto__', 'line 1: ".__proto__"'],
  ['({ __proto__: null })', 'line 1: __proto__'],
  ['[]["constructor"]', 'line 1: ".constructor"'],
  ['[][`constructor`]', 'line 1: ".constructor"'],
  ['[]["con" + ("struct" + `or`)]', 'line 1: ".constructor"'],
  ['const k = "const" + "ructor";', 'line 1: the name "constructor"'],
  ['const k = `__proto__`;', 'line 1: the name "__proto__"'],
  ['const { constructor: F } = f;', 'line 1: "constructor" in a pattern'],
  ['function g(f) { const { constructor } = f; }', 'line 1: "constructor" in a pattern'],
  ['const f = valueOf;', 'line 1: the built-in "valueOf" used as a value'],
  [
    'try { class A { m() { super.length = 0; } } } catch {}',
    'line 1: a write to "super", in a program that catches errors',
  ],
  ['const { "stack": s = 1 } = f;', 'line 1: "stack" in a pattern'],
  ['const { [`stack`]: s } = f;', 'line 1: "stack" in a pattern'],
  ['const [{ a: { __proto__: p } }] = f;', 'line 1: "__proto__" in a pattern'],
  ['function f({ stack }) {}', 'line 1: "stack" in a pattern'],
  ['(a, { prototype: p } = a) => 1', 'line 1: "prototype" in a pattern'],
  ['for (const { stack } of []);', 'line 1: "stack" in a pattern'],
  ['let s; ({ stack: s } = e);', 'line 1: "stack" in a pattern'],
  ['try {} catch ({ stack }) {}', 'line 1: "stack" in a pattern'],
  ['Object[`getOwnPropertyDescriptor`](e, `message`)', 'line 1: ".getOwnPropertyDescriptor"'],
  ['Object[k]', 'line 1: a computed property of "Object"'],
  ['({ a: Math.mine } = { a: 1 });', 'line 1: a write to "Math"'],
  ['({ ...Math.mine } = { a: 1 });', 'line 1: a write to "Math"'],
  ['[[Math.mine = 2]] = [[]];', 'line 1: a write to "Math"'],
  ['({ a: Map } = {});', 'line 1: an assignment to "Map"'],
  ['class A { [this.x]() {} }', 'line 1: "this" at the top level'],
  ['class A extends this.x {}', 'line 1: "this" at the top level'],
  ['class A { static [(() => arguments.length)()]() {} }', 'line 1: "arguments" at the top level'],
  ['class A extends B {} k in A', 'line 1: a computed name in "in", in a program that extends a class'],
  ['try { ({ a: o.toString } = {}) } catch {}', 'line 1: a write to ".toString", in a program that catches errors'],
  ['try { const f = [].map; } catch {}', 'line 1: ".map" used as a value, in a program that catches errors'],
  ['try { const { map } = []; } catch {}', 'line 1: "map" in a pattern, in a program that catches errors'],
  ['try { const { [k]: map } = []; } catch {}', 'line 1: a computed property, in a program that catches errors'],
  [
    'try { Object.defineProperty(f, "a", {}); } catch {}',
    'line 1: ".defineProperty", in a program that catches errors',
  ],
  ['try { o.map(String) } catch {}', 'line 1: the built-in "String" used as a value'],
  ['const k = "constructor";', 'line 1: the name "constructor"'],
  ['Object.getPrototypeOf([])', 'line 1: ".getPrototypeOf"'],
  ['Object.isFrozen([].map)', 'line 1: ".isFrozen"'],
  ['Object.getOwnPropertyDescriptor(Math.abs, "name")', 'line 1: ".getOwnPropertyDescriptor"'],
  ['Object.getOwnPropertyDescriptors([].map)', 'line 1: ".getOwnPropertyDescriptors"'],
  ['RegExp.$1', 'line 1: the built-in "RegExp" used as a value'],
  ['Error.stackTraceLimit', 'line 1: ".stackTraceLimit"'],
  ['Error.mine', 'line 1: the built-in "Error" used as a value'],
  ['e.stackTraceLimit', 'line 1: ".stackTraceLimit"'],
  ['const { keys } = Object;', 'line 1: the built-in "Object" used as a value'],
  ['log.Info(Math)', 'line 1: the built-in "Math" used as a value'],
  ['new Error("x").stack', 'line 1: ".stack"'],
  ['globalThis.x', 'line 1: the global object ("globalThis")'],
  ['Reflect.ownKeys({})', 'line 1: reflection ("Reflect")'],
  ['new Proxy({}, {})', 'line 1: proxies ("Proxy")'],
  ['new WeakRef({})', 'line 1: weak references ("WeakRef")'],
  ['Iterator.from([])', 'line 1: a constructor whose prototype plugins extend ("Iterator")'],
  ['String.raw`a`', 'line 1: a tagged template'],
  ['function f() { new.target; }', 'line 1: new.target'],
  ['arguments', 'line 1: "arguments" at the top level'],
  ['() => arguments', 'line 1: "arguments" at the top level'],
  ['try {\n  e.name = 1\n} catch {}', 'line 2: a write to ".name", in a program that catches errors'],
  ['try { [][k] } catch {}', 'line 1: a computed property, in a program that catches errors'],
  ['try { f().x.y = 1 } catch {}', 'line 1: a write, in a program that catches errors'],
  ['try { Object.assign({}, a) } catch {}', 'line 1: ".assign", in a program that catches errors'],
  [
    'function f() { try { a.toString = 1 } finally { return 1 } }',
    'line 1: a write to ".toString", in a program that catches errors',
  ],
];

/** On a thread of its own. */
const LONG: [source: string, because: string][] = [
  ['\nPromise.resolve()', 'line 2: promises'],
  ['globalThis.Promise', 'line 1: promises'],
  ['globalThis["Promise"]', 'line 1: promises'],
  ['Array.fromAsync([])', 'line 1: promises'],
  ['new AsyncDisposableStack()', 'line 1: promises'],
  ['async function f() {}', 'line 1: an async function'],
  ['const f = async () => 1', 'line 1: an async function'],
  ['({ async f() {} })', 'line 1: an async function'],
  ['class A { static async *f() {} }', 'line 1: an async function'],
  ['import("x")', 'line 1: import()'],
  ['eval("1")', 'line 1: code from strings ("eval")'],
  ['(0, eval)("1")', 'line 1: code from strings ("eval")'],
  ['new Function("1")', 'line 1: code from strings ("Function")'],
  ['globalThis.eval("1")', 'line 1: code from strings (".eval")'],
  ['globalThis["Pro" + "mise"]', 'line 1: promises'],
  ['globalThis[k]', 'line 1: the global object ("globalThis")'],
  ['const { fromAsync } = Array;', 'line 1: promises'],
  ['Array[`fromAsync`]([])', 'line 1: promises'],
  ['const g = globalThis;', 'line 1: the global object ("globalThis")'],
  ['return 1', 'its source could not be read ahead'],
  ['({', 'its source could not be read ahead'],
  ['010', 'its source could not be read ahead'],
  ['await 1', 'its source could not be read ahead'],
];

describe('it is let into the frozen realm:', () => {
  test.for(FROZEN)('%s', (source) => {
    const because = 'nothing in it could tell a frozen realm from a fresh one';
    assert.deepEqual(judge(source), { brief: true, frozen: true, because });
  });
});

describe('it stays with fresh contexts:', () => {
  test.for(FRESH)('%s', ([source, because]) => {
    assert.deepEqual(judge(source), { brief: true, frozen: false, because });
  });
});

describe('it stays on a thread of its own:', () => {
  test.for(LONG)('%s', ([source, because]) => {
    assert.deepEqual(judge(source), { brief: false, frozen: false, because });
  });
});

describe('it never throws:', () => {
  const deep = (open: string, close: string, depth = 20_000) => open.repeat(depth) + close.repeat(depth);
  const sources: Record<string, string> = {
    'zero bytes': '\0\0\0',
    'half a surrogate pair': '\ud800',
    'not JavaScript': '#!/bin/sh\necho "$1"',
    'JSON with a brace too many': '{"a":1}}',
    'an unfinished text': '"abc',
    'an unfinished comment': '/* abc',
    'deep parentheses': deep('(', ')'),
    'deep arrays': deep('[', ']'),
    'deep blocks': deep('{', '}'),
    'deep calls': `f${'()'.repeat(20_000)}`,
    'a long sum': `1${'+1'.repeat(20_000)}`,
    'a long chain of members': `a${'.b'.repeat(20_000)}`,
    'a huge source': '1;'.repeat(600_000),
  };

  test.for(Object.entries(sources))('%s', ([, source]) => {
    const { brief, frozen, because } = judge(source);
    assert.equal(typeof because, 'string');
    assert(brief || !frozen);
  });
});
