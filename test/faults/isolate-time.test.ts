// What an embedded plugin may do to take time for itself: conformance cases 1 to 34, over HTTP, beside canaries.
import { strict as assert } from 'node:assert';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, test } from 'vitest';
import { Coop, codeOf, type HostileCase, pluginsOf } from '../support/canary.ts';

const CPU = 'plugin_cpu_exceeded';
const LOOP = 'for (;;);';

const CASES: HostileCase[] = [
  {
    name: '1: a busy loop is ended when its processor time is used up, and not later',
    code: LOOP,
    expect: CPU,
    check({ body }) {
      const { name, allowed, observed } = body.limit;
      assert.deepEqual({ name, allowed }, { name: 'cpuMs', allowed: 300 });
      assert(observed >= 300 && body.usage.cpuMs < 600, JSON.stringify(body));
    },
  },
  {
    name: '2: an async function that awaits nothing for ever',
    code: '(async () => { for (;;) await null; })();',
    expect: CPU,
  },
  {
    name: '3: a promise that makes itself again and again, and a loop after it',
    code: `const f = () => Promise.resolve().then(f); f(); ${LOOP}`,
    expect: CPU,
  },
  {
    name: '3: such a promise alone, after the script has ended',
    code: `const f = () => Promise.resolve().then(f); f(); ({ Output: 1 });`,
    expect: CPU,
  },
  {
    name: '4: a promise that never settles is no output by the contract of Stash, and nobody waits for it',
    code: 'new Promise(() => {});',
    expect: 'ok',
    check: ({ body }) => assert.equal(body.output, null),
  },
  { name: '5: a regular expression that backtracks', code: `/^(a+)+$/.test('a'.repeat(40) + 'b');`, expect: CPU },
  {
    name: '7: arithmetic that cannot be interrupted costs the executor, and says so',
    code: '(3n ** 30000000n).toString();',
    expect: CPU,
    check: ({ body }) => assert.equal(body.rung, 'killed'),
  },
  {
    name: '9: JSON of a graph that is small as such and endless as a tree',
    code: 'let a = {}; for (let i = 0; i < 30; i += 1) a = { l: a, r: a }; ({ Output: a });',
    expect: [CPU, 'plugin_output_too_large', 'plugin_memory_exceeded'],
  },
  {
    name: '10: a search in an array without an end',
    code: 'Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1);',
    expect: CPU,
    check: ({ body }) => assert.equal(body.rung, 'killed'),
  },
  {
    name: '13: a thrown error whose stack is a loop',
    code: `throw Object.defineProperty(new Error('x'), 'stack', { get() { ${LOOP} } });`,
    expect: CPU,
  },
  {
    name: '15: a thrown error whose name is a loop',
    code: `throw Object.defineProperty(new Error('x'), 'name', { get() { ${LOOP} } });`,
    expect: CPU,
  },
  {
    name: '15: a thrown error whose message is a loop',
    code: `throw Object.defineProperty(new Error('x'), 'message', { get() { ${LOOP} } });`,
    expect: CPU,
  },
  {
    name: '16: stack traces that are prepared by a loop',
    code: `Error.prepareStackTrace = () => { ${LOOP} }; throw new Error('x');`,
    expect: CPU,
  },
  {
    name: '18: a rejection that nobody handles, of something that loops when it is looked at',
    code: `Promise.reject({ get stack() { ${LOOP} }, get message() { ${LOOP} }, toString() { ${LOOP} } }); ({ Output: 1 });`,
    expect: ['ok', CPU],
  },
  {
    name: '20: an answer with a getter that loops',
    code: `({ Output: { get a() { ${LOOP} } } });`,
    expect: CPU,
  },
  { name: '20: an answer whose very Output is a loop', code: `({ get Output() { ${LOOP} } });`, expect: CPU },
  { name: '21: an answer whose toJSON loops', code: `({ Output: { toJSON() { ${LOOP} } } });`, expect: CPU },
  {
    name: '22: an answer that is a thenable which loops is never asked to be one',
    code: `({ Output: 1, then() { ${LOOP} } });`,
    expect: 'ok',
    check: ({ body }) => assert.equal(body.output, 1),
  },
  {
    name: '22: a promise resolved with a thenable that loops',
    code: `Promise.resolve({ then() { ${LOOP} } });`,
    expect: CPU,
  },
  {
    name: '24: a proxy with traps that loop',
    code: `({ Output: new Proxy({}, { ownKeys() { ${LOOP} }, get() { ${LOOP} } }) });`,
    expect: CPU,
  },
  {
    name: '24: a proxy instead of an answer',
    code: `new Proxy({}, { get() { ${LOOP} }, getPrototypeOf() { ${LOOP} } });`,
    expect: CPU,
  },
  {
    name: '25: sleeping twice, each time for longer than there is time',
    code: 'util.Sleep(600); util.Sleep(600); ({ Output: 1 });',
    limits: { wallMs: 300 },
    expect: 'plugin_timeout',
  },
  {
    name: '26: waiting for an application that never answers',
    code: `gql.Do('{ never }');`,
    limits: { wallMs: 300 },
    expect: 'plugin_timeout',
  },
  {
    name: '27: there are no timers to make a million of',
    code: '({ Output: [typeof setTimeout, typeof setInterval, typeof setImmediate, typeof queueMicrotask] });',
    expect: 'ok',
    check: ({ body }) => assert.deepEqual([...new Set(body.output)], ['undefined']),
  },
  {
    name: '31: a plugin that stops its clocks does not stop ours',
    code: `Date.now = () => 0; Date.prototype.getTime = () => 0; globalThis.performance = { now: () => 0 };
      globalThis.Date = class {}; Math.trunc = () => 0; Number.prototype.valueOf = () => 0; ${LOOP}`,
    expect: CPU,
  },
  {
    name: '32: there is nothing to wait on',
    code: '({ Output: [typeof Atomics, typeof SharedArrayBuffer, typeof WebAssembly, typeof performance] });',
    expect: 'ok',
    check: ({ body }) => assert.deepEqual([...new Set(body.output)], ['undefined']),
  },
  {
    name: '34: a module of the host cannot be imported',
    code: `import('node:fs').then(() => log.Info('imported'), () => log.Info('refused')); ({ Output: 1 });`,
    expect: 'ok',
    check: ({ text }) => assert(!text.includes('imported')),
  },
  {
    name: '34: importing again and again',
    code: `const f = () => import('file:///etc/passwd').then(f, f); f(); ({ Output: 1 });`,
    expect: ['ok', CPU],
  },
  {
    name: '83: a flood of logs is cut, and what was dropped is counted',
    code: `for (let i = 0; i < 50000; i += 1) log.Info('x'.repeat(1000)); ({ Output: 1 });`,
    limits: { cpuMs: 10_000, wallMs: 10_000 },
    expect: 'ok',
    check({ body }) {
      const { logLines, logLinesDropped } = body.usage;
      assert.equal(logLines + logLinesDropped, 50_000);
      assert(logLines > 0 && logLines <= 200, `${logLines} lines`);
      assert.equal(body.logs.length, logLines);
    },
  },
  {
    name: '84: a flood of calls of the application is ended at the limit',
    code: `for (;;) gql.Do('{ quick }');`,
    limits: { cpuMs: 10_000, wallMs: 10_000 },
    expect: 'plugin_resource_exceeded',
    check: ({ body }) => assert.equal(body.limit.name, 'hostCalls'),
  },
];

