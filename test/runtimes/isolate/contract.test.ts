// What a script finds and what becomes of what it does, as Stash has it: pkg/javascript and pkg/plugin/js.go.
import { strict as assert } from 'node:assert';
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest';
import { Failure } from '../../../src/core/failure.ts';
import { type Callee, type ScriptRun, Scripts, seen } from './scripts.ts';

let scripts: Scripts;

beforeAll(async () => {
  scripts = await Scripts.open('long');
});

afterEach(() => scripts.forget());
afterAll(() => scripts[Symbol.asyncDispose]());

async function run(source: string, options?: ScriptRun) {
  return scripts.run(await scripts.add(source), options);
}

async function outputOf(source: string, options?: ScriptRun): Promise<unknown> {
  const outcome = await run(source, options);
  assert(outcome.ok, JSON.stringify(seen(outcome)));
  return JSON.parse(outcome.output);
}

async function linesOf(source: string): Promise<unknown> {
  return seen(await run(source)).logs;
}

/** An application that remembers what it was asked, and answers in order. */
function answering(...answers: (string | [status: number, body: string])[]): Callee & { bodies: string[] } {
  const bodies: string[] = [];
  return {
    bodies,
    async graphql(body) {
      const answer = answers[Math.min(bodies.length, answers.length - 1)] ?? '{}';
      bodies.push(body);
      return typeof answer === 'string' ? { status: 200, body: answer } : { status: answer[0], body: answer[1] };
    },
  };
}

describe('a value is logged as', () => {
  const words: [expression: string, logged: string][] = [
    ['"text"', 'text'],
    ['', 'undefined'],
    ['undefined', 'undefined'],
    ['null', 'null'],
    ['1.5', '1.5'],
    ['true', 'true'],
    ['{ a: [1, { b: null }] }', '{"a":[1,{"b":null}]}'],
    ['[1, 2, { a: 1 }]', '1,2,[object Object]'],
    ['new Error("x")', '{}'],
    ['new Map([[1, 2]])', '[object Map]'],
    ['"a\\nb"', 'a\nb'],
    ['"first", "second"', 'first'],
  ];
  test.for(words)('log.Info(%s)', async ([expression, logged]) => {
    assert.deepEqual(await linesOf(`log.Info(${expression})`), [`info: [Plugin / Demo] ${logged}`]);
  });
});

test('log has its levels and a prefix, and answers nothing', async () => {
  const source = `const all = [log.Trace(1), log.Debug(2), log.Info(3), log.Warn(4), log.Error(5), log.Progress(1)];
    ({ Output: all.every((one) => one === undefined) })`;
  assert.equal(await outputOf(source), true);
  assert.deepEqual(
    await linesOf(source),
    ['trace', 'debug', 'info', 'warning', 'error'].map((level, at) => `${level}: [Plugin / Demo] ${at + 1}`),
  );
});

test('console has no prefix', async () => {
  const source = 'console.log(1, 2); console.info({ a: 1 }); console.warn([1]); console.error("e"); console.debug()';
  assert.deepEqual(await linesOf(source), ['info: 1', 'info: {"a":1}', 'warning: 1', 'error: e', 'debug: undefined']);
});

test('an object in a circle is logged as nothing, and with a warning', async () => {
  assert.deepEqual(await linesOf('const o = {}; o.o = o; log.Info(o)'), [
    'warning: an object could not be logged as JSON',
    'info: [Plugin / Demo] ',
  ]);
});

describe('progress is held between 0 and 1:', () => {
  const told: [expression: string, progress: number | null][] = [
    ['0.25', 0.25],
    ['"0.5"', 0.5],
    ['7', 1],
    ['-1', 0],
    ['null', 0],
    ['"Finished"', null],
  ];
  test.for(told)('log.Progress(%s)', async ([expression, progress]) => {
    assert.equal((await run(`log.Progress(${expression})`)).progress, progress);
  });

  test('log.Progress() is 0', async () => {
    assert.equal((await run('log.Progress()')).progress, 0);
  });

  test('log.Progress(undefined) is 0', async () => {
    assert.equal((await run('log.Progress(undefined)')).progress, 0);
  });

  test('an operation has none', async () => {
    assert.equal((await run('log.Progress(0.5)', { entry: { kind: 'operation' } })).progress, null);
  });
});

