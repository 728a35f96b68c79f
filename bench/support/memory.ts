import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** Resident memory of a process and all that descend from it; or of those alone that run `program`. Linux only: /proc. */
export function treeMb(root: number, program?: string): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    // The name of a program, in brackets, may hold anything.
    const stat = read(`/proc/${name}/stat`);
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  let kb = 0;
  for (const pid of parents.keys()) {
    if (!descends(pid, root, parents)) continue;
    if (program !== undefined && basename(read(`/proc/${pid}/cmdline`).split(/[\0 :]/)[0] ?? '') !== program) continue;
    kb += Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
  }
  return kb / 1024;
}

function descends(pid: number, root: number, parents: Map<number, number>): boolean {
  for (let one: number | undefined = pid; one !== undefined && one > 0; one = parents.get(one)) {
    if (one === root) return true;
  }
  return false;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It has ended meanwhile.
    return '';
  }
}
