// The conversation with programs of `interface: rpc`: what they are told, what they may answer, and how they are ended.
import { strict as assert } from 'node:assert';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { JsonObjects } from '../../../runtimes/process/json-objects.ts';
import { Failure } from '../../../src/core/failure.ts';
import type { Program } from '../../../src/core/plugin.ts';
import { Trial, type TrialRun } from '../../support/process.ts';

let trial: Trial;

beforeAll(async () => {
  trial = await Trial.start({ stopMs: 2_000 });
});

afterAll(async () => {
  await trial[Symbol.asyncDispose]();
});

const rpc = (exec: string[], options: TrialRun = {}): TrialRun => {
  const program: Program = { runtime: 'process', exec, speaks: 'rpc' };
  return { ...options, plugin: { ...options.plugin, program } };
};
const run = (exec: string[], options?: TrialRun) => trial.run([], rpc(exec, options));
const output = (exec: string[], options?: TrialRun) => trial.output([], rpc(exec, options));
const failure = (exec: string[], options?: TrialRun) => trial.failure([], rpc(exec, options));
const python = (file: string) => ['python3', `{pluginDir}/${file}`];
/** Hears what it is asked, writes that, and is done. */
const saying = (text: string, then = '') => ['sh', '-c', `read -r line; printf '${text}'; ${then}`];
const messages = ({ logs }: Awaited<ReturnType<typeof run>>) =>
  logs.map(({ message }) => message.replace('[Plugin / Trial] ', ''));

describe('a run', () => {
  test('is a call, and its answer is the output; standard error is the log', async () => {
    const outcome = await run(python('rpc-good.py'), { args: { b: [1, null], a: 'ä' } });
    assert(outcome.ok);
    assert.deepEqual(JSON.parse(outcome.output), { a: 'ä', b: [1, null] });
    assert.deepEqual([messages(outcome), outcome.progress], [['running'], 0.5]);
    assert(outcome.usage.peakMemoryBytes > 4_000_000, `${outcome.usage.peakMemoryBytes}`);
    await trial.assertNothingLeft();
  });

  test('is asked for once, in the bytes that Stash writes, and then the program is hung up on', async () => {
    const outcome = await run(python('rpc-witness.py'), { args: { z: '<&>', a: 1 } });
    assert(outcome.ok);
    const [call = '', ...rest] = messages(outcome);
    assert.deepEqual([outcome.output, rest], ['"heard"', ['the end']]);
    const start = '{"method":"RPCRunner.Run","params":[{"server_connection":{"Scheme":"http","Host":"0.0.0.0",';
    assert.equal(call.slice(0, start.length), start);
    assert.match(call, /"PluginDir":"[^"]*"\},"args":\{"a":1,"z":"\\u003c\\u0026\\u003e"\}\}\],"id":0\}$/);
  });

  test('is asked for through a real pipe, which can be opened by name', async () => {
    const script = 'n=$(head -n 1 </dev/stdin | wc -c); printf \'{"result":{"output":%s}}\' $n >/dev/stdout';
    const again = ['sh', '-c', script];
    assert((await output(again)) > 300);
  });

  test('with ten megabytes of arguments reaches who reads them, and does not bother who never does', async () => {
    const args = { text: 'x'.repeat(10_000_000) };
    const measure = ['sh', '-c', 'head -n 1 | wc -c | xargs printf \'{"result":{"output":%s}}\''];
    assert((await output(measure, { args })) > 10_000_000);
    assert.equal(await output(['printf', '{"result":{"output":1}}'], { args }), 1);
    await trial.assertNothingLeft();
  });

  test('ends soon after its answer, though a daemon holds the pipes and will not leave', async () => {
    assert.equal(await output(python('rpc-daemon.py')), 'done');
    await trial.assertNothingLeft();
  });

  test('ends though its program does not end by itself', async () => {
    assert.equal(await output(saying('{"result":{"output":1}}', 'exec sleep 600')), 1);
    await trial.assertNothingLeft();
  });

  test('is what was answered, however the program ends then', async () => {
    assert.equal(await output(saying('{"result":{"output":1}}', 'exit 3')), 1);
    assert.equal(await output(saying('{"result":{"output":1}}', 'kill -SEGV $$')), 1);
  });

  test('of what cannot be started is refused', async () => {
    assert.equal((await failure(['not-executable.sh'])).code, 'plugin_boot_failed');
    assert.equal((await failure(['broken-elf'])).code, 'plugin_boot_failed');
    assert.equal((await failure(python('rpc-good.py'), { limits: { bootMs: 0 } })).details.limit?.name, 'bootMs');
    await trial.assertNothingLeft();
  });
});

