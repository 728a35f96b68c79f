import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { NOTHING } from '../../src/core/grant.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Residency, ResidentLine, Room, StopReason } from '../../src/core/resident.ts';
import { type Resident, ResidentPool, type ResidentPoolOptions, type Wing } from '../../src/programs/resident-pool.ts';

class Fake implements Resident {
  readonly name: string;
  readonly death: Promise<{ failure: Failure }>;
  residentBytes = 1 << 20;
  cpuMs = 0;
  running = 0;
  idle = true;
  stopped: StopReason | null = null;
  readonly #end: (death: { failure: Failure }) => void;

  constructor(name: string) {
    this.name = name;
    const { promise, resolve } = Promise.withResolvers<{ failure: Failure }>();
    this.death = promise;
    this.#end = resolve;
  }

  isIdle = async () => this.idle;

  stop = async (reason: StopReason) => {
    this.stopped = reason;
    this.die(new Failure('cancelled', 'Stopped'));
  };

  die(failure: Failure = new Failure('plugin_crashed', 'Died')): void {
    this.#end({ failure });
  }
}

function pluginOf(id: string): Plugin {
  return { id, program: { runtime: 'python' } } as Plugin;
}

class Pool implements AsyncDisposable {
  readonly begun: Fake[] = [];
  readonly pool: ResidentPool;
  readonly wing: Wing<Fake>;
  fails: Failure | null = null;
  line: (one: ResidentLine) => void = () => {};
  readonly unwanted = new Set<string>();
  readonly #residencies = new Map<string, Residency>();

  constructor(options: Partial<ResidentPoolOptions> = {}) {
    const bounds = { most: 3, perTenant: 2, memoryMb: 100, idleMs: 0, deaths: 3, windowMs: 60_000 };
    this.pool = new ResidentPool({ ...bounds, ...options });
    this.wing = this.pool.wing('python', async ({ tenant, plugin }, line) => {
      this.line = line;
      if (this.fails !== null) throw this.fails;
      const fake = new Fake(`${tenant}/${plugin.id}`);
      this.begun.push(fake);
      return fake;
    });
  }

  residency(name: string): Residency {
    const known = this.#residencies.get(name);
    if (known !== undefined) return known;
    const [tenant = '', id = ''] = name.split('/');
    const residency = {
      tenant,
      plugin: pluginOf(id),
      grant: NOTHING,
      limits: {},
      died: () => {},
      assertWanted: () => {
        if (this.unwanted.has(name)) throw new Failure('not_found', 'It was removed');
      },
    } as unknown as Residency;
    this.#residencies.set(name, residency);
    return residency;
  }

  occupy(name: string, ms = 5_000): Promise<Fake> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Failure('plugin_timeout', 'Late')), ms);
    return this.wing.occupy(this.residency(name), late.signal).finally(() => clearTimeout(timer));
  }

  start(name: string, room: Room): Promise<void> {
    return this.pool.start(this.residency(name), new AbortController().signal, room);
  }

  is(name: string): string | undefined {
    const [tenant = '', id = ''] = name.split('/');
    return this.pool.state(tenant, id)?.is;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool[Symbol.asyncDispose]();
  }
}

describe('who is asked for', () => {
  test('is started once for all who ask at the same time, and anew with other files', async () => {
    await using trial = new Pool();
    const all = await Promise.all([trial.occupy('a/x'), trial.occupy('a/x'), trial.occupy('a/x')]);
    assert.equal(new Set(all).size, 1);
    assert.equal(trial.begun.length, 1);
    const renewed = { ...trial.residency('a/x'), plugin: pluginOf('x') };
    const next = await trial.wing.occupy(renewed, new AbortController().signal);
    assert.notEqual(next, all[0]);
    assert.equal(all[0]?.stopped, 'reload');
  });

  test('takes the room of who is idle for the longest, and of nobody who is busy', async () => {
    await using trial = new Pool();
    const [x, y] = [await trial.occupy('a/x'), await trial.occupy('a/y')];
    x.running = 1;
    await trial.occupy('a/z');
    assert.deepEqual([x.stopped, y.stopped], [null, 'shutdown']);
    const other = await trial.occupy('b/x');
    for (const one of trial.begun) one.idle = false;
    const waiting = trial.occupy('b/y', 300);
    await assert.rejects(waiting, ({ code, details }: Failure) => {
      assert.deepEqual([code, details.limit?.name, details.limit?.allowed], ['overloaded', 'residents.most', 3]);
      return true;
    });
    await assert.rejects(trial.start('a/w', 'made'), { code: 'concurrency_limited' });
    // Whoever waits has the room as soon as somebody leaves it.
    const patient = trial.occupy('b/y');
    other.die();
    assert.equal((await patient).name, 'b/y');
  });

  test('takes nobody’s room where nobody has called it', async () => {
    await using trial = new Pool();
    const [x, y] = [await trial.occupy('a/x'), await trial.occupy('a/y')];
    await assert.rejects(trial.start('a/z', 'free'), { code: 'concurrency_limited' });
    assert.deepEqual([x.stopped, y.stopped], [null, null]);
    await trial.start('a/z', 'made');
    assert.deepEqual([x.stopped, y.stopped], ['shutdown', null]);
    const [line] = trial.pool.logs('a', 'x').slice(-1);
    assert.match(line?.message ?? '', /no room for another program: it is started again when it is called/);
  });

  test('waits where all memory is taken', async () => {
    await using trial = new Pool();
    const large = await trial.occupy('a/x');
    large.residentBytes = 200 << 20;
    large.running = 1;
    await assert.rejects(
      trial.occupy('b/x', 100),
      ({ details }: Failure) => details.limit?.name === 'residents.memoryMb',
    );
  });
});

