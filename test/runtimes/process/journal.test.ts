// Standard error as Stash reads it: levels, progress, and what becomes of lines that are too long or too many.
import { strict as assert } from 'node:assert';
import { describe, test } from 'vitest';
import { goFloat } from '../../../runtimes/process/go-float.ts';
import { Journal } from '../../../runtimes/process/journal.ts';

const LIMITS = { logLines: 1000, logBytes: 1_000_000 };

function journal(errLog: string | null = null, limits = LIMITS, name = 'Demo'): Journal {
  return new Journal({ id: 'demo-id', name, errLog }, limits, performance.now());
}

function read(text: string | Buffer, errLog: string | null = null): Journal {
  const one = journal(errLog);
  one.push(Buffer.from(text));
  one.end();
  return one;
}

/** Level and text of each line, the text without its prefix. */
function lines(one: Journal): string[] {
  return one.logs.map(({ level, message }) => {
    assert(message.startsWith('[Plugin / Demo] '), message);
    return `${level}:${message.slice(16)}`;
  });
}

const TABLE: Record<string, { text: string; logs: string[]; errLog?: string | null }> = {
  'all levels': {
    text: '\x01t\x02a\n\x01d\x02b\n\x01i\x02c\n\x01w\x02d\n\x01e\x02e\n',
    logs: ['trace:a', 'debug:b', 'info:c', 'warning:d', 'error:e'],
  },
  'a marked text is trimmed': { text: '\x01i\x02  a b\t \n', logs: ['info:a b'] },
  'an unmarked one is not': { text: '  a b \n', logs: ['error:  a b '] },
  'three bytes are no mark': { text: '\x01i\x02\n', logs: ['error:\x01i\x02'] },
  'four bytes are': { text: '\x01i\x02x\n', logs: ['info:x'] },
  'a level nobody knows': { text: '\x01x\x02a\n\x01I\x02b\n', logs: ['error:\x01x\x02a', 'error:\x01I\x02b'] },
  'a blank before the mark': { text: ' \x01i\x02a\n', logs: ['error: \x01i\x02a'] },
  'a second mark is text': { text: '\x01i\x02a\x01e\x02b\n', logs: ['info:a\x01e\x02b'] },
  'the level NUL is dropped': { text: '\x01\0\x02a\nb\n', logs: ['error:b'] },
  'empty lines are no lines': { text: '\n\r\na\n\n', logs: ['error:a'] },
  CRLF: { text: 'a\r\n\x01i\x02b\r\n', logs: ['error:a', 'info:b'] },
  'only the first line of several has the level': { text: '\x01i\x02a\nb\n', logs: ['info:a', 'error:b'] },
  'a last line without newline': { text: 'a\nb', logs: ['error:a', 'error:b'] },
  'errLog names the level of unmarked lines': {
    text: 'a\n\x01w\x02b\n',
    errLog: 'info',
    logs: ['info:a', 'warning:b'],
  },
  'errLog none drops them': { text: 'a\n\x01w\x02b\n', errLog: 'none', logs: ['warning:b'] },
  'errLog that Stash does not know is error': { text: 'a\n', errLog: 'warn', logs: ['error:a'] },
  'errLog is lower case': { text: 'a\n', errLog: 'INFO', logs: ['error:a'] },
  'errLog of a name that every object has': { text: 'a\n', errLog: 'constructor', logs: ['error:a'] },
  'errLog progress': {
    text: '0.5\nabc\n',
    errLog: 'progress',
    logs: ["error:Error parsing progress value 'abc': invalid syntax"],
  },
  'progress that is none': {
    text: '\x01p\x02abc\n',
    logs: ["error:Error parsing progress value 'abc': invalid syntax"],
  },
};

describe('standard error is read as Stash reads it:', () => {
  for (const [what, { text, logs, errLog = null }] of Object.entries(TABLE)) {
    test(what, () => {
      assert.deepEqual(lines(read(text, errLog)), logs);
      // However it comes in pieces.
      const pieces = journal(errLog);
      for (const byte of Buffer.from(text)) pieces.push(Buffer.from([byte]));
      pieces.end();
      assert.deepEqual(lines(pieces), logs);
    });
  }

  test('what is not UTF-8 becomes U+FFFD', () => {
    assert.deepEqual(lines(read(Buffer.from([0x61, 0xff, 0x62, 0x0a]))), ['error:a\ufffdb']);
  });

  test('a plugin without a name goes by its id', () => {
    const one = journal(null, LIMITS, '');
    one.push(Buffer.from('a\n'));
    assert.equal(one.logs[0]?.message, '[Plugin / demo-id] a');
  });
});

