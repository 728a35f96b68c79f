import { fileURLToPath } from 'node:url';
import { ARCHITECTURES, type Architecture } from './seccomp/calls.ts';
import type { Kind } from './seccomp/rules.ts';

/**
 * Filters of system calls, as the kernel takes them: files for bubblewrap's --seccomp (opened anew for each start, as it
 * reads them to their end) and setpriv's --seccomp-filter. The rules are in seccomp/rules.ts.
 */
export type FilterKind = Kind;

/** Where the filter for this machine is; null where there is none. */
export function filterFile(
  kind: FilterKind,
  { arch, platform }: { arch: string; platform: string } = process,
): string | null {
  if (platform !== 'linux' || !Object.hasOwn(ARCHITECTURES, arch)) return null;
  return fileURLToPath(new URL(`seccomp/${filterName(kind, arch as Architecture)}`, import.meta.url));
}

export function filterName(kind: FilterKind, architecture: Architecture): string {
  return kind === 'program' ? `${architecture}.bpf` : `${architecture}-${kind}.bpf`;
}
