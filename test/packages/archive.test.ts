// Conformance case 111: archives that want to be somewhere else, something else, or more than they say.
import { strict as assert } from 'node:assert';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { crc32, deflateRawSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ZipFile } from 'yazl';
import { Failure } from '../../src/core/failure.ts';
import { SEALED, WRITABLE } from '../../src/packages/tree.ts';
import { Unpacker } from '../../src/packages/unpacker.ts';
import { extraField, type HandMadeEntry, type HandMadeZip, numbers, zip, zipOf } from '../support/zip.ts';

const scope = new AsyncDisposableStack();
let folder: string;
let unpacker: Unpacker;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-archive-'));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  unpacker = scope.use(new Unpacker());
});
afterAll(() => scope.disposeAsync());

let count = 0;
function fresh(): string {
  count += 1;
  return join(folder, `${count}`, 'into');
}

/** The refusal of an archive, which must have left nothing behind: not in the folder, and not beside it. */
async function refusal(archive: Buffer, by: Unpacker = unpacker): Promise<Failure> {
  const dir = fresh();
  await mkdir(join(dir, '..'));
  const error = await by.unpack(Buffer.from(archive), dir).then(
    ({ tree }) => assert.fail(`it was taken: ${JSON.stringify(tree)}`),
    (one) => one,
  );
  expect(error).toBeInstanceOf(Failure);
  expect(await readdir(join(dir, '..'))).toEqual([]);
  return error as Failure;
}

const fine: HandMadeEntry = { name: 'fine.yml', content: 'name: fine' };
const zeros = Buffer.alloc(2_000_000);

type Hostile = { entries: HandMadeEntry[]; whole?: HandMadeZip; entry?: string | null; says: RegExp };

/** One hostile entry after a good one. */
function one(entry: HandMadeEntry, says: RegExp, shown = String(entry.name)): Hostile {
  return { entries: [fine, { content: 'x', ...entry }], entry: shown, says };
}

function all(entries: HandMadeEntry[], whole: HandMadeZip, says: RegExp): Hostile {
  return { entries, whole, entry: null, says };
}

const descriptor = (content: string, more = 0) =>
  numbers([0x08074b50, 4], [crc32(content), 4], [deflateRawSync(content).length + more, 4], [content.length, 4]);

