import { readFileSync } from 'node:fs';
import { readdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { counted } from './place.ts';

/** What a group can bound, where we were given it. */
export const CONTROLLERS = ['memory', 'pids', 'cpu'] as const;
export type Controller = (typeof CONTROLLERS)[number];

export type GroupBounds = {
  /** Beyond what of ours is in there. */
  memoryBytes: number;
  /** Processes and threads. */
  tasks: number;
  /** Processors that it may keep busy; 0 is as many as there are. */
  cpus: number;
};

/** What the kernel has refused a group, so that it ended what is in it, or had better be ended. */
export type Refusal = { what: 'memory' | 'tasks'; allowed: number; observed: number };

/**
 * The control group of one sandbox: all that ever comes of what was put into it, whatever it does to hide. Leaving its
 * scope ends that, and the group.
 *
 * What changes groups waits in the kernel for each other, up to some milliseconds: it is done off our thread.
 */
export class Group implements AsyncDisposable {
  readonly #folder: string;
  readonly #controllers: ReadonlySet<Controller>;
  readonly #tasks: number;
  readonly #onGone: () => void;
  #oursBytes = 0;
  #memoryBytes: number;
  #killing: Promise<unknown> = Promise.resolve();

  private constructor(
    folder: string,
    controllers: ReadonlySet<Controller>,
    { memoryBytes, tasks }: GroupBounds,
    onGone: () => void,
  ) {
    this.#folder = folder;
    this.#controllers = controllers;
    this.#memoryBytes = memoryBytes;
    this.#tasks = tasks;
    this.#onGone = onGone;
  }

  /** Takes charge of a new folder. */
  static async open(
    folder: string,
    controllers: ReadonlySet<Controller>,
    bounds: GroupBounds,
    onGone: () => void,
  ): Promise<Group> {
    const { memoryBytes, tasks, cpus } = bounds;
    const group = new Group(folder, controllers, bounds, onGone);
    const writes: Promise<void>[] = [];
    if (controllers.has('memory')) {
      // What is beyond ends all of it: a half of a program is of no use to anybody.
      writes.push(group.#write('memory.oom.group', '1'));
      writes.push(group.#write('memory.max', String(memoryBytes + MOST_OURS)));
      // There are kernels that do not account for it.
      writes.push(group.#write('memory.swap.max', '0').catch(() => {}));
    }
    if (controllers.has('pids')) writes.push(group.#write('pids.max', String(tasks)));
    if (controllers.has('cpu') && cpus > 0) writes.push(group.#write('cpu.max', `${cpus * PERIOD} ${PERIOD}`));
    await Promise.all(writes);
    return group;
  }

  /** The command line before another, that puts it into the group before it can start anybody. */
  get prefix(): string[] {
    return ['/bin/sh', '-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', this.#folder];
  }

  bounds(controller: Controller): boolean {
    return this.#controllers.has(controller);
  }

  /** What is in there now is ours, and does not count. */
  disregard(): void {
    this.#oursBytes = Math.min(Number(this.#read('memory.current') || 0), MOST_OURS);
  }

  /** May be less than it was given at first. */
  async boundMemory(bytes: number): Promise<void> {
    if (!this.#controllers.has('memory')) return;
    this.#memoryBytes = bytes;
    await this.#write('memory.max', String(this.#oursBytes + bytes));
  }

  refusal(): Refusal | null {
    if (this.#controllers.has('memory') && counted(this.#read('memory.events'), 'oom_kill') > 0) {
      const allowed = this.#memoryBytes;
      // Its last page was refused, so it was never seen to have more.
      return { what: 'memory', allowed, observed: Math.max(allowed, this.#mostBytes()) };
    }
    if (this.#controllers.has('pids') && counted(this.#read('pids.events'), 'max') > 0) {
      return { what: 'tasks', allowed: this.#tasks, observed: this.#tasks + 1 };
    }
    return null;
  }

  /** The most memory that was in use, without files that were only read; 0 where the kernel does not tell. */
  peakBytes(): number {
    const stat = this.#read('memory.stat');
    return Math.max(0, this.#mostBytes() - counted(stat, 'file') + counted(stat, 'shmem'));
  }

  /** Of all that were ever in it. */
  cpuMs(): number {
    return Math.floor(counted(this.#read('cpu.stat'), 'usage_usec') / 1000);
  }

  /** SIGKILL to all of it at once. */
  kill(): void {
    this.#killing = this.#write('cgroup.kill', '1').catch(() => {});
  }

  /** Resolves when nothing is left, or when we have to give up on something that cannot be killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#killing;
    if (!(await gone(this.#folder))) await removed(this.#folder);
    this.#onGone();
  }

  #mostBytes(): number {
    return Math.max(0, Number(this.#read('memory.peak') || 0) - this.#oursBytes);
  }

  // It is memory, and no lock that anybody holds for long.
  #read(file: string): string {
    try {
      return readFileSync(join(this.#folder, file), 'latin1');
    } catch {
      return '';
    }
  }

  #write(file: string, text: string): Promise<void> {
    return writeFile(join(this.#folder, file), text);
  }
}

/** Ends all that is in a group and below it, and then the groups; whether that came to its end. */
export async function removed(folder: string): Promise<boolean> {
  for (let round = 0; round < ROUNDS; round++) {
    // Whoever was being started meanwhile has come too late for the last one.
    await writeFile(join(folder, 'cgroup.kill'), '1').catch(() => {});
    await removeBelow(folder);
    if (await gone(folder)) return true;
    await sleep(Math.min(round + 1, ROUND_MS));
  }
  return false;
}

async function removeBelow(folder: string): Promise<void> {
  const all = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const one of all) {
    if (!one.isDirectory()) continue;
    await removeBelow(join(folder, one.name));
    await gone(join(folder, one.name));
  }
}

async function gone(folder: string): Promise<boolean> {
  return rmdir(folder).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
}

const PERIOD = 100_000;
const ROUNDS = 400;
const ROUND_MS = 5;
/** In a group before the program is: the shell, bubblewrap, the relay, and what they were first to read. */
const MOST_OURS = 32 << 20;
