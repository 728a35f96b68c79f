/** What there is on this machine of a run, or still is. Linux only: /proc. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';

/** Of processes that have a word on their command line. The bench itself has none of these words. */
export function called(word: string): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return all.filter((pid) => read(`/proc/${pid}/cmdline`).includes(word)).map(Number);
}

/** Those that have ended, and that nobody has asked how. */
export function zombiesOf(parent: number): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return all
    .filter((pid) => {
      const stat = read(`/proc/${pid}/stat`);
      const [state, its] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return state === 'Z' && Number(its) === parent;
    })
    .map(Number);
}

/** Resolves when none of them is there any more, not even to be waited for; false where that takes too long. */
export async function gone(pids: readonly number[], patienceMs: number): Promise<boolean> {
  const until = performance.now() + patienceMs;
  while (pids.some((pid) => existsSync(`/proc/${pid}`))) {
    if (performance.now() > until) return false;
    await turn();
  }
  return true;
}

export function lines(path: string): string[] {
  return read(path).split('\n').filter(Boolean);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It has ended meanwhile, or is somebody else's.
    return '';
  }
}
