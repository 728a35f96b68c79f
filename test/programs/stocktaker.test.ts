import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Kept } from '../../src/programs/kept.ts';
import { Stocktaker } from '../../src/programs/stocktaker.ts';

let folder: string;
let stocktaker: Stocktaker;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'isopod-stock-'));
  stocktaker = new Stocktaker({ everyMs: 1, most: 3_000 });
});
afterEach(async () => {
  await stocktaker[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function filled(name: string, files: number): string {
  const path = join(folder, name);
  mkdirSync(path);
  for (let one = 0; one < files; one += 1) writeFileSync(join(path, `${one}`), '');
  return path;
}

test('what is in folders counts, whatever it is called, and what links lead to does not', async () => {
  const [one, other] = [filled('one', 2), filled('other', 1)];
  writeFileSync(join(one, 'large'), Buffer.alloc(1 << 20, 1));
  writeFileSync(join(one, 'holes'), '');
  truncateSync(join(one, 'holes'), 1 << 30);
  mkdirSync(join(one, 'deep/deeper'), { recursive: true });
  writeFileSync(
    Buffer.concat([Buffer.from(`${one}/deep/deeper/`), Buffer.from([0xff, 0xfe])]),
    Buffer.alloc(1 << 20, 1),
  );
  execFileSync('mkfifo', [join(one, 'pipe')]);
  symlinkSync(other, join(one, 'link'));
  symlinkSync('/usr', join(one, 'usr'));
  const kept = await stocktaker.look([one, other, join(folder, 'missing')]);
  expect(kept).toMatchObject({
    entries: 11,
    hidden: null,
    each: [{ entries: 10 }, { entries: 1 }, { entries: 0, bytes: 0 }],
  });
  expect(kept.bytes).toBeGreaterThanOrEqual(2 << 20);
  expect(kept.bytes).toBeLessThan(3 << 20);
});

test('folders without end are said to be hidden, and of files without end no more are looked at than matter', async () => {
  mkdirSync(join(folder, 'd/'.repeat(70)), { recursive: true });
  expect((await stocktaker.look([folder])).hidden).toContain('deep');
  const many = filled('many', 3_001);
  let turns = 0;
  let isOver = false;
  const turn = () => {
    turns += 1;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  expect(await stocktaker.look([many])).toMatchObject({ entries: 3_000, hidden: null });
  isOver = true;
  // Others have their turns meanwhile.
  expect(turns).toBeGreaterThan(10);
});

test.skipIf(process.getuid?.() === 0)('what cannot be read is said', async () => {
  const locked = filled('locked', 1);
  chmodSync(locked, 0);
  expect((await stocktaker.look([folder])).hidden).toContain('cannot be read');
});

test('one is looked at at a time, with rests in proportion; whoever is about to start waits for none', async () => {
  const many = filled('many', 2_000);
  const looks: { of: string; at: number; tookMs: number }[] = [];
  const note = (of: string, { tookMs }: Kept) => looks.push({ of, at: performance.now(), tookMs });
  using _one = stocktaker.watch([many], (kept) => note('one', kept));
  using _other = stocktaker.watch([many], (kept) => note('other', kept));
  while (looks.length < 6) await sleep(1);
  const between = looks.slice(1).map((look, at) => ({ look, before: looks[at] ?? look }));
  // A timer may come a millisecond early.
  for (const { look, before } of between) expect(look.at - before.at).toBeGreaterThan(before.tookMs + look.tookMs - 3);
  for (const name of ['one', 'other']) {
    const [first, second] = looks.filter(({ of }) => of === name);
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(10 * (first?.tookMs ?? 0) - 3);
  }
});

test('a start is looked at before those who only stay', async () => {
  const many = filled('many', 3_000);
  const few = filled('few', 1);
  await stocktaker.look([few]);
  const order: string[] = [];
  const watches = ['a', 'b', 'c', 'd', 'e'].map((name) => stocktaker.watch([many], () => order.push(name)));
  while (order.length === 0) await sleep(1);
  await stocktaker.look([few]).then(() => order.push('start'));
  while (!order.includes('e')) await sleep(1);
  expect(order.indexOf('start')).toBeLessThanOrEqual(2);
  for (const watch of watches) watch[Symbol.dispose]();
});

test('who is not watched any more is not told of, though the look was under way', async () => {
  const many = filled('many', 3_000);
  let told = 0;
  const watch = stocktaker.watch([many], () => {
    told += 1;
    watch[Symbol.dispose]();
  });
  while (told === 0) await sleep(1);
  await stocktaker.look([many]);
  await sleep(1);
  expect(told).toBe(1);
});
