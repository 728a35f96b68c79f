/**
 * How a program can be confined, from most to least. What holds is not read off these names but proven by trying.
 *
 * `bubblewrap`: a file system, a network, processes of its own; a system-call filter; no capabilities.
 * `bubblewrap-container`: the same where a container does not let anybody mount /proc: the names of others' processes
 * can be seen.
 * `landlock`: the machine's own file system with most of it out of bounds; the machine's network.
 * `pid-namespace`: the machine's files and network, with few rights; processes end with their run for certain.
 * `process-group`: the same, and a run is ended through its group, its descendants and its mark: a process that left its
 * parents and its session and wiped its environment is not found.
 */
export const TIERS = ['bubblewrap', 'bubblewrap-container', 'landlock', 'pid-namespace', 'process-group'] as const;
export type Tier = (typeof TIERS)[number];

/** `auto` takes the best there is; a name takes that one, and runs nothing where the machine does not have it. */
export type TierWish = Tier | 'auto';

/** Whether a program finds nothing but what was put into its room. */
export function hasOwnFiles(tier: Tier): boolean {
  return tier === 'bubblewrap' || tier === 'bubblewrap-container';
}
