import { strict as assert } from 'node:assert';
import { expect, test } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { Limiter, type LimiterOptions, type Patience, type Share } from '../../src/engine/limiter.ts';

const NEVER = new AbortController().signal;

/** A limiter, and who was admitted to it or refused, in that order. */
class Door {
  readonly limiter: Limiter;
  readonly admitted: string[] = [];
  readonly refused = new Map<string, Failure>();
  readonly #ends: Promise<void>[] = [];

  constructor(options: Partial<LimiterOptions> = {}) {
    this.limiter = new Limiter({ running: 2, waiting: 100, waitMs: 60_000, ...options });
  }

  /** Comes in, or waits. */
  come(name: string, share: Share, patience: Patience = 'limited', signal: AbortSignal = NEVER): void {
    if (this.limiter.tryEnter(share)) {
      this.admitted.push(name);
      return;
    }
    const end = this.limiter.wait(share, signal, patience).then(
      () => void this.admitted.push(name),
      (failure) => void this.refused.set(name, failure),
    );
    this.#ends.push(end);
  }

  /** The names of those admitted since the last time. */
  async news(): Promise<string> {
    await new Promise(setImmediate);
    return this.admitted.splice(0).join(' ');
  }

  async refusal(name: string): Promise<Failure> {
    await new Promise(setImmediate);
    const failure = this.refused.get(name);
    assert(failure !== undefined, `${name} was not refused`);
    return failure;
  }

