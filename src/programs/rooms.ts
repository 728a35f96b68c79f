import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { promisify } from 'node:util';
import type { Controller, Group } from '../confinement/cgroup/group.ts';
import { type FoundGroups, Groups, type GroupsWish } from '../confinement/cgroup/groups.ts';
import { Door } from '../confinement/door.ts';
import { writeEtc } from '../confinement/etc.ts';
import { openGround } from '../confinement/ground.ts';
import { identityOf } from '../confinement/identity.ts';
import { MOST_PROCESSES } from '../confinement/launcher.ts';
import { findMachine, type Machine, type Way, wayInto } from '../confinement/machine.ts';
import { isOpenToAll } from '../confinement/on-path.ts';
import { Pipes } from '../confinement/pipes.ts';
import { relayAt } from '../confinement/relay.ts';
import { type Bind, INSIDE, type Room } from '../confinement/room.ts';
import { Sandbox } from '../confinement/sandbox.ts';
import { removed, Scratch } from '../confinement/scratch.ts';
import { hasOwnFiles, type TierWish } from '../confinement/tier.ts';
import { Failure } from '../core/failure.ts';
import type { Invocation } from '../core/invocation.ts';
import type { Plugin } from '../core/plugin.ts';
import { bindsOf, bindsOfOwn, importableBeside } from './binds.ts';
import type { Command } from './command.ts';
import { environmentOf } from './environment.ts';
import { Stocktaker } from './stocktaker.ts';

export type RoomsOptions = {
  tier: TierWish;
  cgroup: GroupsWish;
  /** Processors that one program may keep busy, where there are control groups; 0 is as many as there are. */
  cpus: number;
  /** Variables that every program gets beside the few of environment.ts. */
  environment: Record<string, string>;
  /** What the users that programs run as are worked out with; nobody else may know it. Asked for once. */
  identityKey(): Buffer;
};

/** For whom a room is furnished: all that does not change from call to call. */
export type Occupant = Pick<Invocation, 'tenant' | 'plugin' | 'grant' | 'endpoint'> & {
  /** `cpuMs` may be endless. */
  limits: Pick<Invocation['limits'], 'cpuMs' | 'residentMb'>;
  command: Command;
  /** What it finds in place of the plugin's folder and its neighbours, where that is not for it. */
  own?: Belongings;
  /** Whom it runs as, where something was handed over to that user before; by default its plugin's own. */
  identity?: number | null;
};

/** Folders that are one occupant's alone. */
export type Belongings = {
  /** Each is handed over to whom the program runs as. The outer one of two comes first. */
  folders: readonly { path: string; from: string }[];
  /** What else it is to read. */
  files: readonly Bind[];
  /** Added to its environment, last. */
  environment: Readonly<Record<string, string>>;
};

/** Where programs of plugins run: finds out once what this machine has, and furnishes a room for each run. */
export class Rooms implements AsyncDisposable {
  readonly machine: Machine;
  /** Ours alone; what is in it goes with us. */
  readonly folder: string;
  readonly pipes: Pipes;
  /** Of what those keep who stay. */
  readonly stocktaker = new Stocktaker();
  readonly #found: FoundGroups;
  readonly #cpus: number;
  readonly #environment: Record<string, string>;
  readonly #etc = new Map<number, Promise<string>>();
  readonly #neighbours = new WeakMap<Plugin, Promise<readonly Bind[]>>();
  /** Folders of occupants that are there. */
  readonly #taken = new Set<string>();
  readonly #identityKey: () => Buffer;
  #doors = 0;

  private constructor(
    machine: Machine,
    found: FoundGroups,
    folder: string,
    { cpus, environment, identityKey }: RoomsOptions,
  ) {
    this.machine = machine;
    this.#found = found;
    this.#cpus = cpus;
    this.folder = folder;
    this.pipes = new Pipes(folder);
    this.#environment = environment;
    this.#identityKey = identityKey;
  }

