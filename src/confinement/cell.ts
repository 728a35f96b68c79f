import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { FILTER_FD } from './bubblewrap.ts';
import { writeEtc } from './etc.ts';
import { openGround } from './ground.ts';
import { NOBODY, passingIdentity } from './identity.ts';
import { STEP_DOWN } from './launcher.ts';
import { type Machine, wayInto, withFilter } from './machine.ts';
import type { Bind, Room } from './room.ts';
import type { Tier } from './tier.ts';

/**
 * Rooms without any network, for programs of ours that others' code may break out into. Nothing of a plugin is in there
 * when it starts, so nobody has to be held back; and it ends by itself when we do, even where the kernel does not see to it.
 *
 * The first process is a shell here, too: signals that a first process does not handle do not reach it, and this one is
 * to die of what V8 dies of.
 */
export class Cells implements AsyncDisposable {
  readonly tier: Tier;
  readonly #machine: Machine;
  readonly #folder: string;
  readonly #etc: string;
  readonly #binds: readonly Bind[];

  private constructor(machine: Machine, folder: string, etc: string, binds: readonly Bind[]) {
    this.tier = machine.tier;
    this.#machine = machine;
    this.#folder = folder;
    this.#etc = etc;
    this.#binds = binds;
  }

  /** `binds` is what the programs need of this machine beside the system's own. */
  static async open(machine: Machine, binds: readonly Bind[]): Promise<Cells> {
    const folder = await openGround('cells');
    const outermostFirst = [...binds].sort((one, other) => one.path.length - other.path.length);
    return new Cells(machine, folder, await writeEtc(folder, NOBODY), outermostFirst);
  }

  /** Starts it, with `stdio` for its first descriptors: five at most. `reads` is there for this one alone. */
  spawn(
    command: readonly string[],
    stdio: readonly ('ignore' | 'pipe')[],
    env: Record<string, string>,
    reads: readonly string[],
  ): ChildProcess {
    const identity = passingIdentity();
    const binds = [...this.#binds, ...reads.map((path) => ({ path, mode: 'ro' as const }))];
    const room: Room = { scratch: null, binds, folders: [], gateway: null, identity };
    const { prefix, stepsDown } = wayInto(this.#machine, room, this.#etc);
    const { setpriv, identity: user } = stepsDown ?? { setpriv: '-', identity: '-' };
    const words = [...prefix, '/bin/sh', '-c', LAUNCH, 'cell', setpriv, String(user), DATA_KB, ...command];
    return withFilter(this.#machine, 'executor', (filter) => {
      const padding = Array.from({ length: FILTER_FD - stdio.length }, () => 'ignore' as const);
      const all: StdioOptions = filter.length === 0 ? [...stdio] : [...stdio, ...padding, ...filter];
      // In a session of its own: a signal to us from a terminal is none to what stands between it and us.
      return spawn(words[0] as string, words.slice(1), { stdio: all, env, cwd: '/', detached: true });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}

// Address space for data. Each isolate reserves about half a GB of it and uses a hundredth; what goes beyond this fails
// inside with a RangeError. What is really used is watched from outside.
const DATA_KB = String(64 * 1024 * 1024);

/** Fixed text: what varies are its arguments, and none of them comes from a plugin. */
const LAUNCH = `
ulimit -c 0
ulimit -f 0
ulimit -d "$3" 2>/dev/null
setpriv=$1 user=$2
shift 3
{ ulimit -p 512 || ulimit -u 512; } 2>/dev/null
${STEP_DOWN}
( down "$@" )
exit $?
`;
