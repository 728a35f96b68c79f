/** Memory of a process and all that descend from it. Linux only: /proc. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** Resident: what processes share is counted for each. */
export function treeMb(root: number): number {
  return sumMb(tree(root), 'status', /^VmRSS:\s+(\d+)/m);
}

/** What they share is counted once; PostgreSQL's own processes apart from all others. */
export function sharedOutMb(root: number): { ours: number; postgres: number } {
  const all = tree(root);
  const isPostgres = (pid: number) => basename(read(`/proc/${pid}/cmdline`).split(/[\0 :]/)[0] ?? '') === 'postgres';
  const mb = (pids: number[]) => sumMb(pids, 'smaps_rollup', /^Pss:\s+(\d+)/m);
  return { ours: mb(all.filter((pid) => !isPostgres(pid))), postgres: mb(all.filter(isPostgres)) };
}

function sumMb(pids: readonly number[], file: string, kilobytes: RegExp): number {
  let kb = 0;
  for (const pid of pids) kb += Number(kilobytes.exec(read(`/proc/${pid}/${file}`))?.[1] ?? 0);
  return kb / 1024;
}

function tree(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    // The name of a program, in brackets, may hold anything.
    const stat = read(`/proc/${name}/stat`);
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  return [...parents.keys()].filter((pid) => descends(pid, root, parents));
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
