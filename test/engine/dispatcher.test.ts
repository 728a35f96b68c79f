// Which hooks an event sets off, and where plugins that set each other off come to an end.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { Chain } from '../../src/core/chain.ts';
import { Failure } from '../../src/core/failure.ts';
import type { EventWish } from '../../src/core/hook.ts';
import { AT_ONCE, type HookPolicy } from '../../src/core/hook-policy.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Holder } from '../../src/core/session.ts';
import { ChainWidths } from '../../src/engine/chain-widths.ts';
import { type Dispatched, Dispatcher } from '../../src/engine/dispatcher.ts';
import { Invoker, type Settled } from '../../src/engine/invoker.ts';
import { Isolations } from '../../src/engine/isolation.ts';
import { Limiter } from '../../src/engine/limiter.ts';
import { Quarantine } from '../../src/engine/quarantine.ts';
import { Tenancies, type TenanciesOptions } from '../../src/engine/tenancies.ts';
import type { Tenancy } from '../../src/engine/tenancy.ts';
import { TenantFolders } from '../../src/engine/tenant-folder.ts';
import { Remover } from '../../src/packages/remover.ts';
import { FakeCatalogue, FakeRuntime, ok, plugin, tenant } from '../support/fake.ts';
import { sessionOf } from '../support/session.ts';

let scope = new AsyncDisposableStack();
afterEach(async () => {
  await scope.disposeAsync();
  scope = new AsyncDisposableStack();
});

type Act = (run: {
  invocation: Invocation;
  chain: Chain;
  fire: (type: string) => Promise<Dispatched>;
}) => Promise<unknown>;

/** A dispatcher over plugins that do as the test says, and may set off events as one that calls its application does. */
async function open(
  plugins: readonly Plugin[],
  act: Act,
  options: { policy?: HookPolicy; depth?: number; width?: number; wallMs?: number } = {},
) {
  const dataDir = await mkdtemp(join(tmpdir(), 'isopod-dispatcher-'));
  scope.defer(() => rm(dataDir, { recursive: true, force: true }));
  const holders = new Map<string, Holder>();
  const settled: Settled[] = [];
  let tenancy: Tenancy;
  const runtime = new FakeRuntime(async (invocation, signal) => {
    invocation.session;
    const { chain } = holders.get(invocation.id) as Holder;
    const fire = (type: string) =>
      dispatcher.dispatch(tenancy, eventOf(type), { chain, signal: new AbortController().signal });
    const stopped = new Promise<Failure>((resolve) =>
      signal.addEventListener('abort', () => resolve(Failure.from(signal.reason))),
    );
    const end = await Promise.race([act({ invocation, chain, fire }), stopped]);
    return end instanceof Failure ? { ...ok(null), ok: false, failure: end } : ok(end ?? null);
  });
  const limiter = new Limiter({ running: 10_000, waiting: 10, waitMs: 1_000 });
  const quarantine = new Quarantine({ offences: 1, windowMs: 1, firstMs: 1, longestMs: 1 });
  const tenancies = scope.use(
    await Tenancies.open({
      records: {
        tenant: async (id) => (id === 'default' ? tenant(id) : undefined),
        states: async () =>
          new Map([['off', { enabled: false, everEnabled: false, settings: {}, known: null, revision: 1 }]]),
        hookPolicy: async () => options.policy ?? AT_ONCE,
      },
      limiter,
      runtimes: [runtime],
      quarantine,
      limits: { wallMs: 10_000 } as TenanciesOptions['limits'],
      plugins: {},
      folders: new TenantFolders(dataDir, scope.use(new Remover())),
      catalogueOf: () => new FakeCatalogue(plugins, []),
      endpoint: () => ({ scheme: 'http', host: '127.0.0.1', port: 1, dir: dataDir }),
      onChange: () => {},
      onGone: () => {},
      most: 10,
      idleMs: 60_000,
    }),
  );
  const sessions = {
    open(holder: Holder) {
      holders.set(holder.invocation, holder);
      return sessionOf({ graphql: () => Promise.reject(new Error('nobody asks')) });
    },
  };
  const invoker = new Invoker({
    tenancy: (id) => tenancies.find(id),
    isolations: new Isolations({ runtimes: [runtime], least: 'none' }),
    limiter,
    quarantine,
    sessions,
    onSettled: (one) => settled.push(one),
  });
  const { depth = 32, width = 1_000, wallMs } = options;
  const dispatcher = new Dispatcher({ invoker, widths: new ChainWidths(width), depth, wallMs });
  tenancy = tenancies.default;
  const fire = (type: string, signal = new AbortController().signal) =>
    dispatcher.dispatch(tenancy, eventOf(type), { signal });
  return { dispatcher, tenancy, fire, settled };
}

