// Conformance case 118 in small: one tenant does the worst it can, all at once, and those beside it notice nothing.
import { strict as assert } from 'node:assert';
import { setMaxListeners } from 'node:events';
import { chmod, cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { IsolateRuntime } from '../../runtimes/isolate/runtime.ts';
import { ProcessRuntime } from '../../runtimes/process/runtime.ts';
import { completed } from '../../src/config.ts';
import { Failure } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Runtime } from '../../src/core/runtime.ts';
import type { Sessions } from '../../src/core/session.ts';
import { Invoker } from '../../src/engine/invoker.ts';
import { Isolations } from '../../src/engine/isolation.ts';
import { Limiter } from '../../src/engine/limiter.ts';
import { Quarantine } from '../../src/engine/quarantine.ts';
import { Tenancy } from '../../src/engine/tenancy.ts';
import { Lodgings } from '../../src/programs/lodgings.ts';
import { FakeCatalogue, tenant } from '../support/fake.ts';
import { FIXTURES, Trial } from '../support/process.ts';
import { sessionOf } from '../support/session.ts';

/** What hangs hangs for longer than the storm lasts, and than anybody has the patience to wait for a place. */
const HARD: Partial<Limits> = { wallMs: 60_000, cpuMs: 2_000, bootMs: 6_000, heapMb: 32, residentMb: 192 };
/** The machine is busy, and may be slow; what must not be is that somebody is refused. */
const PATIENT: Partial<Limits> = { wallMs: 20_000, bootMs: 20_000 };
const CONCURRENCY = { running: 48, waiting: 40, waitMs: 8_000 };
/** Few enough that one tenant could have them all. */
const BOUNDS = { executors: { most: 10, perTenant: 3, memoryMb: 2_048 }, processes: { most: 6, perTenant: 2 } };

const SCRIPTS: Record<string, string> = {
  loop: 'for (;;);',
  bomb: 'const kept = []; for (;;) kept.push(new Array(1000).fill(1.5));',
  hang: 'util.Sleep(60000);',
  shout: `for (;;) log.Info('x'.repeat(10000));`,
  throw: `throw new Error('no');`,
  killer: 'const a = new Array(4e8); a.fill(1); a.sort();',
};
const PROGRAMS = ['fork-bomb.py', 'hoarder.py', 'sleeper.sh', 'busy.sh', 'flood.sh'];
/** Several of each, so that a quarantine of one does not end the storm. */
const COPIES = 4;
/** So much of the storm is under way at any time. */
const AT_ONCE = 120;
const STORM_MS = 8_000;

const GOOD: Record<string, string> = {
  'good-brief': '({ Output: input.Args.n + 1 });',
  'good-long': `gql.Do('query'); ({ Output: input.Args.n + 1 });`,
};
const TENANTS = ['b', 'c', 'd'];

const SESSIONS: Sessions = { open: () => sessionOf({ graphql: async () => ({ status: 200, body: '{"data":{}}' }) }) };

