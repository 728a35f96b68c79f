import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { type Bind, INSIDE, isOfSystem } from '../confinement/room.ts';
import { Failure } from '../core/failure.ts';
import type { Grant } from '../core/grant.ts';
import type { Plugin } from '../core/plugin.ts';
import type { Command } from './command.ts';
import type { Belongings } from './rooms.ts';

/**
 * What of this machine a program of a plugin finds: its own folder at its own place, what it is run with, what it was
 * granted; and what its neighbours offer to be imported, but not the neighbours.
 */
export async function bindsOf(
  { dir, realDir, ownDir }: Plugin,
  command: Command,
  grant: Grant,
  beside: readonly Bind[],
): Promise<Bind[]> {
  // A copy of an archive is its own to write to. A plain folder is read again for its manifests: whoever could write
  // there could be any other plugin next time, with what that was granted.
  const own: Bind =
    ownDir === undefined
      ? { path: dir, from: realDir, mode: 'ro' }
      : { path: join(dir, relative(realDir, ownDir)), from: ownDir, mode: 'rw' };
  const binds: Bind[] = [
    ...(await Promise.all(command.needs.filter((path) => path !== INSIDE && !isOfSystem(path)).map(ofThisMachine))),
    ...beside,
    ...(await granted(grant)),
  ];
  return outermostFirst([...binds, own]);
}

/** The same for whoever has folders of its own instead. */
export async function bindsOfOwn(own: Belongings, command: Command, grant: Grant): Promise<Bind[]> {
  const binds: Bind[] = [
    ...(await Promise.all(command.needs.filter((path) => path !== INSIDE && !isOfSystem(path)).map(ofThisMachine))),
    ...own.files,
    ...(await granted(grant)),
  ];
  return outermostFirst([...binds, ...own.folders.map((one): Bind => ({ ...one, mode: 'rw' }))]);
}

/** What several asked for is there once. */
function outermostFirst(binds: readonly Bind[]): Bind[] {
  const byPath = new Map(binds.map((bind) => [bind.path, bind]));
  return [...byPath.values()].sort((one, other) => one.path.split('/').length - other.path.split('/').length);
}

/** The path of a folder that was granted must be its own: behind a link could be anything by now. */
async function granted({ files }: Grant): Promise<Bind[]> {
  const binds: Bind[] = [];
  for (const { path, mode } of files) {
    // What is below a folder that it may write to is there already; and what stands there, it may have put there.
    if (files.some((other) => other.mode === 'rw' && path.startsWith(`${other.path}/`))) continue;
    const real = await realpath(path).catch(() => null);
    if (real === null) continue;
    if (real !== path)
      throw new Failure('plugin_boot_failed', `It was granted ${path}, which is a link to somewhere else`);
    binds.push({ path, mode });
  }
  return binds;
}

/** What is behind a link is bound in its place. */
async function ofThisMachine(path: string): Promise<Bind> {
  return { path, from: await realpath(path).catch(() => path), mode: 'ro' };
}

/** Modules and packages beside the plugin, for what authors share, e.g. `py_common`. A neighbour has a manifest. */
export async function importableBeside({ dir, ownDir }: Plugin): Promise<Bind[]> {
  // What came in an archive has all of that to itself.
  return ownDir === undefined ? await importable(dirname(dir), basename(dir)) : [];
}

async function importable(folder: string, except: string): Promise<Bind[]> {
  const binds: Bind[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    if (entry.name === except || !/^[A-Za-z_]\w*(\.py)?$/.test(entry.name) || binds.length >= MOST_IMPORTABLE) continue;
    const path = join(folder, entry.name);
    const isOffered = entry.isFile() ? entry.name.endsWith('.py') : entry.isDirectory() && (await isPackage(path));
    if (isOffered) binds.push({ path, mode: 'ro' });
  }
  return binds;
}

async function isPackage(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => []);
  return names.some((name) => name.endsWith('.py')) && !names.some((name) => /\.(yml|yaml)$|^plugin\.json$/.test(name));
}

const MOST_IMPORTABLE = 64;