function eventOf(type: string, more: Partial<EventWish> = {}): EventWish {
  return { type, object: null, input: null, inputFields: [], ...more };
}

function listening(id: string, ...triggers: string[]): Plugin {
  const entries = triggers.map((trigger, at) => ({
    kind: 'hook' as const,
    name: `on ${at}`,
    description: '',
    execArgs: [],
    defaultArgs: {},
    triggeredBy: [trigger],
  }));
  return plugin({ id, entries });
}

const codes = (all: readonly Settled[]) => all.map(({ outcome }) => (outcome.ok ? 'ok' : outcome.failure.code));
const statuses = ({ hooks }: Dispatched) => hooks.map(({ plugin: id, status }) => `${id} ${status}`);

test('116: a plugin that sets itself off is run ten times, and then passed over', async () => {
  let deepest: Chain | undefined;
  let last: Dispatched | undefined;
  const { fire, settled } = await open([listening('self', 'E')], async ({ chain, fire: again }) => {
    deepest = deepest === undefined || chain.links.length > deepest.links.length ? chain : deepest;
    const came = await again('E');
    last ??= came;
  });
  const first = await fire('E');
  expect(statuses(first)).toEqual(['self ran']);
  expect(settled).toHaveLength(10);
  expect(deepest?.links).toHaveLength(10);
  expect(deepest?.root).toBe(first.event.id);
  expect(last?.hooks).toEqual([
    { plugin: 'self', hook: 'on 0', status: 'skipped', reason: expect.stringContaining('self (E) → self (E)') },
  ]);
});

test('116: two that set each other off end where each stands ten times, or at the depth that is configured', async () => {
  const plugins = [listening('a', 'A'), listening('b', 'B')];
  const act: Act = async ({ invocation, fire }) => void (await fire(invocation.plugin.id === 'a' ? 'B' : 'A'));
  const patient = await open(plugins, act);
  await patient.fire('A');
  expect(patient.settled).toHaveLength(20);
  expect(new Set(codes(patient.settled))).toEqual(new Set(['ok']));

  const strict = await open(plugins, act, { depth: 5 });
  await strict.fire('A');
  expect(strict.settled).toHaveLength(5);
  // The innermost one, which did not expect to be refused, fails; those before it go on.
  expect(codes(strict.settled)).toEqual(['hook_loop', 'ok', 'ok', 'ok', 'ok']);
});

test('the one that goes too deep is told so, with the whole chain', async () => {
  let refusal: unknown;
  const { fire } = await open(
    [listening('a', 'A'), listening('b', 'B')],
    async ({ invocation, fire: next }) => {
      try {
        await next(invocation.plugin.id === 'a' ? 'B' : 'A');
      } catch (error) {
        refusal = error;
      }
    },
    { depth: 3 },
  );
  await fire('A');
  expect(refusal).toBeInstanceOf(Failure);
  expect(refusal).toMatchObject({
    code: 'hook_loop',
    message: expect.stringContaining('a (A) → b (B) → a (A) → b (B)'),
    details: { limit: { name: 'hooks.depth', allowed: 3, observed: 4 } },
  });
});

test('116: one that sets off ten, of which each sets off ten, is bounded by the width', async () => {
  const ten = Array.from({ length: 10 }, (_, at) => listening(`p${at}`, 'E'));
  let refused: Failure | undefined;
  const { fire, settled } = await open(
    ten,
    async ({ fire: next }) => {
      try {
        await next('E');
      } catch (error) {
        refused ??= Failure.from(error);
      }
    },
    { width: 100 },
  );
  await fire('E');
  // Ten that the event itself sets off, and all that may come of them.
  expect(settled.length).toBeGreaterThan(100);
  expect(settled.length).toBeLessThanOrEqual(110);
  expect(refused).toMatchObject({ code: 'hook_loop', details: { limit: { name: 'hooks.width', allowed: 100 } } });
  expect(refused?.message).toMatch(/p\d \(E\) → p\d \(E\)/);
  const before = settled.length;
  await fire('E');
  expect(settled.length).toBe(2 * before);
});

