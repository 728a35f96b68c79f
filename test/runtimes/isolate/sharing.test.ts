// Who has executors when there are few of them, with real ones.
import { strict as assert } from 'node:assert';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { FrameReader, Kind } from '../../../runtimes/isolate/wire.ts';
import type { Outcome } from '../../../src/core/outcome.ts';
import { Scripts } from './scripts.ts';

const QUICK = '({ Output: input.Args.n });';
/** Keeps its executor busy for as long as the argument says, without using a processor. */
const SLOW = 'util.Sleep(input.Args.ms); ({ Output: 1 });';

function failureOf(outcome: Outcome) {
  assert(!outcome.ok, 'it should have failed');
  return outcome.failure;
}

function assertOk(outcomes: readonly Outcome[]): void {
  for (const one of outcomes) assert(one.ok, one.ok ? '' : `${one.failure.code}: ${one.failure.message}`);
}

async function until(what: () => boolean): Promise<void> {
  await expect.poll(what, { timeout: 15_000, interval: 10 }).toBe(true);
}

test('two tenants of one trust group share an executor, two without one never do', async () => {
  for (const [trust, executors] of [
    [{ a: 'group:both', b: 'group:both' }, 1],
    [{ a: 'a', b: 'b' }, 2],
  ] as const) {
    await using scripts = await Scripts.open('long', { spares: 0 });
    const plugin = await scripts.add(SLOW);
    const args = { ms: 300 };
    // Side by side, so that one that was ended between two runs could not be taken for one that was shared.
    assertOk(
      await Promise.all([
        scripts.run(plugin, { tenant: 'a', trust: trust.a, args }),
        scripts.run(plugin, { tenant: 'b', trust: trust.b, args }),
      ]),
    );
    expect([trust.a, scripts.runtime.gauges().executors]).toEqual([trust.a, executors]);
    // In a group, too, each has a program of its own, however equal their sources are.
    expect(scripts.runtime.gauges().programs).toBe(2);
  }
});

test('a flood of one tenant takes no more executors than it may, and no other tenant waits for it', async () => {
  await using scripts = await Scripts.open('long', { spares: 1, most: 8, perTenant: 3 });
  const plugin = await scripts.add(SLOW);
  const quick = await scripts.add(QUICK);
  const stop = new AbortController();
  const flood = Array.from({ length: 40 }, () =>
    scripts.run(plugin, { tenant: 'a', args: { ms: 60_000 }, signal: stop.signal }),
  );
  await until(() => scripts.runtime.gauges().executorsWaiting === 40 - 2 * 8);
  for (let n = 0; n < 5; n += 1) {
    const [b, c] = await Promise.all([
      scripts.run(quick, { tenant: 'b', args: { n } }),
      scripts.run(quick, { tenant: 'c', args: { n } }),
    ]);
    assertOk([b, c]);
  }
  // Two of the flood (the third is kept for brief runs), one each of the others, and a spare.
  assert(Number(scripts.runtime.gauges().executors) <= 5, JSON.stringify(scripts.runtime.gauges()));
  stop.abort();
  await Promise.all(flood);
  expect(scripts.runtime.gauges().executorsWaiting).toBe(0);
});

test('whoever waits in vain until the deadline is told whose bound it was, and not that the plugin was slow', async () => {
  await using scripts = await Scripts.open('long', { spares: 0, most: 1, perTenant: 2 });
  const plugin = await scripts.add(SLOW);
  const stop = new AbortController();
  const busy = Array.from({ length: 8 }, () =>
    scripts.run(plugin, { tenant: 'a', args: { ms: 60_000 }, signal: stop.signal }),
  );
  await until(() => scripts.runtime.gauges().executors === 1 && scripts.runtime.gauges().executorsWaiting === 0);

  const own = failureOf(await scripts.run(plugin, { tenant: 'a', args: { ms: 1 }, deadlineMs: 100 }));
  expect([own.code, own.details.limit?.name, own.details.limit?.allowed]).toEqual([
    'concurrency_limited',
    'executors.perTenant',
    2,
  ]);
  const other = failureOf(await scripts.run(plugin, { tenant: 'b', args: { ms: 1 }, deadlineMs: 100 }));
  expect([other.code, other.details.limit?.name, other.details.limit?.allowed]).toEqual([
    'overloaded',
    'executors.most',
    1,
  ]);
  for (const { details } of [own, other]) assert(details.retryable && details.retryAfterMs !== undefined);
  stop.abort();
  await Promise.all(busy);
});

test('many tenants take turns with few executors, and none of them notices', async () => {
  await using scripts = await Scripts.open('long', { spares: 1, most: 3, perTenant: 2 });
  const plugin = await scripts.add(QUICK);
  const tenants = Array.from({ length: 9 }, (_, n) => `tenant-${n}`);
  for (let round = 0; round < 2; round += 1) {
    const outcomes: Outcome[] = [];
    for (const [n, tenant] of tenants.entries()) outcomes.push(await scripts.run(plugin, { tenant, args: { n } }));
    assertOk(outcomes);
    expect(outcomes.map((one) => one.ok && one.output)).toEqual(tenants.map((_, n) => String(n)));
    assert(Number(scripts.runtime.gauges().executors) <= 3);
  }
  assertOk(await Promise.all(tenants.map((tenant, n) => scripts.run(plugin, { tenant, args: { n } }))));
});