describe('progress', () => {
  const PROGRESS: [text: string, progress: number | null][] = [
    ['\x01p\x020.25\n', 0.25],
    ['\x01p\x02 0.5 \n', 0.5],
    ['\x01p\x021e-1\n', 0.1],
    ['\x01p\x020x1p-2\n', 0.25],
    ['\x01p\x027\n', 1],
    ['\x01p\x02-3\n', 0],
    ['\x01p\x02Inf\n', 1],
    ['\x01p\x02NaN\n', null],
    ['\x01p\x020.1\n\x01p\x020.9\n', 0.9],
    ['\x01p\x020.1\n\x01p\x02NaN\n', 0.1],
    ['nothing\n', null],
  ];
  for (const [text, progress] of PROGRESS) {
    test(`${JSON.stringify(text)} is ${progress}`, () => assert.equal(read(text).progress, progress));
  }

  test('is read beyond the limits of the log', () => {
    const one = journal(null, { logLines: 0, logBytes: 0 });
    one.push(Buffer.from('\x01p\x020.75\ntext\n'));
    assert.equal(one.progress, 0.75);
    assert.equal(one.dropped, 1);
  });
});

describe('a number is one where Go says so:', () => {
  const NUMBERS: Record<string, number | null> = {
    '0.5': 0.5,
    '.5': 0.5,
    '5.': 5,
    '+1': 1,
    '-1.5E+2': -150,
    '1_0': 10,
    '1_23.50_0_0e+1_2': 1.235e14,
    '0x1p-2': 0.25,
    '0X.8P0': 0.5,
    '0x1.8p1': 3,
    '-0x_1p0': -1,
    inf: Infinity,
    '+Inf': Infinity,
    '-INFINITY': -Infinity,
    '': null,
    '.': null,
    e1: null,
    '1e': null,
    '0x1': null,
    '0xp1': null,
    _1: null,
    '1_': null,
    '1__0': null,
    '1 2': null,
    '1e999': null,
    '+nan': null,
    abc: null,
    '0b1': null,
    '１': null,
  };
  for (const [text, value] of Object.entries(NUMBERS)) {
    test(`${JSON.stringify(text)} → ${value}`, () => assert.equal(goFloat(text), value));
  }
  test('"nan" → NaN', () => assert(Number.isNaN(goFloat('nAn'))));
});

describe('limits of the log', () => {
  test('a line of 65,535 bytes is whole, and a longer one is cut and says so', () => {
    const [whole, cut] = lines(read(`${'x'.repeat(65_535)}\n${'y'.repeat(65_536)}\n`));
    assert.equal(whole, `error:${'x'.repeat(65_535)}`);
    assert.equal(cut, `error:${'y'.repeat(65_535)} … (the rest of this line was cut off)`);
  });

  test('a long line is the same however it comes in pieces', () => {
    for (const size of [1, 1000, 65_535, 65_536, 200_000]) {
      const one = journal();
      const text = Buffer.from(`${'x'.repeat(70_000)}\nnext\n`);
      for (let at = 0; at < text.length; at += size) one.push(text.subarray(at, at + size));
      assert.deepEqual(
        lines(one).map((line) => line.length),
        [6 + 65_535 + ' … (the rest of this line was cut off)'.length, 10],
        String(size),
      );
    }
  });

  test('lines beyond logLines or logBytes are dropped and counted', () => {
    const few = journal(null, { logLines: 2, logBytes: 1000 });
    few.push(Buffer.from('a\nb\nc\nd\n'));
    assert.deepEqual([few.logs.length, few.dropped], [2, 2]);

    const small = journal(null, { logLines: 100, logBytes: 5 });
    small.push(Buffer.from('aaa\nbbb\ncc\n'));
    assert.deepEqual([lines(small), small.dropped], [['error:aaa', 'error:cc'], 1]);
  });

  test('a line of blanks does not take long', () => {
    const before = performance.now();
    for (let round = 0; round < 20; round++) read(`\x01i\x02x${' '.repeat(65_000)}x\n`);
    assert(performance.now() - before < 10_000);
  });

  test('progress that is told more often than there may be lines is taken from the last one that came at once', () => {
    const one = journal(null, { logLines: 2, logBytes: 1000 });
    one.push(Buffer.from('\x01p\x020.1\n\x01p\x020.2\n\x01p\x02bad\n\x01p\x020.4\n\x01p\x020.'));
    assert.deepEqual([one.progress, one.logs.length], [0.4, 0]);
    one.push(Buffer.from('5\n\x01p\x020.6\ntext\n\x01p\x02bad\n\x01p'));
    assert.equal(one.progress, 0.5);
    assert.deepEqual(lines(one), ['error:text', "error:Error parsing progress value 'bad': invalid syntax"]);
    one.push(Buffer.from('\x020.7'));
    one.end();
    assert.equal(one.progress, 0.7);
  });

  test("what turns out not to be the plugin's is handed over and kept no more", () => {
    const one = journal(null, { logLines: 2, logBytes: 1000 });
    one.push(Buffer.from('launcher: 5: exec: /x: not found\nmore\nmuch more\n'));
    assert.equal(one.disown(), 'launcher: 5: exec: /x: not found\nmore');
    assert.deepEqual([one.logs, one.dropped], [[], 0]);
  });
});