let application: Server;
let coop: Coop;

beforeAll(async () => {
  application = createServer((request, response) => {
    let text = '';
    request.on('data', (data) => {
      text += data;
    });
    request.on('end', () => {
      if (text.includes('never')) return;
      response.setHeader('content-type', 'application/json');
      response.end('{"data":{}}');
    });
  });
  await new Promise<void>((resolve) => application.listen(0, '127.0.0.1', resolve));
  const applicationUrl = `http://127.0.0.1:${(application.address() as AddressInfo).port}`;
  const limits = { cpuMs: 300, wallMs: 3000, heapMb: 64, residentMb: 256, hostCalls: 50, logLines: 200 };
  const codes = { ...pluginsOf(CASES), race: 'util.Sleep(input.Args.ms); ({ Output: 1 });' };
  coop = await Coop.start(codes, { applicationUrl, limits: { ...limits, bootMs: 3000 } });
});

afterAll(async () => {
  await coop[Symbol.asyncDispose]();
  application.closeAllConnections();
  application.close();
});

CASES.forEach((one, at) => {
  test(one.name, () => coop.runCase(`case-${at}`, one));
});

test('29: a run that ends as its time does has exactly one outcome', async () => {
  const answers = [];
  for (let round = 0; round < 84; round += 1) {
    const delays = [48, 49, 50, 51, 52, 60];
    const runs = delays.map((ms) =>
      coop.service.invoke('race', { args: { ms }, limits: { wallMs: 50 + (round % 5) } }),
    );
    answers.push(...(await Promise.all(runs)));
  }
  const outcomes = Map.groupBy(coop.service.log(), (line) => line.invocation);
  for (const answer of answers) {
    assert(['ok', 'plugin_timeout'].includes(codeOf(answer)), answer.text);
    const id = answer.headers.get('isopod-invocation') ?? assert.fail('no id');
    assert.equal(outcomes.get(id)?.length, 1, id);
  }
  await coop.assertUnharmed();
});

// The last, as it is about all that came before.
test('the memory of the executors is soon what it was before', () => coop.assertMemoryIsBack(), 20_000);
