import { expect, test } from 'vitest';
import type { Failure } from '../../src/core/failure.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import { Addresses } from '../../src/engine/addresses.ts';
import type { Tenancy } from '../../src/engine/tenancy.ts';

type Known = { says?: string; off?: true };

/** A tenancy of server plugins, each with what is remembered of it. */
function tenancyOf(known: Record<string, Known>) {
  const plugins = new Map(
    Object.keys(known).map((id) => [
      id,
      { id, dialect: 'sillytavern', program: { runtime: 'node', file: null } } as Plugin,
    ]),
  );
  const serves = (id: string) => {
    const says = known[id]?.says;
    return says === undefined ? undefined : { id: says, routes: [] };
  };
  const tenancy = {
    catalogue: { plugins },
    isEnabled: (id: string) => known[id]?.off !== true,
    portrait: ({ id }: Plugin) => ({ serves: known[id]?.off === true ? undefined : serves(id) }),
    state: (id: string) => ({ known: { isLoaded: true, dialect: 'sillytavern', portrait: { serves: serves(id) } } }),
  } as unknown as Tenancy;
  const claim = (addresses: Addresses, id: string, address: string): string => {
    try {
      addresses.claim(tenancy, plugins.get(id) as Plugin, address);
      return 'taken';
    } catch (error) {
      return (error as Failure).message;
    }
  };
  return { tenancy, claim };
}

test('who comes first has an address, and others are told who', () => {
  const { tenancy, claim } = tenancyOf({ a: {}, b: {} });
  const addresses = new Addresses();
  expect(addresses.unheard(tenancy).map(({ id }) => id)).toEqual(['a', 'b']);
  expect(claim(addresses, 'a', 'good')).toBe('taken');
  expect(claim(addresses, 'b', 'good')).toMatch(/"good" is in use already, by plugin "a"/);
  expect(addresses.at(tenancy, 'good')?.id).toBe('a');
  // It may change its mind, and then it is free.
  expect(claim(addresses, 'a', 'better')).toBe('taken');
  expect(claim(addresses, 'b', 'good')).toBe('taken');
  for (const name of ['plugins', 'repos', 'events']) expect(claim(addresses, 'b', name)).toMatch(/is reserved/);
  for (const name of ['', 'A', 'a/b', '..', 'a'.repeat(129)]) expect(claim(addresses, 'b', name)).toMatch(/is no id/);
});

test('who had one keeps it while it is disabled or changed, until it says another', () => {
  const { tenancy, claim } = tenancyOf({ evil: {}, good: { says: 'good', off: true } });
  const addresses = new Addresses();
  expect(claim(addresses, 'evil', 'good')).toMatch(/by plugin "good"/);
  expect(addresses.disabledAt(tenancy, 'good')?.id).toBe('good');
  expect(claim(addresses, 'good', 'good')).toBe('taken');
  expect(claim(addresses, 'good', 'other')).toBe('taken');
  expect(claim(addresses, 'evil', 'good')).toBe('taken');
});

test('where two are remembered to have one, the first has it, whoever starts first', () => {
  for (const order of [
    ['a', 'b'],
    ['b', 'a'],
  ]) {
    const { claim } = tenancyOf({ a: { says: 'same' }, b: { says: 'same' } });
    const addresses = new Addresses();
    const came = Object.fromEntries(order.map((id) => [id, claim(addresses, id, 'same')]));
    expect([order, came]).toEqual([order, { a: 'taken', b: expect.stringMatching(/by plugin "a"/) }]);
  }
});