const hostile: Record<string, Hostile> = {
  'a way up': one({ name: '../evil' }, /leads out/),
  'a way up in the middle': one({ name: 'a/../../evil' }, /leads out/),
  'an absolute path': one({ name: '/etc/evil' }, /absolute/),
  'a network path': one({ name: '//server/evil' }, /absolute/),
  'a drive letter': one({ name: 'C:/evil' }, /drive letter/),
  'a drive letter without a slash': one({ name: 'c:evil' }, /drive letter/),
  'a backslash': one({ name: '..\\evil' }, /backslash/),
  'a NUL': one({ name: 'evil\0.txt' }, /NUL/, 'evil\\u0000.txt'),
  'a line feed': one({ name: 'evil\n.txt' }, /control or invisible/, 'evil\n.txt'),
  'a terminal escape': one({ name: 'evil\u001b[2J' }, /control or invisible/, 'evil\\u001b[2J'),
  'a turned name': one({ name: 'evil\u202etxt.js' }, /control or invisible/, 'evil\\u202etxt.js'),
  'no name': one({ name: '' }, /has no name/, '(an entry)'),
  'an empty part': one({ name: 'a//evil' }, /empty part/),
  'a dot for a part': one({ name: './evil' }, /empty part/),
  'a name of dots': one({ name: '...' }, /ends in a dot/),
  'a space at the end': one({ name: 'evil /x' }, /ends in a dot or a space/),
  'a name that is not UTF-8': one({ name: Buffer.from([0x65, 0xff, 0x2e]) }, /not UTF-8/, 'e\ufffd.'),
  'an overlong dot dot': one(
    { name: Buffer.from([0xc0, 0xae, 0xc0, 0xae, 0x2f]) },
    /not UTF-8/,
    '\ufffd\ufffd\ufffd\ufffd/',
  ),
  'a device of Windows': one({ name: 'a/NUL.txt' }, /keeps for a device/),
  'another device of Windows': one({ name: 'com1' }, /keeps for a device/),
  'a superscript device of Windows': one({ name: 'LPT².log' }, /keeps for a device/),
  'a stream of NTFS': one({ name: 'plugin.js:hidden' }, /colon/),
  'a part that is too long': one({ name: 'é'.repeat(128) }, /longer than 255 bytes/),
  'a path that is too long': one(
    { name: `${`${'x'.repeat(120)}/`.repeat(9)}x` },
    /longer than 1024 bytes/,
    `${`${'x'.repeat(120)}/`.repeat(9)}x`.slice(0, 200) + '…',
  ),
  'a path that is too deep': one({ name: 'a/'.repeat(33) }, /deeper than 32/),
  'a symbolic link': one({ name: 'link', content: '/etc/passwd', mode: 0o120777 }, /symbolic link/),
  'a symbolic link, made on DOS': one({ name: 'link', mode: 0o120777, madeBy: 0 }, /symbolic link/),
  'a file through a link': {
    entries: [
      { name: 'link', content: '/tmp', mode: 0o120777 },
      { name: 'link/evil', content: 'x' },
    ],
    entry: 'link',
    says: /symbolic link/,
  },
  'a link by its attributes': one({ name: 'link', attributes: 0x400 }, /by its attributes/),
  'a device by its attributes': one({ name: 'link', attributes: 0x40 }, /by its attributes/),
  'a hard link of PKWARE': one({ name: 'hard', extra: extraField(0x000d, Buffer.alloc(20)) }, /is a link/),
  'a link of ASi': one(
    { name: 'hard', extra: extraField(0x756e, numbers([0, 4], [0o120777, 2], [4, 4], [0, 2], [0, 2])) },
    /is a link/,
  ),
  'a FIFO': one({ name: 'fifo', mode: 0o010644 }, /FIFO/),
  'a character device': one({ name: 'zero', mode: 0o020666 }, /device/),
  'a block device': one({ name: 'disk', mode: 0o060666 }, /device/),
  'a socket': one({ name: 'sock', mode: 0o140666 }, /socket/),
  'a file that is a folder': one({ name: 'both', mode: 0o040755 }, /a file and a folder/),
  'a folder that is a file': one({ name: 'both/', content: '', mode: 0o100644 }, /a file and a folder/),
  'a folder with content': one({ name: 'full/', content: 'text', mode: 0o040755 }, /folder with content/),
  'a name twice': one({ name: 'fine.yml' }, /twice/),
  'a name twice but for case': one({ name: 'FINE.YML' }, /cannot be told from fine.yml/),
  'a name twice but for its accents': {
    entries: [
      { name: 'caf\u00e9', content: 'x' },
      { name: 'cafe\u0301', content: 'x' },
    ],
    entry: 'cafe\u0301',
    says: /cannot be told/,
  },
  'a folder twice but for case': {
    entries: [
      { name: 'Dir/a', content: 'x' },
      { name: 'dir/b', content: 'x' },
    ],
    entry: 'dir/b',
    says: /cannot be told from Dir/,
  },
  'a file where a folder is needed': one({ name: 'fine.yml/x' }, /needs fine.yml to be a file and a folder/),
  'a folder where a file is': {
    entries: [
      { name: 'a/b', content: 'x' },
      { name: 'a', content: 'x' },
    ],
    entry: 'a',
    says: /to be a file and a folder/,
  },
  encryption: one({ name: 'secret', flags: 0x801 }, /encrypted/),
  'a masked header': one({ name: 'secret', flags: 0x2800 }, /encrypted/),
  LZMA: one({ name: 'packed', method: 14, data: Buffer.from('x') }, /method 14/),
  AES: one({ name: 'packed', method: 99, data: Buffer.from('x') }, /method 99/),
  'a bomb': one({ name: 'bomb', content: zeros }, /more than 200 times its size/),
  'a bomb that claims to be small': one({ name: 'bomb', content: zeros, bytes: 10 }, /longer than the 10 bytes/),
  'a bomb whose data is honest about being a bomb only at its end': one(
    { name: 'bomb', content: zeros, bytes: 1_000_000, crc: crc32(zeros.subarray(0, 1_000_000)) },
    /longer than the 1000000 bytes/,
  ),
  'less than it claims': one({ name: 'small', content: 'abc', bytes: 4 }, /shorter than the 4 bytes/),
  'another checksum': one({ name: 'bent', content: 'abc', crc: 1 }, /checksum/),
  'damaged data': one({ name: 'bent', content: 'abc', data: Buffer.from([0xff, 0xff, 0xff]) }, /damaged/),
  'data that breaks off': one(
    { name: 'bent', content: 'abc'.repeat(50), data: deflateRawSync('abc'.repeat(50)).subarray(0, -2) },
    /damaged \(unexpected end of file\)/,
  ),
  'data behind the end of the data': one(
    { name: 'fat', content: 'abc', data: Buffer.concat([deflateRawSync('abc'), Buffer.from('hidden')]) },
    /bytes behind the end of its data/,
  ),
  'a stored file of two lengths': {
    entries: [{ name: 'bent', content: 'abc', method: 0, bytes: 2 }],
    entry: null,
    says: /size mismatch/,
  },
  'more data than there is file': one({ name: 'long', packed: 1_000_000 }, /damaged/),
  'another name in the local header': one({ name: 'a', local: { name: 'b' } }, /two ways/),
  'another method in the local header': one({ name: 'a', local: { method: 0 } }, /two ways/),
  'another length in the local header': one({ name: 'a', local: { bytes: 9 } }, /two ways/),
  'another checksum in the local header': one({ name: 'a', local: { crc: 9 } }, /two ways/),
  'encryption in the local header alone': one({ name: 'a', local: { flags: 0x801 } }, /two ways/),
  'another name in an extra field': one(
    { name: 'a', extra: extraField(0x7075, Buffer.concat([numbers([1, 1], [crc32('a'), 4]), Buffer.from('../b')])) },
    /two names/,
  ),
  'a length in 64 bits': one({ name: 'a', extra: extraField(1, numbers([1, 8])), bytes: 0xffffffff }, /zip64|damaged/),
  'a length in 64 bits that nobody needs': one({ name: 'a', extra: extraField(1, numbers([7, 8], [7, 8])) }, /zip64/),
  'extra fields that are none': one({ name: 'a', extra: numbers([0x5455, 2], [900, 2]) }, /damaged/, '(entry 2)'),
  'a local header that is none': {
    entries: [fine, { name: 'a', unreal: true, offset: 7 }],
    entry: 'a',
    says: /damaged/,
  },
  'two entries of one local header': {
    entries: [fine, { ...fine, name: 'fine.yml', unreal: true, offset: 0 }],
    entry: 'fine.yml',
    says: /twice/,
  },
  'entries that overlap': overlapping(),
  'a hidden entry': {
    entries: [fine, { name: 'hidden', content: 'x', hidden: true }, { name: 'last', content: 'x' }],
    entry: 'fine.yml',
    says: /bytes behind it/,
  },
  'a descriptor that lies': one(
    {
      name: 'late',
      content: 'late',
      flags: 0x808,
      local: { crc: 0, bytes: 0, packed: 0 },
      after: descriptor('late', 1),
    },
    /bytes behind it/,
  ),
  'a descriptor that is not there': one(
    { name: 'late', content: 'late', flags: 0x808, local: { crc: 0, bytes: 0, packed: 0 } },
    /does not say how long it is/,
  ),
  'bytes before': all([fine], { before: Buffer.from('#!/bin/sh\n') }, /not right before its end/),
  'bytes before that the offsets know of': {
    entries: [fine],
    whole: { before: Buffer.from('#!/bin/sh\n'), adjusted: true },
    entry: 'fine.yml',
    says: /does not begin where/,
  },
  'bytes between entries and directory': {
    entries: [fine],
    whole: { between: Buffer.from('between') },
    entry: 'fine.yml',
    says: /bytes behind it/,
  },
  'bytes between directory and end': all([fine], { beforeEnd: Buffer.from('between') }, /not right before its end/),
  'bytes behind': all([fine], { after: Buffer.from('behind') }, /something behind its end/),
  'an archive behind the archive': all([fine], { after: zipOf({ 'other.yml': 'x' }) }, /not right before its end/),
  'an end in the comment': all([fine], { comment: zip([]) }, /not right before its end/),
  'an end in the comment of another length': all(
    [fine],
    { comment: Buffer.concat([zip([]), Buffer.from('x')]) },
    /ends twice/,
  ),
  'fewer entries than there are': all([fine, { name: 'b', content: 'x' }], { end: { entries: 1 } }, /more in it than/),
  'more entries than there are': {
    entries: [fine],
    whole: { end: { entries: 2 } },
    entry: '(entry 2)',
    says: /damaged/,
  },
  'several volumes': all([fine], { end: { disk: 1 } }, /several volumes/),
  'entries on another volume': all([fine], { end: { entries: 2, here: 1 } }, /several volumes/),
  'a count in 64 bits': all([fine], { end: { entries: 0xffff } }, /zip64/),
  'an end in 64 bits': all([fine], { beforeEnd: numbers([0x07064b50, 4], [0, 16]) }, /zip64/),
  'a directory that is elsewhere': all([fine], { end: { offset: 0 } }, /not right before its end/),
  '65,000 entries': all(
    Array.from({ length: 65_000 }, (_, i) => ({ name: `${i}`, content: '' })),
    {},
    /65000 entries/,
  ),
  'entries that imply too many folders': all(
    Array.from({ length: 9_000 }, (_, i) => ({ name: `a${i}/b${i}/c`, content: '' })),
    {},
    /more than 10000 files and folders/,
  ),
  'no entry': all([], {}, /no file in it/),
  'folders only': all([{ name: 'a/', mode: 0o040755 }], {}, /no file in it/),
};

