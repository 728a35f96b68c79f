import { expect, test } from 'vitest';
import type { Tenancy } from '../../src/engine/tenancy.ts';
import { type Listening, Updates } from '../../src/engine/updates.ts';

const tenancyOf = (id: string) => ({ id, key: `${id} 0`, isGone: false }) as Tenancy;
const update = (data: unknown) => ({ group: 'g', event: 'e', data, invocation: null });
const EVERYTHING = { after: '00000000-0', plugin: undefined };

function rest(listening: Listening): unknown[] {
  const all: unknown[] = [];
  for (let next = listening.next(); next !== undefined; next = listening.next()) all.push(JSON.parse(next.text).data);
  return all;
}

test('what a tenant has said is forgotten with it, and whoever listens is told so', () => {
  const updates = new Updates();
  const acme = tenancyOf('acme');
  let heard = 0;
  const listening = updates.listen(acme, EVERYTHING, () => {
    heard += 1;
  });
  updates.tell(acme, 'p', update(1));
  updates.tell(tenancyOf('beta'), 'p', update(2));
  updates.forget('acme');
  expect([heard, listening.isOver, rest(listening)]).toEqual([2, true, []]);
  listening[Symbol.dispose]();
  updates.tell({ ...acme, isGone: true } as Tenancy, 'p', update(3));
  expect(rest(updates.listen(acme, EVERYTHING, () => {}))).toEqual([]);
  expect(rest(updates.listen(tenancyOf('beta'), EVERYTHING, () => {}))).toEqual([2]);
});

test('what is kept of all tenants together has a bound, and who has said nothing for the longest loses first', () => {
  const updates = new Updates();
  const text = 'x'.repeat(60_000);
  const tenants = Array.from({ length: 20 }, (_, at) => tenancyOf(`t${at}`));
  for (const tenancy of tenants) for (let at = 0; at < 70; at += 1) updates.tell(tenancy, 'p', update(text));
  const kept = tenants.map((tenancy) => rest(updates.listen(tenancy, EVERYTHING, () => {})).length);
  // 4 MiB of one tenant, 64 MiB of all.
  expect(kept.at(-1)).toBe(69);
  expect(kept[0]).toBe(0);
  expect(kept.reduce((sum, one) => sum + one)).toBe(Math.floor(67_108_864 / 60_103));
});

test('a service that ends lets go of whoever listens', () => {
  const updates = new Updates();
  const listening = updates.listen(tenancyOf('acme'), EVERYTHING, () => {});
  updates[Symbol.dispose]();
  expect(listening.isOver).toBe(true);
  expect(updates.listen(tenancyOf('acme'), EVERYTHING, () => {}).isOver).toBe(true);
});
