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
  const { captureStackTrace } = Error;
  const { ownKeys } = Reflect;
  const global = globalThis;
  const ERRORS = [
    ...[Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError],
    ...(typeof SuppressedError === 'function' ? [SuppressedError] : []),
  ];

  for (const name of ['log', 'gql', 'util', 'console']) delete global[name];

  // An arrow function of the global scope has no `arguments`, and `this` in it is the global object, as in a script.
  // The source comes in the place of `input`, which then becomes what it is called: no name leads to the source.
  const { eval: evaluateGlobally } = global;
  const evaluate = evaluateGlobally(
    '"use strict"; (input, log, gql, util, console) => eval((({ source, theInput }) => ((input = theInput), source))(input))',
  );

  // What tells a frozen realm from a fresh one, or makes code that does not see a run's own names. The suitable
  // programs do not touch it by name. A run that gets there by a made-up name does not count, whatever it catches.
  let told = false;
  const trap = (owner, name) => {
    const tell = () => {
      told = true;
      throw new TypeError('not in a frozen realm');
    };
    defineProperty(owner, name, { __proto__: null, get: tell, set: tell });
  };
  async function* asyncGenerator() {}
  for (const make of [() => {}, function* () {}, async () => {}, asyncGenerator]) {
    trap(getPrototypeOf(make), 'constructor');
  }
  for (const name of [
    'getPrototypeOf',
    'setPrototypeOf',
    'isFrozen',
    'isSealed',
    'isExtensible',
    'getOwnPropertyDescriptor',
    'getOwnPropertyDescriptors',
    'getOwnPropertyNames',
  ]) {
    trap(Object, name);
  }
  for (const name of ['__proto__', '__defineGetter__', '__defineSetter__', '__lookupGetter__', '__lookupSetter__']) {
    trap(Object.prototype, name);
  }
  trap(Array, 'fromAsync');
  // The engine asks for `prepareStackTrace` when a stack is first read. It would show our frames.
  trap(Error, 'prepareStackTrace');
  trap(Error, 'captureStackTrace');
  for (const kind of ERRORS) trap(kind.prototype, 'constructor');
  // `RegExp.$1` and its like: the engine keeps the last match of all runs.
  for (const name of ownKeys(RegExp)) {
    if (typeof name === 'string' && getOwnPropertyDescriptor(RegExp, name).get !== undefined) trap(RegExp, name);
  }

  const withStack = {};
  captureStackTrace(withStack);

  const seen = new Set();
  const todo = [];
  const visit = (value) => {
    if ((typeof value !== 'object' || value === null) && typeof value !== 'function') return;
    if (seen.has(value)) return;
    seen.add(value);
    todo.push(value);
  };

  // What no name leads to, but syntax does, or a descriptor: the engine gives all errors the same `stack` functions.
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
    (function () {
      // biome-ignore lint/complexity/noArguments: its `callee` is what is wanted.
      return arguments;
    })(),
    ...ERRORS.map((kind) => new kind([])),
    withStack,
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
      told = false;
      let value;
      try {
        const input = { __proto__: null, source, theInput: makeInput(json) };
        value = evaluate(input, makeLog(), makeGql(), makeUtil(), makeConsole());
      } catch {
        return 'u\nthrew';
      }
      const answer = finish(value);
      return told ? 'u\ntold' : answer;
    };
  };
};