/** The first holds the second whole, local header and all, as stored data of its own. */
function overlapping(): Hostile {
  const inner = zip([{ name: 'inner', content: 'x' }]).subarray(0, 30 + 5 + deflateRawSync('x').length);
  return {
    entries: [
      { name: 'outer', content: inner, method: 0 },
      { name: 'inner', content: 'x', unreal: true, offset: 30 + 5 },
    ],
    entry: 'outer',
    says: /overlaps/,
  };
}

describe('nothing is unpacked, and the entry is named:', () => {
  test.each(Object.entries(hostile))('%s', async (_name, { entries, whole, entry, says }) => {
    const failure = await refusal(zip(entries, whole));
    expect(failure.code).toBe('package_rejected');
    expect(failure.message).toMatch(says);
    expect(failure.details.where?.map(({ at }) => at)).toEqual(entry === null ? undefined : [entry]);
  });
});

test('what is no zip, or a part of one, is refused', async () => {
  const whole = zipOf({ 'a.yml': 'name: a', 'b.js': 'x'.repeat(500) });
  for (const bytes of [Buffer.alloc(0), Buffer.from('hello'), Buffer.alloc(70_000), whole.subarray(0, -1)]) {
    expect((await refusal(bytes)).message).toMatch(/no zip archive/);
  }
  for (let length = 1; length < whole.length; length += 7) {
    expect((await refusal(whole.subarray(0, length))).code).toBe('package_rejected');
    expect((await refusal(whole.subarray(length))).code).toBe('package_rejected');
  }
});