test('one who keeps all executors busy has to give one up, without losing a run', async () => {
  await using scripts = await Scripts.open('long', { spares: 0, most: 2, perTenant: 3 });
  const plugin = await scripts.add(SLOW);
  let over = false;
  // 16 places, and always a run for each of them; they never end all at once.
  const stream = async (n: number) => {
    const outcomes: Outcome[] = [];
    while (!over) outcomes.push(await scripts.run(plugin, { tenant: 'a', args: { ms: 300 + 50 * n } }));
    return outcomes;
  };
  const streams = Array.from({ length: 16 }, (_, n) => stream(n));
  await until(() => {
    const { executors, booting, executorsWaiting } = scripts.runtime.gauges();
    return executors === 2 && booting === 0 && executorsWaiting === 0;
  });
  assertOk([await scripts.run(plugin, { tenant: 'b', args: { ms: 1 }, deadlineMs: 15_000 })]);
  over = true;
  assertOk((await Promise.all(streams)).flat());
});

test('both lanes come to their turn where there is but one executor', async () => {
  await using scripts = await Scripts.open(undefined, { spares: 0, most: 1, perTenant: 2 });
  const quick = await scripts.add(QUICK);
  const slow = await scripts.add(SLOW);
  let over = false;
  const done = new Array<number>(8).fill(0);
  const stream = async (n: number, plugin: Parameters<Scripts['run']>[0], args: Record<string, unknown>) => {
    const outcomes: Outcome[] = [];
    while (!over) {
      outcomes.push(await scripts.run(plugin, { args, deadlineMs: 15_000 }));
      done[n] = outcomes.length;
    }
    return outcomes;
  };
  // The one is soon run briefly, and would keep the executor for itself.
  await scripts.settled(quick, { args: { n: 1 } });
  expect((await scripts.runtime.explain('demo', quick)).way).toBe('a frozen realm');
  const streams = done.map((_, n) => (n < 4 ? stream(n, quick, { n }) : stream(n, slow, { ms: 100 + 50 * n })));
  await until(() => done.every((count) => count > 1));
  over = true;
  assertOk((await Promise.all(streams)).flat());
});

test('none is started beyond the bound of their memory', async () => {
  // Room for one and a half.
  await using scripts = await Scripts.open('long', { spares: 1, most: 8, memoryMb: 90 });
  const plugin = await scripts.add(QUICK);
  let most = 0;
  for (let n = 0; n < 8; n += 1) {
    assertOk([await scripts.run(plugin, { tenant: `tenant-${n % 4}`, args: { n } })]);
    most = Math.max(most, Number(scripts.runtime.gauges().executors));
  }
  expect(most).toBe(1);
});

test('79: what was compiled in an executor is brought to no executor of others', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'isopod-told-'));
  const node = join(folder, 'node');
  const tee = resolve(import.meta.dirname, '../../fixtures/isolate/tee.mjs');
  await writeFile(node, `#!/bin/sh\nexec '${process.execPath}' '${tee}' '${folder}' '${process.execPath}' "$@"\n`);
  await chmod(node, 0o755);
  try {
    await using scripts = await Scripts.open('long', { spares: 0, nodePath: node });
    const source = `const kept = ${JSON.stringify('x'.repeat(2000))};\nutil.Sleep(input.Args.ms); ({ Output: kept.length });`;
    const plugin = await scripts.add(source);
    assertOk([await scripts.run(plugin, { tenant: 'a', args: { ms: 1 } })]);
    // More than go into one executor, so that the same tenant gets a second one, which need not compile again.
    const runs = Array.from({ length: 12 }, () => scripts.run(plugin, { tenant: 'a', args: { ms: 1_000 } }));
    assertOk(await Promise.all(runs));
    assertOk([await scripts.run(plugin, { tenant: 'b', args: { ms: 1 } })]);
    // The same tenant among others: they could have been at what was compiled, and it at what they have.
    assertOk([await scripts.run(plugin, { tenant: 'a', trust: 'group:more', args: { ms: 1 } })]);

    const loads: number[] = [];
    for (const file of (await readdir(folder)).filter((name) => name.endsWith('.told'))) {
      new FrameReader().read(await readFile(join(folder, file)), ({ kind, body }) => {
        if (kind === Kind.load) loads.push(body.length - source.length);
      });
    }
    loads.sort((one, other) => one - other);
    expect(loads.slice(0, 3)).toEqual([0, 0, 0]);
    expect(loads).toHaveLength(4);
    assert(Number(loads[3]) > 0, 'nothing compiled was ever brought to anybody');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
