/** Where we are among the control groups of version 2, read off what the kernel and systemd say: pure. */

export type Place = {
  /** The folder of the group that we are in. */
  own: string;
  /** The folder of the group that is ours to divide, if it is ours. */
  top: string;
  /** What systemd calls it; null where systemd did not make it. */
  unit: Unit | null;
  /** Whether it is the first that this container, or this machine, sees. */
  isRoot: boolean;
};

export type Unit = { name: string; isUsers: boolean };

/** The group beside those of the programs, for whoever was in the one that is divided. */
export const LEAF = 'isopod-service';

/** `cgroup` and `mountinfo` are those of /proc/self. Null where there is no such hierarchy, or we are outside of it. */
export function placeOf(cgroup: string, mountinfo: string): Place | null {
  const path = /^0::(\/.*)$/m.exec(cgroup)?.[1];
  if (path === undefined) return null;
  for (const { root, folder } of mounts(mountinfo)) {
    const below = relative(root, path);
    if (below === null) continue;
    const parts = below.split('/').filter(Boolean);
    if (parts.includes('..')) continue;
    const at = parts.findLastIndex((part) => UNIT.test(part));
    const depth = at >= 0 ? at + 1 : parts.length - (parts.at(-1) === LEAF ? 1 : 0);
    const isUsers = parts.slice(0, Math.max(at, 0)).some((part) => USERS.test(part));
    return {
      own: [folder, ...parts].join('/'),
      top: [folder, ...parts.slice(0, depth)].join('/'),
      unit: at < 0 ? null : { name: parts[at] ?? '', isUsers },
      isRoot: depth === 0,
    };
  }
  return null;
}

const UNIT = /\.(?:service|scope)$/;
/** Below this a user's own systemd is in charge. */
const USERS = /^user@\d+\.service$/;

function mounts(mountinfo: string): { root: string; folder: string }[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [mount = '', kind = ''] = line.split(' - ', 2);
    const [, , , root, folder] = mount.split(' ').map(unescaped);
    if (!kind.startsWith('cgroup2 ') || root === undefined || folder === undefined) return [];
    return [{ root, folder: folder.replace(/\/$/, '') }];
  });
}

function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function relative(root: string, path: string): string | null {
  if (root === '/') return path;
  return path === root || path.startsWith(`${root}/`) ? path.slice(root.length) : null;
}

/** The number behind a word in a file such as `memory.events`: `oom_kill 1`. */
export function counted(text: string, word: string): number {
  return Number(new RegExp(`^${word} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
}
