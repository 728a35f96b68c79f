import { constants } from 'node:os';
import type { Limits } from '../core/limits.ts';
import type { Way } from './machine.ts';

/** Shell: becomes a program, as `$user` without any rights where `$setpriv` is not `-`. */
export const STEP_DOWN = `down() {
  [ "$setpriv" = - ] || set -- "$setpriv" --reuid "$user" --regid "$user" --clear-groups --no-new-privs \
    --bounding-set=-all --inh-caps=-all -- "$@"
  exec "$@"
}`;

/**
 * The shell between us and a program, and what the two of us say to each other on its descriptor 3:
 *
 *     launcher → us   ready                 nothing of the plugin has started yet
 *     us → launcher   (a line)              it may: we are still there
 *     launcher → us   unstarted             only if the program could not be started
 *     launcher → us   Segmentation fault    only if a signal ended the program: what the shell says to that
 *     launcher → us   0m0.00s 0m0.00s       the shell's own time, and then that of all it waited for
 *     launcher → us   exit 139              its status
 *     us → launcher   (end of file)         we are done, or dead: end everything
 *
 * Where nothing else sees to it that the program does not outlive us, a second shell watches for the last one. A shell
 * answers 139 for a signal as well as for `exit 139`; that it also says something tells them apart. (It is silent on
 * SIGINT and SIGPIPE, some on SIGTERM: those count as the exit that they look like.)
 *
 * Where we are root, the launcher stays root (without what root can do) and the program becomes somebody else, who cannot
 * signal it. A death signal of the kernel's, by which the launcher ends with us, is sent in the name of whoever dies: it
 * would not reach anybody else.
 *
 * The program's standard error comes as 4, so that what bubblewrap or unshare has to say does not get into it.
 *
 * A relay leads from the port that the program is told to the socket of its gateway. It starts while we get ready, and
 * is waited for where the program is faster than that. The shell has no way to sleep, so it looks at the kernel's count
 * of listening sockets until there is one; its own time is not the program's.
 *
 * A shell that cannot start a program says so on that program's standard error, and exits as any program may; neither
 * proves anything. So it says it here as well, in a trap that does not survive a start, on a descriptor that is put
 * aside for the braces only, where a program that has started never sees it. That is how dash does it; a shell that
 * brings the descriptor back too late (bash) is silent, and the run counts as the exit that it looks like.
 *
 * The text is fixed: what a plugin has chosen comes as `"$@"` and is never read as shell.
 */
const SCRIPT = `
setpriv=$1 user=$2
${STEP_DOWN}
listening() {
  while read -r what how count rest; do
    case "$what $how" in "TCP: inuse" | "TCP6: inuse") [ "$count" = 0 ] || return 0 ;; esac
  done <"$1"
  return 1
} 2>/dev/null
exec 2>&3
for setting in $3; do
  { echo "\${setting#*=}" >"/proc/sys/kernel/\${setting%%=*}"; } 2>/dev/null
done
relay=
if [ "$6" != - ]; then
  down "$6" "$7" "$8" </dev/null >/dev/null 2>&1 3>&- 4>&- &
  relay=$!
fi
echo ready >&3
read -r _ <&3 || exit 125
if [ "$4" = wait ]; then
  tries=0
  until listening /proc/net/sockstat6 || listening /proc/net/sockstat || [ "$tries" = 20000 ]; do
    tries=$((tries + 1))
  done
fi
watcher=
if [ "$5" = watch ]; then
  ( read -r _ <&3; kill -9 0 ) </dev/null >/dev/null 2>&1 4>&- &
  watcher=$!
fi
inner=$9
shift 9
if [ "$setpriv" = - ]; then ( eval "$inner" ); else ( down /bin/sh -c "$inner" program "$@" ); fi
status=$?
exec </dev/null >/dev/null 4>&-
times >&3
for other in $watcher $relay; do
  { kill -9 "$other"; wait "$other"; } 2>/dev/null
done
echo "exit $status" >&3
read -r _ <&3
[ $$ = 1 ] || kill -9 0
`;