describe('gql.Do sends', () => {
  const sent: [args: string, body: string][] = [
    ['', '{"query":""}'],
    ['"{ a }"', '{"query":"{ a }"}'],
    ['5', '{"query":"5"}'],
    ['"q", null', '{"query":"q"}'],
    ['"q", {}', '{"query":"q"}'],
    ['"q", { a: undefined }', '{"query":"q","variables":{"a":null}}'],
    ['"q", { a: new Date(0) }', '{"query":"q","variables":{"a":"1970-01-01T00:00:00Z"}}'],
    ['"q", { a: new Date(1500) }', '{"query":"q","variables":{"a":"1970-01-01T00:00:01.5Z"}}'],
    ['"q", [1, "b"]', '{"query":"q","variables":{"0":1,"1":"b"}}'],
    ['"q", { a: [1, [2], { b: "c" }] }', '{"query":"q","variables":{"a":[1,[2],{"b":"c"}]}}'],
    ['"q", { toJSON: null, __proto__: { z: 1 } }', '{"query":"q","variables":{"toJSON":null}}'],
  ];
  test.for(sent)('(%s)', async ([args, body]) => {
    const application = answering('{"data":{"a":1}}');
    assert.deepEqual(await outputOf(`({ Output: gql.Do(${args}) })`, { application }), { a: 1 });
    assert.deepEqual(application.bodies, [body]);
  });
});

describe('gql.Do refuses variables that cannot be sent:', () => {
  const refused: [variables: string, error: string][] = [
    ['{ a: () => 1 }', 'GoError: json: unsupported type: func(goja.FunctionCall) goja.Value'],
    ['{ a: NaN }', 'GoError: json: unsupported value: NaN'],
    ['{ a: [-Infinity] }', 'GoError: json: unsupported value: -Inf'],
    [
      '"text"',
      'TypeError: could not convert function call parameter 1: could not convert text to map[string]interface {}',
    ],
  ];
  test.for(refused)('%s', async ([variables, error]) => {
    const application = answering('{}');
    const source = `let e; try { gql.Do('q', ${variables}); } catch (error) { e = error; }
      ({ Output: [e instanceof Error, String(e)] })`;
    assert.deepEqual(await outputOf(source, { application }), [true, error]);
    assert.deepEqual(application.bodies, []);
  });
});

describe('gql.Do makes of an answer', () => {
  const answers: [answer: string | [number, string], output: unknown][] = [
    ['{"data":{"a":[1]}}', { a: [1] }],
    ['{"data":null}', null],
    ['{}', null],
    ['{"errors":null}', 'Error: graphql error: null'],
    ['{"errors":[]}', 'Error: graphql error: []'],
    ['{"data":{"a":1},"errors":[{"message":"m"}]}', 'Error: graphql error: [{"message":"m"}]'],
    [[422, 'bad'], 'Error: graphQL query failed: 422 - bad. Query: q. Variables: map[a:1 b:[x <nil>]]'],
  ];
  test.for(answers)('%j', async ([answer, output]) => {
    const source = `let o; try { o = gql.Do('q', { b: ['x', null], a: 1 }); } catch (e) { o = String(e); } ({ Output: o })`;
    assert.deepEqual(await outputOf(source, { application: answering(answer) }), output);
  });

  test('what is not JSON, or not an object', async () => {
    const source = `let o; try { gql.Do('q'); } catch (e) { o = String(e); } ({ Output: o })`;
    for (const answer of ['<html>', '[1]', '"x"', '']) {
      const error = String(await outputOf(source, { application: answering(answer) }));
      assert(error.startsWith(`Error: could not unmarshal object ${answer}: `), error);
    }
  });

  test('none at all', async () => {
    const application: Callee = {
      graphql: async () => {
        throw new Failure('invalid_request', 'no application is set');
      },
    };
    const source = `let o; try { gql.Do('q'); } catch (e) { o = String(e); } ({ Output: o })`;
    assert.equal(await outputOf(source, { application }), 'Error: graphQL query failed: no application is set');
  });

  test('a plain object that can be changed', async () => {
    const source = `const d = gql.Do('q'); d.list.push(2); d.more = 1; ({ Output: [d, Array.isArray(d.list), { ...d }] })`;
    const d = { list: [1, 2], more: 1 };
    assert.deepEqual(await outputOf(source, { application: answering('{"data":{"list":[1]}}') }), [d, true, d]);
  });
});

test('what is logged before a call is there when the call is', async () => {
  const bodies: string[] = [];
  const application: Callee = {
    async graphql(body) {
      bodies.push(body);
      return { status: 200, body: `{"data":${bodies.length}}` };
    },
  };
  const source = `log.Info('a'); const one = gql.Do('1'); log.Info(one); const two = gql.Do('2'); log.Info(two);`;
  const outcome = await run(source, { application });
  assert.deepEqual(
    seen(outcome).logs,
    ['a', '1', '2'].map((one) => `info: [Plugin / Demo] ${one}`),
  );
  assert.equal(outcome.usage.hostCalls, 2);
});