describe('who dies', () => {
  test('is started again unasked, rests longer each time, and then is left alone', async () => {
    await using trial = new Pool({ deaths: 2 });
    (await trial.occupy('a/x')).die();
    await until(() => trial.begun.length === 2);
    (await trial.occupy('a/x')).die();
    await until(() => trial.is('a/x') === 'resting');
    await assert.rejects(trial.occupy('a/x'), ({ code, message }: Failure) => {
      assert.equal(code, 'plugin_quarantined');
      assert.match(message, /died 2 times of late, the last time so: Died \(plugin_crashed\)/);
      return true;
    });
    trial.pool.pardon('a', 'x');
    assert.equal((await trial.occupy('a/x')).name, 'a/x');
  });

  test('through no fault of its own counts for nothing', async () => {
    await using trial = new Pool({ deaths: 1 });
    const cause = new Failure('cancelled', 'Enough');
    (await trial.occupy('a/x')).die(new Failure('executor_lost', 'Ended with another', { cause }));
    await until(() => trial.begun.length === 2);
    assert.equal(trial.pool.state('a', 'x')?.deaths, 0);
  });

  test('before it was up says the same until it is tried again', async () => {
    await using trial = new Pool({ deaths: 2 });
    trial.fails = new Failure('plugin_boot_failed', 'Its code is broken');
    await assert.rejects(trial.occupy('a/x'), { message: 'Its code is broken' });
    await assert.rejects(trial.occupy('a/x'), { message: 'Its code is broken' });
    trial.fails = null;
    await assert.rejects(trial.occupy('a/x'), { message: 'Its code is broken' });
    assert.equal(trial.begun.length, 0);
    await trial.pool.stop('a', 'x', 'reload');
    assert.equal((await trial.occupy('a/x')).name, 'a/x');
  });
});

describe('who is not needed', () => {
  test('ends when it has been idle for long enough, and is there again when it is called', async () => {
    await using trial = new Pool({ idleMs: 100 });
    const [x, y] = [await trial.occupy('a/x'), await trial.occupy('a/y')];
    y.idle = false;
    await until(() => x.stopped !== null);
    assert.deepEqual([x.stopped, trial.is('a/x'), y.stopped], ['shutdown', 'ended', null]);
    assert.notEqual(await trial.occupy('a/x'), x);
  });

  test('is not started again by whoever waited while it was deleted', async () => {
    await using trial = new Pool();
    const first = await trial.occupy('a/x');
    const leaving = Promise.withResolvers<void>();
    first.stop = async () => {
      await leaving.promise;
      first.die();
    };
    trial.unwanted.add('a/x');
    const removed: string[] = [];
    const deleting = trial.pool.stop('a', 'x', 'delete');
    const clearing = trial.pool.vacate('a', 'x', 'delete', async () => void removed.push('home'));
    await until(() => trial.is('a/x') === 'stopping');
    const waiting = [trial.occupy('a/x'), trial.occupy('a/x')].map((one) => one.catch(({ code }: Failure) => code));
    leaving.resolve();
    await Promise.all([deleting, clearing]);
    assert.deepEqual([await Promise.all(waiting), removed], [['not_found', 'not_found'], ['home']]);
    assert.deepEqual([trial.begun.length, trial.pool.houses('a')], [1, false]);
    // And who is installed again under the name has a berth that counts.
    trial.unwanted.clear();
    const again = await trial.occupy('a/x');
    assert.equal(trial.pool.gauges().residents, 1);
    await trial.pool.stop('a', 'x', 'delete');
    assert.equal(again.stopped, 'delete');
  });

  test('is told why: deleted, loaded anew, or the service ends', async () => {
    const trial = new Pool();
    const [x, y, z] = [await trial.occupy('a/x'), await trial.occupy('a/y'), await trial.occupy('b/z')];
    await trial.pool.retain('a', new Set([{ id: 'y' } as Plugin]), 'delete');
    assert.deepEqual([x.stopped, y.stopped, z.stopped], ['delete', 'reload', null]);
    assert.deepEqual([trial.is('a/x'), trial.pool.houses('a'), trial.pool.houses('b')], [undefined, false, true]);
    await trial[Symbol.asyncDispose]();
    assert.equal(z.stopped, 'shutdown');
    await assert.rejects(trial.occupy('b/z'), { code: 'draining' });
  });
});

async function until(holds: () => boolean): Promise<void> {
  for (let look = 0; look < 250; look++) {
    if (holds()) return;
    await sleep(20);
  }
  assert.fail('It never came to be');
}

test('of what it logs the newest lines are kept, and not more letters than there is room for', async () => {
  await using trial = new Pool();
  await trial.occupy('a/x');
  const log = (message: string) => trial.line({ level: 'info', message, at: new Date(), invocation: null });
  for (let at = 0; at < 600; at += 1) log(`line ${at}`);
  const short = trial.pool.logs('a', 'x');
  assert.deepEqual([short.length, short.at(-1)?.message], [500, 'line 599']);
  for (let at = 0; at < 100; at += 1) log('x'.repeat(16_000));
  const long = trial.pool.logs('a', 'x');
  assert(long.length > 20 && long.length < 40, String(long.length));
  log('y'.repeat(1_000_000));
  assert.deepEqual(trial.pool.logs('a', 'x').length, 1);
});