const GOOD: Record<string, { writes: string; output: unknown }> = {
  'without a newline': { writes: '{"id":0,"result":{"output":1},"error":null}', output: 1 },
  'with CRLF': { writes: '{"id":0,"result":{"output":1},"error":null}\\r\\n', output: 1 },
  'over many lines': { writes: '\\n{\\n"id":0,\\n"result":\\n{"output":\\n1}\\n}', output: 1 },
  'with keys in whatever case': { writes: '{"ID":0,"Result":{"OUTPUT":1,"Error":null},"ERROR":null}', output: 1 },
  'with a key twice': { writes: '{"id":7,"ID":0,"result":{},"Result":{"output":1,"Output":2}}', output: 2 },
  'without an id, which is 0': { writes: '{"result":{"output":1}}', output: 1 },
  'with the id null, which is 0': { writes: '{"id":null,"result":{"output":1}}', output: 1 },
  'with an empty result': { writes: '{"id":0,"result":{}}', output: null },
  'with brackets and quotes in its texts': { writes: '{"result":{"output":"}]\\\\"{["}}', output: '}]"{[' },
  'with what is not UTF-8': { writes: '{"result":{"output":"a\\377b"}}', output: 'a\ufffdb' },
  'with half a pair of surrogates': { writes: '{"result":{"output":"a\\\\ud800b"}}', output: 'a\ufffdb' },
  'and another one behind it': { writes: '{"result":{"output":1}}{"result":{"output":2}}', output: 1 },
  'and garbage behind it': { writes: '{"result":{"output":1}} Goodbye', output: 1 },
};

for (const [what, { writes, output: expected }] of Object.entries(GOOD)) {
  test(`an answer ${what} is one`, async () => assert.deepEqual(await output(saying(writes)), expected));
}

const UNFIT: Record<string, { writes: string; why: RegExp; preview?: string }> = {
  'garbage before the answer': {
    writes: 'Hello {"result":{}}',
    why: /is no JSON object/,
    preview: 'Hello {"result":{}}',
  },
  'a byte order mark': {
    writes: '\\357\\273\\277{"result":{}}',
    why: /is no JSON object/,
    preview: '\ufeff{"result":{}}',
  },
  'a NUL between answers': { writes: '\\000{"result":{}}', why: /is no JSON object/, preview: '\0{"result":{}}' },
  'a NUL inside': {
    writes: '{"result":{"output":"\\000"}}',
    why: /is no JSON$/,
    preview: '{"result":{"output":"\0"}}',
  },
  'brackets that do not match': { writes: '{"result":]', why: /is no JSON$/, preview: '{"result":]' },
  'an array': { writes: '[1]', why: /is no JSON object/, preview: '[1]' },
  'a number': { writes: '5\\n', why: /is no JSON object/, preview: '5\n' },
  'an id that nobody asked for': { writes: '{"id":1,"result":{}}', why: /the call 1, which nobody has made/ },
  'an id that is a text': { writes: '{"id":"0","result":{}}', why: /an id that is no number/ },
  'neither result nor error': { writes: '{"id":0,"result":null,"error":null}', why: /neither a result nor an error/ },
  'a result that is no object': { writes: '{"id":0,"result":[5]}', why: /result .* is no object/, preview: '[5]' },
  'an error that is no text': { writes: '{"result":{"error":5}}', why: /error .* is no text/, preview: '{"error":5}' },
  'too large a number': { writes: '{"result":{"output":1e400}}', why: /too large to hold/ },
  'half an object, by an end that is well': {
    writes: '{"result":{"out',
    why: /breaks off/,
    preview: '{"result":{"out',
  },
  'nothing, by an end that is well': { writes: '', why: /ended without an answer/ },
};

for (const [what, { writes, why, preview }] of Object.entries(UNFIT)) {
  test(`what is no answer fails the run, and is shown: ${what}`, async () => {
    const { code, message, details } = await failure(saying(writes));
    assert.equal(code, 'plugin_invalid_output');
    assert.match(message, why);
    if (preview !== undefined) assert.equal(JSON.parse(details.output ?? ''), preview);
    await trial.assertNothingLeft();
  });
}

