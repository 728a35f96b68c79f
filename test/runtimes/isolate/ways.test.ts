// Whichever way a script is run, nobody can tell: the same answers, errors, logs and progress, run after run.
import { strict as assert } from 'node:assert';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { BriefLane } from '../../../runtimes/isolate/guest/brief.ts';
import { readGuestScripts } from '../../../runtimes/isolate/guest/program.ts';
import { Scripts, seen } from './scripts.ts';

const STASH = resolve(import.meta.dirname, '../../../plugins/stash');

/** Every run is given another `n`; the scripts do their worst where it is not 0, once they have been promoted. */
const RUNS = [{ n: 0 }, { n: 1, text: 'a b a' }, { n: 2, key: 'constructor' }, { n: 3, key: '__proto__' }, { n: 0 }];

const AWKWARD: Record<string, string> = {
  'top-level names of the host, lexical': `const log = { Info: (x) => x }; let gql = 1; class util {}
    ({ Output: [log.Info(input.Args.n), gql, typeof util] })`,
  'top-level let input': `let input = 5; ({ Output: input })`,
  'a name of the host in its own declaration': `const input = input; ({ Output: 1 })`,
  'top-level var of a name of the host': `var log = log || 1; log.Info('x'); ({ Output: typeof log })`,
  'top-level var and function on the global object': `var a = input.Args.n; function f() {}
    ({ Output: [globalThis.a, typeof globalThis.f, Object.keys(globalThis)] })`,
  'top-level var through this': `var a = 1; ({ Output: [this.a, this === globalThis] })`,
  'this in a function': `function f() { return this === undefined; } ({ Output: f() })`,
  'this in an arrow function': `const f = () => typeof this; ({ Output: f() })`,
  'typeof of what is not declared': `({ Output: [typeof nothing, typeof require, typeof setTimeout, typeof log] })`,
  'an undeclared assignment': `if (input.Args.n > 0) leak = 1; ({ Output: typeof leak })`,
  'an undeclared assignment that is caught': `let m; try { leak = 1; } catch (e) { m = [e.name, e.message]; } ({ Output: m })`,
  'a built-in is assigned': `parseInt = () => 7; ({ Output: parseInt('3') })`,
  'a method of a built-in is assigned': `Math.abs = () => 7; ({ Output: Math.abs(-3) })`,
  'a built-in is declared anew': `const Map = 5; ({ Output: Map })`,
  'a host function is assigned': `log.Info = (x) => log.Warn('instead ' + x); log.Info('x'); ({ Output: 1 })`,
  'a host object is assigned': `log = { Info() {} }; log.Info('x'); ({ Output: typeof log.Warn })`,
  'Array.prototype patched': `Array.prototype.last = function () { return this[this.length - 1]; };
    ({ Output: [[1, 2].last(), Object.keys(Array.prototype)] })`,
  'a prototype patched by way of an instance': `const p = Object.getPrototypeOf([]); p.x = 1; ({ Output: [].x })`,
  'a prototype patched by a name made up': `[]['__pro' + 'to__'].x = (([].x) || 0) + 1; ({ Output: [].x })`,
  'a polyfill in try and catch': `let how = 'none';
    try { if (!String.prototype.shout) { String.prototype.shout = function () { return this + '!'; }; how = 'done'; } }
    catch { how = 'refused'; } ({ Output: how })`,
  'a built-in function given a property': `const f = [].map; f.mark = (f.mark || 0) + 1; ({ Output: f.mark })`,
  'the name of an error': `const e = new Error('m'); e.name = 'Mine'; if (input.Args.n) throw e; ({ Output: String(e) })`,
  'the name of an error, caught': `let o; try { const e = new Error('m'); e.name = 'Mine'; throw e; } catch (e) { o = String(e); }
    ({ Output: o })`,
  'Object.assign to an error, caught': `let o; try { throw Object.assign(new Error('m'), { name: 'Mine' }); }
    catch (e) { o = String(e); } ({ Output: o })`,
  'Object.assign of inherited names, caught': `let o; try { o = Object.assign({}, { toString: 1, constructor: 2 }); } catch { o = 'no'; }
    ({ Output: o })`,
  'finally that swallows': `function f() { const d = {}; try { d.toString = 1; } finally { return Object.keys(d); } }
    ({ Output: f() })`,
  'a method that writes an inherited name, logged': `log.Info({ toJSON() { const d = {}; d.toString = 1; return d; } });
    ({ Output: 1 })`,
  'descriptors of built-ins': `({ Output: Object.getOwnPropertyDescriptor(Math.abs, 'name') })`,
  'all descriptors of built-ins': `({ Output: Object.getOwnPropertyDescriptors([].map) })`,
  'frozen or not': `({ Output: [Object.isFrozen([].map), Object.isExtensible(Math.abs)] })`,
  'a dictionary with any key': `const d = {}; const k = input.Args.key || 'toString'; d[k] = (d[k] || 0) + 1;
    ({ Output: [Object.keys(d), String(d[k])] })`,
  'a dictionary with any key, caught': `const d = {}; let o = 'set';
    try { d[input.Args.key || 'toString'] = 1; } catch (e) { o = e.name; } ({ Output: o })`,
  'a dictionary without a prototype': `const d = Object.create(null); d[input.Args.key || 'toString'] = 1;
    ({ Output: Object.keys(d) })`,
  'a promise under a made-up name, whose reaction logs': `this['Pro' + 'mise'].resolve().then(() => log.Info('late'));
    ({ Output: 1 })`,
  'a promise under a made-up name, whose reaction changes the output': `const o = { x: 1 };
    this['Pro' + 'mise'].resolve().then(() => { o.x = 2; }); ({ Output: o })`,
  'a promise from an array, whose reaction logs': `Array['from' + 'Async']([1]).then(() => log.Info('late'));
    ({ Output: 1 })`,
  'a promise from an array, caught': `let o;
    try { Array['from' + 'Async']([1]).then(() => log.Info('late')); o = 'made'; } catch { o = 'no'; }
    ({ Output: o })`,
  'own toString': `const d = { a: 1 }; d.toString = () => 'mine'; ({ Output: '' + d })`,
  'RegExp.$1': `/(.)b/.exec('x' + input.Args.n + 'b'); ({ Output: RegExp.$1 })`,
  'RegExp.$1 of the run before': `const before = RegExp.$1; /(.)/.exec('q'); ({ Output: before })`,
  'the Function constructor': `({ Output: [new Function('return typeof log')(), Function('a', 'return a + 1')(1)] })`,
  'a function constructor by a name made up': `const f = (() => {})['con' + 'structor'];
    ({ Output: f('return typeof log')() })`,
  'indirect eval': `var y = 1; ({ Output: (0, eval)('typeof y + typeof input') })`,
  'direct eval': `let y = 2; ({ Output: eval('y + 1') })`,
  'arguments in a function': `function f() { return [...arguments, arguments.length]; } ({ Output: f(1, 2) })`,
  'arguments at the top': `({ Output: typeof arguments })`,
  'closures that count': `const counter = () => { let c = 0; return () => ++c; }; const c = counter(); c(); ({ Output: c() })`,
  'state on a function': `function f() {} f.calls = (f.calls || 0) + 1; ({ Output: f.calls })`,
  generators: `function* g(n) { for (let i = 0; i < n; i++) yield i; } ({ Output: [...g(3), ...g(input.Args.n)] })`,
  'lastIndex of a literal': `const r = /a/g; r.test('aa'); ({ Output: [r.lastIndex, /a/g.lastIndex] })`,
  'getters and setters': `const o = { _x: 1, get x() { return this._x; }, set x(v) { this._x = v * 2; } }; o.x = 4; ({ Output: o.x })`,
  'tagged templates': `const t = (s, ...v) => s.raw.join('|') + v; const f = () => ((s) => s)\`q\`;
    ({ Output: [t\`a\${1}\\n\${2}\`, f() === f(), String.raw\`\\x\`] })`,
  'a tagged template keeps its object for one run only': `const seen = ((s) => s)\`x\`; ({ Output: Object.keys(seen) })`,
  'labelled loops': `const o = []; outer: for (const a of [1, 2, 3]) { for (const b of [1, 2]) { if (b > 1) continue outer; if (a > 2) break outer; o.push(a * b); } }
    ({ Output: o })`,
  'classes with private parts': `class A { #x = 1; static s = 2; static { this.t = 3; } get x() { return this.#x; } has(o) { return #x in o; } }
    ({ Output: [new A().x, A.s, A.t, new A().has({})] })`,
  'a class that extends Error': `class Mine extends Error { constructor(m) { super(m); this.name = 'Mine'; } }
    if (input.Args.n) throw new Mine('n is ' + input.Args.n); ({ Output: new Mine('x') instanceof Error })`,
  'Error with a cause': `if (input.Args.n) throw new RangeError('outer', { cause: 1 }); ({ Output: 1 })`,
  'Symbol.for': `({ Output: [Symbol.for('k') === Symbol.for('k'), Symbol.keyFor(Symbol.for('k'))] })`,
  dates: `const d = new Date(input.Args.n * 1000); ({ Output: [d, d.toISOString(), d.getTimezoneOffset(), typeof Date.now()] })`,
  'sort comparators': `({ Output: [[3, 1, 2].sort((a, b) => b - a), ['b', 'a'].sort(), [10, 9].sort()] })`,
  'a reviver': `({ Output: JSON.parse('{"a":[1,{"b":2}],"__proto__":3}', (k, v) => typeof v === 'number' ? v + 1 : v) })`,
  recursion: `const fib = (n) => n < 2 ? n : fib(n - 1) + fib(n - 2); ({ Output: fib(10) })`,
  'recursion without end': `const f = () => f() + 1; if (input.Args.n === 3) f(); ({ Output: 1 })`,
  'an HTML comment': `<!-- not seen\n({ Output: 1 })\n--> nor this`,
  'use strict inside': `function f() { 'use strict'; return this; } ({ Output: typeof f() })`,
  'use strict at the top': `'use strict'; ({ Output: 1 })`,
  'completion of if': `if (input.Args.n > 1) { ({ Output: 'then' }); } else { ({ Output: 'else' }); }`,
  'completion of for': `for (let i = 0; i < 3; i++) { ({ Output: i }); }`,
  'completion of try': `try { if (input.Args.n) throw 1; ({ Output: 'try' }); } catch { ({ Output: 'catch' }); } finally { ({ Output: 'finally' }); }`,
  'completion of switch': `switch (input.Args.n) { case 1: ({ Output: 'one' }); break; default: ({ Output: 'other' }); }`,
  'completion of a block': `{ ({ Output: 'block' }); } var later = 1; function after() {}`,
  'completion of a declaration': `const x = { Output: 1 };`,
  'completion of an assignment': `var r; r = { Output: input.Args.n };`,
  'only a directive': `'use strict'`,
  'nothing at all': ``,
  'a number': `42`,
  'a function with Output': `const f = () => {}; f.Output = 1; f`,
  'lower case is ignored': `({ output: 1, error: 'x' })`,
  'Output undefined': `({ Output: undefined })`,
  'Output null': `({ Output: null })`,
  'Output NaN': `({ Output: [NaN, Infinity, -0] })`,
  'Output with undefined inside': `({ Output: { a: undefined, b: [undefined, () => 1], c: null } })`,
  'Output is text': `({ Output: 'héllo \\u2028 \\ud800' })`,
  'Output is a function': `({ Output: () => 1 })`,
  'Output is cyclic': `const o = {}; if (input.Args.n) o.o = o; ({ Output: o })`,
  'Output is a BigInt': `({ Output: input.Args.n ? 1n : 1 })`,
  'Output has toJSON': `({ Output: { toJSON() { return 'mine'; } } })`,
  'Output is a getter that throws': `({ get Output() { if (input.Args.n) throw new TypeError('no'); return 1; } })`,
  'Error null': `({ Error: null, Output: 1 })`,
  'Error 0': `input.Args.n ? { Error: 0, Output: 2 } : { Output: 1 }`,
  'Error empty': `input.Args.n ? { Error: '' } : { Output: 1 }`,
  'Error an Error': `input.Args.n ? { Error: new Error('boom'), Output: [1] } : { Output: 1 }`,
  'Error an object': `input.Args.n ? { Error: {} } : { Output: 1 }`,
  'Error a symbol': `input.Args.n ? { Error: Symbol('s') } : { Output: 1 }`,
  'Error without a text': `input.Args.n ? { Error: Object.create(null) } : { Output: 1 }`,
  'text is thrown': `if (input.Args.n) throw 's'; ({ Output: 1 })`,
  'nothing is thrown': `if (input.Args.n) throw undefined; ({ Output: 1 })`,
  'an object is thrown': `if (input.Args.n) throw { name: 'N', message: 'M' }; ({ Output: 1 })`,
  'a trap is thrown': `if (input.Args.n) throw { get message() { throw 1; } }; ({ Output: 1 })`,
  'something missing is called': `if (input.Args.n) log.Fatal('x'); ({ Output: 1 })`,
  'all kinds of log lines': `const c = {}; c.c = c; for (const x of [{ a: [1] }, [1, { b: 2 }, null], new Map([[1, 2]]), c, undefined, null, 'a\\nb', 1.5, new Error('e'), new Date(0)]) log.Info(x, 'second');
    log.Info(); log.Trace('t'); log.Debug('d'); log.Warn('w'); log.Error('e'); ({ Output: log.Info('x') === undefined })`,
  'a symbol is logged': `log.Info(Symbol('s')); if (input.Args.n) log.Info(Object.create(null)); ({ Output: 1 })`,
  console: `console.log('l'); console.info({ a: 1 }); console.warn([1]); console.error(); console.debug('d', 'e');
    ({ Output: [typeof console.trace, typeof console.table] })`,
  'odd progress': `for (const x of [0.5, '0.25', 'Finished', undefined, null, NaN, -1, {}]) log.Progress(x);
    if (input.Args.n) log.Progress(input.Args.n === 1 ? '0.75' : 7); ({ Output: 1 })`,
  'progress of nothing': `log.Progress(0.5); log.Progress(); ({ Output: 1 })`,
  'the arguments changed': `input.Args.n += 1; input.Args.more = [1]; delete input.Args.text; ({ Output: input.Args })`,
  'input is extended': `if (input.Args.n) input.more = 1; ({ Output: 1 })`,
  'input is extended, caught': `let o; try { input.more = 1; } catch (e) { o = [e.name, e.message]; } ({ Output: o })`,
  'input in lower case': `({ Output: [typeof input.args, Object.keys(input), Object.keys(input.ServerConnection)] })`,
  'the hook context': `const h = input.Args.hookContext; ({ Output: h === undefined })`,
  'host functions are called': `let o = 'none'; if (input.Args.n === 2) { try { gql.Do('{ a }'); } catch (e) { o = e.message; } } ({ Output: o })`,
  'sleeping no time': `util.Sleep(0); util.Sleep(); util.Sleep(-5); util.Sleep({}); ({ Output: 1 })`,
  promises: `Promise.resolve().then(() => log.Info('later')); ({ Output: 1 })`,
  'an async main': `async function main() { await null; log.Info('end'); return 1; } main();`,
  'a promise out of text': `const o = { Output: 1 }; (0, eval)('Promise').resolve().then(() => { o.Output = 2; log.Info('later'); }); o`,
  'a promise by a name made up': `const o = { Output: 1 };
    globalThis['Pro' + 'mise'].resolve().then(() => { o.Output = 2; log.Info('later'); }); o`,
  'an asynchronous stack of things to dispose of': `const s = new AsyncDisposableStack(); const o = { Output: 1 };
    s.defer(() => { o.Output = 2; log.Info('second'); }); s.defer(() => log.Info('first')); s.disposeAsync(); o`,
  'symbols of arrays': `const a = [1]; a[Symbol.iterator] = function* () { yield 7; }; ({ Output: [...a] })`,
  'a proxy': `({ Output: new Proxy({}, { get: (t, k) => String(k) }).hello })`,
  'weak references': `({ Output: typeof new WeakRef({}).deref() })`,
  'iterator helpers and sets': `({ Output: [[1, 2].values().map((x) => x * 2).toArray(), [...new Set([1]).union(new Set([2]))]] })`,
  Intl: `({ Output: [new Intl.NumberFormat('en').format(1234.5), (1234.5).toLocaleString('en'), typeof Intl] })`,
  'a syntax error': `({ Output: `,
  'a return at the top': `return { Output: 1 };`,
  'new.target at the top': `({ Output: typeof new.target })`,
  'an octal number': `({ Output: 010 })`,
  'an assignment pattern whose target is inherited': `const o = {}; let r = 'set';
    try { ({ a: o.toString } = { a: 1 }); } catch (e) { r = e.name; } ({ Output: r })`,
  'an assignment pattern whose target is a built-in': `let r = 'set';
    try { ({ a: Math.mine } = { a: 1 }); } catch (e) { r = e.name; } ({ Output: r })`,
  'a built-in method at hand, changed and caught': `let r = 'set'; const f = [].map;
    try { f.mine = 1; } catch (e) { r = e.name; } ({ Output: r })`,
  'a built-in method out of a pattern, changed and caught': `let r = 'set'; const { map } = [];
    try { map.mine = 1; } catch (e) { r = e.name; } ({ Output: r })`,
  'a built-in method defined upon, caught': `let r = 'set';
    try { Object.defineProperty([].map, 'mine', { value: 1 }); } catch (e) { r = e.name; } ({ Output: r })`,
  'a built-in handed over, changed and caught': `let r = 'set'; const o = { map(f) { f.mine = 1; } };
    try { o.map(String); } catch (e) { r = e.name; } ({ Output: r })`,
  'a static name of a built-in, inherited and written': `class A extends Array {} let r = 'set';
    try { A.isArray = 1; } catch (e) { r = e.name; } ({ Output: r })`,
  'a name of a rare built-in, inherited and written': `const f = new Intl.NumberFormat('en'); let r = 'set';
    try { f.formatToParts = 1; } catch (e) { r = e.name; } ({ Output: r })`,
  'a stack out of a pattern': `const { stack } = new Error('q'); ({ Output: stack.includes('isopod') })`,
  'a stack by a template': '({ Output: new Error("q")[`stack`].includes("isopod") })',
  'a stack by a name made up': `({ Output: new Error('q')['st' + 'ack'].split('\\n').length })`,
  'this in the name of a method': `let s; class A { static [(s = typeof this, 'k')]() {} } ({ Output: s })`,
  'this in the heritage of a class': `let s; class A extends (s = typeof this, Object) {} ({ Output: s })`,
  'arguments in the name of a method': `let s = 'none';
    try { class A { static [(s = arguments.length + ':' + String(arguments[5]), 'k')]() {} } } catch (e) { s = e.name; } ({ Output: s })`,
  'a prototype out of a pattern': 'const { __proto__: p } = []; ({ Output: Object[`isFrozen`](p) })',
  'a constructor out of a pattern': `function f() {} const { constructor: F } = f; ({ Output: [String(F), F.name] })`,
  'a constructor by a name made up': `const F = (() => {})['const' + 'ructor']; ({ Output: [String(F), F.name, F('return 7')()] })`,
  'frozen or not, by a name made up': `const O = ({})['const' + 'ructor']; ({ Output: [O['is' + 'Frozen']([].map), Object['is' + 'Frozen']([].map)] })`,
  'a descriptor by a name made up': `({ Output: Object['getOwnProperty' + 'Descriptor'](Math, 'abs').writable })`,
  'a getter looked up by a name made up': `({ Output: typeof ({})['__lookup' + 'Getter__']('__proto__') })`,
  'a prototype by a name made up': `const p = [1]['__pro' + 'to__']; ({ Output: Object['is' + 'Extensible'](p) })`,
  'what Error has': `class Mine extends Error {} const k = 'prepare' + 'StackTrace';
    ({ Output: [k in Mine, Mine[k] === undefined, 'capture' + 'StackTrace' in Mine] })`,
  'the last match by a name made up': `const R = (/x/)['const' + 'ructor']; /(.)b/.exec('x' + input.Args.n + 'b');
    ({ Output: [R['$' + 1], R['last' + 'Match'], R['in' + 'put']] })`,
  'a promise out of made-up code': `const r = { Output: 'sync' };
    (() => {}).constructor('return (async () => 1)()')().then(() => { r.Output = 'the reaction came first'; }); r`,
  'a promise out of a made-up eval': `const r = { Output: 'sync' };
    this['ev' + 'al']('(async () => 1)()').then(() => { r.Output = 'the reaction came first'; log.Info('late'); }); r`,
  'a promise out of a made-up stack of things to dispose of': `const r = { Output: 'sync' };
    new this['Async' + 'DisposableStack']().disposeAsync().then(() => { r.Output = 'the reaction came first'; }); r`,
  'a name that the global object inherits, changed and caught': `let r = 'set'; const f = valueOf;
    try { f.mine = 1; } catch (e) { r = e.name; } ({ Output: r })`,
  'a length written by way of super, caught': `class A extends Array { cut() { super.length = 0; return this.length; } } let r;
    try { r = new A(1, 2, 3).cut(); } catch (e) { r = e.name; } ({ Output: r })`,
  'a promise that nobody handles': `if (input.Args.n) this['Pro' + 'mise'].reject(new Error('nobody')); ({ Output: 1 })`,
  'the descriptor of what makes promises': `const { get, value } = Object.getOwnPropertyDescriptor(this, 'Prom' + 'ise');
    const { get: g } = Object.getOwnPropertyDescriptor(Array, 'from' + 'Async'); ({ Output: [typeof get, typeof value, typeof g] })`,
  'a stack': `let s; try { null.x; } catch (e) { s = e.stack.includes('isopod'); } ({ Output: s })`,
};

