import { readdirSync, readFileSync } from 'node:fs';
import { MARK } from './environment.ts';

/**
 * The processes of one run as the kernel tells of them in /proc (on other systems it tells nothing, and all of this
 * is zero). Its root is the launcher's shell, which is no part of the plugin and is not counted.
 *
 * A process is found through its parents. In a pid namespace that is all of them, since orphans fall to the root.
 * Elsewhere orphans fall to the machine's init and are lost to this; those seen before are remembered.
 */
export class Tree {
  readonly #root: number;
  readonly #known = new Map<number, string>();
  #cpuMs = 0;
  #peakBytes = 0;

  constructor(root: number) {
    this.#root = root;
  }

  /** The most that was ever seen; of processor time that is also the last. */
  get cpuMs(): number {
    return this.#cpuMs;
  }

  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** The kernel's final account of the children that the launcher has waited for. */
  settle(cpuMs: number): void {
    this.#cpuMs = Math.max(this.#cpuMs, cpuMs);
  }

  sample(): Sample {
    let ticks = readStat(this.#root)?.waitedForTicks ?? 0;
    let residentBytes = 0;
    const seen = new Map<number, string>();
    const next = childrenOf(this.#root, 1).concat([...this.#known.keys()]);
    // Beyond this many nobody cares how many there are: the run is ended.
    for (let pid = next.pop(); pid !== undefined && seen.size < MOST; pid = next.pop()) {
      if (seen.has(pid)) continue;
      const stat = readStat(pid);
      if (stat === null) continue;
      const known = this.#known.get(pid);
      if (known !== undefined && known !== stat.startedAt) continue;
      seen.set(pid, stat.startedAt);
      ticks += stat.ticks + stat.waitedForTicks;
      residentBytes += stat.pages * PAGE_BYTES;
      next.push(...childrenOf(pid, stat.threads));
    }
    this.#known.clear();
    for (const [pid, startedAt] of seen) this.#known.set(pid, startedAt);
    this.#cpuMs = Math.max(this.#cpuMs, ticks * TICK_MS);
    this.#peakBytes = Math.max(this.#peakBytes, residentBytes);
    return { cpuMs: this.#cpuMs, residentBytes, processes: seen.size };
  }

  /**
   * The memory of what was found last, each page counted once however many share it: after a fork that is nearly all
   * of them, and `residentBytes` counts them for each. Exact, and twenty times as dear to ask for.
   */
  proportionalBytes(): number {
    let bytes = 0;
    for (const pid of this.#known.keys()) {
      const kilobytes = /^Pss:\s*(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`) ?? '')?.[1];
      bytes += kilobytes === undefined ? (readStat(pid)?.pages ?? 0) * PAGE_BYTES : Number(kilobytes) * 1024;
    }
    return bytes;
  }

  /** Kills, one by one, what was found last and is still the same process. */
  kill(): void {
    for (const [pid, startedAt] of this.#known) {
      if (readStat(pid)?.startedAt === startedAt) kill(pid);
    }
  }
}

export type Sample = { cpuMs: number; residentBytes: number; processes: number };

/**
 * Kills every process of this machine that carries the mark of a run in the environment it was started with; returns
 * how many there were. Not found are those of other users and those that were started with another environment.
 */
export function killMarked(mark: string): number {
  const wanted = `${MARK}=${mark}`;
  let count = 0;
  for (const name of processes()) {
    const environment = read(`/proc/${name}/environ`);
    if (environment === null || !environment.split('\0').includes(wanted)) continue;
    const pid = Number(name);
    // A zombie has no environment any more, so what is found here is alive.
    kill(pid);
    count++;
  }
  return count;
}

function processes(): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already, which is what we want.
  }
}

type Stat = { ticks: number; waitedForTicks: number; threads: number; startedAt: string; pages: number };

/** The fields of `/proc/<pid>/stat` by their place behind the name, which may hold anything and ends at the last `)`. */
function readStat(pid: number): Stat | null {
  const text = read(`/proc/${pid}/stat`);
  if (text === null) return null;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const number = (at: number) => Number(fields[at] ?? 0);
  return {
    ticks: number(11) + number(12),
    waitedForTicks: number(13) + number(14),
    threads: number(17),
    startedAt: fields[19] ?? '',
    pages: number(21),
  };
}

/** Each thread has children of its own. */
export function childrenOf(pid: number, threads: number): number[] {
  const ids = threads === 1 ? [String(pid)] : threadsOf(pid);
  return ids.flatMap((id) => (read(`/proc/${pid}/task/${id}/children`) ?? '').split(' ').filter(Boolean).map(Number));
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

// These reads are of memory, not of a disk: some microseconds each, where a turn through the thread pool costs fifty.
function read(file: string): string | null {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return null;
  }
}

// The clock in which the kernel tells times to programs has run at 100 a second for as long as there is /proc.
const TICK_MS = 10;
const MOST = 4096;
// Memory is told in pages, and the first mapping of any process says how large one is.
const PAGE_BYTES = 1024 * Number(/KernelPageSize:\s*(\d+)/.exec(read('/proc/self/smaps') ?? '')?.[1] ?? 4);
