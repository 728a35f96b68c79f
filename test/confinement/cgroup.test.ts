// Control groups as this machine has them. Where they can bound something, the same tests show that as well.
import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Groups } from '../../src/confinement/cgroup/groups.ts';
import { counted, placeOf } from '../../src/confinement/cgroup/place.ts';
import { HAS_GROUPS, Trial } from '../support/process.ts';

const MOUNT = '35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate';
const BOUNDS = { memoryBytes: 64 << 20, tasks: 64, cpus: 0 };

describe('where we are', () => {
  const places: Record<string, { cgroup: string; mounts?: string; place: unknown }> = {
    'in a unit of systemd': {
      cgroup: '0::/system.slice/isopod.service',
      place: {
        own: '/sys/fs/cgroup/system.slice/isopod.service',
        top: '/sys/fs/cgroup/system.slice/isopod.service',
        unit: { name: 'isopod.service', isUsers: false },
        isRoot: false,
      },
    },
    'in a part of a unit that is set aside for the service': {
      cgroup: '0::/system.slice/isopod.service/service',
      place: {
        own: '/sys/fs/cgroup/system.slice/isopod.service/service',
        top: '/sys/fs/cgroup/system.slice/isopod.service',
        unit: { name: 'isopod.service', isUsers: false },
        isRoot: false,
      },
    },
    'in a scope of a user’s own systemd': {
      cgroup: '0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope',
      place: {
        own: '/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope',
        top: '/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope',
        unit: { name: 'run-7.scope', isUsers: true },
        isRoot: false,
      },
    },
    'at the root of a container': {
      cgroup: '0::/',
      place: { own: '/sys/fs/cgroup', top: '/sys/fs/cgroup', unit: null, isRoot: true },
    },
    'beside what an earlier start has divided': {
      cgroup: '0::/isopod-service',
      place: { own: '/sys/fs/cgroup/isopod-service', top: '/sys/fs/cgroup', unit: null, isRoot: true },
    },
    'below a mount of a part, with a space in its path, beside version 1': {
      cgroup: '4:memory:/elsewhere\n0::/docker/abc/deep',
      mounts:
        '30 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n35 24 0:30 /docker/abc /my\\040groups rw - cgroup2 cgroup2 rw',
      place: { own: '/my groups/deep', top: '/my groups/deep', unit: null, isRoot: false },
    },
    'outside of what is mounted': { cgroup: '0::/other', mounts: MOUNT.replace(' / ', ' /docker/abc '), place: null },
    'above it': { cgroup: '0::/../other', place: null },
    'without version 2': { cgroup: '4:memory:/', place: null },
    'with nothing mounted': { cgroup: '0::/', mounts: '', place: null },
  };
  for (const [what, { cgroup, mounts = MOUNT, place }] of Object.entries(places)) {
    test(what, () => expect(placeOf(`${cgroup}\n`, `${mounts}\n`)).toEqual(place));
  }

  test('events are counted by their whole word', () => {
    assert.equal(counted('oom 7\noom_kill 2\noom_group_kill 1\n', 'oom_kill'), 2);
    assert.equal(counted('low 0\n', 'oom_kill'), 0);
  });
});

test('none are made where they are off', async () => {
  assert.deepEqual(await Groups.find('off'), { groups: null, because: 'isolation.cgroup is off' });
});

describe.runIf(HAS_GROUPS)('on this machine', () => {
  test('all of a run is in its group, and the group is gone with it, and home with the runtime', async () => {
    const before = homes();
    const trial = await Trial.start({ tier: 'process-group' });
    const [home = assert.fail('no home')] = homes().filter((one) => !before.includes(one));
    const said = await trial.output(['sh', '-c', 'cat /proc/self/cgroup | sed -n s/^0:://p']);
    expect(said).toContain(`/${home}/tenant-`);
    await expect.poll(() => groupsIn(home)).toEqual([]);
    await trial[Symbol.asyncDispose]();
    assert(!homes().includes(home));
  });

  test('a home whose service was killed is swept by the next with what is in it, and nobody else’s is', async () => {
    const found = await Groups.find('auto');
    await using groups = found.groups ?? assert.fail(found.groups === null ? found.because : '');
    await using mine = await groups.take('mine', BOUNDS);
    const bystander = spawn(mine.prefix[0] as string, [...mine.prefix.slice(1), 'sleep', '600'], { stdio: 'ignore' });

    const orphan = Number(await killedService());
    assert.notEqual(state(orphan), null, 'it should have outlived the service');
    const others = await Groups.find('auto');
    await others.groups?.[Symbol.asyncDispose]();

    await expect.poll(() => state(orphan)).toBe(null);
    assert.notEqual(state(bystander.pid as number), null);
    mine.kill();
    assert.deepEqual(await once(bystander, 'exit'), [null, 'SIGKILL']);
  });

  test('a group ends what has left its parents, its session and its environment behind', async () => {
    const found = await Groups.find('auto');
    await using groups = found.groups ?? assert.fail();
    const group = await groups.take('tenant', BOUNDS);
    const hides = 'setsid sh -c "exec env -i sleep 600" </dev/null >/dev/null 2>&1 & echo $!';
    const shell = spawn(group.prefix[0] as string, [...group.prefix.slice(1), 'sh', '-c', hides]);
    const [said] = await once(shell.stdout, 'data');
    await once(shell, 'exit');
    assert.notEqual(state(Number(said)), null);
    await group[Symbol.asyncDispose]();
    await expect.poll(() => state(Number(said))).toBe(null);
  });
});

const SERVICE = `
  import { spawn } from 'node:child_process';
  import { Groups } from ${JSON.stringify(resolve(import.meta.dirname, '../../src/confinement/cgroup/groups.ts'))};
  const { groups } = await Groups.find('auto');
  const { prefix } = await groups.take('tenant', { memoryBytes: 64 << 20, tasks: 64, cpus: 0 });
  const [file, ...args] = [...prefix, 'sh', '-c', 'echo $$; exec sleep 600'];
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  child.stdout.once('data', (pid) => process.stdout.write(pid, () => process.kill(process.pid, 'SIGKILL')));
`;

/** What it leaves running. */
async function killedService(): Promise<string> {
  const service = spawn(process.execPath, ['--input-type=module', '-e', SERVICE], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  service.stdout.on('data', (chunk) => (said += chunk));
  assert.deepEqual(await once(service, 'close'), [null, 'SIGKILL']);
  return said;
}

/** What a process is doing; null for one that has ended. */
function state(pid: number): string | null {
  try {
    const letter = /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1] ?? null;
    return letter === 'Z' ? null : letter;
  } catch {
    return null;
  }
}

function top(): string {
  return (
    placeOf(readFileSync('/proc/self/cgroup', 'latin1'), readFileSync('/proc/self/mountinfo', 'latin1'))?.top ?? ''
  );
}

/** Those of this process. */
function homes(): string[] {
  return readdirSync(top()).filter((name) => name.startsWith(`isopod-groups-${process.pid}-`));
}

function groupsIn(home: string): string[] {
  return readdirSync(join(top(), home), { withFileTypes: true })
    .filter((one) => one.isDirectory())
    .map(({ name }) => name);
}