test('plugins run one after the other, or side by side with the hooks of each in their order', async () => {
  const plugins = [listening('a', 'E', 'E'), listening('b', 'E'), listening('off', 'E'), listening('c', 'E')];
  const begun: string[] = [];
  const sequential = await open(plugins, async ({ invocation }) => {
    begun.push(invocation.plugin.id);
    await new Promise((resolve) => setImmediate(resolve));
    begun.push('end');
  });
  await sequential.fire('E');
  expect(begun).toEqual(['a', 'end', 'a', 'end', 'b', 'end', 'c', 'end']);

  let together = 0;
  const all = Promise.withResolvers<void>();
  const entries: string[] = [];
  const parallel = await open(
    plugins,
    async ({ invocation }) => {
      entries.push(`${invocation.plugin.id}/${invocation.entry.kind === 'hook' ? invocation.entry.name : ''}`);
      together += 1;
      if (together === 3) all.resolve();
      await all.promise;
    },
    { policy: { ...AT_ONCE, order: 'parallel' } },
  );
  const { hooks } = await parallel.fire('E');
  expect(entries).toEqual(['a/on 0', 'b/on 0', 'c/on 0', 'a/on 1']);
  expect(hooks.map(({ plugin: id, hook }) => `${id}/${hook}`)).toEqual(['a/on 0', 'a/on 1', 'b/on 0', 'c/on 0']);
});

test('when the caller goes away the one that runs is stopped, and the rest is not begun', async () => {
  const gone = new AbortController();
  const { fire, settled } = await open([listening('a', 'E'), listening('b', 'E')], async () => {
    gone.abort(new Failure('cancelled', 'The caller went away'));
    await new Promise(() => {});
  });
  const { hooks } = await fire('E', gone.signal);
  expect(hooks).toMatchObject([
    { plugin: 'a', status: 'failed', failure: { code: 'cancelled', message: 'operation cancelled' } },
    { plugin: 'b', status: 'skipped', reason: 'operation cancelled' },
  ]);
  expect(settled).toHaveLength(1);
});

test('a hook of an event is cut at its own deadline where that is lower, and the next one is run', async () => {
  const { fire } = await open(
    [listening('slow', 'E'), listening('quick', 'E')],
    async ({ invocation }) =>
      invocation.plugin.id === 'slow' ? await new Promise(() => {}) : invocation.limits.wallMs,
    { wallMs: 30 },
  );
  expect((await fire('E')).hooks).toMatchObject([
    { plugin: 'slow', status: 'failed', failure: { code: 'plugin_timeout' } },
    { plugin: 'quick', status: 'ran', output: '30' },
  ]);
});

test('outputs that are too large together are left out, and everything is run', async () => {
  const plugins = Array.from({ length: 18 }, (_, at) => listening(`p${at}`, 'E'));
  const { fire } = await open(plugins, async () => 'x'.repeat(1024 * 1024));
  const { hooks } = await fire('E');
  expect(hooks.map(({ status }) => status)).toEqual(Array(18).fill('ran'));
  const kept = hooks.filter((one) => one.status === 'ran' && one.output !== null);
  expect(kept).toHaveLength(15);
});

test('an event sets off a thousand hooks, and says how many are left out', async () => {
  const many = plugin({
    id: 'many',
    entries: [
      { kind: 'hook', name: 'h', description: '', execArgs: [], defaultArgs: {}, triggeredBy: Array(1_003).fill('E') },
    ],
  });
  const { dispatcher, tenancy } = await open([many, listening('after', 'E')], async () => {});
  const plan = dispatcher.plan(tenancy, eventOf('E'), null);
  expect([plan.steps.length, plan.omitted]).toEqual([1_000, 4]);
});

test('what was kept and may not be run any more is written down with the reason', async () => {
  const { dispatcher, tenancy } = await open([listening('a', 'E')], async () => {}, { depth: 2 });
  const chain = {
    root: 'r',
    by: null,
    links: [
      { plugin: 'x', trigger: 'X' },
      { plugin: 'x', trigger: 'Y' },
    ],
  };
  const led = dispatcher.led(tenancy, { id: 'e', wish: eventOf('E'), chain, dueAt: new Date() });
  expect(led.wishes).toEqual([]);
  expect(led.refused).toMatchObject([{ wish: { request: { plugin: 'a' } }, failure: { code: 'hook_loop' } }]);
});
