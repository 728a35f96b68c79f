import { expect, test } from 'vitest';
import { Failure } from '../../src/core/failure.ts';
import { DEFAULT_VISITOR } from '../../src/core/serving.ts';
import { Addresses } from '../../src/engine/addresses.ts';
import { Reception, type Served } from '../../src/engine/reception.ts';
import type { Tenancy } from '../../src/engine/tenancy.ts';
import { FakeCatalogue, portrait, server } from '../support/fake.ts';

/** A tenant with a plugin that was never heard, as far as a reception looks at it. */
function tenancyOf(id: string) {
  const runs = { now: 0 };
  const one = {
    id,
    isClosed: false,
    servesPlugins: true,
    leastRank: 0,
    catalogue: new FakeCatalogue([server()], []).current,
    isEnabled: () => true,
    state: () => undefined,
    portrait: () => portrait(),
    begin: () => {
      runs.now += 1;
    },
    end: () => {
      runs.now -= 1;
    },
  };
  return { runs, tenancy: one as unknown as Tenancy };
}

test('whoever waits for a plugin to start keeps its tenant in use, and is told when that is removed', async () => {
  const served: Served[] = [];
  const reception = new Reception({
    isolations: { of: () => ({ rank: 0, grade: 'none', runtime: {} }) as never },
    addresses: new Addresses(),
    residencies: {
      of: () => ({}) as never,
      state: () => undefined,
      start: (_tenancy, _plugin, signal) =>
        new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
    },
    mostAtOnce: 1,
    onServed: (one) => void served.push(one),
  });
  const [acme, beta] = [tenancyOf('acme'), tenancyOf('beta')];
  const enter = ({ tenancy }: typeof acme) =>
    reception.enter(tenancy, 'any', { id: tenancy.id, visitor: DEFAULT_VISITOR }, new AbortController());
  const one = enter(acme);
  const other = enter(beta);
  expect([reception.serving, acme.runs.now, beta.runs.now]).toEqual([2, 1, 1]);

  const gone = new Failure('cancelled', 'The tenant was removed');
  reception.stopAll('acme', gone);
  await expect(one).rejects.toBe(gone);
  expect([reception.serving, acme.runs.now, beta.runs.now]).toEqual([1, 0, 1]);
  expect(served.map(({ tenant, failure }) => [tenant, failure])).toEqual([['acme', gone]]);

  const drained = reception.drain(0);
  await expect(other).rejects.toMatchObject({ code: 'draining' });
  await drained;
  expect([reception.serving, beta.runs.now]).toEqual([0, 0]);
});
