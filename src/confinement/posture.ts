import { readFileSync } from 'node:fs';
import { childrenOf } from './tree.ts';

/** What a program is about, as the kernel tells from outside. */
export type Posture = {
  /** `reading`: it waits for its standard input. `resting`: it waits for something else. */
  state: 'working' | 'reading' | 'resting' | 'gone';
  /** Whether it has started nobody, written nothing and taken little, so that nobody else could tell that it runs. */
  isUnnoticed: boolean;
};

export function postureOf(pid: number): Posture {
  const call = read(`/proc/${pid}/syscall`);
  const stat = read(`/proc/${pid}/stat`);
  if (call === null || stat === null) return { state: 'gone', isUnnoticed: false };
  // Behind the name, which may hold anything and ends at the last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const waits = fields[STATE] === 'S' ? 'resting' : 'working';
  const state = call.startsWith(READS_INPUT) ? 'reading' : waits;
  const isAlone = fields[THREADS] === '1' && fields[FAULTS_OF_CHILDREN] === '0' && childrenOf(pid, 1).length === 0;
  const isSmall = Number(fields[PAGES]) * PAGE_BYTES <= SMALL_BYTES;
  return { state, isUnnoticed: isAlone && isSmall && isWordless(pid) };
}

/** Beyond this it is nothing to keep for a call that may not come. */
const SMALL_BYTES = 96 << 20;
const PAGE_BYTES = 4096;
const PAGES = 21;

/** Page faults of children that it has waited for: there is no child without. */
const FAULTS_OF_CHILDREN = 8;
const STATE = 0;
const THREADS = 17;

function isWordless(pid: number): boolean {
  return /^wchar: 0$/m.test(read(`/proc/${pid}/io`) ?? '');
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
