import { execFile } from 'node:child_process';
import { Failure } from '../../src/core/failure.ts';
import { onPath } from './programs.ts';

/**
 * How sure we are that nothing of a plugin is left when its run ends.
 *
 * `pid-namespace`: the plugin's processes live in a namespace of their own. When its first process dies, the kernel
 * kills all others, whatever they did to hide.
 * `process-group`: the group is killed, then every process that descends from the plugin or carries the mark of its
 * run in its environment. A process that left its parents and its session and wiped its environment is not found.
 */
export type Isolation = 'pid-namespace' | 'process-group';

/** `auto` takes the best there is; a name takes that one, and runs nothing where the machine does not have it. */
export type IsolationWish = Isolation | 'auto';

export type Walls = {
  isolation: Isolation;
  /** What stands before the launcher's own command line; the first is a program. */
  prefix: readonly string[];
  /** Whether RLIMIT_NPROC counts the processes of this tree alone, instead of all of the user's. */
  countsOwnProcesses: boolean;
  /** For people: what is there, or why there is no more. */
  because: string;
};

/** Finds out, by trying, what this machine allows. Throws a Failure where a wish cannot be met. */
export async function findWalls(wish: IsolationWish): Promise<Walls> {
  if (wish === 'process-group') return group('the configuration asks for no more');
  const { unshare, because } = await findUnshare();
  if (unshare !== null) return unshare;
  if (wish === 'auto') return group(because);
  throw new Failure('sandbox_unavailable', `Plugins must run in a pid namespace, and ${because}`);
}

async function findUnshare(): Promise<{ unshare: Walls | null; because: string }> {
  if (process.platform !== 'linux') return { unshare: null, because: `${process.platform} has no pid namespaces` };
  const program = await onPath('unshare', process.env.PATH);
  if (program === null) return { unshare: null, because: 'there is no unshare(1) on this machine' };
  // A user namespace is what lets somebody who is not root have the other ones.
  const users =
    process.getuid?.() === 0
      ? [[]]
      : [
          ['--user', '--map-current-user'],
          ['--user', '--map-root-user'],
        ];
  const leash = await findLeash();
  for (const user of users) {
    const prefix = [...leash, program, ...user, '--pid', '--fork', '--kill-child', '--mount-proc', '--'];
    if (!(await isFirst(prefix))) continue;
    const because = leash.length > 0 ? `${EMPTIED} or this service does` : `${EMPTIED}; ${UNLEASHED}`;
    return { unshare: { isolation: 'pid-namespace', prefix, countsOwnProcesses: user.length > 0, because }, because };
  }
  return { unshare: null, because: 'this machine does not let us make one (unshare(1) was refused)' };
}

/**
 * Lets unshare die with us, and then its namespace with it. The launcher has a watcher for that, which is inside of the
 * namespace, where a plugin can kill it; this is outside. It holds for whoever is started by our main thread.
 */
async function findLeash(): Promise<string[]> {
  const program = await onPath('setpriv', process.env.PATH);
  if (program === null) return [];
  const leash = [program, '--pdeathsig', 'KILL', '--'];
  // There are some that do not know this option.
  return (await isUp([...leash, '/bin/sh', '-c', 'echo up'], 'up')) ? leash : [];
}

/** Whether a shell below `prefix` is the first process of its world. */
function isFirst(prefix: readonly string[]): Promise<boolean> {
  return isUp([...prefix, '/bin/sh', '-c', 'echo $$; test -r /proc/1/stat'], '1');
}

function isUp([program = '', ...args]: readonly string[], says: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  execFile(program, args, { timeout: 5_000, killSignal: 'SIGKILL', env: {} }, (error, stdout) =>
    resolve(error === null && stdout.trim() === says),
  );
  return promise;
}

function group(why: string): Walls {
  return {
    isolation: 'process-group',
    prefix: [],
    countsOwnProcesses: false,
    because:
      `a run is ended through its process group, its descendants and its mark (${why}): ` +
      'a plugin that goes out of its way to hide a process can leave it behind',
  };
}

const EMPTIED = 'each run has a pid namespace of its own, which the kernel empties when the run ends';
const UNLEASHED =
  'there is no setpriv(1) here that knows --pdeathsig, so a plugin that kills what watches over it ' +
  'can outlive a service that is killed itself';