/** Each gives what an earlier run left for it, if there is anything, and leaves something for the next. */
const LEAVING: Record<string, string> = {
  'on the getter of a stack': `const d = Object['getOwnProperty' + 'Descriptor'](new Error('x'), 'st' + 'ack');
    const g = d.get || d; const before = g.leak ? g.leak() : 'none'; const mine = input.Args.secret;
    g.leak = () => mine; ({ Output: before })`,
  'on the getter of a stack, by templates':
    'const d = Object[`getOwnPropertyDescriptor`](new Error("x"), `stack`); const g = d.get || d;' +
    'const before = g.leak ? g.leak() : "none"; const mine = input.Args.secret; g.leak = () => mine; ({ Output: before })',
  'in the last match': `const { constructor: R } = /x/; const before = R.input + '|' + R['$1'];
    R.input = String(input.Args.secret); /(.+)/.test(String(input.Args.secret)); ({ Output: before })`,
  'in the last match, by names made up': `const R = (/x/)['const' + 'ructor'];
    const before = [R['in' + 'put'], R['$' + 1], R['$' + '_'], R['last' + 'Match'], R['left' + 'Context']].join('|');
    /(.+)/.test(input.Args.secret); ({ Output: before })`,
  'in the last match, caught': `const R = (/x/)['const' + 'ructor']; let before = 'none';
    try { before = R['$' + 1]; } catch {} /(.+)/.test(input.Args.secret); ({ Output: before })`,
  'on the global object': `const g = (() => {})['const' + 'ructor']('return this')();
    const before = g.left || 'none'; g.left = input.Args.secret; ({ Output: before })`,
  'on this': `const before = this.left || 'none'; this.left = input.Args.secret; ({ Output: before })`,
  'on the arguments': `const args = typeof arguments === 'undefined' ? {} : arguments;
    const before = args.left || 'none'; args.left = input.Args.secret; ({ Output: before })`,
  'on a prototype': `const p = []['__pro' + 'to__']; const before = p.left || 'none';
    try { p.left = input.Args.secret; } catch {} ({ Output: before })`,
  'on an object of a tagged template': `const seen = ((s) => s)\`x\`; const before = seen.left || 'none';
    try { seen.left = input.Args.secret; } catch {} ({ Output: before })`,
  'on the thrower of arguments.callee': `const f = (function () { return Object['getOwnProperty' + 'Descriptor'](arguments, 'callee').get; })();
    const before = f.left || 'none'; try { f.left = input.Args.secret; } catch {} ({ Output: before })`,
  'in the limit of stack traces': `class Mine extends Error {} const before = Mine['stack' + 'TraceLimit'] === 10 ? 'none' : 'left';
    try { (new Error())['const' + 'ructor']['stack' + 'TraceLimit'] = input.Args.secret.length; } catch {} ({ Output: before })`,
};