test('no byte of an archive can be changed without notice, but for those that mean nothing to us', async () => {
  const whole = zipOf({ 'a/b.js': 'let answer = 42;' });
  const before = (await unpack(whole)).tree;
  for (let at = 0; at < whole.length; at += 1) {
    const bent = Buffer.from(whole);
    bent[at] = (bent[at] ?? 0) ^ 0xff;
    const dir = fresh();
    await mkdir(join(dir, '..'));
    const taken = await unpacker.unpack(bent, dir).catch((error) => error);
    if (taken instanceof Failure) expect(await readdir(join(dir, '..'))).toEqual([]);
    // Times, versions, and rights: all that may differ is whether it can be executed.
    else
      expect(taken.tree.files.map(({ executable: _, ...rest }: { executable: boolean }) => rest)).toEqual(
        before.files.map(({ executable: _, ...rest }) => rest),
      );
  }
});

test('limits are those that were set', async () => {
  await using strict = new Unpacker({ entries: 2, fileBytes: 100, unpackedBytes: 150, archiveBytes: 1_000 });
  expect((await refusal(zipOf({ a: '1', b: '2', c: '3' }), strict)).message).toMatch(/3 entries/);
  expect((await refusal(zipOf({ a: 'x'.repeat(101) }), strict)).message).toMatch(/may have 100/);
  expect((await refusal(zipOf({ a: 'x'.repeat(90), b: 'x'.repeat(90) }), strict)).message).toMatch(/150 bytes/);
  const large = zip([{ name: 'a', method: 0, content: Buffer.alloc(1_000) }]);
  expect(await refusal(large, strict)).toMatchObject({
    code: 'payload_too_large',
    details: { limit: { name: 'packages.archiveBytes', allowed: 1_000, observed: large.length } },
  });
});

test('an archive that takes too long costs its thread, and the next one is unpacked', async () => {
  await using hasty = new Unpacker({ ratio: 10_000 }, { wallMs: 1 });
  expect((await refusal(zipOf({ a: Buffer.alloc(50_000_000) }), hasty)).message).toMatch(/longer than 1 ms/);
  await using patient = new Unpacker();
  await unpack(zipOf({ a: 'x' }), patient);
});