test('118: a storm of one tenant fails nobody else', { timeout: 90_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'isopod-storm-'));
  await using scope = new AsyncDisposableStack();
  scope.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  await chmod(folder, 0o755);
  await cp(FIXTURES, folder, { recursive: true });
  const good = join(folder, 'good.sh');
  await writeFile(good, `#!/bin/sh\necho '{"output": 1}'\n`);
  await chmod(good, 0o755);

  const bad = new Map<string, Plugin>();
  for (let copy = 0; copy < COPIES; copy += 1) {
    for (const [name, code] of Object.entries(SCRIPTS)) await script(bad, folder, `${name}-${copy}`, code);
    for (const name of PROGRAMS) program(bad, folder, `${name}-${copy}`, name);
  }
  const fine = new Map<string, Plugin>();
  for (const [name, code] of Object.entries(GOOD)) await script(fine, folder, name, code);
  program(fine, folder, 'good-program', 'good.sh');

  const config = completed({}, folder);
  const [hard, patient] = [HARD, PATIENT].map((some) => ({ ...config.limits, ...some })) as [Limits, Limits];
  const lodgings = scope.use(new Lodgings(config.processes));
  const runtimes: Runtime[] = [
    scope.use(new IsolateRuntime({ executors: { ...config.executors, ...BOUNDS.executors } })),
    scope.use(new ProcessRuntime({ ...config.processes, ...BOUNDS.processes, lodgings, memoryMb: 2_048 })),
  ];
  const limiter = new Limiter(CONCURRENCY);
  const quarantine = new Quarantine(config.quarantine);
  const tenancyOf = (id: string) =>
    new Tenancy({
      tenant: tenant(id),
      states: new Map(),
      dir: folder,
      catalogue: new FakeCatalogue([...(id === 'a' ? bad : fine).values()], []),
      records: { tenant: async () => undefined, states: async () => new Map() },
      limiter,
      runtimes,
      quarantine,
      limits: id === 'a' ? hard : patient,
      plugins: {},
      endpoint: () => ({ scheme: 'http', host: '127.0.0.1', port: 9, dir: folder }),
      changed: () => {},
      gone: async () => {},
    });
  const tenancies = new Map(['a', ...TENANTS].map((id) => [id, tenancyOf(id)]));
  const tenancy = (id: string) => tenancies.get(id);
  const isolations = new Isolations({ runtimes, least: 'none' });
  const invoker = new Invoker({ tenancy, isolations, limiter, quarantine, sessions: SESSIONS, onSettled: () => {} });
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  const call = async (id: string, plugin: string, n: number): Promise<Outcome> => {
    const running = invoker.invoke({ tenant: id, plugin, args: { n } });
    if (id === 'a') stop.signal.addEventListener('abort', () => running.stop(stop.signal.reason), { once: true });
    const { outcome } = await running.settled;
    return outcome;
  };

  let over = false;
  const codes = new Map<string, number>();
  const ids = [...bad.keys()];
  const storm = async (from: number) => {
    for (let n = from; !over; n += AT_ONCE) {
      const outcome = await call('a', ids[n % ids.length] ?? '', n);
      const code = outcome.ok ? 'ok' : outcome.failure.code;
      codes.set(code, (codes.get(code) ?? 0) + 1);
      // Who is refused at once and asks again at once asks more than we could count.
      await sleep(20);
    }
  };
  const trouble: string[] = [];
  const counts: number[] = [];
  const life = async (id: string, plugin: string) => {
    let count = 0;
    for (let n = 0; !over; n += 1) {
      const outcome = await call(id, plugin, n);
      if (!outcome.ok) trouble.push(`${id} ${plugin}: ${outcome.failure.code}: ${outcome.failure.message}`);
      count += 1;
      await sleep(50);
    }
    counts.push(count);
  };
  const storms = Array.from({ length: AT_ONCE }, (_, n) => storm(n));
  const lives = TENANTS.flatMap((id) => [...fine.keys()].map((plugin) => life(id, plugin)));
  await sleep(STORM_MS);
  over = true;
  await Promise.all(lives);
  stop.abort(new Failure('cancelled', 'The storm is over'));
  await Promise.all(storms);

  expect(trouble).toEqual([]);
  for (const count of counts) assert(count > 1, `somebody had only ${count} runs`);
  for (const code of codes.keys()) assert(!['internal', 'ok', 'not_found'].includes(code), [...codes].join(' '));
  // It was a storm, and it met its own bounds.
  assert((codes.get('queue_full') ?? 0) + (codes.get('queue_timeout') ?? 0) > 0, [...codes].join(' '));
  expect([limiter.running, limiter.waiting]).toEqual([0, 0]);
});

async function script(plugins: Map<string, Plugin>, dir: string, id: string, code: string): Promise<void> {
  const file = `${id}.js`;
  await writeFile(join(dir, file), code);
  plugins.set(id, Trial.plugin({ id, dir, program: { runtime: 'isolate', file } }));
}

function program(plugins: Map<string, Plugin>, dir: string, id: string, file: string): void {
  plugins.set(id, Trial.plugin({ id, dir, program: { runtime: 'process', exec: [file], speaks: 'raw' } }));
}