  /** Throws `sandbox_unavailable` where the machine does not have what is wished for. */
  static async open(options: RoomsOptions): Promise<Rooms> {
    const machine = await findMachine(options.tier);
    const folder = await openGround('process');
    // Whoever a program runs as has to get to its own folder in there, where it sees those of the machine.
    if (machine.isRoot && !hasOwnFiles(machine.tier)) await chmod(folder, 0o711);
    return new Rooms(machine, await Groups.find(options.cgroup), folder, options);
  }

  /** Whether programs find the files that they are given at places of our choosing, or where those lie. */
  get choosesPaths(): boolean {
    return hasOwnFiles(this.machine.tier);
  }

  /** For people: how well a program is kept in, and why not better. */
  get because(): string {
    const { machine } = this;
    return [machine.because, ...this.#groupWords()].join('; ');
  }

  /** What control groups bound of programs here. */
  get controllers(): readonly Controller[] {
    return [...(this.#found.groups?.controllers ?? [])];
  }

  /** Whom its programs run as where we are root. What came in one archive is of one author. */
  identityOf(tenant: string, { id, ownDir }: Plugin): number {
    return identityOf(this.#identityKey(), tenant, ownDir === undefined ? id : basename(ownDir));
  }

  /** Starts the program of an occupant, and holds it back until `sandbox.go()`. */
  async let(occupant: Occupant, stdin: number): Promise<Letting> {
    const { plugin, command, endpoint, limits } = occupant;
    const { machine } = this;
    await using opened = new AsyncDisposableStack();
    for (const { from } of occupant.own?.folders ?? []) opened.defer(this.#take(from));
    const isOwn = hasOwnFiles(machine.tier);
    const identity = occupant.identity ?? this.identityOf(occupant.tenant, plugin);
    if (machine.isRoot) for (const folder of handedOver(occupant)) await this.#hand(folder, identity);
    const scratch = isOwn ? null : opened.use(await Scratch.create(this.folder, machine.isRoot ? identity : null));
    if (isOwn) await this.#assertReadable(occupant);
    else await this.#assertOpen(occupant);
    const door = isOwn ? opened.use(await Door.open(this.folder, `door-${this.#doors++}`)) : null;
    const { relay, binds } = isOwn ? relayAt(endpoint.port, machine) : { relay: null, binds: [] };
    const inside = scratch?.path ?? INSIDE;
    const room: Room = {
      scratch: inside,
      binds: [...(isOwn ? await this.#bindsOf(occupant) : []), ...binds],
      folders: [endpoint.dir],
      gateway: door === null ? null : { socket: door.socket, port: endpoint.port },
      identity,
    };
    const way = wayInto(machine, room, isOwn ? await this.#etcOf(identity) : '');
    const mark = randomUUID();
    const environment = environmentOf(command, plugin.dir, {
      scratch: inside,
      proxy: isOwn ? endpoint.port : null,
      mark,
      ours: process.env,
      more: this.#environment,
      own: occupant.own?.environment ?? null,
    });
    const group = await this.#groupFor(occupant, way);
    if (group !== null) opened.use(group);
    const program = { ...command, limits, stdin, cwd: scratch?.path ?? '/', environment, mark, relay };
    const sandbox = opened.use(await Sandbox.spawn(program, { machine, way, pipes: this.pipes, group }));
    return new Letting(sandbox, door, opened.move());
  }

  /** What is laid out in somebody's folders trusts that nobody is at work in them. */
  #take(folder: string): () => void {
    if (this.#taken.has(folder)) throw new Failure('internal', 'Two programs would live in one folder');
    this.#taken.add(folder);
    return () => void this.#taken.delete(folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stocktaker[Symbol.asyncDispose]();
    await this.#found.groups?.[Symbol.asyncDispose]();
    await removed(this.folder);
  }

  /** Where it could only end what ends for certain without it, a program has none: to get into one takes time. */
  async #groupFor({ tenant, limits }: Occupant, { isFirst }: Pick<Way, 'isFirst'>): Promise<Group | null> {
    const { groups } = this.#found;
    if (groups === null || (isFirst && groups.controllers.size === 0)) return null;
    return await groups.take(tenant, {
      memoryBytes: limits.residentMb * 2 ** 20,
      tasks: MOST_TASKS,
      cpus: this.#cpus,
    });
  }

  #groupWords(): string[] {
    const found = this.#found;
    const hides = 'a plugin that goes out of its way to hide a process can leave it behind';
    const isLeaky = this.machine.tier === 'process-group';
    if (found.groups === null) return [`no control groups, as ${found.because}`, ...(isLeaky ? [hides] : [])];
    const { controllers } = found.groups;
    if (controllers.size > 0) return [`a control group for each run bounds its ${[...controllers].join(', ')}`];
    return isLeaky ? ['a control group for each run, with which all of it ends'] : [];
  }

  #etcOf(identity: number): Promise<string> {
    const written = this.#etc.get(identity) ?? writeEtc(this.folder, identity);
    this.#etc.set(identity, written);
    return written;
  }

  /** Hands a folder over to whom it belongs; nobody has been in it before. */
  async #hand(folder: string, identity: number): Promise<void> {
    if ((await stat(folder)).uid === identity) return;
    await promisify(execFile)('chown', ['-R', '-h', '-P', `${identity}:${identity}`, '--', folder]);
  }

  /** What is beside a plugin is looked at once for each time that it is loaded: with all its neighbours, that takes a while. */
  async #bindsOf({ plugin, command, grant, own }: Occupant): Promise<Bind[]> {
    if (own !== undefined) return await bindsOfOwn(own, command, grant);
    if (!command.isPython) return await bindsOf(plugin, command, grant, []);
    const known = this.#neighbours.get(plugin) ?? importableBeside(plugin);
    this.#neighbours.set(plugin, known);
    return await bindsOf(plugin, command, grant, await known);
  }

  /** What is laid out for somebody else is still as open to him as it is. */
  async #assertReadable({ plugin: { realDir, ownDir }, own }: Occupant): Promise<void> {
    if (
      !this.machine.isRoot ||
      ownDir !== undefined ||
      own !== undefined ||
      ((await stat(realDir)).mode & 0o005) === 0o005
    )
      return;
    const words = `The folder of the plugin, ${JSON.stringify(realDir)}, cannot be read by the user that its programs run as; open it to others (chmod -R o+rX)`;
    throw new Failure('plugin_boot_failed', words);
  }

  /** Where files are not laid out anew for each, they are as open as they are. */
  async #assertOpen({ plugin, command, own }: Occupant): Promise<void> {
    if (!this.machine.isRoot || this.machine.setpriv === null) return;
    const folders = own === undefined ? [plugin.dir] : own.folders.map(({ from }) => dirname(from));
    for (const path of [...folders, command.file]) {
      if (await isOpenToAll(path)) continue;
      const words = `${JSON.stringify(path)} cannot be reached by the user that plugins run as here; open it to others (chmod o+rX, also the folders above it), or install bubblewrap (npm run setup)`;
      throw new Failure('sandbox_unavailable', words);
    }
  }
}

function handedOver({ plugin: { ownDir }, own }: Occupant): string[] {
  if (own !== undefined) return own.folders.map(({ from }) => from);
  return ownDir === undefined ? [] : [ownDir];
}

/** Processes and threads, with those of ours: so it is met before the bound of the launcher, which tells nobody. */
const MOST_TASKS = 2 * MOST_PROCESSES;

/** A room that is let, with its program. Leaving its scope clears it. */
export class Letting implements AsyncDisposable {
  readonly sandbox: Sandbox;
  /** Its way to the gateway; null where it has the machine's network, and dials. */
  readonly door: Door | null;
  readonly #scope: AsyncDisposable;

  constructor(sandbox: Sandbox, door: Door | null, scope: AsyncDisposable) {
    this.sandbox = sandbox;
    this.door = door;
    this.#scope = scope;
  }

  /** From now on it is this invocation's. */
  lead({ session }: Pick<Invocation, 'session'>): void {
    if (this.door === null) session.runsAs(this.sandbox.pid);
    else this.door.lead(session);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]();
  }
}
