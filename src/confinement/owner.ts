/**
 * What is there as long as we are is called `<prefix><our pid>-<since when>-<whose numbers>-…`. Who is killed cannot clear
 * away; so whoever comes next does, for those of its own kind whose process is gone. In a container numbers mean somebody
 * else: then the last part is another, and it is left alone.
 */
import { readlinkSync } from 'node:fs';
import { FIELD, statFieldsOf } from './proc.ts';

/** What a name of ours begins with. */
export function ownName(prefix: string): string {
  return `${prefix}${process.pid}-${sinceOf(process.pid) ?? 0}-${numbering()}-`;
}

/** Whether that is such a name, and whoever it belonged to is gone. */
export function isOrphan(name: string, prefix: string): boolean {
  const [pid, since, whose] = name.startsWith(prefix) ? name.slice(prefix.length).split('-') : [];
  if (pid === undefined || since === undefined || whose !== numbering() || whose === 'none' || !/^\d+$/.test(pid)) {
    return false;
  }
  return sinceOf(Number(pid)) !== since;
}

/** When a process was started; null where there is none, or nothing tells. */
function sinceOf(pid: number): string | null {
  return statFieldsOf(pid)?.[FIELD.startedAt] ?? null;
}

/** Of the namespace that gives us our number; a name without one is never swept. */
function numbering(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? 'unknown';
  } catch {
    return 'none';
  }
}
