// Who may start a program, and when.
import { strict as assert } from 'node:assert';
import { expect, test } from 'vitest';
import { Failure } from '../../../src/core/failure.ts';
import { type Place, Turnstile, type TurnstileBounds } from '../../../src/programs/turnstile.ts';
import { Trial } from '../../support/process.ts';

const NEVER = new AbortController().signal;
const MB = 2 ** 20;

/** A turnstile, and who came through it. */
class Gate {
  readonly turnstile: Turnstile;
  readonly inside = new Map<string, Place>();

  constructor(bounds: Partial<TurnstileBounds>) {
    this.turnstile = new Turnstile({ most: 32, perTenant: 8, memoryMb: 1_000, ...bounds });
  }

  /** `a1` is the first of tenant `a`. */
  async come(...names: string[]): Promise<void> {
    for (const name of names) {
      void this.turnstile.enter(name.charAt(0), NEVER).then((place) => this.inside.set(name, place));
    }
    await new Promise(setImmediate);
  }

  async leave(name: string): Promise<void> {
    this.inside.get(name)?.[Symbol.dispose]();
    this.inside.delete(name);
    await new Promise(setImmediate);
  }

  async weigh(name: string, mb: number): Promise<void> {
    const place = this.inside.get(name);
    assert(place !== undefined);
    place.residentBytes = mb * MB;
    await new Promise(setImmediate);
  }

  get names(): string {
    return [...this.inside.keys()].toSorted().join(' ');
  }
}

test('tenants take turns for the places, and none has more than its own', async () => {
  const gate = new Gate({ most: 4, perTenant: 2 });
  await gate.come('a1', 'a2', 'a3', 'a4', 'b1', 'c1', 'b2');
  expect(gate.names).toBe('a1 a2 b1 c1');
  expect(gate.turnstile.waiting).toBe(3);
  await gate.leave('a1');
  expect(gate.names).toBe('a2 a3 b1 c1');
  await gate.leave('c1');
  expect(gate.names).toBe('a2 a3 b1 b2');
  for (const name of ['a2', 'a3', 'b1']) await gate.leave(name);
  expect([gate.names, gate.turnstile.running, gate.turnstile.waiting]).toEqual(['a4 b2', 2, 0]);
});

test('nothing is started beyond the bound of memory, until it is given back', async () => {
  const gate = new Gate({ memoryMb: 100 });
  await gate.come('a1', 'b1');
  await gate.weigh('a1', 70);
  // There is more than nothing left, and `a` has more than twice of that.
  await gate.come('a2', 'c1');
  expect(gate.names).toBe('a1 b1 c1');
  await gate.weigh('b1', 40);
  await gate.come('d1');
  expect(gate.names).toBe('a1 b1 c1');
  await gate.weigh('a1', 20);
  expect(gate.names).toBe('a1 a2 b1 c1 d1');
});

test('where nothing runs, a program is started however small the bound is', async () => {
  const gate = new Gate({ memoryMb: 1 });
  await gate.come('a1');
  await gate.weigh('a1', 500);
  await gate.come('b1');
  expect(gate.names).toBe('a1');
  await gate.leave('a1');
  expect(gate.names).toBe('b1');
});

test('who is stopped while it waits leaves no trace', async () => {
  const gate = new Gate({ most: 1, perTenant: 1 });
  await gate.come('a1');
  const stop = new AbortController();
  const waiting = gate.turnstile.enter('b', stop.signal);
  stop.abort(new Failure('cancelled', 'Enough'));
  await expect(waiting).rejects.toMatchObject({ code: 'cancelled', message: 'Enough' });
  expect(gate.turnstile.waiting).toBe(0);
  await gate.leave('a1');
  expect(gate.turnstile.running).toBe(0);
});

test('at the deadline a run that never began is told what there was no room in', async () => {
  await using trial = await Trial.start({ most: 3, perTenant: 2 });
  const stop = new AbortController();
  const sleepers = ['a', 'a', 'b'].map((tenant) => trial.run(['sleeper.sh'], { tenant, signal: stop.signal }));
  await expect.poll(() => trial.runtime.gauges().processes).toBe(3);

  const own = await trial.failure(['sleeper.sh'], { tenant: 'a', deadlineMs: 50 });
  expect([own.code, own.details.limit]).toEqual([
    'concurrency_limited',
    { name: 'processes.perTenant', allowed: 2, observed: 3, unit: 'count' },
  ]);
  const other = await trial.failure(['sleeper.sh'], { tenant: 'c', deadlineMs: 50 });
  expect([other.code, other.details.limit]).toEqual([
    'overloaded',
    { name: 'processes.most', allowed: 3, observed: 4, unit: 'count' },
  ]);
  for (const { details, message } of [own, other]) {
    assert(details.retryable && details.retryAfterMs !== undefined && details.rung === undefined);
    assert.match(message, /number 1 of those that wait/);
  }

  const later = trial.output(['sh', '-c', `echo '{"output": 1}'`], { tenant: 'c' });
  await expect.poll(() => trial.runtime.gauges().processesWaiting).toBe(1);
  stop.abort(new Failure('cancelled', 'Enough'));
  await Promise.all(sleepers);
  expect(await later).toBe(1);
  await trial.assertNothingLeft();
});

test('what programs use is measured, and is told', async () => {
  await using trial = await Trial.start();
  const stop = new AbortController();
  const hoarder = trial.run(['hoarder.py'], { signal: stop.signal });
  await expect.poll(() => Number(trial.runtime.gauges().processesMb), { timeout: 10_000 }).toBeGreaterThan(300);
  stop.abort(new Failure('cancelled', 'Enough'));
  await hoarder;
  expect(trial.runtime.gauges()).toMatchObject({ processes: 0, processesMb: 0, processesWaiting: 0 });
});

test('who is waited for gets a place beside those that wait, and each depth has as many', async () => {
  const turnstile = new Turnstile({ most: 2, perTenant: 2, memoryMb: 1_000 });
  await turnstile.enter('a', NEVER);
  await turnstile.enter('a', NEVER);
  const beside = [await turnstile.enter('a', NEVER, 1), await turnstile.enter('a', NEVER, 1)];
  let last: Place | undefined;
  void turnstile.enter('a', NEVER, 1).then((place) => {
    last = place;
  });
  await new Promise(setImmediate);
  expect([turnstile.running, turnstile.waiting, last]).toEqual([4, 1, undefined]);
  void turnstile.enter('a', NEVER);
  expect((await turnstile.enter('a', NEVER, 2)).depth).toBe(2);
  beside[0]?.[Symbol.dispose]();
  await new Promise(setImmediate);
  expect([turnstile.waiting, last?.depth]).toEqual([1, 1]);
});
