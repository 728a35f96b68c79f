/** What each way to confine a program promises, and how a service is made to use it. */

import type { Tier } from '../../src/confinement/tier.ts';
import type { Overrides } from './overrides.ts';
import { MACHINE_TIERS } from './process.ts';

/** Those that this machine has. */
export const TIERS_HERE: readonly Tier[] = MACHINE_TIERS;

/** The configuration that has programs run in this one, and in no other. */
export function forced(tier: Tier): Overrides {
  return { isolation: { tier } };
}

export type Promised = {
  /** Whether a program finds files of its own, is kept from those of others, or has what its user has. */
  files: 'own' | 'fenced' | 'machine';
  network: 'own' | 'machine';
  /** Whether others' processes are not there, can be seen by name and no more, or are there like any. */
  processes: 'own' | 'names' | 'machine';
  /** Whether there is a filter of system calls. */
  calls: 'filtered' | 'all';
  /** Whether what was started ends for certain, or as far as it can be found. */
  end: 'certain' | 'found';
};

export const PROMISED: Record<Tier, Promised> = {
  bubblewrap: { files: 'own', network: 'own', processes: 'own', calls: 'filtered', end: 'certain' },
  'bubblewrap-container': { files: 'own', network: 'own', processes: 'names', calls: 'filtered', end: 'certain' },
  landlock: { files: 'fenced', network: 'machine', processes: 'names', calls: 'filtered', end: 'found' },
  'pid-namespace': { files: 'machine', network: 'machine', processes: 'own', calls: 'all', end: 'certain' },
  'process-group': { files: 'machine', network: 'machine', processes: 'machine', calls: 'all', end: 'found' },
};
