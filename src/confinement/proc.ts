import { readFileSync } from 'node:fs';

/**
 * A file of /proc; null where it is not there, or may not be read. These reads are of memory, not of a disk: some
 * microseconds each, where a turn through the thread pool costs fifty.
 */
export function readProc(file: string): string | null {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return null;
  }
}

/** The fields of `/proc/<pid>/stat` behind the name, which may hold anything and ends at the last `)`; null for nobody. */
export function statFieldsOf(pid: number): string[] | null {
  const text = readProc(`/proc/${pid}/stat`);
  return text === null ? null : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** Where they stand among those. */
export const FIELD = { state: 0, faultsOfChildren: 8, threads: 17, startedAt: 19, residentPages: 21 } as const;

// Memory is told in pages, and the first mapping of any process says how large one is.
export const PAGE_BYTES = 1024 * Number(/KernelPageSize:\s*(\d+)/.exec(readProc('/proc/self/smaps') ?? '')?.[1] ?? 4);
