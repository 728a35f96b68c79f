import { type ChildProcess, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Cells } from '../../src/confinement/cell.ts';
import { findMachine, type Machine } from '../../src/confinement/machine.ts';
import { isOpenToAll } from '../../src/confinement/on-path.ts';
import { type Bind, outsideOfSystem } from '../../src/confinement/room.ts';
import { hasOwnFiles, type TierWish } from '../../src/confinement/tier.ts';

/** What executors are confined with: plugin code finds itself behind this if it gets out of V8. */
export type Walls = AsyncDisposable & {
  /** For people. */
  tier: string;
  /** Whether somebody asked for just this. */
  isWish: boolean;
  /** What Node is told of it. */
  permissions: readonly string[];
  /** Starts an executor, whose first descriptors are as `stdio` says. `reads` is what it needs beside its own. */
  spawn(
    command: readonly string[],
    stdio: readonly ('ignore' | 'pipe')[],
    env: Record<string, string>,
    reads?: readonly string[],
  ): ChildProcess;
  /** The signal that an exit code stands for where somebody stands between; null where it stands for itself. */
  signalOf(exitCode: number | null): string | null;
};

/** None: a child process like any other. */
export const NO_WALLS: Walls = {
  tier: 'child process',
  isWish: false,
  permissions: [],
  spawn: ([file = '', ...args], stdio, env) => spawn(file, args, { stdio: [...stdio], env, cwd: '/' }),
  signalOf: () => null,
  [Symbol.asyncDispose]: async () => {},
};

export type WallOptions = { nodePath?: string; compileCache?: string | undefined };

/** As strong as this machine has them. Throws `sandbox_unavailable` where it does not have what is wished for. */
export async function raiseWalls(tier: TierWish, options: WallOptions = {}): Promise<Walls> {
  const machine = await findMachine(tier);
  return process.platform === 'win32' ? NO_WALLS : await OfMachine.open(machine, options, tier !== 'auto');
}

/** The sandbox of this machine, with no network at all, and in it Node's own permission model. */
class OfMachine implements Walls {
  readonly tier: string;
  readonly isWish: boolean;
  readonly permissions: readonly string[];
  readonly #cells: Cells;

  private constructor(cells: Cells, permissions: readonly string[], isWish: boolean) {
    this.tier = cells.tier;
    this.isWish = isWish;
    this.permissions = permissions;
    this.#cells = cells;
  }

  /** `compileCache` is read and never written to: whoever could would write what this service runs next. */
  static async open(
    found: Machine,
    { nodePath = process.execPath, compileCache }: WallOptions,
    isWish: boolean,
  ): Promise<OfMachine> {
    // Where files are not laid out anew, another user may not get to ours.
    const isReached = hasOwnFiles(found.tier) || ((await isOpenToAll(nodePath)) && (await isOpenToAll(HERE)));
    const machine = isReached ? found : { ...found, setpriv: null };
    const cache: Bind[] = compileCache === undefined ? [] : [{ path: compileCache, mode: 'ro' }];
    const ours = [...packages(), ...cache];
    const permissions = [
      '--permission',
      '--allow-addons',
      // What looks for the addon looks for this as well.
      ...[...ours.flatMap(({ path, from = path }) => [path, from]), '/etc/alpine-release'].map(
        (path) => `--allow-fs-read=${path}`,
      ),
      // Node does not read a cache that it may not write to. That nobody can write to it the mount sees to.
      ...(compileCache === undefined || !hasOwnFiles(machine.tier) ? [] : [`--allow-fs-write=${compileCache}`]),
    ];
    return new OfMachine(await Cells.open(machine, [...outsideOfSystem(nodePath), ...ours]), permissions, isWish);
  }

  spawn(...[command, stdio, env, reads = []]: Parameters<Walls['spawn']>): ChildProcess {
    return this.#cells.spawn(command, stdio, env, reads);
  }

  signalOf(exitCode: number | null): string | null {
    if (exitCode === null || exitCode <= 128) return null;
    return Object.entries(constants.signals).find(([, number]) => number === exitCode - 128)?.[0] ?? null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cells[Symbol.asyncDispose]();
  }
}

const HERE = fileURLToPath(new URL('.', import.meta.url)).replace(/\/$/, '');
const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** What of ours an executor reads. Packages are put where they are looked for, wherever they lie. */
function packages(): Bind[] {
  const isolatedVm = dirname(createRequire(import.meta.url).resolve('isolated-vm/package.json'));
  const loader = dirname(createRequire(`${isolatedVm}/package.json`).resolve('node-gyp-build/package.json'));
  return [
    { path: HERE, mode: 'ro' },
    { path: join(ROOT, 'package.json'), mode: 'ro' },
    { path: join(ROOT, 'node_modules', 'isolated-vm'), from: isolatedVm, mode: 'ro' },
    { path: join(ROOT, 'node_modules', 'node-gyp-build'), from: loader, mode: 'ro' },
  ];
}
