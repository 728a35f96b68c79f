import { FIELD, PAGE_BYTES, readProc, statFieldsOf } from './proc.ts';
import { childrenOf } from './tree.ts';

/** What a program is about, as the kernel tells from outside. */
export type Posture = {
  /** `reading`: it waits for its standard input. `resting`: it waits for something else. */
  state: 'working' | 'reading' | 'resting' | 'gone';
  /** Whether it has started nobody, written nothing and taken little, so that nobody else could tell that it runs. */
  isUnnoticed: boolean;
};

export function postureOf(pid: number): Posture {
  const call = readProc(`/proc/${pid}/syscall`);
  const fields = statFieldsOf(pid);
  if (call === null || fields === null) return { state: 'gone', isUnnoticed: false };
  const waits = fields[FIELD.state] === 'S' ? 'resting' : 'working';
  const state = call.startsWith(READS_INPUT) ? 'reading' : waits;
  // There is no child that it has waited for without page faults of it.
  const hasHadNone = fields[FIELD.faultsOfChildren] === '0';
  const isAlone = fields[FIELD.threads] === '1' && hasHadNone && childrenOf(pid, 1).length === 0;
  const isSmall = Number(fields[FIELD.residentPages]) * PAGE_BYTES <= SMALL_BYTES;
  return { state, isUnnoticed: isAlone && isSmall && isWordless(pid) };
}

/** Beyond this it is nothing to keep for a call that may not come. */
const SMALL_BYTES = 96 << 20;

function isWordless(pid: number): boolean {
  return /^wchar: 0$/m.test(readProc(`/proc/${pid}/io`) ?? '');
}

/** The number of read(2), and descriptor 0. */
const READS_INPUT = `${process.arch === 'arm64' ? 63 : 0} 0x0 `;
