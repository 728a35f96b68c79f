import { expect, test, vi } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import type { Bearer } from '../../src/core/tenant.ts';
import { Bearers, type Held } from '../../src/engine/bearers.ts';

const secret = (letter: string) => `isopod_${letter.repeat(12)}_${letter.repeat(32)}`;
const bearer = (more: Partial<Bearer> = {}): Bearer => ({
  token: 't',
  tenant: 'acme',
  scopes: ['invoke'],
  expiresAt: null,
  ...more,
});

test('a token is looked up once, by however many callers at a time, and answered at once after that', async () => {
  const look = vi.fn(async () => bearer());
  const bearers = new Bearers({ look });
  const [one, other] = await Promise.all([bearers.find(secret('a')), bearers.find(secret('a'))]);
  expect(one).toBe(other);
  expect(bearers.find(secret('a'))).toBe(one);
  expect(look).toHaveBeenCalledTimes(1);
});

test('what opens nothing is remembered too, and what is no token is not looked up', async () => {
  const look = vi.fn(async () => undefined);
  const bearers = new Bearers({ look });
  await bearers.find(secret('a'));
  expect(bearers.find(secret('a'))).toBeUndefined();
  for (const text of ['', 'isopod_', 'x', `${secret('a')}x`, `${secret('a')}\n`]) {
    expect(bearers.find(text)).toBeUndefined();
  }
  expect(look).toHaveBeenCalledTimes(1);
});

test('a change empties what is remembered, of one tenant alone', async () => {
  const tenants: Record<string, string> = { [secret('a')]: 'acme', [secret('b')]: 'beta' };
  const look = vi.fn(async (one: string) => (one in tenants ? bearer({ tenant: tenants[one] ?? '' }) : undefined));
  const bearers = new Bearers({ look });
  for (const letter of ['a', 'b', 'c']) await bearers.find(secret(letter));
  bearers.forget('acme');
  expect(bearers.find(secret('a'))).toBeInstanceOf(Promise);
  expect(bearers.find(secret('b'))).not.toBeInstanceOf(Promise);
  // It may just have been made.
  expect(bearers.find(secret('c'))).toBeInstanceOf(Promise);
  bearers.forget();
  expect(bearers.find(secret('b'))).toBeInstanceOf(Promise);
});

test('what was found before a change is not remembered after it', async () => {
  const looking = Promise.withResolvers<Bearer>();
  const look = vi.fn(() => looking.promise);
  const bearers = new Bearers({ look });
  const found = bearers.find(secret('a'));
  bearers.forget('acme');
  looking.resolve(bearer());
  await found;
  expect(bearers.find(secret('a'))).toBeInstanceOf(Promise);
});

test('what is held says that it is not believed any more as soon as a change is heard', async () => {
  const looking = Promise.withResolvers<Bearer>();
  const look = vi.fn(async () => bearer());
  const bearers = new Bearers({ look });
  const held = (await bearers.find(secret('a'))) as Held;
  expect(held.until).toBeGreaterThan(Date.now());
  bearers.forget('acme');
  expect(held.until).toBe(0);

  // What is asked after a change does not get the answer to what was asked before it.
  look.mockReturnValueOnce(looking.promise);
  const before = bearers.find(secret('a'));
  bearers.forget('acme');
  expect(((await bearers.find(secret('a'))) as Held).until).toBeGreaterThan(Date.now());
  looking.resolve(bearer());
  expect(((await before) as Held).until).toBe(0);
});

test('why a token opens nothing any more is remembered with it', async () => {
  const spent = { ended: 'revoked', at: new Date(0) } as const;
  const bearers = new Bearers({ look: async () => spent });
  expect(await bearers.find(secret('a'))).toBe(spent);
  expect(bearers.find(secret('a'))).toBe(spent);
});

test('a token is not remembered beyond its own time, nor beyond ours', async () => {
  vi.useFakeTimers();
  try {
    const look = vi.fn(async () => bearer({ expiresAt: new Date(Date.now() + 500) }));
    const bearers = new Bearers({ look, knownMs: 1_000 });
    await bearers.find(secret('a'));
    vi.advanceTimersByTime(499);
    expect(bearers.find(secret('a'))).not.toBeInstanceOf(Promise);
    vi.advanceTimersByTime(1);
    expect(bearers.find(secret('a'))).toBeInstanceOf(Promise);

    const endless = new Bearers({ look: async () => bearer(), knownMs: 1_000 });
    await endless.find(secret('a'));
    vi.advanceTimersByTime(1_000);
    expect(endless.find(secret('a'))).toBeInstanceOf(Promise);
  } finally {
    vi.useRealTimers();
  }
});

test('so many are remembered at most, those that were used last', async () => {
  const look = vi.fn(async (one: string) => bearer({ token: one }));
  const bearers = new Bearers({ look, most: 3 });
  vi.useFakeTimers();
  try {
    for (const letter of ['a', 'b', 'c']) {
      vi.advanceTimersByTime(1);
      await bearers.find(secret(letter));
    }
    vi.advanceTimersByTime(1);
    bearers.find(secret('a'));
    await bearers.find(secret('d'));
    expect(bearers.find(secret('a'))).not.toBeInstanceOf(Promise);
    expect(bearers.find(secret('b'))).toBeInstanceOf(Promise);
  } finally {
    vi.useRealTimers();
  }
});

test('trouble with the database is not mistaken for an unknown token, and not remembered', async () => {
  let isDown = true;
  const look = async () => {
    if (isDown) throw new Failure('overloaded', 'The database cannot be reached');
    return bearer();
  };
  const bearers = new Bearers({ look });
  await expect(bearers.find(secret('a'))).rejects.toMatchObject({ code: 'overloaded' });
  isDown = false;
  expect(await bearers.find(secret('a'))).toMatchObject({ tenant: 'acme' });
});

test('guesses are looked up so many at a time, and the rest is told to come back', async () => {
  const bearers = new Bearers({ look: () => new Promise(() => {}) });
  const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-';
  for (const letter of letters) bearers.find(secret(letter));
  await expect(bearers.find(`isopod_${'ab'.repeat(6)}_${'ab'.repeat(16)}`)).rejects.toMatchObject({
    code: 'overloaded',
  });
});
