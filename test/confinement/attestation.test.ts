import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { attest } from '../../src/confinement/attestation/attest.ts';
import type { Prober } from '../../src/confinement/attestation/prober.ts';
import type { Grade, Isolation } from '../../src/core/isolation.ts';
import { HAS_ROOMS, type Holes, RoomProber } from '../support/rooms.ts';

let dataDir: string;
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'isopod-data-'));
  // What is closed to everybody anyway proves nothing.
  await chmod(dataDir, 0o755);
});
afterAll(() => rm(dataDir, { recursive: true, force: true }));

const look = (prober: Prober, of: 'processes' | 'executors' = 'processes') =>
  attest(prober, { of, dataDir, secrets: [] });

const absent = ({ layers }: Isolation) => layers.filter(({ state }) => state === 'absent').map(({ id }) => id);

// The proof of the proof: in a room in which everything holds, taking one thing away is noticed, and nothing else is.
test.runIf(HAS_ROOMS)('a room in which everything holds is proven full', async () => {
  const isolation = await look(new RoomProber());
  expect(isolation.layers.filter(({ state }) => state !== 'proven')).toMatchObject([{ id: 'cgroup' }]);
  expect(isolation).toMatchObject({ tier: 'bubblewrap', grade: 'full', raise: null });
});

const HOLES: Record<string, { holes: () => Holes; absent: string[]; grade: Grade }> = {
  'no system-call filter': { holes: () => ({ filter: 'none' }), absent: ['system-calls', 'sockets'], grade: 'limited' },
  'the network of the machine': { holes: () => ({ network: 'shared' }), absent: ['network'], grade: 'fenced' },
  'the /proc of the machine': { holes: () => ({ proc: 'shared' }), absent: ['process-list'], grade: 'contained' },
  'a root that can be written to': { holes: () => ({ root: 'writable' }), absent: ['read-only'], grade: 'contained' },
  'a /tmp without an end': { holes: () => ({ tmp: 'endless' }), absent: ['room'], grade: 'fenced' },
  'a capability': { holes: () => ({ capability: 'CAP_CHOWN' }), absent: ['capabilities'], grade: 'limited' },
  'the folder of the service': { holes: () => ({ shows: dataDir }), absent: ['own-files'], grade: 'limited' },
  'the environment of the service': {
    holes: () => ({ environment: 'shared' }),
    absent: ['environment'],
    grade: 'none',
  },
  'a descriptor left open': { holes: () => ({ descriptor: 'left open' }), absent: ['descriptors'], grade: 'none' },
  'a device': { holes: () => ({ device: 'one too many' }), absent: ['devices'], grade: 'fenced' },
  'processes without a bound': { holes: () => ({ processesMost: 4_096 }), absent: ['processes'], grade: 'none' },
  'memory without a bound': { holes: () => ({ memory: 'endless' }), absent: ['memory', 'cgroup'], grade: 'none' },
  'the processes of the machine': {
    holes: () => ({ processes: 'shared' }),
    absent: ['descendants', 'signals', 'process-list', 'certain-end'],
    grade: 'none',
  },
};

for (const [what, { holes, absent: expected, grade }] of Object.entries(HOLES)) {
  test.runIf(HAS_ROOMS)(`a hole is seen, and what it costs: ${what}`, async () => {
    const isolation = await look(new RoomProber(holes()));
    expect({ absent: absent(isolation), grade: isolation.grade }).toEqual({ absent: expected, grade });
  });
}

test.runIf(HAS_ROOMS && process.getuid?.() === 0)(
  'root is root to the kernel, whatever it is called inside',
  async () => {
    const isolation = await look(new RoomProber({ user: 'root' }));
    expect(absent(isolation)).toContain('identity');
    expect(isolation.layers.find(({ id }) => id === 'identity')?.evidence).toBe('it is root');
  },
);

test.runIf(HAS_ROOMS)('where there is no Python, what could not be tried is not proven', async () => {
  const isolation = await look(new RoomProber({ python: 'none', memory: 'endless' }));
  const untried = isolation.layers.filter(({ evidence }) => evidence.includes('there is no python3'));
  expect(untried.map(({ id, state }) => [id, state])).toEqual(
    ['system-calls', 'network', 'sockets', 'signals', 'namespaces'].map((id) => [id, 'absent']),
  );
  // What Node can try by itself it has.
  const held = isolation.layers.filter(({ state }) => state === 'proven').map(({ id }) => id);
  expect(held).toEqual(expect.arrayContaining(['environment', 'privileges', 'own-files', 'read-only', 'certain-end']));
});

test('what a probe cannot be run in is proven to hold nothing', async () => {
  const broken: Prober = {
    tier: 'broken',
    isWish: false,
    environment: [],
    descriptors: [],
    run: async () => ({ stdout: null, failure: { code: 'sandbox_unavailable', message: 'it is broken' } }),
  };
  const { grade, layers } = await look(broken);
  expect(grade).toBe('none');
  for (const { id, state, evidence } of layers.filter(({ neededFrom }) => neededFrom !== null)) {
    expect([id, state, evidence]).toEqual([id, 'absent', 'could not be tried: it is broken']);
  }
});

test('looking leaves nothing behind', async () => {
  const before = Object.keys(process.env);
  await look(new RoomProber());
  expect(Object.keys(process.env)).toEqual(before);
  expect(await readdir(dataDir)).toEqual([]);
});