test('util.Sleep can be ended, and neither catch nor finally sees it', async () => {
  const stop = new AbortController();
  const application: Callee = {
    async graphql() {
      setImmediate(() => stop.abort(new Failure('cancelled', 'that is enough')));
      return { status: 200, body: '{}' };
    },
  };
  const source = `try { gql.Do('now'); util.Sleep(1e9); } catch { log.Info('caught'); } finally { log.Info('finally'); }`;
  const outcome = await run(source, { application, signal: stop.signal });
  assert(!outcome.ok);
  assert.equal(outcome.failure.code, 'cancelled');
  assert.deepEqual(outcome.logs, []);
});

test('a run that was ended while it waited tells nothing and calls nobody any more, however it clings', async () => {
  const source = `for (;;) try { gql.Do('now'); } catch { log.Info('caught'); } finally { util.Sleep(1); log.Info('finally'); }`;
  for (let round = 0; round < 10; round += 1) {
    const stop = new AbortController();
    let calls = 0;
    const application: Callee = {
      async graphql() {
        calls += 1;
        stop.abort(new Failure('cancelled', 'that is enough'));
        return new Promise(() => {});
      },
    };
    const outcome = await run(source, { application, signal: stop.signal });
    assert(!outcome.ok);
    assert.equal(outcome.failure.code, 'cancelled');
    assert.deepEqual([outcome.logs, calls], [[], 1]);
  }
});

test('util.Sleep takes what can be a number, and answers nothing', async () => {
  assert.equal(
    await outputOf(`({ Output: [1, '1', 1.9, 0, -5, {}, undefined].every((x) => util.Sleep(x) === undefined) })`),
    true,
  );
});

test('an error tells the true line and column', async () => {
  const outcome = await run(`throw new Error('first')`);
  assert(!outcome.ok);
  assert.equal(outcome.failure.code, 'plugin_error');
  assert.match(outcome.failure.details.pluginError?.stack ?? '', /^Error: first\n {4}at script-\d+\.js:1:7/);
  const later = await run(`\n\n  f();\nfunction f() {\n  null.x;\n}`);
  assert(!later.ok);
  assert.match(
    later.failure.details.pluginError?.stack ?? '',
    /at f \(script-\d+\.js:5:8\)\n {4}at script-\d+\.js:3:3/,
  );
});

test('a stack shows nothing of ours', async () => {
  const outcome = await run('null.x');
  assert(!outcome.ok);
  assert.doesNotMatch(outcome.failure.details.pluginError?.stack ?? '', /isopod|\/work|node:/);
});

test('a syntax error tells the true line', async () => {
  const outcome = await run('const a = 1;\nconst b = ;');
  assert(!outcome.ok);
  assert.equal(outcome.failure.code, 'plugin_boot_failed');
  const { name, message } = outcome.failure.details.pluginError ?? { name: '', message: '' };
  assert.equal(name, 'SyntaxError');
  assert.match(message, /^Unexpected token ';' \[script-\d+\.js:2:\d+\]$/);
});

describe('the value of the script is', () => {
  const values: [source: string, output: unknown][] = [
    ['({ Output: [1] })', [1]],
    ['({ Output: "é\u2028" })', 'é\u2028'],
    ['({ Output: undefined })', null],
    ['({ Output: null })', null],
    ['({ Output: NaN })', null],
    ['({ output: 1 })', null],
    ['({ Error: null, Output: 1 })', 1],
    ['({ Error: undefined, Output: 1 })', 1],
    ['var x = { Output: 1 }', null],
    ['x = { Output: 1 }; var x', 1],
    ['"text"', null],
    ['42', null],
    ['null', null],
    ['Promise.resolve({ Output: 1 })', null],
    ['if (true) { ({ Output: 1 }) }', 1],
    ['({ Output: 1 }); function f() {}', 1],
  ];
  test.for(values)('%s', async ([source, output]) => assert.deepEqual(await outputOf(source), output));
});

describe('an error is told in its own words:', () => {
  const errors: [source: string, message: string, output: string | undefined][] = [
    ['({ Error: new Error("boom"), Output: [1] })', 'Error: boom', '[1]'],
    ['({ Error: "" })', '', undefined],
    ['({ Error: 0 })', '0', undefined],
    ['({ Error: {} })', '[object Object]', undefined],
    ['throw "s"', 's', undefined],
    ['throw new RangeError("r")', 'r', undefined],
    ['undeclared = 1', 'undeclared is not defined', undefined],
  ];
  test.for(errors)('%s', async ([source, message, output]) => {
    const outcome = await run(source);
    assert(!outcome.ok);
    assert.equal(outcome.failure.code, 'plugin_error');
    assert.equal(outcome.failure.details.pluginError?.message, message);
    assert.equal(outcome.failure.details.output, output);
  });
});

