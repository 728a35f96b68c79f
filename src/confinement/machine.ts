/**
 * What this machine has to confine programs with, found out by trying, once at the start. The strongest tier that works
 * is the one that is used; see tier.ts for what they are.
 */
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Failure } from '../core/failure.ts';
import { bubblewrapArgs, systemArgs } from './bubblewrap.ts';
import { writeEtc } from './etc.ts';
import { NOBODY } from './identity.ts';
import { landlockArgs } from './landlock.ts';
import { onPath } from './on-path.ts';
import type { Room } from './room.ts';
import { type FilterKind, filterFile } from './seccomp.ts';
import { spawned } from './spawned.ts';
import { hasOwnFiles, TIERS, type Tier, type TierWish } from './tier.ts';

export type Machine = {
  tier: Tier;
  /** Whether we are root, and programs can be users of their own. */
  isRoot: boolean;
  /** Whether namespaces are made as root, or as the user that a program is: some containers have a root who may not. */
  makesRooms: 'as root' | 'as user';
  /** Programs of this machine; null where they are missing. */
  bwrap: string | null;
  setpriv: string | null;
  unshare: string | null;
  socat: string | null;
  /** What every room has of this machine, as arguments of bubblewrap. */
  system: readonly string[];
  /** The system-call filter; null where there is none for this processor. */
  filter: string | null;
  /** For people: what is there, or why there is no more. */
  because: string;
};

/** How a program gets into its room. */
export type Way = {
  /** The command line before the launcher's own; the first is a program. */
  prefix: readonly string[];
  /** What makes the program somebody else than the launcher; null where that is done, or cannot be. */
  stepsDown: { setpriv: string; identity: number } | null;
  /** Whether RLIMIT_NPROC counts the processes of this program's user alone. */
  countsOwnProcesses: boolean;
  /** Whether the launcher can bound the numbers that its namespace has for processes. */
  boundsNumbers: boolean;
  /** Whether what it keeps in the memory of System V is nobody else's, and goes with it. */
  hasOwnIpc: boolean;
  /** Whether its folders for temporary files are in memory, and nobody else's. */
  hasOwnFiles: boolean;
  /** Whether the launcher is the first process of its world, which takes all others with it. */
  isFirst: boolean;
  /** Whether what is started dies with us by itself. */
  diesWithUs: boolean;
};

/** Throws a Failure where a wish cannot be met. */
export async function findMachine(wish: TierWish, path = process.env.PATH): Promise<Machine> {
  const isRoot = process.getuid?.() === 0;
  const found = {
    isRoot,
    bwrap: await really('bwrap', path),
    setpriv: await really('setpriv', path),
    unshare: await really('unshare', path),
    socat: await really('socat', path),
    filter: filterFile('program'),
    system: process.platform === 'linux' ? systemArgs() : [],
  };
  const reasons: string[] = [];
  for (const tier of wish === 'auto' ? TIERS : [wish]) {
    for (const variant of variantsOf(tier, isRoot)) {
      const machine: Machine = { ...found, tier, ...variant, because: '' };
      const why = await missing(machine);
      if (why === null) return { ...machine, because: [WHAT[tier], ...reasons].join('; ') };
      if (!reasons.includes(why)) reasons.push(why);
    }
  }
  throw new Failure('sandbox_unavailable', `Plugins must run at the tier ${wish}, and ${reasons.join('; ')}`);
}

/** `etc` is as in bubblewrap.ts. */
export function wayInto(machine: Machine, room: Room, etc: string): Way {
  const { tier, isRoot, setpriv, unshare, bwrap } = machine;
  const stepsDown = isRoot && setpriv !== null ? { setpriv, identity: room.identity } : null;
  const own = { hasOwnIpc: true, hasOwnFiles: true };
  const first = { isFirst: true, diesWithUs: true, boundsNumbers: false };
  if (hasOwnFiles(tier) && bwrap !== null) {
    const furnished = bubblewrapArgs({ ...machine, bwrap }, { ...room, etc }, machine.filter !== null);
    if (stepsDown === null || machine.makesRooms === 'as root') {
      return { ...first, prefix: furnished, stepsDown, countsOwnProcesses: true, ...own };
    }
    const user = String(room.identity);
    const down = [stepsDown.setpriv, '--reuid', user, '--regid', user, '--clear-groups', '--bounding-set=-all', '--'];
    return { ...first, prefix: [...down, ...furnished], stepsDown: null, countsOwnProcesses: true, ...own };
  }
  const isFenced = tier === 'landlock' && setpriv !== null;
  const noMore = isRoot || setpriv === null ? [] : [setpriv, ...NO_MORE];
  const inside = isFenced ? landlockArgs(machine, room) : noMore;
  const rest = { stepsDown: isFenced ? null : stepsDown, countsOwnProcesses: stepsDown !== null, hasOwnFiles: false };
  if (tier === 'process-group' || unshare === null) {
    return { ...rest, prefix: inside, isFirst: false, diesWithUs: false, boundsNumbers: false, hasOwnIpc: false };
  }
  // Dies with us, and its namespace with it. It holds for whoever is started by our main thread.
  const leash = setpriv === null ? [] : [setpriv, '--pdeathsig', 'KILL', '--'];
  const user = isRoot ? [] : ['--user', '--map-current-user'];
  const alone = [unshare, ...user, '--pid', '--ipc', '--fork', '--kill-child', '--mount-proc', '--'];
  return {
    ...first,
    prefix: [...leash, ...alone, ...inside],
    stepsDown: rest.stepsDown,
    countsOwnProcesses: !isRoot || rest.countsOwnProcesses,
    boundsNumbers: isRoot && !isFenced && hasOwnPidMax(),
    diesWithUs: leash.length > 0,
    hasOwnIpc: true,
    hasOwnFiles: false,
  };
}

