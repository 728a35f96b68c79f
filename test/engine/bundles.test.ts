import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bundles } from '../../src/engine/bundles.ts';
import { temporaryFolder } from '../support/folder.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let plugin: { realDir: string };
beforeAll(async () => {
  folder = await temporaryFolder();
  plugin = { realDir: folder.path };
  for (const [name, content] of Object.entries({ a: 'aaa', b: 'bb', large: 'x'.repeat(100_000) }))
    await writeFile(join(folder.path, name), content);
});
afterAll(() => folder[Symbol.asyncDispose]());

test('a bundle can be read from anywhere to anywhere', async () => {
  await using bundle = await new Bundles().read('t', plugin, ['a', 'large', 'b']);
  const all = `aaa\n${'x'.repeat(100_000)}\nbb\n`;
  expect(bundle.bytes).toBe(all.length);
  for (const [from, length] of [
    [0, all.length],
    [2, 5],
    [4, 100_000],
    [100_000, 7],
    [all.length - 1, 1],
    [0, 0],
  ] as const) {
    expect(await text(bundle.read(from, length))).toBe(all.slice(from, from + length));
  }
});

test('what is over a limit is left out, and told', async () => {
  const bundles = new Bundles({ bytes: 8, files: 3 });
  await using bundle = await bundles.read('t', plugin, ['a', 'large', 'b', 'a', 'a']);
  expect(bundle.leftOut).toEqual([
    { at: 1, why: 'too large' },
    { at: 3, why: 'too many' },
  ]);
  expect(await text(bundle.read(0, bundle.bytes))).toBe('aaa\nbb\n');
});

test('the same files have the same hash, and others have another, also where the text is the same', async () => {
  const bundles = new Bundles();
  const hashOf = async (...parts: string[]) => {
    await using bundle = await bundles.read('t', plugin, parts);
    return bundle.hash;
  };
  await writeFile(join(folder.path, 'both'), 'aaa\nbb');
  const hashes = [
    await hashOf('a', 'b'),
    await hashOf('b', 'a'),
    await hashOf('a'),
    await hashOf(),
    await hashOf('both'),
  ];
  expect(new Set(hashes).size).toBe(hashes.length);
  expect(await hashOf('a', 'missing', 'b')).toBe(hashes[0]);
});

test('bundles that are being sent have a bound together, of which no tenant gets all, and which comes back', async () => {
  const bundles = new Bundles({ bytesAtOnce: 300_000 });
  const take = (tenant: string) => bundles.read(tenant, plugin, ['large']);
  for (let round = 0; round < 3; round++) {
    await using _first = await take('greedy');
    await using _second = await take('greedy');
    await expect(take('greedy')).rejects.toMatchObject({ code: 'overloaded', details: { retryable: true } });
    // What was taken before the refusal has been given back.
    await expect(bundles.read('greedy', plugin, ['a', 'large'])).rejects.toMatchObject({ code: 'overloaded' });
    await using modest = await bundles.read('modest', plugin, ['a']);
    expect(modest.bytes).toBe(4);
  }
});