test('what is no answer ends a run that would not end by itself', async () => {
  assert.equal((await failure(saying('garbage', 'exec sleep 600'))).code, 'plugin_invalid_output');
  await trial.assertNothingLeft();
});

test('an answer that is deeper than others can read is none', async () => {
  const deep = `print('{"result":{"output":' + '['*2000 + ']'*2000 + '}}')`;
  assert.match((await failure(['python3', '-c', deep])).message, /nested deeper than 1000/);
});

describe('an error of the plugin is told in its own words', () => {
  const ERRORS: Record<string, { writes: string; words: string; output?: string }> = {
    'of the call': { writes: '{"id":0,"result":null,"error":"no such method"}', words: 'no such method' },
    'of the call, beside a result': { writes: '{"result":{"output":1},"error":"not quite"}', words: 'not quite' },
    'of the call, without words': { writes: '{"error":""}', words: 'unspecified error' },
    'of the call, as JSON-RPC 2.0 has it': { writes: '{"error":{"code":-1}}', words: '{"code":-1}' },
    'of the run': { writes: '{"result":{"error":"oops","output":[1]}}', words: 'oops', output: '[1]' },
  };
  for (const [what, { writes, words, output: kept }] of Object.entries(ERRORS)) {
    test(what, async () => {
      const { code, details } = await failure(saying(writes));
      assert.deepEqual([code, details.pluginError?.message, details.output], ['plugin_error', words, kept]);
    });
  }
});

describe('a program that dies before it has answered', () => {
  test('has an exit status and last words', async () => {
    const died = await failure(saying('{"result":', 'echo the disk is full >&2; exit 3'));
    const { name, message } = died.details.pluginError ?? assert.fail('no words');
    assert.deepEqual([died.code, name, message], ['plugin_error', 'exit status 3', 'the disk is full']);
  });

  test('or a signal', async () => {
    const { code, message } = await failure(saying('', 'kill -SEGV $$'));
    assert.deepEqual([code, message], ['plugin_crashed', 'Died of SIGSEGV']);
    await trial.assertNothingLeft();
  });
});

describe('limits:', () => {
  const limits = { outputBytes: 10_000 };

  test('an answer may be as long as the limit says, and is too long beyond', async () => {
    const long = (length: number) =>
      saying('{"result":{"output":"', `head -c ${length} /dev/zero | tr "\\0" x; echo '"}}'`);
    assert.equal((await output(long(9_000), { limits })).length, 9_000);
    const { code, details } = await failure(long(10_000), { limits });
    assert.deepEqual([code, details.limit?.name], ['plugin_output_too_large', 'outputBytes']);
  });

  for (const flood of ['printf {; yes \'"a":1,\'', 'yes ""', 'printf \'{"a":"\'; yes']) {
    test(`what comes without end is cut short: ${flood}`, async () => {
      const before = process.memoryUsage().rss;
      const { code, details } = await failure(['sh', '-c', flood], { limits: { outputBytes: 1_000_000 } });
      assert.deepEqual([code, details.rung], ['plugin_output_too_large', 'killed']);
      assert(process.memoryUsage().rss - before < 100_000_000, 'we have grown');
      await trial.assertNothingLeft();
    });
  }

  test('memory and processor time count as for any program, and are no reason to ask first', async () => {
    await using patient = await Trial.start({ stopMs: 60_000 });
    const hoard = await patient.failure([], rpc(python('hoarder.py'), { limits: { residentMb: 64 } }));
    assert.deepEqual([hoard.code, hoard.details.rung], ['plugin_memory_exceeded', 'killed']);
    const busy = await patient.failure([], rpc(['busy.sh'], { limits: { cpuMs: 300 } }));
    assert.deepEqual([busy.code, busy.details.rung], ['plugin_cpu_exceeded', 'killed']);
    await patient.assertNothingLeft();
  });

  test('what it does after its answer does not change it', async () => {
    assert.equal(await output(saying('{"result":{"output":1}}', 'exec yes')), 1);
    assert.equal(await output(saying('{"result":{"output":1}}', 'exec yes >&2')), 1);
    await trial.assertNothingLeft();
  });
});

