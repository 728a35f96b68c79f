import { lstat, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Bind, INSIDE } from '../../src/confinement/room.ts';
import { Failure } from '../../src/core/failure.ts';
import type { Home } from '../../src/core/resident.ts';
import type { Shelf } from './modules.ts';
import type { Wire } from './wire.ts';

/** Where a plugin finds what, as it sees it. Contract: SillyTavern, which runs in its own folder, its plugins in `plugins`. */
export type Places = {
  /** Its application's folder. */
  root: string;
  /** Its own files: a folder of `plugins`, or `plugins` where it is one file in there. */
  code: string;
  /** One folder for each user. */
  data: string;
  host: string;
  wire: string;
  temporary: string;
  /** What links in the root lead to. */
  readable: readonly string[];
  binds: readonly Bind[];
};

export type Given = { home: Home; shelf: Shelf; wire: Wire; isFile: boolean };

/** Where it is in a container of its application, which is where those look who were written for one. */
const ROOT = '/home/node/app';
const HOST = '/run/isopod/host';
const WIRE = '/run/isopod/wire.sock';
/** Says which kind of module a file is whose name does not: beside the folders of plugins. A single file has it already. */
const BESIDE = 'package.json';
/** What all of them have in the root. */
const SHARED = ['package.json', 'src', 'node_modules'] as const;

/** In a room of its own. */
export function placedInside({ home, shelf, wire, isFile }: Given): Places {
  const plugins = join(ROOT, 'plugins');
  return {
    root: ROOT,
    code: isFile ? plugins : join(plugins, basename(home.code)),
    data: join(ROOT, 'data'),
    host: join(HOST, basename(shelf.host)),
    wire: WIRE,
    temporary: INSIDE,
    readable: [],
    binds: [
      { path: HOST, from: dirname(shelf.host), mode: 'ro' },
      { path: WIRE, from: wire.path, mode: 'ro' },
      ...SHARED.map((name): Bind => ({ path: join(ROOT, name), from: join(shelf.root, name), mode: 'ro' })),
      ...(isFile
        ? []
        : [{ path: join(plugins, BESIDE), from: join(shelf.root, 'plugins', BESIDE), mode: 'ro' } as const]),
    ],
  };
}

/**
 * Where no room can be laid out, its files are where they lie. What is above them is ours, and there the rest of the root
 * is linked: what a plugin looks for beside `plugins` is found beside the folder that its copy is in.
 */
export async function placedOutside({ home, shelf, wire, isFile }: Given): Promise<Places> {
  const root = isFile ? dirname(home.code) : dirname(dirname(home.code));
  for (const name of SHARED) await linked(join(root, name), join(shelf.root, name));
  if (!isFile) await linked(join(dirname(home.code), BESIDE), join(shelf.root, 'plugins', BESIDE));
  return {
    root,
    code: home.code,
    data: home.data,
    host: shelf.host,
    wire: wire.path,
    // One of its own that is known before it runs; the host makes it.
    temporary: join(home.data, '_tmp'),
    readable: [dirname(dirname(shelf.host))],
    binds: [],
  };
}

async function linked(path: string, target: string): Promise<void> {
  try {
    if ((await lstat(path).catch(() => null)) !== null) await rm(path, { recursive: true, force: true });
    await symlink(target, path);
  } catch (cause) {
    throw new Failure('plugin_boot_failed', 'The folder of the plugin cannot be used', { cause });
  }
}
