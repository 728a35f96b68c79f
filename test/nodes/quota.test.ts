import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { Nodes, python } from '../support/nodes.ts';

// Nodes take their time to start where cores are shared.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const JOBS = 30;
const AT_ONCE = 2;
const SLOTS = 8;

// A slot is a folder; the lowest that is free is taken, so the highest ever taken tells how many there were at once.
const SLOT = `
for slot in range(${SLOTS}):
    try:
        os.mkdir(f"{args['dir']}/{slot}")
        break
    except FileExistsError:
        pass
time.sleep(0.1)
os.rmdir(f"{args['dir']}/{slot}")
output = slot + 1
`;

test('exactly as many jobs of a tenant run at once as its quota says, on three nodes', async () => {
  await using nodes = await Nodes.open({ plugins: python('slot', SLOT) });
  await nodes.sql(`update tenants set quotas = quotas || '{"jobsRunning": ${AT_ONCE}}' where id = 'default'`);
  const dir = await nodes.meeting('slot');
  const all = await Promise.all([nodes.start(), nodes.start(), nodes.start()]);
  const ids = await Promise.all(
    Array.from({ length: JOBS }, (_, n) => (all[n % all.length] ?? all[0]).add('slot', { dir })),
  );
  const ended = Promise.all(ids.map((id) => all[0].job(id)));
  // All nodes look for a place at the same moment, over and over.
  const over = ended.then(() => 'over');
  let mostRunning = 0;
  while ((await Promise.race([over, sleep(2)])) !== 'over') {
    const [row] = await nodes.sql(
      `select pg_notify('isopod_wake', ''), count(*)::int as running from jobs where state = 'running'`,
    );
    mostRunning = Math.max(mostRunning, Number(row?.running));
  }
  const jobs = await ended;
  expect(jobs.map(({ state, attempt }) => `${state} ${attempt}`)).toEqual(ids.map(() => 'succeeded 1'));
  expect(Math.max(...jobs.map(({ output }) => output))).toBe(AT_ONCE);
  expect(mostRunning).toBe(AT_ONCE);
});
