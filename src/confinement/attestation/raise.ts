import type { Grade, Layer } from '../../core/isolation.ts';
import type { Surroundings } from './surroundings.ts';

export type Standing = {
  grade: Grade;
  layers: readonly Layer[];
  tier: string;
  /** The configuration asks for no more. */
  isWish: boolean;
  surroundings: Surroundings;
};

/** In the words of a probe, what only Python could have tried. */
export const NO_PYTHON = 'there is no python3';

/** What would raise the grade, as a sentence for the operator; null where nothing would. The first thing first. */
export function raiseOf({ grade, layers, tier, isWish, surroundings }: Standing): string | null {
  if (grade === 'full') return null;
  const { platform, hasBubblewrap, hasPython, container, usersMayNot } = surroundings;
  if (platform !== 'linux') return 'Run it on Linux: what confines programs elsewhere is not supported yet';
  if (isWish) return 'Set isolation.tier to auto: it is held to less than this machine may have';
  if (!hasBubblewrap) return 'Install bubblewrap: npm run setup, or apt-get install bubblewrap';
  if (!hasPython && layers.some(({ evidence }) => evidence.includes(NO_PYTHON))) {
    return 'Install python3, as not all could be tried without it: npm run setup, or apt-get install python3';
  }
  if (tier.startsWith('bubblewrap')) {
    if (container !== null && tier !== 'bubblewrap') return UNMASKED[container];
    return null;
  }
  if (container !== null) return ALLOWED[container];
  if (usersMayNot !== null) return SETTINGS[usersMayNot];
  return 'Bubblewrap is here and does not work: try "bwrap --unshare-all --ro-bind / / true" as the user of the service';
}

const PROFILE =
  'a seccomp profile that allows clone, unshare, mount, pivot_root and the like (docs/SECURITY.md has one)';

const ALLOWED = {
  docker: `Start the container with --security-opt seccomp=… naming ${PROFILE}, and --security-opt systempaths=unconfined`,
  podman: `Start the container with --security-opt seccomp=… naming ${PROFILE}, and --security-opt unmask=ALL`,
  kubernetes: `Give the pod a Localhost seccompProfile, ${PROFILE}, and procMount: Unmasked`,
} as const satisfies Record<string, string>;

const UNMASKED = {
  docker: 'Start the container with --security-opt systempaths=unconfined: its /proc is masked',
  podman: 'Start the container with --security-opt unmask=ALL: its /proc is masked',
  kubernetes: 'Give the pod procMount: Unmasked: its /proc is masked',
} as const satisfies Record<string, string>;

const SETTINGS = {
  unprivileged_userns_clone: 'Let users make namespaces: sysctl -w kernel.unprivileged_userns_clone=1',
  max_user_namespaces: 'Let users make namespaces: sysctl -w user.max_user_namespaces=15000',
  apparmor_restrict_unprivileged_userns:
    'Let bwrap make namespaces: an AppArmor profile for it with "userns,", or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0',
} as const satisfies Record<string, string>;