const EXAMPLES = globSync('*/*.yml', { cwd: STASH }).flatMap((manifest) => {
  const text = readFileSync(join(STASH, manifest), 'utf8');
  const file = /^interface: *js *$/m.test(text)
    ? /^exec:\s*(?:\[|- *)? *["']?([^\s"'\],]+)/m.exec(text)?.[1]
    : undefined;
  return file === undefined ? [] : [[manifest, readFileSync(join(STASH, dirname(manifest), file))] as const];
});

let long: Scripts;
let fresh: Scripts;
let any: Scripts;
const ways = new Map<string, number>();

beforeAll(async () => {
  [long, fresh, any] = await Promise.all([Scripts.open('long'), Scripts.open('fresh'), Scripts.open()]);
});

afterAll(async () => {
  await Promise.all([long, fresh, any].map((scripts) => scripts[Symbol.asyncDispose]()));
});

async function outcomes(scripts: Scripts, source: string | Buffer): Promise<unknown[]> {
  const plugin = await scripts.add(source);
  if (scripts !== long) {
    const { way } = await scripts.settled(plugin, { args: { n: 0 } });
    ways.set(way, (ways.get(way) ?? 0) + 1);
  }
  const all: unknown[] = [];
  for (const args of RUNS) all.push(seen(await scripts.run(plugin, { args })));
  scripts.forget();
  return all;
}

async function same(source: string | Buffer): Promise<void> {
  const [expected, ...others] = await Promise.all([long, fresh, any].map((scripts) => outcomes(scripts, source)));
  for (const other of others) assert.deepEqual(other, expected);
}

describe('an example of ours is run alike in all ways:', () => {
  test.for(EXAMPLES)('%s', ([, source]) => same(source));

  test('there are examples', () => assert(EXAMPLES.length > 0));
});

describe('an awkward script is run alike in all ways:', () => {
  test.for(Object.entries(AWKWARD))('%s', ([, source]) => same(source));

  test('a byte order mark', () => same('\ufeff({ Output: input.Args.n })'));
});

describe('nothing passes from run to run', () => {
  const SECRETS = ['first-secret', 'second-secret', 'third-secret'];

  test.for(Object.entries(LEAVING))('%s', async ([, source]) => {
    const plugin = await any.add(source);
    await any.settled(plugin, { args: { secret: 'zeroth-secret' } });
    for (const secret of SECRETS) {
      const outcome = seen(await any.run(plugin, { args: { secret } }));
      assert(!JSON.stringify(outcome).includes('secret'), JSON.stringify(outcome));
    }
    any.forget();
  });

  const runBriefly = (source: string, frozen: boolean, times: Record<string, unknown>[]) => {
    const head = { filename: 'leaving.js', sourceBytes: 0, heapMb: 64, logBytes: 1e5, logLines: 100, outputBytes: 1e5 };
    const program = { number: 1, source, cachedData: undefined, head: { ...head, sliceMs: 1000 } };
    const lane = new BriefLane(readGuestScripts(), 1);
    const ends = times.map((args) => lane.run(program, frozen, JSON.stringify({ Args: args })));
    lane.drop(1);
    return ends;
  };

  // Nobody read the source: what a frozen realm counts as success must not tell of an earlier run all the same.
  test.for(Object.entries(LEAVING))('in a frozen realm that should never have run it: %s', ([, source]) => {
    for (const end of runBriefly(
      source,
      true,
      SECRETS.map((secret) => ({ secret })),
    )) {
      assert(!end.ok || !end.output.includes('secret'), JSON.stringify(end));
    }
  });

  // By then there is an answer, and the call would never be made.
  test('a brief run whose promise reaction calls the host does not count', () => {
    const source = `this['Pro' + 'mise'].resolve().then(() => { try { gql.Do('{ a }'); } catch {} }); ({ Output: 1 })`;
    const [end] = runBriefly(source, false, [{}]);
    assert.deepEqual(end, { ok: false, why: 'gql.Do' });
  });

  test('though its answers count', () => {
    const [one, two] = runBriefly('({ Output: input.Args.n + 1 })', true, [{ n: 1 }, { n: 2 }]);
    assert(one?.ok && two?.ok, JSON.stringify([one, two]));
    assert.deepEqual([one.output, two.output], ['2', '3']);
  });
});

test('all ways were taken', () => {
  assert((ways.get('a frozen realm') ?? 0) > 20, JSON.stringify([...ways]));
  assert((ways.get('a fresh context made ahead') ?? 0) > 20, JSON.stringify([...ways]));
});
