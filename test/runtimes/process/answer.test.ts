// The decision table of Stash for what a raw plugin writes to standard output, and the one repair of it.
import { strict as assert } from 'node:assert';
import { describe, test } from 'vitest';
import { readAnswer } from '../../../runtimes/process/answer.ts';
import { verdictOn } from '../../../runtimes/process/verdict.ts';

/** Text → what is answered; `text` is the output where nothing else is said. */
const TABLE: [text: string | Buffer, expected: { output?: unknown; error?: string | null }][] = [
  ['{"output":{"a":1}}', { output: { a: 1 } }],
  ['{"Output":1}', { output: 1 }],
  ['{"ERROR":"bad","oUtPuT":2}', { error: 'bad', output: 2 }],
  ['{"foo":1}', { output: null }],
  ['{}', { output: null }],
  ['null', { output: null }],
  [' null\n', { output: null }],
  ['{"error":null,"output":2}', { output: 2 }],
  ['{"error":""}', { error: '', output: null }],
  ['\n {"output":"x"} \r\n', { output: 'x' }],
  ['5', {}],
  ['"x"', {}],
  ['[1]', {}],
  ['true', {}],
  ['', {}],
  ['  \n', {}],
  ['plain text\n', {}],
  ['{"output":1}\n{"output":2}', {}],
  ['noise\n{"output":1}', {}],
  ['\ufeff{"output":1}', {}],
  ['{output:1}', {}],
  ['{"output":1,}', {}],
  ['{"output":"a\nb"}', {}],
  ['{"output":1e400}', {}],
  [`{"output":1${'0'.repeat(320)}}`, {}],
  ['{"output":1e300}', { output: 1e300 }],
  ['{"error":5,"output":1}', { error: '' }],
  ['{"error":{"message":"x"}}', { error: '' }],
  // The last one counts, in whatever case it is written.
  ['{"output":1,"Output":2,"output":3}', { output: 3 }],
  ['{"output":1,"output":2,"OUTPUT":1}', { output: 1 }],
  ['{"error":"a","Error":null}', { output: null }],
  ['{"error":5,"error":"x"}', { error: 'x' }],
  ['{"output":{"output":1,"error":"inner"}}', { output: { output: 1, error: 'inner' } }],
  // Half a surrogate pair.
  ['{"output":["\\ud800","\\ud83d\\ude00"],"error":"\\udc00"}', { output: ['\ufffd', '\u{1f600}'], error: '\ufffd' }],
  [
    Buffer.from([0x7b, 0x22, 0x6f, 0x75, 0x74, 0x70, 0x75, 0x74, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d]),
    { output: '\ufffd' },
  ],
  ['{"output":{"__proto__":{"admin":true}}}', { output: JSON.parse('{"__proto__":{"admin":true}}') }],
];

describe('what a plugin writes is taken as Stash takes it:', () => {
  for (const [text, { output = String(text), error = null }] of TABLE) {
    test(JSON.stringify(String(text)).slice(0, 70), () => {
      const answer = readAnswer(Buffer.from(text));
      assert(answer.kind === 'answer');
      assert.equal(answer.error, error);
      assert.deepEqual(JSON.parse(answer.output), output);
    });
  }
});

describe('an object that breaks off is half an answer:', () => {
  const whole = '{"error":null,"output":{"list":[1,-2.5e+3,true,"a\\u00e9\\n",{}],"empty":[]}}';
  test('wherever it breaks off', () => {
    for (let length = 1; length < whole.length; length++) {
      assert.equal(readAnswer(Buffer.from(whole.slice(0, length))).kind, 'cut', whole.slice(0, length));
      assert.equal(readAnswer(Buffer.from(`\n${whole.slice(0, length)}\n`)).kind, 'cut', whole.slice(0, length));
    }
    assert.equal(readAnswer(Buffer.from(whole)).kind, 'answer');
  });

  test('but what was never going to be an object is text', () => {
    for (const text of [
      '{hello',
      '{"a" 1',
      '{"a":trx',
      '{"a":01',
      '{]',
      '{"a":[1}',
      '{"a":"\\q',
      '{"a":1}}',
      '[1,2',
      '"half',
    ]) {
      assert.equal(readAnswer(Buffer.from(text)).kind, 'answer', text);
    }
  });
});

