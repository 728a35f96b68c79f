/*
 * Turns the context it runs in into a frozen realm: everything that every script can reach is made unchangeable, so
 * that one realm can serve run after run and nothing of a run is left for the next. Each run evaluates the plugin's
 * source anew, by a strict direct eval in a function whose parameters are that run's own `input`, `log` and so on;
 * top-level declarations live in the scope of that eval and end with it. V8 keeps the compiled code of such an eval.
 *
 * Only programs that cannot tell the difference come here: see ../suitability.ts. And only success counts: whatever
 * fails here is run again in a fresh context, and that result is the one that is told.
 */
'use strict';
(prelude) => {
  const { getOwnPropertyDescriptor, getPrototypeOf, freeze, preventExtensions, defineProperty } = Object;
  const { ownKeys } = Reflect;
  const global = globalThis;

  for (const name of ['log', 'gql', 'util', 'console']) delete global[name];

  // Code made from strings would not see a run's own names. The suitable programs do not make any by name; one that
  // gets here by a made-up property name shall fail, and be run again elsewhere.
  const evaluate = new Function('input', 'log', 'gql', 'util', 'console', '"use strict"; return eval(arguments[5]);');
  const refuse = () => {
    throw new TypeError('no code from strings in a frozen realm');
  };
  for (const make of [() => {}, function* () {}, async () => {}, async function* () {}]) {
    defineProperty(getPrototypeOf(make), 'constructor', { value: refuse });
  }

  // The one source of promises that a made-up name leads to.
  defineProperty(Array, 'fromAsync', { value: refuse });

  const seen = new Set();
  const todo = [];
  const visit = (value) => {
    if ((typeof value !== 'object' || value === null) && typeof value !== 'function') return;
    if (seen.has(value)) return;
    seen.add(value);
    todo.push(value);
  };

  // What no name leads to, but syntax does.
  async function* asyncGenerator() {}
  for (const hidden of [
    function* () {},
    async () => {},
    asyncGenerator,
    asyncGenerator(),
    (function* () {})(),
    [][Symbol.iterator](),
    ''[Symbol.iterator](),
    new Map()[Symbol.iterator](),
    new Set()[Symbol.iterator](),
    /x/[Symbol.matchAll](''),
    [].values().map((x) => x),
    Iterator.from({ next() {} }),
    new Intl.Segmenter().segment('x'),
    new Intl.Segmenter().segment('x')[Symbol.iterator](),
    getOwnPropertyDescriptor(Function.prototype, 'caller')?.get,
  ]) {
    visit(hidden);
  }
  seen.add(global);
  todo.push(global);
  while (todo.length > 0) {
    const object = todo.pop();
    visit(getPrototypeOf(object));
    for (const key of ownKeys(object)) {
      const { value, get, set } = getOwnPropertyDescriptor(object, key);
      visit(value);
      visit(get);
      visit(set);
    }
  }
  seen.delete(global);
  for (const object of seen) freeze(object);
  for (const key of ownKeys(global)) {
    const property = getOwnPropertyDescriptor(global, key);
    if (!property.configurable) continue;
    property.configurable = false;
    if ('value' in property) property.writable = false;
    defineProperty(global, key, property);
  }
  preventExtensions(global);

  const { begin, makeInput, makeLog, makeGql, makeUtil, makeConsole, finish } = prelude('parts');

  /** Made once for a program; the function it gives runs it once, and answers like `finish`, or 'u' and why. */
  return (source, limits) => {
    const bounds = JSON.parse(limits);
    return (json) => {
      begin(bounds, undefined);
      let value;
      try {
        value = evaluate(makeInput(json), makeLog(), makeGql(), makeUtil(), makeConsole(), source);
      } catch {
        return 'u\nthrew';
      }
      return finish(value);
    };
  };
};
