import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { FIELD, PAGE_BYTES, readProc, statFieldsOf } from './proc.ts';
import type { Stored } from './stored.ts';

/**
 * The processes of one run as the kernel tells of them in /proc (on other systems it tells nothing, and all of this
 * is zero). Its root is the launcher's shell, which is no part of the plugin and is not counted.
 *
 * A process is found through its parents. In a pid namespace that is all of them, since orphans fall to the root.
 * Elsewhere orphans fall to the machine's init and are lost to this; those seen before are remembered.
 */
export class Tree {
  readonly #root: number;
  readonly #except: ReadonlySet<number>;
  readonly #account: (() => number) | null;
  readonly #stored: Pick<Stored, 'bytes'> | null;
  #storedBytes = 0;
  readonly #known = new Map<number, Stat>();
  #cpuMs = 0;
  /** Of what it had used before it was anybody's. */
  #beforeMs = 0;

  constructor(root: number, { except = [], account = null, stored = null }: TreeOptions = {}) {
    this.#root = root;
    this.#except = new Set(except);
    this.#account = account;
    this.#stored = stored;
  }

  /** The most that was ever seen; of processor time that is also the last. */
  get cpuMs(): number {
    return Math.max(0, this.#cpuMs - this.#beforeMs);
  }

  /** Counts processor time from now on. */
  begin(): void {
    this.sample(1);
    this.#beforeMs = this.#cpuMs;
  }

  /** The kernel's final account of the children that the launcher has waited for. */
  settle(cpuMs: number): void {
    this.#cpuMs = Math.max(this.#cpuMs, cpuMs);
  }

  /** Looks at `most` processes at most. */
  sample(most: number): Sample {
    let ticks = readStat(this.#root)?.waitedForTicks ?? 0;
    let residentBytes = 0;
    let largestBytes = 0;
    const seen = new Map<number, Stat>();
    const next = childrenOf(this.#root, 1).concat([...this.#known.keys()]);
    for (let pid = next.pop(); pid !== undefined && seen.size < most; pid = next.pop()) {
      if (seen.has(pid) || this.#except.has(pid)) continue;
      const stat = readStat(pid);
      if (stat === null) continue;
      const known = this.#known.get(pid);
      if (known !== undefined && known.startedAt !== stat.startedAt) continue;
      seen.set(pid, stat);
      ticks += stat.ticks + stat.waitedForTicks;
      residentBytes += stat.residentBytes;
      largestBytes = Math.max(largestBytes, stat.residentBytes);
      next.push(...childrenOf(pid, stat.threads));
    }
    this.#known.clear();
    for (const [pid, stat] of seen) this.#known.set(pid, stat);
    this.#storedBytes = this.#stored?.bytes([...seen.keys()]) ?? 0;
    this.#cpuMs = Math.max(this.#cpuMs, ticks * TICK_MS, this.#account?.() ?? 0);
    residentBytes += this.#storedBytes;
    return { cpuMs: this.cpuMs, residentBytes, largestBytes, processes: seen.size };
  }

  /**
   * The memory of what was found last, each page counted once however many share it: after a fork that is nearly all
   * of them, and `residentBytes` counts them for each. Slow, where processes are large or many: one that shares 300 MB
   * with 200 others takes the kernel 10 ms. So it asks about some of them and takes the others to be alike; only
   * where that comes to more than `enough` it asks about all, until there is that much for certain.
   */
  async proportionalBytes(enough: number): Promise<Weight> {
    const all = [...this.#known].sort(([, one], [, other]) => other.residentBytes - one.residentBytes);
    const stride = Math.ceil(all.length / ASKED_FIRST);
    const isFirst = (at: number) => at % stride === 0;
    const rest = all.filter((_, at) => !isFirst(at));
    const weight = { bytes: this.#storedBytes, isSteady: true };
    let uncounted = this.#storedBytes;
    let processes = 0;
    let resident = 0;
    const ask = async ([pid, stat]: [number, Stat]) => {
      const proportion = await proportionOf(pid, stat);
      if (proportion === null) weight.isSteady = false;
      const { bytes, inFiles } = proportion ?? NOTHING;
      // Of files in memory that it uses as memory: as many bytes are counted already.
      const twice = Math.min(inFiles, uncounted);
      uncounted -= twice;
      weight.bytes += bytes - twice;
      processes += bytes - twice;
      resident += stat.residentBytes;
      return weight.bytes > enough;
    };
    for (const one of all.filter((_, at) => isFirst(at))) if (await ask(one)) return weight;
    const share = resident === 0 ? 0 : processes / resident;
    const estimate = weight.bytes + share * rest.reduce((sum, [, stat]) => sum + stat.residentBytes, 0);
    if (estimate <= enough) return { ...weight, bytes: Math.round(estimate) };
    for (const one of rest) if (await ask(one)) break;
    return weight;
  }

  /** Signals, one by one, what was found last and is still the same process. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    for (const [pid, { startedAt }] of this.#known) {
      if (readStat(pid)?.startedAt === startedAt) kill(pid, signal);
    }
  }
}

export type TreeOptions = {
  /** Children of the root that do not belong to the program, nor does what descends from them. */
  except?: readonly number[];
  /** Knows the processor time of all of it, in ms, where that is more than is found here. */
  account?: (() => number) | null;
  /** What else it takes of memory. */
  stored?: Pick<Stored, 'bytes'> | null;
};

export type Weight = {
  bytes: number;
  /** Whether all that were asked were there. What one had that is gone falls to others, and may be counted twice. */
  isSteady: boolean;
};

export type Sample = {
  cpuMs: number;
  /** Of all processes together, what they share counted for each, with what is stored. */
  residentBytes: number;
  /** Of the largest process alone. */
  largestBytes: number;
  processes: number;
};

/** The variable by which a process of a run is known that has hidden otherwise. */
export const MARK = 'ISOPOD_RUN';

/**
 * Kills every process of this machine that carries the mark of a run in the environment it was started with; returns
 * how many there were. Not found are those of other users and those that were started with another environment.
 */
export function killMarked(mark: string): number {
  const wanted = `${MARK}=${mark}`;
  let count = 0;
  for (const name of processes()) {
    const environment = readProc(`/proc/${name}/environ`);
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

function kill(pid: number, signal: 'SIGTERM' | 'SIGKILL' = 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone already, which is what we want.
  }
}

type Stat = { ticks: number; waitedForTicks: number; threads: number; startedAt: string; residentBytes: number };

/** The fields of `/proc/<pid>/stat` by their place behind the name, which may hold anything and ends at the last `)`. */
function readStat(pid: number): Stat | null {
  const fields = statFieldsOf(pid);
  if (fields === null) return null;
  const number = (at: number) => Number(fields[at] ?? 0);
  return {
    ticks: number(11) + number(12),
    waitedForTicks: number(13) + number(14),
    threads: number(FIELD.threads),
    startedAt: fields[FIELD.startedAt] ?? '',
    residentBytes: number(FIELD.residentPages) * PAGE_BYTES,
  };
}

/** Null for a process that is gone. For one that does not let us ask, all that it has. */
async function proportionOf(pid: number, { startedAt, residentBytes }: Stat): Promise<Proportion | null> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'latin1').catch(() => '');
  if (readStat(pid)?.startedAt !== startedAt) return null;
  const told = (name: string) => new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)?.[1];
  const kilobytes = told('Pss');
  if (kilobytes === undefined) return { bytes: residentBytes, inFiles: 0 };
  return { bytes: Number(kilobytes) * 1024, inFiles: Number(told('Pss_Shmem') ?? 0) * 1024 };
}

/** `inFiles` of `bytes` are of files in memory. */
type Proportion = { bytes: number; inFiles: number };
const NOTHING: Proportion = { bytes: 0, inFiles: 0 };

/** The last of a line of processes that have one child each, at first sight. */
export function innermost(pid: number): number {
  const [child, ...others] = childrenOf(pid, 1);
  return child === undefined || others.length > 0 ? pid : innermost(child);
}

/** Whether any of its threads has started a process that is there. */
export function hasChildren(pid: number): boolean {
  return childrenOf(pid, 2).length > 0;
}

/** Each thread has children of its own. */
export function childrenOf(pid: number, threads: number): number[] {
  const ids = threads === 1 ? [String(pid)] : threadsOf(pid);
  return ids.flatMap((id) =>
    (readProc(`/proc/${pid}/task/${id}/children`) ?? '').split(' ').filter(Boolean).map(Number),
  );
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

// The clock in which the kernel tells times to programs has run at 100 a second for as long as there is /proc.
const TICK_MS = 10;
const ASKED_FIRST = 32;
