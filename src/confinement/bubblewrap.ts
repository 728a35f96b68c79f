/**
 * The command line that puts a program into an empty room. What stands in there is said here and nowhere else.
 *
 * There are two ways in. Whoever is not root gets a user namespace, which is what lets him have the others; in it he is
 * user 1000, and cannot make further ones. Root needs none: bubblewrap lays out the room with root's eyes (folders that
 * nobody else may enter can be bound), and leaves the launcher no rights but to become somebody else, as which it starts
 * the program.
 * In a user namespace root would stay root to the kernel, with root's files and without a bound on processes.
 *
 * Order counts: what is mounted later hides what was below; the root and /dev are made read-only last.
 */
import { existsSync, lstatSync, readlinkSync } from 'node:fs';
import type { Machine } from './machine.ts';
import { above, type Bind, INSIDE, outsideOfSystem, type Room, SHM_BYTES, SOCKET_INSIDE, TMP_BYTES } from './room.ts';

/** What bubblewrap is given on this descriptor, where there is a system-call filter. */
export const FILTER_FD = 5;

export type Furnishing = Pick<Room, 'scratch' | 'binds' | 'folders' | 'gateway'> & {
  /** A folder with passwd, group, hosts and nsswitch.conf of ours. */
  etc: string;
};

export function bubblewrapArgs(machine: Machine & { bwrap: string }, room: Furnishing, isFiltered: boolean): string[] {
  const { tier } = machine;
  const isRoot = machine.makesRooms === 'as root';
  const steps = machine.setpriv === null ? [] : outsideOfSystem(machine.setpriv);
  const isContainer = tier === 'bubblewrap-container';
  return [
    machine.bwrap,
    ...(isRoot ? AS_ROOT : isContainer ? AS_USER : [...AS_USER, '--disable-userns']),
    ...ALONE,
    ...machine.system,
    ...ETC.flatMap((name) => ['--ro-bind', `${room.etc}/${name}`, `/etc/${name}`]),
    ...(isContainer ? ['--ro-bind', '/proc', '/proc'] : ['--proc', '/proc']),
    ...['--dev', '/dev'],
    ...(room.scratch === null ? ['--perms', '0755', '--dir', INSIDE] : WRITABLE),
    ...['--symlink', INSIDE, '/var/tmp'],
    ...furniture({ ...room, binds: [...steps, ...room.binds] }),
    ...['--remount-ro', '/dev', '--remount-ro', '/', '--chdir', INSIDE],
    ...(isFiltered ? ['--seccomp', String(FILTER_FD)] : []),
    '--',
  ];
}

const AS_ROOT = [
  ...['--unshare-ipc', '--unshare-pid', '--unshare-net', '--unshare-uts', '--unshare-cgroup-try', '--cap-drop', 'ALL'],
  ...['--cap-add', 'CAP_SETUID', '--cap-add', 'CAP_SETGID', '--cap-add', 'CAP_SETPCAP', '--cap-add', 'CAP_KILL'],
];
const AS_USER = ['--unshare-all', '--unshare-user', '--uid', '1000', '--gid', '1000', '--cap-drop', 'ALL'];
/** With a first process of its own that ends when we do. Never `--share-net`. */
const ALONE = ['--die-with-parent', '--new-session', '--as-pid-1'];

const WRITABLE = [
  ...['--perms', '1777', '--size', String(SHM_BYTES), '--tmpfs', '/dev/shm'],
  ...['--perms', '1777', '--size', String(TMP_BYTES), '--tmpfs', INSIDE],
];

const ETC = ['passwd', 'group', 'hosts', 'nsswitch.conf'];
const ETC_OF_SYSTEM = ['ld.so.cache', 'alternatives', 'ssl/certs', 'ssl/openssl.cnf', 'pki', 'localtime', 'mime.types'];

/** What every room has of this machine: programs and libraries, and what those look up. Looked at once. */
export function systemArgs(): string[] {
  const args = ['--ro-bind', '/usr', '/usr'];
  for (const folder of ['/bin', '/sbin', '/lib', '/lib64', '/lib32']) {
    const kind = lstatSync(folder, { throwIfNoEntry: false });
    if (kind?.isSymbolicLink()) args.push('--symlink', readlinkSync(folder), folder);
    else if (kind !== undefined) args.push('--ro-bind', folder, folder);
  }
  // Folders above what is bound are made by us: bubblewrap would make them for its own user alone.
  args.push(...['/etc', '/etc/ssl', '/var'].flatMap((folder) => ['--perms', '0755', '--dir', folder]));
  const there = ETC_OF_SYSTEM.map((name) => `/etc/${name}`).filter((path) => existsSync(path));
  return [...args, ...there.flatMap((path) => ['--ro-bind-try', path, path])];
}

function furniture({ binds, folders, gateway }: Furnishing): string[] {
  const all: Bind[] = [...binds];
  if (gateway !== null) all.push({ path: SOCKET_INSIDE, from: gateway.socket, mode: 'ro' });
  const made = new Set(['/usr', '/etc', '/tmp', '/dev', '/proc', '/var']);
  const args: string[] = [];
  const make = (folder: string) => {
    if (made.has(folder)) return;
    made.add(folder);
    args.push('--perms', '0755', '--dir', folder);
  };
  for (const { path, from = path, mode } of all) {
    for (const folder of above(path)) make(folder);
    made.add(path);
    args.push(mode === 'rw' ? '--bind' : '--ro-bind', from, path);
  }
  for (const folder of folders) for (const one of [...above(folder), folder]) make(one);
  return args;
}
