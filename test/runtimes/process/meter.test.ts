// How running trees are looked at: what is quick in rounds, what is slow one at a time and seldom.
import { strict as assert } from 'node:assert';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'vitest';
import type { Sample, Weight } from '../../../src/confinement/tree.ts';
import { Memory } from '../../../src/programs/memory.ts';
import { Meter, type Watch } from '../../../src/programs/meter.ts';

const MOST = 256;
const LARGE: Sample = { cpuMs: 0, residentBytes: 2000, largestBytes: 20, processes: 100 };

type Reading = { from: number; to: number };

/** A tree that is too large by the sum, and takes its time to say what it is exactly. */
class Slow implements Disposable {
  readonly readings: Reading[] = [];
  readonly weights: number[] = [];
  readonly memory = new Memory(1000);
  readonly #watch: Disposable;

  constructor(meter: Meter, all: Reading[], takesMs: number) {
    const watch: Watch = {
      tree: {
        sample: () => LARGE,
        proportionalBytes: async () => {
          const reading = { from: performance.now(), to: Number.POSITIVE_INFINITY };
          this.readings.push(reading);
          all.push(reading);
          await sleep(takesMs);
          reading.to = performance.now();
          return { bytes: 900, isSteady: true };
        },
      },
      memory: this.memory,
      mostProcesses: MOST,
      onSample: () => {},
      onWeight: (bytes) => this.weights.push(bytes),
    };
    this.#watch = meter.watch(watch);
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
  }
}

test('of exact readings one is under way at a time, and each tree gets its turn and then its rest', async () => {
  const meter = new Meter();
  const all: Reading[] = [];
  const trees = Array.from({ length: 3 }, () => new Slow(meter, all, 30));
  while (trees.some(({ weights }) => weights.length < 2)) await sleep(20);
  for (const tree of trees) tree[Symbol.dispose]();

  for (const [at, { from }] of all.entries()) {
    const before = all[at - 1];
    if (before !== undefined) assert(from >= before.to, `reading ${at} began before the one before had ended`);
  }
  for (const { readings } of trees) {
    for (const [at, { from }] of readings.entries()) {
      const before = readings[at - 1];
      // Ours begins and ends a little within what the meter has measured, so the rest is longer, never shorter.
      if (before !== undefined) assert(from - before.to >= 9.9 * (before.to - before.from), `reading ${at} came early`);
    }
  }
});

test('a run that has ended hears no more, though a reading was under way', async () => {
  const all: Reading[] = [];
  const tree = new Slow(new Meter(), all, 50);
  while (all.length === 0) await sleep(5);
  tree[Symbol.dispose]();
  while (all[0]?.to === Number.POSITIVE_INFINITY) await sleep(5);
  await sleep(5);
  assert.deepEqual([tree.weights, all.length], [[], 1]);
});

test('the most that was seen is exact where the sum counts too much', async () => {
  const memory = new Memory(1000);
  memory.see({ ...LARGE, residentBytes: 500 });
  assert.equal(memory.peakBytes, 500);
  memory.see({ ...LARGE, residentBytes: 60_000, largestBytes: 600 });
  assert.equal(memory.peakBytes, 600);
  await memory.weigh({ proportionalBytes: async () => ({ bytes: 800, isSteady: true }) });
  assert.equal(memory.peakBytes, 800);
});

test('too much that was counted while processes ended is counted again', async () => {
  const asked = async (weights: Weight[]) => {
    const bytes = await new Memory(1000).weigh({ proportionalBytes: async () => weights.shift() ?? assert.fail() });
    return [bytes, weights.length];
  };
  assert.deepEqual(
    await asked([
      { bytes: 1500, isSteady: false },
      { bytes: 600, isSteady: false },
    ]),
    [600, 0],
  );
  assert.deepEqual(
    await asked([
      { bytes: 1500, isSteady: false },
      { bytes: 1400, isSteady: false },
    ]),
    [1400, 0],
  );
  assert.deepEqual(
    await asked([
      { bytes: 1500, isSteady: true },
      { bytes: 600, isSteady: true },
    ]),
    [1500, 1],
  );
  assert.deepEqual(
    await asked([
      { bytes: 900, isSteady: false },
      { bytes: 600, isSteady: true },
    ]),
    [900, 1],
  );
});