/** What becomes the program, as whoever that runs as. */
const INNER = `
{
  ulimit -c 0
  ulimit -n "$1"
  ulimit -f "$2"
  ulimit -S -t "$3"
  ulimit -H -t "$4"
  [ "$5" = - ] || ulimit -p "$5" || ulimit -u "$5"
} 2>/dev/null
shift 5
trap 'echo unstarted 2>/dev/null >&3' EXIT
{ exec "$@"; } 2>&4 3>&- 4>&-
`;

export type Launch = {
  file: string;
  args: readonly string[];
  limits: Pick<Limits, 'cpuMs'>;
  /** Whether it may be faster than the relay: whatever is no interpreter. */
  isNative?: boolean;
};

/** What leads from the port that the program is told to the socket of its gateway: a program and two arguments. */
export type Relay = readonly [program: string, from: string, to: string];

/** The whole command line. */
export function launchArgs({ file, args, limits, isNative = false }: Launch, way: Way, relay: Relay | null): string[] {
  const cpuSeconds = Math.ceil(limits.cpuMs / 1000) + 1;
  const isEndless = !Number.isFinite(cpuSeconds);
  const belts = [
    OPEN_FILES,
    FILE_BYTES / 512,
    isEndless ? 'unlimited' : cpuSeconds,
    isEndless ? 'unlimited' : cpuSeconds + 2,
    way.countsOwnProcesses ? 2 * MOST_PROCESSES : '-',
  ];
  const { setpriv, identity } = way.stepsDown ?? { setpriv: '-', identity: '-' };
  const outside = [
    ...[setpriv, identity, settingsOf(way)],
    ...[relay !== null && isNative ? 'wait' : '-', way.diesWithUs ? '-' : 'watch'],
    ...(relay ?? ['-', '-', '-']),
  ];
  const words = [...outside, INNER, ...belts].map(String);
  return [...way.prefix, '/bin/sh', '-c', SCRIPT, 'launcher', ...words, file, ...args];
}

/** Of the launcher's own namespaces. A program can change them back where it is the same user: they are no wall. */
function settingsOf({ boundsNumbers, hasOwnIpc }: Way): string {
  return [...(boundsNumbers ? [`pid_max=${PID_MAX}`] : []), ...(hasOwnIpc ? [`shmall=${SHARED_PAGES}`] : [])].join(' ');
}

/** How the program ended, as far as the launcher has told; null as long as it has not. */
export function readReport(text: string): Ending | null {
  const match = ENDING.exec(text);
  if (match === null) return null;
  const [, unstarted, said = '', userMin, userSec, systemMin, systemSec, status = ''] = match;
  const code = Number(status);
  return {
    code,
    unstarted: unstarted !== undefined,
    // The shell may also have something to say about what is ours.
    signal: said === '' || code <= 128 ? null : signalName(code - 128),
    cpuMs: Math.round(ms(userMin, userSec) + ms(systemMin, systemSec)),
  };
}

const ENDING = /^ready\n(unstarted\n)?(.*?)\d+m[\d.,]+s \d+m[\d.,]+s\n(\d+)m([\d.,]+)s (\d+)m([\d.,]+)s\nexit (\d+)\n/s;

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

/**
 * What no plugin needs more of, whatever its limits. The kernel enforces it, but for processes: those the meter counts
 * and ends the run. Until it gets to look, the kernel holds a fork bomb to twice as many, or for root, whom it does
 * not count, to the numbers there are for processes and threads (of which the first 300 are not given out again).
 */
export const MOST_PROCESSES = 256;
export const FILE_BYTES = 1 << 30;
const OPEN_FILES = 1024;
const PID_MAX = 2048;
/** Of System V's shared memory, which outlives processes and counts for none. */
const SHARED_PAGES = 4096;
