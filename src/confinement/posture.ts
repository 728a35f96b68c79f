import { readFileSync } from 'node:fs';
import { childrenOf } from './tree.ts';

/** What a program is about, as the kernel tells from outside. */
export type Posture = {
  /** `reading`: it waits for its standard input. `resting`: it waits for something else. */
  state: 'working' | 'reading' | 'resting' | 'gone';
  /** Whether it has started nobody and written nothing, so that nobody could tell that it runs. */
  isUnnoticed: boolean;
};

export function postureOf(pid: number): Posture {
  const call = read(`/proc/${pid}/syscall`);
  const stat = read(`/proc/${pid}/stat`);
  if (call === null || stat === null) return { state: 'gone', isUnnoticed: false };
  const letter = stat[stat.lastIndexOf(')') + 2];
  const waits = letter === 'S' ? 'resting' : 'working';
  const state = call.startsWith(READS_INPUT) ? 'reading' : waits;
  return { state, isUnnoticed: childrenOf(pid, 1).length === 0 && isWordless(pid) && hasOneThread(stat) };
}

function isWordless(pid: number): boolean {
  return /^wchar: 0$/m.test(read(`/proc/${pid}/io`) ?? '');
}

function hasOneThread(stat: string): boolean {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[17] === '1';
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return null;
  }
}

/** The number of read(2), and descriptor 0. */
const READS_INPUT = `${process.arch === 'arm64' ? 63 : 0} 0x0 `;
