import { readdirSync, readFileSync, readlinkSync, statfsSync, statSync } from 'node:fs';
import { INSIDE } from './room.ts';

/**
 * Memory of a sandbox that no process of it has to its account: what lies in memory-backed folders of its own, and
 * files in memory without a name that it holds open. The folders are seen from outside, through its first process.
 *
 * Looking at every open file takes time, so it is done only where the memory of the whole machine that is in files has
 * grown. What waits in a socket to be received, or is System V's and used by nobody, is not found.
 */
export class Stored {
  readonly #folders: readonly string[];
  #leastOfMachine = Number.POSITIVE_INFINITY;

  /** `first` is the first process of a sandbox that has folders of its own; null where it has none. */
  constructor(first: number | null) {
    this.#folders = first === null ? [] : [INSIDE, '/dev/shm'].map((folder) => `/proc/${first}/root${folder}`);
  }

  bytes(pids: readonly number[]): number {
    let bytes = 0;
    for (const folder of this.#folders) bytes += inFolder(folder);
    return this.#hasGrown() ? bytes + heldOpen(pids) : bytes;
  }

  #hasGrown(): boolean {
    const now = ofMachine();
    this.#leastOfMachine = Math.min(this.#leastOfMachine, now);
    return now - this.#leastOfMachine > WORTH_A_LOOK;
  }
}

function inFolder(folder: string): number {
  try {
    const { bsize, blocks, bfree, files, ffree } = statfsSync(folder);
    // The folder itself is one.
    return (blocks - bfree) * bsize + Math.max(0, files - ffree - 1) * INODE_BYTES;
  } catch {
    return 0;
  }
}

function heldOpen(pids: readonly number[]): number {
  const files = new Map<number, number>();
  let looks = 0;
  // Whoever has more of them than we look at does not get to choose at which.
  const first = Math.floor(Math.random() * pids.length);
  for (const pid of [...pids.slice(first), ...pids.slice(0, first)]) {
    for (const name of descriptorsOf(pid)) {
      if (looks++ > MOST_LOOKS) break;
      look(`/proc/${pid}/fd/${name}`, files);
    }
  }
  return files.values().reduce((sum, bytes) => sum + bytes, 0);
}

function look(path: string, files: Map<number, number>): void {
  try {
    if (!readlinkSync(path).startsWith('/memfd:')) return;
    const { ino, blocks } = statSync(path);
    files.set(ino, blocks * 512);
  } catch {
    // Closed meanwhile.
  }
}

function descriptorsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
}

function ofMachine(): number {
  try {
    return 1024 * Number(/^Shmem:\s*(\d+)/m.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** What the kernel needs for a file with nothing in it. */
const INODE_BYTES = 1024;
const WORTH_A_LOOK = 8 << 20;
const MOST_LOOKS = 4_096;
