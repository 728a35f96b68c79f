import { constants, release } from 'node:os';
import type { Limits } from '../../src/core/limits.ts';
import type { Walls } from './isolation.ts';

/**
 * The shell between us and a program, and what the two of us say to each other on its descriptor 3:
 *
 *     launcher → us   ready                 nothing of the plugin has started yet
 *     us → launcher   (a line)              it may: we are still there
 *     launcher → us   unstarted             only if the program could not be started
 *     launcher → us   Segmentation fault    only if a signal ended the program: what the shell says to that
 *     launcher → us   exit 139              its status
 *     launcher → us   0m0.00s 0m0.00s       the shell's own time, and then that of all it waited for
 *     us → launcher   (end of file)         we are done, or dead: end everything
 *
 * A second shell watches for the last one while the program runs, so that nothing outlives us, not even if we are
 * killed. A shell answers 139 for a signal as well as for `exit 139`; that it also says something tells them apart.
 * (It is silent on SIGINT and SIGPIPE, some on SIGTERM: those count as the exit that they look like.)
 *
 * The program's standard error comes as 4, so that what unshare has to say does not get into it.
 *
 * A shell that cannot start a program says so on that program's standard error, and exits as any program may; neither
 * proves anything. So it says it here as well, in a trap that does not survive a start, on a descriptor that is put
 * aside for the braces only, where a program that has started never sees it. That is how dash does it; a shell that
 * brings the descriptor back too late (bash) is silent, and the run counts as the exit that it looks like.
 *
 * The text is fixed: what a plugin has chosen comes as `"$@"` and is never read as shell.
 */
const SCRIPT = `
[ "$1" = - ] || { echo "$1" >/proc/sys/kernel/pid_max; } 2>/dev/null
exec 2>&3
echo ready >&3
read -r _ <&3 || exit 125
( read -r _ <&3; kill -9 0 ) </dev/null >/dev/null 2>&1 4>&- &
watcher=$!
(
  {
    ulimit -c 0
    ulimit -n "$2"
    ulimit -f "$3"
    ulimit -S -t "$4"
    ulimit -H -t "$5"
    [ "$6" = - ] || ulimit -p "$6" || ulimit -u "$6"
  } 2>/dev/null
  shift 6
  trap 'echo unstarted 2>/dev/null >&3' EXIT
  { exec "$@"; } 2>&4 3>&- 4>&-
)
status=$?
exec </dev/null >/dev/null 4>&-
{ kill -9 "$watcher"; wait "$watcher"; } 2>/dev/null
echo "exit $status" >&3
times >&3
read -r _ <&3
[ $$ = 1 ] || kill -9 0
`;

export type Launch = { file: string; args: readonly string[]; limits: Pick<Limits, 'cpuMs'> };

/** The whole command line. */
export function launchArgs({ file, args, limits }: Launch, walls: Walls): string[] {
  const cpuSeconds = Math.ceil(limits.cpuMs / 1000) + 1;
  const belts = [
    walls.isolation === 'pid-namespace' && hasOwnPidMax() ? PID_MAX : '-',
    OPEN_FILES,
    FILE_BYTES / 512,
    cpuSeconds,
    cpuSeconds + 2,
    walls.countsOwnProcesses ? 2 * MOST_PROCESSES : '-',
  ];
  return [...walls.prefix, '/bin/sh', '-c', SCRIPT, 'launcher', ...belts.map(String), file, ...args];
}

/** How the program ended, as far as the launcher has told; null as long as it has not. */
export function readReport(text: string): Ending | null {
  const match = /^ready\n(unstarted\n)?(.*?)exit (\d+)\n[^\n]*\n(\d+)m([\d.,]+)s (\d+)m([\d.,]+)s\n/s.exec(text);
  if (match === null) return null;
  const [, unstarted, said = '', status = '', userMin, userSec, systemMin, systemSec] = match;
  const code = Number(status);
  return {
    code,
    unstarted: unstarted !== undefined,
    signal: said === '' ? null : signalName(code - 128),
    cpuMs: Math.round(ms(userMin, userSec) + ms(systemMin, systemSec)),
  };
}

export type Ending = {
  code: number;
  /** It is the shell that has exited, since it could not become the program. */
  unstarted: boolean;
  /** The signal that ended it, e.g. `SIGSEGV`; null where it exited. */
  signal: string | null;
  cpuMs: number;
};

export const READY = 'ready\n';

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;
}

function ms(minutes = '0', seconds = '0'): number {
  return 60_000 * Number(minutes) + 1000 * Number(seconds.replace(',', '.'));
}

// Since Linux 6.14 the highest pid is a setting of each pid namespace; before, of the whole machine.
function hasOwnPidMax(): boolean {
  const [, major = 0, minor = 0] = /^(\d+)\.(\d+)/.exec(release())?.map(Number) ?? [];
  return process.getuid?.() === 0 && (major > 6 || (major === 6 && minor >= 14));
}

/**
 * What no plugin needs more of, whatever its limits. The kernel enforces it, but for processes: those the meter counts
 * and ends the run. Until it gets to look, the kernel holds a fork bomb to twice as many, or for root, whom it does
 * not count, to the numbers there are for processes and threads (of which the first 300 are not given out again).
 */
export const MOST_PROCESSES = 256;
export const FILE_BYTES = 1 << 30;
const OPEN_FILES = 1024;
const PID_MAX = 2048;
