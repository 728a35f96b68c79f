import { randomUUID } from 'node:crypto';
import { chmod, cp, lstat, mkdir, readFile, realpath, rename, rm } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * What plugins find of the packages of their application: those that many of them count on, in the versions that it has. A
 * plugin that needs another one brings it along.
 */
const PACKAGES = [
  'express',
  'body-parser',
  'multer',
  'mime-types',
  'sanitize-filename',
  'write-file-atomic',
  'node-fetch',
  'chalk',
  'punycode',
] as const;

/** What all residents in Node share, where whoever they run as may read it; none of them is to write there. */
export type Shelf = {
  /** To be started with Node. Beside it lie the files that it imports: a program needs the folder. */
  host: string;
  /**
   * What the root of a plugin has besides its own files: `package.json`, `src`, `node_modules` and `plugins/package.json`,
   * each for itself to be bound or linked under the same name.
   */
  root: string;
};

const GUEST = fileURLToPath(new URL('./guest/', import.meta.url));
const NEVER_RUN = ['.map', '.md', '.markdown', '.ts', '.mts', '.cts', '.flow'];

/** Lays it out in a folder of ours. Done once: where it lies already it is used as it is. */
export async function shelfIn(folder: string): Promise<Shelf> {
  const place = join(folder, 'node');
  const shelf = { host: join(place, 'host', 'host.mjs'), root: join(place, 'root') };
  if ((await lstat(place).catch(() => null)) !== null) return shelf;
  const passing = join(folder, `node-${randomUUID()}`);
  await mkdir(passing, { mode: 0o755 });
  const isShared = join(GUEST, 'root');
  await cp(GUEST, join(passing, 'host'), { recursive: true, filter: (from) => from !== isShared });
  await cp(isShared, join(passing, 'root'), { recursive: true });
  for (const { from, to } of await placed(PACKAGES)) {
    const filter = (file: string) => file === from || isRun(file.slice(from.length + 1));
    await cp(from, join(passing, 'root', to), { recursive: true, filter });
  }
  await chmod(passing, 0o755);
  await rename(passing, place).catch(async (error: unknown) => {
    await rm(passing, { recursive: true, force: true });
    // Somebody else was quicker.
    if ((await lstat(place).catch(() => null)) === null) throw error;
  });
  return shelf;
}

function isRun(file: string): boolean {
  return !file.split('/').includes('node_modules') && !NEVER_RUN.includes(extname(file));
}

type Placed = { name: string; from: string; to: string };

/** Each package with all that it needs, at places where each finds what it would find where they come from. */
async function placed(names: readonly string[]): Promise<Placed[]> {
  const places = new Map<string, Placed>();
  const queue: Placed[] = [];
  const place = (name: string, from: string, within: string) => {
    const found = { name, from, to: join(within, 'node_modules', name) };
    places.set(found.to, found);
    queue.push(found);
  };
  for (const name of names) place(name, await packageFolder(name, GUEST), '');
  for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
    for (const name of await needsOf(at.from)) {
      const from = await packageFolder(name, at.from);
      const known = withinReach(at.to, name).map((to) => places.get(to));
      const nearest = known.find((one) => one !== undefined);
      if (nearest === undefined) place(name, from, '');
      else if (nearest.from !== from) place(name, from, at.to);
    }
  }
  return [...places.values()];
}

/** Where a package at this place looks for another one, the nearest first. */
function withinReach(to: string, name: string): string[] {
  const parts = to.split('node_modules/');
  return parts.map((_, gone) => join(parts.slice(0, parts.length - gone).join('node_modules/'), 'node_modules', name));
}

async function needsOf(folder: string): Promise<string[]> {
  const { dependencies = {} } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
    dependencies?: Record<string, string>;
  };
  return Object.keys(dependencies);
}

async function packageFolder(name: string, from: string): Promise<string> {
  for (let at = from; ; at = dirname(at)) {
    const folder = join(at, 'node_modules', name);
    if ((await lstat(join(folder, 'package.json')).catch(() => null)) !== null) return await realpath(folder);
    if (at === dirname(at)) throw new Error(`The package ${name} is not installed: npm ci`);
  }
}