test('an output that cannot be JSON is refused', async () => {
  for (const source of ['const o = {}; o.o = o; ({ Output: o })', '({ Output: 1n })']) {
    const outcome = await run(source);
    assert(!outcome.ok);
    assert.equal(outcome.failure.code, 'plugin_invalid_output');
  }
});

test('the globals are those of the language and of the host, and no others', async () => {
  const names = (await outputOf('({ Output: Object.getOwnPropertyNames(globalThis).sort() })')) as string[];
  const host = ['input', 'log', 'gql', 'util', 'console'];
  assert.deepEqual(await outputOf('({ Output: Object.keys(globalThis).sort() })'), [...host].sort());
  const absent =
    `require module exports process global Buffer setTimeout setInterval setImmediate queueMicrotask fetch URL
    TextEncoder btoa structuredClone performance WebAssembly SharedArrayBuffer Atomics`.split(/\s+/);
  for (const name of absent) assert(!names.includes(name), name);
  const ofStash =
    `AggregateError Array ArrayBuffer Boolean DataView Date Error EvalError Float32Array Float64Array Function
    Infinity Int16Array Int32Array Int8Array JSON Map Math NaN Number Object Promise Proxy RangeError ReferenceError Reflect
    RegExp Set String Symbol SyntaxError TypeError URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap
    WeakSet console decodeURI decodeURIComponent encodeURI encodeURIComponent escape eval globalThis gql input isFinite
    isNaN log parseFloat parseInt undefined unescape util`.split(/\s+/);
  for (const name of ofStash) assert(names.includes(name), name);
});

test('the host objects have their functions, which are writable, and no others', async () => {
  const source = `const shape = (o) => Object.keys(o).sort().join(' ');
    ({ Output: [shape(log), shape(gql), shape(util), shape(console), Object.getOwnPropertyDescriptor(globalThis, 'log').writable] })`;
  assert.deepEqual(await outputOf(source), [
    'Debug Error Info Progress Trace Warn',
    'Do',
    'Sleep',
    'debug error info log warn',
    true,
  ]);
});

test('input has capital letters, takes no more properties, and its arguments can be changed', async () => {
  const source = `input.Args.list.push(2); input.Args.more = 1; let e; try { input.more = 1; } catch (error) { e = error.name; }
    const { ServerConnection: s } = input;
    ({ Output: [input.Args, e, input.args === undefined, s.Scheme, s.Port, s.SessionCookie.Value] })`;
  const output = await outputOf(source, { args: { list: [1] } });
  assert.deepEqual(output, [{ list: [1, 2], more: 1 }, 'TypeError', true, 'http', 9999, 'one']);
});

test('the hook context has all of its keys, and takes no more', async () => {
  const source = `let e; try { input.Args.hookContext.more = 1; } catch (error) { e = error.name; }
    ({ Output: [input.Args.hookContext, e] })`;
  const output = await outputOf(source, { args: { hookContext: { id: 5, type: 'Scene.Update.Post' } } });
  assert.deepEqual(output, [{ id: 5, type: 'Scene.Update.Post', input: null, inputFields: [] }, 'TypeError']);
});

test('a promise that nobody handles is ignored', async () => {
  assert.equal(await outputOf('Promise.reject(new Error("x")); ({ Output: 1 })'), 1);
  const outcome = await run('async function main() { log.Info("a"); throw 1; } main(); ({ Output: 2 })');
  assert.deepEqual(seen(outcome), { output: 2, logs: ['info: [Plugin / Demo] a'], progress: null });
});

test('an async main runs to its end, and its output is null', async () => {
  const source = `async function main() { const a = await 1; log.Info(a); log.Info(gql.Do('q')); return { Output: 1 }; } main();`;
  const outcome = await run(source, { application: answering('{"data":{"a":1}}') });
  assert.deepEqual(seen(outcome), {
    output: null,
    logs: ['info: [Plugin / Demo] 1', 'info: [Plugin / Demo] {"a":1}'],
    progress: null,
  });
});

test('nothing of a run is left for the next', async () => {
  const plugin = await scripts.add(`const before = [globalThis.mark, [].mark, Math.mark, log.mark];
    globalThis.mark = Array.prototype.mark = Math.mark = log.mark = 1; ({ Output: before })`);
  for (let times = 0; times < 3; times += 1) {
    assert.deepEqual(seen(await scripts.run(plugin)).output, [null, null, null, null]);
  }
});
