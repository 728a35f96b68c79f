import { hash, randomBytes } from 'node:crypto';
import { access, mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../../core/failure.ts';
import { onPath } from '../on-path.ts';
import { isOrphan, ownName } from '../owner.ts';
import { spawned } from '../spawned.ts';
import { CONTROLLERS, type Controller, Group, type GroupBounds, removed } from './group.ts';
import { LEAF, type Place, placeOf } from './place.ts';

export type GroupsWish = 'auto' | 'off';

/** What there is, or for people why there is nothing. */
export type FoundGroups = { groups: Groups } | { groups: null; because: string };

/**
 * The control groups of our programs, where some part of the hierarchy of version 2 is ours. That is the case in a unit
 * of systemd with `Delegate=yes`, in a container that may write to its own part, and where there is nobody but us:
 *
 *     (what is ours) ─┬─ isopod-service          we, and whoever was there before
 *                     └─ isopod-groups-…         home: of this start of the service; comes after it for processors
 *                         ├─ (tenant) ─┬─ (run)
 *                         │            └─ (run)
 *                         └─ (tenant) ─── (run)
 *
 * A group that is divided may hold no processes, so we step aside first, with whoever else is in it. Tenants have equal
 * shares of the processors, however many programs each of them runs. A home whose service is gone is swept by the next.
 *
 * Without a way to bound anything a group still is good for an end that nothing gets away from.
 */
export class Groups implements AsyncDisposable {
  readonly controllers: ReadonlySet<Controller>;
  readonly #home: string;
  readonly #tenants = new Map<string, Tenant>();
  #count = 0;

  private constructor(home: string, controllers: ReadonlySet<Controller>) {
    this.#home = home;
    this.controllers = controllers;
  }

  static async find(wish: GroupsWish): Promise<FoundGroups> {
    if (wish === 'off') return none('isolation.cgroup is off');
    const place = placeOf(await read('/proc/self/cgroup'), await read('/proc/self/mountinfo'));
    if (place === null) return none('this machine has none of version 2');
    const isOfMachine = place.isRoot && !(await exists(join(place.top, 'cgroup.type')));
    const refused = await notOurs(place, isOfMachine);
    if (refused !== null) return none(refused);
    try {
      return { groups: await Groups.#open(place, isOfMachine) };
    } catch (error) {
      return none(`${(error as NodeJS.ErrnoException).code ?? error} in ${place.top}`);
    }
  }

  static async #open(place: Place, isOfMachine: boolean): Promise<Groups> {
    await sweep(place.top);
    const home = join(place.top, `${ownName(HOME)}${randomBytes(4).toString('hex')}`);
    await mkdir(home);
    try {
      await access(join(home, 'cgroup.kill')).catch(() => {
        throw Object.assign(new Error(), { code: 'no cgroup.kill (Linux 5.14 has it)' });
      });
      const controllers = await enable(place, isOfMachine);
      for (const one of controllers) await writeFile(join(home, 'cgroup.subtree_control'), `+${one}`);
      if (controllers.has('cpu')) await writeFile(join(home, 'cpu.weight'), HOME_WEIGHT);
      return new Groups(home, controllers);
    } catch (error) {
      await removed(home);
      throw error;
    }
  }

  /** A group for one sandbox of a tenant. */
  async take(tenant: string, bounds: GroupBounds): Promise<Group> {
    const kept = this.#tenants.get(tenant);
    const mine: Tenant = kept ?? { runs: 0, folder: this.#folderFor(tenant) };
    mine.runs += 1;
    this.#tenants.set(tenant, mine);
    const leave = () => this.#leave(tenant, mine);
    try {
      const folder = join(await mine.folder, `run-${this.#count++}`);
      await mkdir(folder);
      try {
        return await Group.open(folder, this.controllers, bounds, leave);
      } catch (error) {
        await removed(folder);
        throw error;
      }
    } catch (cause) {
      leave();
      throw new Failure('sandbox_unavailable', 'A control group for the plugin could not be made', { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removed(this.#home);
  }

  async #folderFor(tenant: string): Promise<string> {
    // Each time another, so that one which is being removed is in nobody's way.
    const folder = join(this.#home, `tenant-${hash('sha256', tenant).slice(0, 16)}-${this.#count++}`);
    await mkdir(folder);
    for (const one of this.controllers) await writeFile(join(folder, 'cgroup.subtree_control'), `+${one}`);
    return folder;
  }

  #leave(tenant: string, mine: Tenant): void {
    mine.runs -= 1;
    if (mine.runs > 0) return;
    this.#tenants.delete(tenant);
    // What could not be removed is still in it; all that is left goes with home.
    mine.folder.then(rmdir).catch(() => {});
  }
}

type Tenant = { runs: number; folder: Promise<string> };

function none(because: string): FoundGroups {
  return { groups: null, because };
}

/** Why what we are in is not ours to divide; null where it is. */
async function notOurs({ top, unit, isRoot }: Place, isOfMachine: boolean): Promise<string | null> {
  if (unit !== null) {
    const systemctl = await onPath('systemctl', process.env.PATH);
    if (systemctl === null) return `there is no systemctl to ask whether ${unit.name} is delegated`;
    const args = [...(unit.isUsers ? ['--user'] : []), 'show', '--property=Delegate', '--value', '--', unit.name];
    const said = await spawned([systemctl, ...args], ['ignore', 'pipe', 'ignore'], systemdEnvironment());
    return said.stdout.trim() === 'yes' ? null : `${unit.name} has no Delegate=yes`;
  }
  if (isOfMachine) {
    if (await exists('/run/systemd/system')) return 'they are systemd’s';
    return process.getuid?.() === 0 ? null : 'they are root’s';
  }
  // That of a container is there for those in it, which we are.
  if (isRoot || (await isFamily(await pidsIn(top)))) return null;
  return `others are in ${top}`;
}

/** Whether nobody is among them but us, those who have started us, and those whom we have. */
async function isFamily(pids: readonly number[]): Promise<boolean> {
  const ancestors = await ancestorsOf(process.pid);
  for (const pid of pids) {
    if (!ancestors.includes(pid) && !(await ancestorsOf(pid)).includes(process.pid)) return false;
  }
  return true;
}

/** With itself. */
async function ancestorsOf(pid: number): Promise<number[]> {
  const all: number[] = [];
  for (let next = pid; next > 0 && all.length < 1_000; ) {
    all.push(next);
    next = Number(/^PPid:\s*(\d+)/m.exec(await read(`/proc/${next}/status`))?.[1] ?? 0);
  }
  return all;
}

/** What a user's systemctl finds its systemd by. */
function systemdEnvironment(): Record<string, string> {
  const { XDG_RUNTIME_DIR: folder, DBUS_SESSION_BUS_ADDRESS: bus } = process.env;
  return {
    ...(folder !== undefined && { XDG_RUNTIME_DIR: folder }),
    ...(bus !== undefined && { DBUS_SESSION_BUS_ADDRESS: bus }),
  };
}

/** Has what is ours divide among its groups what it was given; returns what that is. */
async function enable({ own, top }: Place, isOfMachine: boolean): Promise<ReadonlySet<Controller>> {
  const given = words(await read(join(top, 'cgroup.controllers')));
  const wanted = CONTROLLERS.filter((one) => given.has(one));
  const missing = async () => {
    const has = words(await read(join(top, 'cgroup.subtree_control')));
    return wanted.filter((one) => !has.has(one));
  };
  if ((await missing()).length > 0) {
    if (own === top && !isOfMachine) await stepAside(top);
    // The first of a machine is divided with processes in it. Another that has some would be divided by threads, and
    // no process could get below it.
    if (!isOfMachine && (await pidsIn(top)).length > 0) return new Set();
    for (const one of await missing()) await writeFile(join(top, 'cgroup.subtree_control'), `+${one}`).catch(() => {});
  }
  const without = await missing();
  return new Set(wanted.filter((one) => !without.includes(one)));
}

async function stepAside(top: string): Promise<void> {
  const leaf = join(top, LEAF);
  await mkdir(leaf).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  for (let round = 0; round < 10; round++) {
    const pids = await pidsIn(top);
    if (pids.length === 0) return;
    // Some end before their turn comes.
    for (const pid of pids) await writeFile(join(leaf, 'cgroup.procs'), String(pid)).catch(() => {});
  }
}

/** Homes of services that are gone, with whatever is still in them. */
async function sweep(top: string): Promise<void> {
  for (const name of await readdir(top).catch(() => [])) {
    if (isOrphan(name, HOME)) await removed(join(top, name));
  }
}

const HOME = 'isopod-groups-';

async function pidsIn(folder: string): Promise<number[]> {
  return [...words(await read(join(folder, 'cgroup.procs')))].map(Number);
}

function words(text: string): Set<string> {
  return new Set(text.split(/\s+/).filter(Boolean));
}

function read(file: string): Promise<string> {
  return readFile(file, 'latin1').catch(() => '');
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Against 100 of the service: about what its niceness gives a program where there are no groups. */
const HOME_WEIGHT = '10';