async function unpack(archive: Buffer, by: Unpacker = unpacker, modes = WRITABLE) {
  const dir = fresh();
  await mkdir(join(dir, '..'));
  return { dir, ...(await by.unpack(Buffer.from(archive), dir, modes)) };
}

test('an honest archive is there as it was packed, and comes back whole', async () => {
  const made = new ZipFile();
  made.addBuffer(Buffer.from('name: Demo'), 'demo/demo.yml');
  made.addBuffer(Buffer.from('#!/bin/sh\n'), 'demo/run.sh', { mode: 0o100644 });
  made.addBuffer(Buffer.from('binary'), 'demo/tool', { mode: 0o104755, compress: false });
  made.addBuffer(Buffer.from('é'), 'demo/naïve – 日本語 & co.txt', { mode: 0o100600 });
  made.addEmptyDirectory('demo/empty');
  made.addReadStream(Readable.from([Buffer.from('streamed')]), 'streamed.txt');
  made.end({ comment: 'an honest comment', forceZip64Format: false });
  const archive = await buffer(made.outputStream);

  const { dir, tree, archive: back } = await unpack(archive);
  expect(back.equals(archive)).toBe(true);
  expect(tree.folders).toEqual(['demo', 'demo/empty']);
  expect(tree.files.map(({ path, bytes, executable }) => [path, bytes, executable])).toEqual([
    ['demo/demo.yml', 10, false],
    ['demo/naïve – 日本語 & co.txt', 2, false],
    ['demo/run.sh', 10, true],
    ['demo/tool', 6, true],
    ['streamed.txt', 8, false],
  ]);
  expect(await readFile(join(dir, 'streamed.txt'), 'utf8')).toBe('streamed');
  const modes = async (path: string) => ((await stat(join(dir, path))).mode & 0o7777).toString(8);
  expect(await Promise.all(['demo', 'demo/tool', 'demo/run.sh', 'demo/demo.yml'].map(modes))).toEqual([
    '755',
    '755',
    '755',
    '644',
  ]);
  expect(await unpacker.walk(dir, WRITABLE)).toEqual(tree);
});

test('an archive is not unpacked into what is there already, which stays as it is', async () => {
  const { dir } = await unpack(zipOf({ 'a.txt': 'first' }));
  await assert.rejects(unpacker.unpack(zipOf({ 'a.txt': 'second' }), dir), { code: 'EEXIST' });
  expect(await readFile(join(dir, 'a.txt'), 'utf8')).toBe('first');
});

test('a walk sees every change, and the hash is the same for the same content only', async () => {
  const archive = zipOf({ 'a.txt': 'a', 'dir/b.sh': '#!/bin/sh' });
  const { dir, tree } = await unpack(archive, unpacker, SEALED);
  expect(await unpacker.walk(dir, SEALED)).toEqual(tree);
  expect(await unpacker.walk(dir, WRITABLE)).toBe(null);
  expect((await unpack(zipOf({ 'dir/b.sh': '#!/bin/sh', 'a.txt': 'a' }))).tree.hash).toBe(tree.hash);
  expect((await unpack(zipOf({ 'a.txt': 'a', 'dir/b.sh': '#!/bin/zh' }))).tree.hash).not.toBe(tree.hash);

  const changes: Record<string, () => Promise<void>> = {
    'another right': () => chmod(join(dir, 'a.txt'), 0o644),
    'a file more': () => writeFile(join(dir, 'dir', 'c'), '', { mode: 0o444 }),
    'a folder more': () => mkdir(join(dir, 'more')),
    'a file less': () => rm(join(dir, 'a.txt')),
  };
  for (const [name, change] of Object.entries(changes)) {
    const before = (await unpacker.walk(dir, SEALED))?.hash;
    await change();
    expect([name, (await unpacker.walk(dir, SEALED))?.hash]).not.toEqual([name, before]);
    await chmod(join(dir, 'a.txt'), 0o444).catch(() => {});
  }
});

test('a copy can be written to and has the same content', async () => {
  const { dir, tree } = await unpack(zipOf({ 'a.txt': 'a', 'dir/b.sh': '#!/bin/sh' }), unpacker, SEALED);
  const to = fresh();
  await mkdir(join(to, '..'));
  expect(await unpacker.copy(dir, to, SEALED)).toEqual(tree);
  expect((await unpacker.walk(to, WRITABLE))?.hash).toBe(tree.hash);
});
