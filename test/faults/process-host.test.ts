// Goal: nothing that we have started outlives us, not even if we are killed and cannot do anything about it.
// Method: a runtime in a process of its own, SIGKILL to that at some moment of a run, and a look at what is left.
import { strict as assert } from 'node:assert';
import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { MACHINE_TIERS, marked } from '../support/process.ts';

const HOST = join(import.meta.dirname, '../support/process-host.ts');
const GROUND = join(import.meta.dirname, '../../src/confinement/ground.ts');
let folder: string;
const mark = randomUUID();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'isopod-host-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

// Should they be wrong, nothing stays behind of the tests themselves.
afterEach(() => {
  for (const pid of marked(mark)) process.kill(pid, 'SIGKILL');
});

for (const tier of MACHINE_TIERS) {
  test(`at the tier ${tier}, a plugin ends with the service that is killed`, async () => {
    const host = spawn(process.execPath, [HOST, tier, 'stubborn.sh'], {
      env: { ...process.env, TRIAL: mark, TMPDIR: folder },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(host.stdout, 'data');
    // The service itself, the launcher, the watcher, the plugin, its child.
    await expect.poll(() => marked(mark).length, { timeout: 10_000 }).toBeGreaterThan(4);
    host.kill('SIGKILL');
    await expect.poll(() => marked(mark), { timeout: 10_000 }).toEqual([]);
  });

  test(`at the tier ${tier}, nothing that is just being started gets to stay either`, async () => {
    for (let round = 0; round < 8; round++) {
      const host = spawn(process.execPath, [HOST, tier, 'sleeper.sh'], {
        env: { ...process.env, TRIAL: mark, TMPDIR: folder },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(host.stdout, 'data');
      await sleep(round);
      host.kill('SIGKILL');
      await once(host, 'exit');
    }
    await expect.poll(() => marked(mark), { timeout: 10_000 }).toEqual([]);
    assert.deepEqual(marked(mark), []);
  });
}

test.runIf(MACHINE_TIERS.includes('pid-namespace'))(
  'a plugin that has killed what watches over it ends with the service that is killed',
  async () => {
    const host = spawn(process.execPath, [HOST, 'pid-namespace', 'watcher-killer.sh'], {
      env: { ...process.env, TRIAL: mark, TMPDIR: folder },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(host.stdout, 'data');
    await expect.poll(() => commandLines(marked(mark)), { timeout: 10_000 }).toContain('sleep 600');
    // The service, unshare, the launcher, the plugin: the watcher is gone.
    expect(marked(mark).length).toBe(4);
    host.kill('SIGKILL');
    await expect.poll(() => marked(mark), { timeout: 10_000 }).toEqual([]);
  },
);

test('what a service that was killed has left is cleared away by the next one, and nothing of one that lives', async () => {
  const own = await mkdtemp(join(folder, 'swept-'));
  const host = spawn(process.execPath, [HOST, 'process-group', 'sleeper.sh'], {
    env: { ...process.env, TRIAL: mark, TMPDIR: own },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(host.stdout, 'data');
  const [place = ''] = await readdir(own);
  const grounds = () => readdir(join(own, place));
  const environment = { ...process.env, TMPDIR: join(own, place) };
  const script = `import { openGround } from ${JSON.stringify(GROUND)}; await openGround('process');`;
  const next = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env: environment });
  const [left = ''] = await grounds();
  await next();
  expect(await grounds()).toContain(left);
  host.kill('SIGKILL');
  await once(host, 'exit');
  await next();
  expect(await grounds()).not.toContain(left);
});

function commandLines(pids: number[]): string[] {
  return pids.map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').join(' ').trim());
}