describe('an answer may be nested 1000 levels deep', () => {
  const nested = (levels: number, open = '[', close = ']') => `${open.repeat(levels)}${close.repeat(levels)}`;
  const read = (text: string) => readAnswer(Buffer.from(text));

  test('and not a level more, wherever in it that is', () => {
    // The object around it is the first level.
    const answer = read(`{"output":${nested(999)}}`);
    assert(answer.kind === 'answer');
    assert.equal(answer.output, nested(999));
    for (const levels of [1000, 9_000, 400_000]) {
      assert.equal(read(`{"output":${nested(levels)}}`).kind, 'deep');
      assert.equal(read(`{"output":1,"else":${nested(levels)}}`).kind, 'deep');
      assert.equal(read(`{"error":1,"output":[1e999,"\\ud800",${nested(levels)}]}\n`).kind, 'deep');
      assert.equal(read(`{"output":${nested(levels, '{"a":', '').slice(0, -1)}`).kind, 'cut');
    }
  });

  test('brackets in strings or in text are no levels', () => {
    const text = `\\"${'['.repeat(5000)}`;
    assert.equal(read(`{"output":"${text}"}`).kind, 'answer');
    assert.equal(read(`{ no JSON: ${'['.repeat(5000)}`).kind, 'answer');
    assert.equal(read(nested(5000)).kind, 'answer');
    assert.equal(read(`{"output":[${Array(5000).fill('[]').join(',')}]}`).kind, 'answer');
  });
});

test('text that is made to take long does not', () => {
  const million = 1_000_000;
  const nasty = [
    `{"output":[${'['.repeat(million)}`,
    `{"output":${'9'.repeat(million)}`,
    `{"output":"${'\\u00'.repeat(million / 4)}`,
    `{"output":${' '.repeat(million)}`,
    `{${'"error":1,'.repeat(million / 10)}`,
    `{"output":"${'"error" '.repeat(million / 8)}`,
    `{"output":${'"a'.repeat(million / 2)}`,
  ];
  const before = performance.now();
  for (const text of nasty) readAnswer(Buffer.from(text));
  // Squares of a million would take minutes.
  assert(performance.now() - before < 20_000);
});

describe('how the program ended counts after what it has said:', () => {
  const limits = { cpuMs: 1000 };
  const on = (stdout: string, code: number, signal: string | null = null, refusal: string | null = null) => {
    const verdict = verdictOn(Buffer.from(stdout), {
      ending: { code, signal, unstarted: refusal !== null, cpuMs: 5 },
      refusal,
      lastWords: 'Traceback\nValueError: x',
      program: 'prog',
      limits,
    });
    return verdict.ok ? verdict : verdict.failure;
  };
  test('its last words come with an exit status', () => {
    const { pluginError } = failure('', 3).details;
    assert.deepEqual(pluginError, { name: 'exit status 3', message: 'Traceback\nValueError: x' });
  });

  const failure = (...args: Parameters<typeof on>) => {
    const verdict = on(...args);
    assert(verdict instanceof Error);
    return verdict;
  };

  test('its own error wins over its exit status, and its output is kept', () => {
    const { code, details } = failure('{"error":"mine","output":[1]}', 3);
    assert.equal(code, 'plugin_error');
    assert.deepEqual(details.pluginError, { name: 'Error', message: 'mine' });
    assert.equal(details.output, '[1]');
  });

  test('an error that is empty is an error', () => {
    const { code, details } = failure('{"error":""}', 0);
    assert.equal(code, 'plugin_error');
    assert.equal(details.pluginError?.message, '');
    assert.equal(details.output, undefined);
  });

  test('without one the exit status is it', () => {
    const { code, message, details } = failure('{"output":"half way"}', 3);
    assert.equal(code, 'plugin_error');
    assert.equal(message, 'exit status 3');
    assert.equal(details.output, '"half way"');
  });

  test('half an answer before a bad exit is not the news', () => {
    assert.equal(failure('{"output":', 1).message, 'exit status 1');
  });

  test('exit 137 is an exit, SIGKILL is not', () => {
    assert.equal(failure('', 137).code, 'plugin_error');
    assert.equal(failure('', 137, 'SIGKILL').code, 'plugin_crashed');
  });

  test('a signal of the kernel about a limit is that limit', () => {
    assert.equal(failure('', 152, 'SIGXCPU').code, 'plugin_cpu_exceeded');
    assert.equal(failure('', 153, 'SIGXFSZ').code, 'plugin_resource_exceeded');
    assert.equal(failure('', 159, 'SIGSYS').code, 'plugin_crashed');
  });

  test('what is too deep to be read by others is no answer', () => {
    const { code, message, details } = failure(`{"output":${'['.repeat(4000)}${']'.repeat(4000)}}`, 0);
    assert.deepEqual([code, message], ['plugin_invalid_output', 'Its answer is nested deeper than 1000 levels']);
    assert.equal(JSON.parse(details.output ?? '').length, 200);
  });

  test("126 and 127 are the program's own unless it is the shell that could not start it", () => {
    assert.equal(failure('', 127).message, 'exit status 127');
    assert.equal(failure('', 127, null, '1: exec: prog: not found').code, 'plugin_boot_failed');
  });
});