describe('a run that is stopped', () => {
  /** Cancels a run as soon as its program says that it is running. */
  async function cancelled(exec: string[], by = trial) {
    const cancel = new AbortController();
    const logged = (lines: readonly { message: string }[]) => {
      if (lines.some(({ message }) => message.endsWith('running'))) cancel.abort(new Failure('cancelled', 'Enough'));
    };
    return await by.run([], rpc(exec, { signal: cancel.signal, watch: { logged, progressed: () => {} } }));
  }

  test('is asked to stop while it is under way; who answers then has still been cancelled', async () => {
    const outcome = await cancelled(python('rpc-waiting.py'));
    assert(!outcome.ok);
    assert.deepEqual([outcome.failure.code, outcome.failure.details.rung], ['cancelled', 'cooperative']);
    assert.deepEqual(messages(outcome), ['running', 'told to stop with None']);
    await trial.assertNothingLeft();
  });

  test('is asked by the deadline, too', async () => {
    const { code, details } = await failure(python('rpc-waiting.py'), { deadlineMs: 700 });
    assert.deepEqual([code, details.rung], ['plugin_timeout', 'cooperative']);
    await trial.assertNothingLeft();
  });

  test('may end instead of an answer', async () => {
    const leave = 'echo running >&2; read -r stop; exit 5';
    const outcome = await cancelled(saying('', leave));
    assert(!outcome.ok);
    assert.deepEqual([outcome.failure.code, outcome.failure.details.rung], ['cancelled', 'cooperative']);
  });

  const UNWILLING: Record<string, string[]> = {
    'says that it will and does not': python('rpc-deaf.py'),
    'never reads it': ['sh', '-c', 'echo running >&2; exec sleep 600'],
    'has closed its standard input': ['sh', '-c', 'exec <&-; echo running >&2; exec sleep 600'],
  };
  for (const [what, exec] of Object.entries(UNWILLING)) {
    test(`is killed where it ${what}`, async () => {
      await using hasty = await Trial.start({ stopMs: 100 });
      const outcome = await cancelled(exec, hasty);
      assert(!outcome.ok);
      assert.deepEqual([outcome.failure.code, outcome.failure.details.rung], ['cancelled', 'killed']);
      await hasty.assertNothingLeft();
    });
  }

  // Nobody would wait for these as long as it would take.
  const HOPELESS: Record<string, string> = {
    'refuses to': 'read -r stop; echo \'{"id":1,"error":"no"}\'; exec sleep 600',
    'takes the opportunity to go over a limit': 'read -r stop; exec yes >&2',
  };
  for (const [what, then] of Object.entries(HOPELESS)) {
    test(`is killed at once where it ${what}`, async () => {
      await using patient = await Trial.start({ stopMs: 60_000 });
      const outcome = await cancelled(saying('', `echo running >&2; ${then}`), patient);
      assert(!outcome.ok);
      assert.deepEqual([outcome.failure.code, outcome.failure.details.rung], ['cancelled', 'killed']);
      await patient.assertNothingLeft();
    });
  }

  test('has no more than that when the runtime closes', async () => {
    await using other = await Trial.start({ stopMs: 100 });
    const running = other.failure([], rpc(python('rpc-deaf.py')));
    setTimeout(() => other.runtime[Symbol.asyncDispose](), 200);
    assert.equal((await running).code, 'draining');
    assert.deepEqual(other.processes(), []);
  });

  test('at any moment leaves nothing', async () => {
    const runs = Array.from({ length: 20 }, (_, at) => run(python('rpc-good.py'), { deadlineMs: 5 * at }));
    for (const outcome of await Promise.all(runs))
      if (!outcome.ok) assert.equal(outcome.failure.code, 'plugin_timeout');
    await trial.assertNothingLeft();
  });
});

// Goal: it must not matter how a stream is cut.
test('objects are found wherever the chunks end', () => {
  const stream = Buffer.from(' {"a":"}\\"{"}\r\n{"b":[{},{"ä":"\\\\"}]}{}');
  const whole = ['{"a":"}\\"{"}', '{"b":[{},{"ä":"\\\\"}]}', '{}'];
  for (let size = 1; size <= stream.length; size++) {
    const found: string[] = [];
    const objects = new JsonObjects((text) => found.push(text));
    for (let at = 0; at < stream.length; at += size) objects.push(stream.subarray(at, at + size));
    expect(found).toEqual(whole);
    assert.equal(objects.unfinished, null);
  }
});
