// What a plugin may do with its standard output and error: conformance cases 96 to 99.
import { strict as assert } from 'node:assert';
import { afterAll, beforeAll, test, vi } from 'vitest';
import { Journal } from '../../runtimes/process/journal.ts';
import { Trial } from '../support/process.ts';

let trial: Trial;

beforeAll(async () => {
  trial = await Trial.start();
});

afterAll(async () => {
  await trial[Symbol.asyncDispose]();
});

// 96
test('a program that answers without end is killed at the limit, and we keep no more than that', async () => {
  const before = process.memoryUsage().rss;
  const outcome = await trial.run(['yes'], { limits: { outputBytes: 1_000_000 } });
  assert(!outcome.ok);
  assert.equal(outcome.failure.code, 'plugin_output_too_large');
  assert.equal(outcome.failure.details.rung, 'killed');
  const { name, allowed, observed } = outcome.failure.details.limit ?? assert.fail('no limit');
  assert.deepEqual({ name, allowed }, { name: 'outputBytes', allowed: 1_000_000 });
  assert(observed > 1_000_000 && observed < 2_000_000, `${observed}`);
  assert(process.memoryUsage().rss - before < 100_000_000, 'we have grown');
  await trial.assertNothingLeft();
});

test('an answer that has just the size of the limit is whole', async () => {
  const text = await trial.output(['sh', '-c', 'head -c 200000 /dev/zero | tr "\\0" x'], {
    limits: { outputBytes: 200_000 },
  });
  assert.equal(text.length, 200_000);
});

test('an answer that is too long by what is left in the pipe at the end is too long as well', async () => {
  const failure = await trial.failure(['sh', '-c', 'echo 12345678'], { limits: { outputBytes: 8 } });
  assert.equal(failure.code, 'plugin_output_too_large');
});

// 97
test('a million writes of one byte are lines like any others', async () => {
  const outcome = await trial.run(['python3', '{pluginDir}/trickle.py'], {
    limits: { logLines: 50_000, logBytes: 2_000_000 },
  });
  assert(outcome.ok);
  assert.equal(outcome.usage.logLines, 20_000);
  assert.equal(outcome.logs[19_999]?.message, '[Plugin / Trial] abcdefghijklmnopqrstuvwxyz0123456789abcdefghijkl');
});

test('a line of 50 MB is cut, costs no memory, and does not spoil the next one', async () => {
  const before = process.memoryUsage().rss;
  const outcome = await trial.run(['python3', '{pluginDir}/endless-line.py']);
  assert(outcome.ok);
  const [long, short] = outcome.logs;
  assert.equal(outcome.logs.length, 2);
  assert(long !== undefined && long.message.length < 66_000 && long.message.endsWith('was cut off)'));
  assert.equal(short?.message, '[Plugin / Trial] short');
  assert(process.memoryUsage().rss - before < 100_000_000, 'we have grown');
});

test('a log without end is kept to its limits, what is beyond is counted, and the deadline ends it', async () => {
  const outcome = await trial.run(['flood.sh'], { limits: { logLines: 10 }, deadlineMs: 500 });
  assert(!outcome.ok);
  assert.equal(outcome.failure.code, 'plugin_timeout');
  assert.equal(outcome.logs.length, 10);
  assert.equal(outcome.usage.logLines, 10);
  assert(outcome.usage.logLinesDropped > 1_000);
  await trial.assertNothingLeft();
});

test('a log that is far beyond its limit ends the run', async () => {
  const outcome = await trial.run(['torrent.sh']);
  assert(!outcome.ok);
  assert.equal(outcome.failure.code, 'plugin_resource_exceeded');
  const { name, allowed, observed, unit } = outcome.failure.details.limit ?? assert.fail('no limit');
  assert.deepEqual({ name, allowed, unit }, { name: 'logBytes', allowed: 64 * 1024 * 1024, unit: 'bytes' });
  assert(observed > allowed && observed < allowed + 1_000_000, `${observed}`);
  assert.equal(outcome.logs.length, 1_000);
  await trial.assertNothingLeft();
});

test('where a log may be large it may be larger by as much before it ends the run', async () => {
  const failure = await trial.failure(['torrent.sh'], { limits: { logBytes: 2 * 1024 * 1024 } });
  assert.equal(failure.details.limit?.allowed, 128 * 1024 * 1024);
});

// Goal: to drop a flood must cost us little more than to read it.
// Method: what is told about a line is counted instead of timed; a Buffer for each would be 32,768 of them.
test('the lines of a flood are dropped without becoming objects', () => {
  const journal = new Journal(Trial.plugin({}), { logLines: 10, logBytes: 100 }, performance.now());
  const flood = Buffer.from('y\n'.repeat(32_768));
  const subarray = vi.spyOn(Buffer.prototype, 'subarray');
  const decode = vi.spyOn(Buffer.prototype, 'toString');
  journal.push(flood);
  journal.push(Buffer.from('\x01p\x020.5\n'.repeat(9_000)));
  const calls = subarray.mock.calls.length + decode.mock.calls.length;
  vi.restoreAllMocks();
  assert.deepEqual([journal.logs.length, journal.dropped, journal.progress], [10, 32_758, 0.5]);
  assert(calls < 100, `${calls}`);
});

test('the last words of a program are read, with a newline or without', async () => {
  const outcome = await trial.run(['sh', '-c', 'printf "one\\ntwo" >&2; exit 3']);
  assert.deepEqual(
    outcome.logs.map(({ message }) => message),
    ['[Plugin / Trial] one', '[Plugin / Trial] two'],
  );
});

test('all that was written is read, though the pipes are as full as they get when the program ends', async () => {
  const outcome = await trial.run([
    'sh',
    '-c',
    'head -c 65536 /dev/zero | tr "\\0" x; head -c 60000 /dev/zero | tr "\\0" y >&2',
  ]);
  assert(outcome.ok);
  assert.equal(outcome.output.length, 65_538);
  assert.equal(outcome.logs[0]?.message.length, 60_000 + '[Plugin / Trial] '.length);
});

// 98
const ANSWERS: Record<string, { writes: string; output: unknown }> = {
  'JSON and garbage behind it': { writes: '{"output":1} garbage', output: '{"output":1} garbage' },
  'two JSON documents': { writes: '{"output":1}\\n{"output":2}\\n', output: '{"output":1}\n{"output":2}\n' },
  'a byte order mark': { writes: '\\357\\273\\277{"output":1}', output: '\ufeff{"output":1}' },
  'a NUL': { writes: '{"output":1}\\000', output: '{"output":1}\0' },
  'what is not UTF-8': { writes: '{"output":"a\\377b"}', output: 'a\ufffdb' },
  CRLF: { writes: '{"output":1}\\r\\n', output: 1 },
};

for (const [what, { writes, output }] of Object.entries(ANSWERS)) {
  test(`an answer with ${what} is what Stash would make of it`, async () => {
    assert.deepEqual(await trial.output(['printf', writes]), output);
  });
}

// 99
test('half an answer is no answer, though its program says that all went well', async () => {
  const failure = await trial.failure(['half-json.sh']);
  assert.equal(failure.code, 'plugin_invalid_output');
  assert.equal(JSON.parse(failure.details.output ?? ''), '{"output":{"title":"half');
  await trial.assertNothingLeft();
});
