import { access, constants, readFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';

/** What of this machine decides how far programs can be confined: for the advice alone. */
export type Surroundings = {
  platform: NodeJS.Platform;
  hasBubblewrap: boolean;
  hasPython: boolean;
  /** Kind of container that we are in ourselves; null for none that is known. */
  container: 'docker' | 'podman' | 'kubernetes' | null;
  /** The setting that forbids those who are not root to make user namespaces; null where none does. */
  usersMayNot: 'unprivileged_userns_clone' | 'max_user_namespaces' | 'apparmor_restrict_unprivileged_userns' | null;
};

export async function surroundings(): Promise<Surroundings> {
  return {
    platform: process.platform,
    hasBubblewrap: await isOnPath('bwrap'),
    hasPython: await isOnPath('python3'),
    container: await containerOf(),
    usersMayNot: await forbiddenBy(),
  };
}

async function isOnPath(name: string): Promise<boolean> {
  for (const dir of (process.env.PATH ?? '').split(':').filter(isAbsolute)) {
    if (await may(join(dir, name), constants.X_OK)) return true;
  }
  return false;
}

async function containerOf(): Promise<Surroundings['container']> {
  if (process.env.KUBERNETES_SERVICE_HOST !== undefined) return 'kubernetes';
  if (await may('/run/.containerenv')) return 'podman';
  return (await may('/.dockerenv')) ? 'docker' : null;
}

async function forbiddenBy(): Promise<Surroundings['usersMayNot']> {
  const says = async (file: string) => (await readFile(`/proc/sys/${file}`, 'latin1').catch(() => '')).trim();
  if ((await says('user/max_user_namespaces')) === '0') return 'max_user_namespaces';
  if ((await says('kernel/unprivileged_userns_clone')) === '0') return 'unprivileged_userns_clone';
  if ((await says('kernel/apparmor_restrict_unprivileged_userns')) === '1')
    return 'apparmor_restrict_unprivileged_userns';
  return null;
}

async function may(path: string, mode = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}
