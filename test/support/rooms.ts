/** Rooms made by hand for the attestation, whole or with one hole in them. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, lstatSync, openSync, readlinkSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Probe, ProbeRun, Prober } from '../../src/confinement/attestation/prober.ts';

const FILTER = resolve(import.meta.dirname, `../../src/confinement/seccomp/${process.arch}.bpf`);
const PYTHON = '/usr/bin/python3';
/** Whoever has started the tests may have left descriptors open, as a service does not. */
const WITHOUT_THE_REST = 'import os, sys; os.closerange(int(sys.argv[1]), 4096); os.execv(sys.argv[2], sys.argv[2:])';

/** Whether this machine can have a room in which everything holds. */
export const HAS_ROOMS = ['/usr/bin/bwrap', PYTHON, FILTER].every((file) => existsSync(file));

export type Holes = {
  filter?: 'none';
  network?: 'shared';
  processes?: 'shared';
  proc?: 'shared';
  device?: 'one too many';
  root?: 'writable';
  tmp?: 'endless';
  capability?: string;
  /** A folder of the machine that is there to be read. */
  shows?: string;
  environment?: 'shared';
  descriptor?: 'left open';
  user?: 'root';
  python?: 'none';
  processesMost?: number;
  memory?: 'endless';
};

/** Bubblewrap with everything that it has, and limits of a shell's. */
export class RoomProber implements Prober {
  readonly tier = 'bubblewrap';
  readonly isWish = false;
  readonly environment: readonly string[] = [];
  readonly descriptors: readonly number[] = [];
  readonly #holes: Holes;

  constructor(holes: Holes = {}) {
    this.#holes = holes;
  }

  async run({ by, file, args, residentMb }: Probe): Promise<ProbeRun> {
    const holes = this.#holes;
    if (by === 'python' && holes.python === 'none') return missing('There is no Python on this machine');
    const program = by === 'python' ? PYTHON : process.execPath;
    const filter = openSync(FILTER, 'r');
    // 3 is the filter, which bubblewrap reads and closes; what is left open by mistake comes after it.
    const left = holes.descriptor === undefined ? [] : [openSync('/dev/null', 'r')];
    const isRoot = process.getuid?.() === 0 && holes.user === undefined;
    const command = ['/usr/bin/bwrap', ...roomArgs(holes, file), ...limits(holes, residentMb), program, file, ...args];
    const child = spawn(PYTHON, ['-ISc', WITHOUT_THE_REST, String(4 + left.length), ...command], {
      stdio: ['ignore', 'pipe', 'pipe', filter, ...left],
      env: holes.environment === undefined ? {} : process.env,
      cwd: '/',
      ...(isRoot ? { uid: 65_534, gid: 65_534 } : {}),
    });
    for (const one of [filter, ...left]) closeSync(one);
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const code = await new Promise<number | null>((done) => {
      child.once('error', () => done(null)).once('exit', (status) => setTimeout(done, 50, status));
    });
    if (code === 0) return { stdout, failure: null };
    return {
      stdout: null,
      failure: { code: 'plugin_crashed', message: `ended with ${code}: ${stderr.slice(0, 300)}` },
    };
  }
}

function missing(message: string): ProbeRun {
  return { stdout: null, failure: { code: 'plugin_boot_failed', message } };
}

function roomArgs(holes: Holes, file: string): string[] {
  const own = dirname(file);
  const node = dirname(process.execPath);
  const isSplit = holes.processes === undefined;
  return [
    ...['--unshare-user', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup'],
    ...(isSplit ? ['--unshare-pid', '--as-pid-1', '--disable-userns'] : []),
    ...(holes.network === undefined ? ['--unshare-net'] : []),
    ...['--uid', '1000', '--gid', '1000', '--die-with-parent', '--new-session', '--cap-drop', 'ALL'],
    ...(holes.capability === undefined ? [] : ['--cap-add', holes.capability]),
    ...(holes.environment === undefined ? ['--clearenv'] : []),
    ...['--setenv', 'PATH', '/usr/bin:/bin', '--setenv', 'HOME', '/tmp', '--setenv', 'TMPDIR', '/tmp'],
    ...['--ro-bind', '/usr', '/usr', '--ro-bind-try', '/etc/ld.so.cache', '/etc/ld.so.cache'],
    ...['/bin', '/lib', '/lib64'].flatMap(ofSystem),
    ...(holes.proc === undefined && isSplit ? ['--proc', '/proc'] : ['--ro-bind', '/proc', '/proc']),
    ...['--dev', '/dev', '--size', '1048576', '--perms', '1777', '--tmpfs', '/dev/shm'],
    ...(holes.device === undefined ? [] : ['--dev-bind', '/dev/zero', '/dev/sensor']),
    ...(holes.tmp === undefined ? ['--size', '16777216'] : []),
    ...['--perms', '1777', '--tmpfs', '/tmp', '--ro-bind', own, own],
    ...(holes.shows === undefined ? [] : ['--ro-bind', holes.shows, holes.shows]),
    ...(holes.python === undefined ? [] : ['--ro-bind', node, node]),
    ...['--remount-ro', '/dev'],
    ...(holes.root === undefined ? ['--remount-ro', '/'] : []),
    ...['--chdir', '/tmp'],
    ...(holes.filter === undefined ? ['--seccomp', '3'] : []),
    '--',
  ];
}

function ofSystem(folder: string): string[] {
  const kind = lstatSync(folder, { throwIfNoEntry: false });
  if (kind === undefined) return [];
  return kind.isSymbolicLink() ? ['--symlink', readlinkSync(folder), folder] : ['--ro-bind', folder, folder];
}

/** A shell that stays, so that the first process of the room is none of the probe's. */
function limits({ filter, memory, processesMost = 64 }: Holes, residentMb: number): string[] {
  const script = [
    // Nobody reads it then.
    filter === undefined ? ':' : 'exec 3<&-',
    'ulimit -c 0; ulimit -f 2097152',
    `ulimit -p ${processesMost} 2>/dev/null || ulimit -u ${processesMost}`,
    memory === undefined ? `ulimit -d ${residentMb * 1024}` : ':',
    '"$@"',
    'exit $?',
  ];
  return ['/bin/sh', '-c', script.join('\n'), 'room'];
}
