import { readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removed } from './scratch.ts';

/**
 * A folder for what is there as long as we are: `isopod-<what for>-<our pid>-<since when>-<whose numbers>-…`. Who is
 * killed cannot clear away; so whoever comes next does, for those of its own kind whose process is gone. In a container
 * numbers mean somebody else: then the last part is another, and the folder is left alone.
 */
export async function openGround(what: 'process' | 'cells'): Promise<string> {
  const prefix = `isopod-${what}-`;
  await sweep(prefix);
  return await mkdtemp(join(tmpdir(), `${prefix}${process.pid}-${sinceOf(process.pid) ?? 0}-${numbering()}-`));
}

async function sweep(prefix: string): Promise<void> {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    const [pid, since, whose] = name.startsWith(prefix) ? name.slice(prefix.length).split('-') : [];
    if (pid === undefined || since === undefined || whose !== numbering() || whose === 'none' || !/^\d+$/.test(pid))
      continue;
    if (sinceOf(Number(pid)) !== since) await removed(join(tmpdir(), name)).catch(() => {});
  }
}

/** When a process was started; null where there is none, or nothing tells. */
function sinceOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

/** Of the namespace that gives us our number; a name without one is never swept. */
function numbering(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? 'unknown';
  } catch {
    return 'none';
  }
}