  async settled(): Promise<void> {
    await Promise.all(this.#ends);
  }
}

test('shares take turns however long the backlog of one is', async () => {
  const door = new Door({ running: 1 });
  const [a, b] = [door.limiter.share(null), door.limiter.share(null)];
  for (let n = 1; n <= 5; n += 1) door.come(`a${n}`, a);
  for (let n = 1; n <= 2; n += 1) door.come(`b${n}`, b);
  expect(await door.news()).toBe('a1');
  for (const share of [a, a, b, a, b, a]) door.limiter.leave(share);
  expect(await door.news()).toBe('a2 b1 a3 b2 a4 a5');
  expect([door.limiter.running, door.limiter.waiting]).toEqual([1, 0]);
});

test('a share at its own bound waits, and is passed over by those that have room', async () => {
  const door = new Door({ running: 10 });
  const [a, b] = [door.limiter.share(1), door.limiter.share(null)];
  door.come('a1', a);
  door.come('a2', a);
  door.come('b1', b);
  expect(await door.news()).toBe('a1 b1');
  door.limiter.leave(b);
  expect(await door.news()).toBe('');
  door.limiter.leave(a);
  expect(await door.news()).toBe('a2');
});

test('a bound that is raised lets in those who waited for it', async () => {
  const door = new Door({ running: 10 });
  const [a] = [door.limiter.share(1), door.limiter.share(null)];
  for (let n = 1; n <= 4; n += 1) door.come(`a${n}`, a);
  a.most = 3;
  expect(await door.news()).toBe('a1 a2 a3');
  a.most = 1;
  door.limiter.leave(a);
  door.limiter.leave(a);
  expect(await door.news()).toBe('');
  a.most = null;
  expect(await door.news()).toBe('a4');
});

test('one alone may have all places; with others about, it leaves some', async () => {
  const door = new Door({ running: 12 });
  const a = door.limiter.share(null);
  for (let n = 0; n < 12; n += 1) assert(door.limiter.tryEnter(a));
  assert(!door.limiter.tryEnter(a));
  for (let n = 0; n < 12; n += 1) door.limiter.leave(a);

  const b = door.limiter.share(null);
  let count = 0;
  while (door.limiter.tryEnter(a)) count += 1;
  expect(count).toBe(8);
  assert(door.limiter.tryEnter(b), 'there is none left for another');
});

test('the waiting room is full: the newest of the longest backlog gives way to another tenant', async () => {
  const door = new Door({ running: 1, waiting: 3 });
  const [a, b] = [door.limiter.share(null), door.limiter.share(null)];
  for (let n = 1; n <= 4; n += 1) door.come(`a${n}`, a);
  door.come('a5', a);
  const own = await door.refusal('a5');
  expect([own.code, own.details.limit]).toEqual([
    'queue_full',
    { name: 'waiting', allowed: 3, observed: 4, unit: 'count' },
  ]);
  expect(own.message).toContain("would have been number 4 of its tenant's");

  door.come('b1', b);
  const evicted = await door.refusal('a4');
  expect(evicted.code).toBe('queue_full');
  expect(evicted.message).toContain("was number 3 and gave way to another tenant's");
  expect(evicted.details.retryable).toBe(true);
  door.limiter.leave(a);
  door.limiter.leave(a);
  expect(await door.news()).toBe('a1 a2 b1');
});

test('who waits for the quota of the own tenant is told so, with what it is', async () => {
  const door = new Door({ running: 10, waitMs: 20 });
  const a = door.limiter.share(2);
  for (let n = 1; n <= 4; n += 1) door.come(`a${n}`, a);
  await door.settled();
  const failure = await door.refusal('a3');
  expect(failure.code).toBe('concurrency_limited');
  expect(failure.details.limit).toEqual({ name: 'quotas.running', allowed: 2, observed: 4, unit: 'count' });
  expect(failure.message).toMatch(/quota of this tenant is 2 .*number 1 of/);
  assert(failure.details.retryAfterMs !== undefined && failure.details.retryable);
  expect([door.limiter.running, door.limiter.waiting, a.inRoom]).toEqual([2, 0, 0]);
});

test('who waits for a place that others have is told that it took too long, and where in the queue it was', async () => {
  const door = new Door({ running: 1, waitMs: 20 });
  const [a, b] = [door.limiter.share(5), door.limiter.share(5)];
  door.come('a1', a);
  door.come('a2', a);
  door.come('b1', b);
  await door.settled();
  expect([(await door.refusal('a2')).code, (await door.refusal('b1')).code]).toEqual([
    'queue_timeout',
    'queue_timeout',
  ]);
  expect((await door.refusal('a2')).message).toContain('this one was number 1 of those that wait');
});

test('a tenant that may run nothing is refused at once', async () => {
  const door = new Door();
  door.come('a1', door.limiter.share(0));
  expect((await door.refusal('a1')).code).toBe('concurrency_limited');
});

test('endless patience has no clock and takes nobody a place in the waiting room', async () => {
  const door = new Door({ running: 1, waiting: 1, waitMs: 20 });
  const [a, b] = [door.limiter.share(null), door.limiter.share(null)];
  door.come('a1', a);
  for (let n = 1; n <= 3; n += 1) door.come(`job${n}`, a, 'endless');
  door.come('b1', b);
  await expect.poll(() => [...door.refused.keys()]).toEqual(['b1']);
  expect(door.limiter.waiting).toBe(3);
  door.come('a2', a);
  expect(door.limiter.waiting).toBe(4);
  // There is no job to be found for this one to take the place of.
  door.come('a3', a);
  expect((await door.refusal('a3')).code).toBe('queue_full');
  door.limiter.leave(a);
  expect(await door.news()).toBe('a1 job1');
});

test('an abort ends the waiting with its reason and leaves no trace', async () => {
  const door = new Door({ running: 1 });
  const a = door.limiter.share(null);
  const gone = new AbortController();
  door.come('a1', a);
  door.come('a2', a, 'limited', gone.signal);
  door.come('a3', a, 'endless', gone.signal);
  door.come('a4', a, 'endless', AbortSignal.abort(new Failure('cancelled', 'before')));
  gone.abort(new Failure('cancelled', 'gone'));
  expect((await door.refusal('a2')).message).toBe('gone');
  expect((await door.refusal('a3')).message).toBe('gone');
  expect((await door.refusal('a4')).message).toBe('before');
  door.limiter.leave(a);
  expect([door.limiter.running, door.limiter.waiting, a.running, a.inRoom]).toEqual([0, 0, 0, 0]);
});

test('closing refuses those who wait, and those who come', async () => {
  const door = new Door({ running: 1 });
  const [a, b] = [door.limiter.share(null), door.limiter.share(null)];
  door.come('a1', a);
  door.come('a2', a);
  door.come('b1', b, 'endless');
  const closed = new Failure('draining', 'closed');
  door.limiter.close(closed);
  expect(await door.refusal('a2')).toBe(closed);
  expect(await door.refusal('b1')).toBe(closed);
  expect(() => door.limiter.tryEnter(b)).toThrow('closed');
  await expect(door.limiter.wait(b, NEVER, 'endless')).rejects.toBe(closed);
  door.limiter.leave(a);
  expect(door.limiter.running).toBe(0);
});

test('runs that are waited for have as many places at each depth, of which no share has all', () => {
  const limiter = new Limiter({ running: 3, waiting: 0, waitMs: 1_000 });
  const [a, b] = [limiter.share(1), limiter.share(1)];
  assert(a !== undefined && b !== undefined);
  expect([limiter.tryEnter(a), limiter.tryEnter(a)]).toEqual([true, false]);
  expect(Array.from({ length: 3 }, () => limiter.tryEnterNested(a, 1))).toEqual([true, true, false]);
  expect([limiter.tryEnterNested(b, 1), limiter.tryEnterNested(b, 1)]).toEqual([true, false]);
  expect([limiter.running, limiter.tryEnterNested(a, 2)]).toEqual([4, true]);
  limiter.leaveNested(a, 1);
  expect([limiter.tryEnterNested(a, 1), limiter.tryEnterNested(a, 1)]).toEqual([true, false]);
});