/** The command line and what has to be opened for it. */
export function withFilter<T>({ tier }: Machine, kind: FilterKind, use: (descriptors: (number | 'ignore')[]) => T): T {
  const filter = hasOwnFiles(tier) ? filterFile(kind) : null;
  if (filter === null) return use([]);
  // It is read to its end, so everybody needs one of his own.
  const descriptor = openSync(filter, 'r');
  try {
    return use([descriptor]);
  } finally {
    closeSync(descriptor);
  }
}

/** What is tried of a tier, the better first. */
function variantsOf(tier: Tier, isRoot: boolean): (Pick<Machine, 'makesRooms'> & Partial<Machine>)[] {
  const makesRooms = isRoot ? 'as root' : 'as user';
  if (hasOwnFiles(tier) && isRoot) return [{ makesRooms }, { makesRooms: 'as user' }];
  // Its files are out of bounds also where nobody may make a pid namespace.
  if (tier === 'landlock') return [{ makesRooms }, { makesRooms, unshare: null }];
  return [{ makesRooms }];
}

/** Where a program lies in truth: that is where it is found in a room, too. */
async function really(name: string, path: string | undefined): Promise<string | null> {
  const file = await onPath(name, path);
  return file === null ? null : await realpath(file).catch(() => file);
}

/** Why a tier cannot be used here; null where it can. */
async function missing(machine: Machine): Promise<string | null> {
  const { tier, bwrap, setpriv, unshare, isRoot } = machine;
  if (tier === 'process-group') return null;
  if (process.platform !== 'linux') return `${process.platform} has no namespaces`;
  if (hasOwnFiles(tier)) {
    if (bwrap === null) return 'there is no bubblewrap on this machine (npm run setup installs it)';
    if (isRoot && setpriv === null) return 'there is no setpriv(1) on this machine, which belongs to util-linux';
  }
  if (tier === 'landlock' && setpriv === null) return 'there is no setpriv(1) on this machine';
  if (tier === 'pid-namespace' && unshare === null) return 'there is no unshare(1) on this machine';
  const complaint = await tryOut(machine);
  return complaint === null ? null : `${tier} was refused here (${complaint})`;
}

/** Starts a shell that way, and asks whether it is where it should be; null where it is, and else what was said. */
async function tryOut(machine: Machine): Promise<string | null> {
  const folder = await mkdtemp(join(tmpdir(), 'isopod-try-'));
  try {
    const room: Room = { scratch: folder, binds: [], folders: [], gateway: null, identity: NOBODY };
    const { prefix, isFirst } = wayInto(machine, room, await writeEtc(folder, NOBODY));
    const asks = isFirst ? 'echo $$; test -r /proc/self/stat' : 'echo 1';
    return await withFilter(machine, 'program', async (filter) => {
      const said = await spawned(
        [...prefix, '/bin/sh', '-c', asks],
        ['ignore', 'pipe', 'pipe', 'ignore', 'ignore', ...filter],
      );
      return said.code === 0 && said.stdout.trim() === '1'
        ? null
        : said.stderr.trim().replace(/\s+/g, ' ').slice(0, 200) || 'it does not start';
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Since Linux 6.14 the highest pid is a setting of each pid namespace; before, of the whole machine. */
function hasOwnPidMax(): boolean {
  const [, major = 0, minor = 0] = /^(\d+)\.(\d+)/.exec(release())?.map(Number) ?? [];
  return major > 6 || (major === 6 && minor >= 14);
}

const NO_MORE = ['--no-new-privs', '--inh-caps=-all', '--'];

const WHAT: Record<Tier, string> = {
  bubblewrap: 'each program has files, a network and processes of its own, and a filter of system calls',
  'bubblewrap-container':
    'each program has files, a network and processes of its own; the names of other processes of this container can be seen',
  landlock: 'the files of this machine are out of bounds to programs; its network is not',
  'pid-namespace':
    'each run has a pid namespace of its own, which the kernel empties when the run or this service ends',
  'process-group': 'a run is ended through its process group, its descendants and its mark',
};
