/**
 * The folders of residents, below those of their tenants: `residents/<plugin>/`, in which `code/<folder>/` is a copy of
 * the plugin's folder, `data/` is what lasts, and `stamp` says of which state of the plugin the copy is. Of a plugin that
 * is one file among others, `code/plugins/` has that file alone.
 *
 * A resident writes as it likes into the copy and into `data`, and may own both; all above them is ours. So nothing in
 * there is ever read or followed: a copy is made beside and renamed into place, and what goes is renamed, and removed by
 * a process that follows nothing. `stamp` is taken away before a copy is replaced and written when the new one is there:
 * whatever ends us in between, a copy without a stamp is made again.
 */
import { createHash } from 'node:crypto';
import { lstat, mkdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Failure } from '../core/failure.ts';
import { isServer, type Plugin } from '../core/plugin.ts';
import type { Home } from '../core/resident.ts';
import { COPY_LIMITS, type CopyLimits, copyFile, copyFolder, TooMuch } from '../packages/folder-copy.ts';
import { stampOf, stampOfFile } from '../packages/folder-stamp.ts';
import { passingName } from '../packages/folders.ts';
import type { Remover } from '../packages/remover.ts';

/** Whoever a resident runs as gets to its own folders by name, and sees no others. */
const CLOSED = 0o711;

export class Homes {
  readonly #remover: Remover;
  readonly #limits: CopyLimits;
  /** One after the other for each home: whoever comes second finds what the first has made. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(remover: Remover, limits: Partial<CopyLimits> = {}) {
    this.#remover = remover;
    this.#limits = { ...COPY_LIMITS, ...limits };
  }

  /**
   * Of a plugin as it is by now: its copy is made anew when its files have changed, and is as its program has left it
   * otherwise. Nothing of the plugin may run meanwhile. Rejects with a Failure where its folder cannot be copied.
   */
  async open(tenantDir: string, plugin: Plugin): Promise<Home> {
    const home = homeOf(tenantDir, plugin.id);
    return await this.#inTurn(home, async () => {
      try {
        return await this.#open(home, plugin);
      } catch (error) {
        throw unopened(error);
      }
    });
  }

  /** Removes all that a plugin has had, and kept. */
  async remove(tenantDir: string, plugin: string): Promise<void> {
    const home = homeOf(tenantDir, plugin);
    await this.#inTurn(home, () => this.#remover.remove(home));
  }

  async #open(home: string, plugin: Plugin): Promise<Home> {
    await mkdir(home, { recursive: true, mode: CLOSED });
    // What was left half done, and what was not removed when the service ended. In our turn, none of it is in use.
    for (const one of [home, dirname(home)]) await this.#remover.sweep(one);
    const { folder, file } = placeOf(plugin);
    const stamp = `${file === null ? folder : join(folder, file)}\n${plugin.stamp ?? (await stampedNow(plugin))}\n`;
    const [code, data] = [join(home, 'code', folder), join(home, 'data')];
    if (!(await isFolder(code)) || (await stampIn(home)) !== stamp) await this.#reset(home, stamp, plugin);
    if (!(await isFolder(data))) {
      await this.#remover.remove(data);
      await mkdir(data, { mode: 0o700 });
    }
    // What came with requests, and was left there by a program that has ended since; and what was no more than passing.
    if (isServer(plugin)) for (const name of PASSING) await this.#remover.remove(join(data, name));
    const realHome = await realpath(home);
    return { code: join(realHome, 'code', folder), data: join(realHome, 'data') };
  }

  async #reset(home: string, stamp: string, plugin: Plugin): Promise<void> {
    const unfinished = join(home, passingName());
    try {
      await mkdir(unfinished, { mode: CLOSED });
      await this.#copy(plugin, unfinished);
      await rm(join(home, STAMP), { force: true });
      await this.#remover.remove(join(home, 'code'));
      await rename(unfinished, join(home, 'code'));
    } catch (error) {
      await this.#remover.remove(unfinished);
      throw uncopied(error, this.#limits);
    }
    const passing = join(home, passingName());
    await writeFile(passing, stamp, { mode: 0o600, flag: 'wx' });
    await rename(passing, join(home, STAMP));
  }

  async #copy(plugin: Plugin, to: string): Promise<void> {
    const { folder, file } = placeOf(plugin);
    const place = join(to, folder);
    if (file === null) return await copyFolder(plugin.realDir, place, this.#limits);
    await copyFile(plugin.realDir, file, place, this.#limits);
    await writeFile(join(place, BESIDE_FILES.name), BESIDE_FILES.text, { mode: 0o644, flag: 'wx' });
  }

  async #inTurn<T>(home: string, does: () => Promise<T>): Promise<T> {
    const mine = (this.#turns.get(home) ?? Promise.resolve()).then(does);
    const over = mine.then(
      () => {},
      () => {},
    );
    this.#turns.set(home, over);
    try {
      return await mine;
    } finally {
      if (this.#turns.get(home) === over) this.#turns.delete(home);
    }
  }
}

/** Of programs that answer requests; see runtimes/node/places.ts and its host. */
const PASSING = ['_uploads', '_tmp'];
const STAMP = 'stamp';

/** Where those are that are one file each. */
const FILES = 'plugins';
/** Says which kind of module a file is whose name does not. Contract: SillyTavern `plugins/package.json`. */
const BESIDE_FILES = { name: 'package.json', text: '{ "type": "commonjs" }\n' };

/** Below `code`: a folder that is the plugin, or one in which it is a single file. */
function placeOf({ program, dir, folder = basename(dir) }: Plugin): { folder: string; file: string | null } {
  const file = program.runtime === 'node' ? program.file : null;
  return file === null ? { folder, file } : { folder: FILES, file };
}

async function stampedNow(plugin: Plugin): Promise<string> {
  const { file } = placeOf(plugin);
  return file === null ? await stampOf(plugin.realDir) : await stampOfFile(join(plugin.realDir, file));
}

/** No id is another's folder, or leads anywhere: the letters are for people, the hash is the name. */
function homeOf(tenantDir: string, id: string): string {
  const letters = id.replace(/[^a-z0-9_]/g, '_').slice(0, 40);
  const hash = createHash('sha256').update(id).digest('hex').slice(0, 32);
  return join(tenantDir, 'residents', `${letters}-${hash}`);
}

async function stampIn(home: string): Promise<string | null> {
  return await readFile(join(home, STAMP), 'utf8').catch(() => null);
}

async function isFolder(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null))?.isDirectory() === true;
}

/** What is in there is the plugin's, and so is the state that it is in. */
function unopened(error: unknown): Failure {
  const { code } = error as { code?: string };
  if (error instanceof Failure || code === undefined) return Failure.from(error);
  if (isFull(code))
    return new Failure('overloaded', "There is no room left for the plugin's folders", { cause: error });
  const words = `The plugin's data folder, or what is around it, cannot be used (${code}): see that it can be read and written`;
  return new Failure('plugin_boot_failed', words, { cause: error });
}

function isFull(code: string | undefined): boolean {
  return code === 'ENOSPC' || code === 'EDQUOT';
}

function uncopied(error: unknown, limits: CopyLimits): Failure {
  if (error instanceof TooMuch) {
    const { limit } = error;
    const words = { entries: 'files', depth: 'folders inside of each other', bytes: 'bytes' }[limit];
    return new Failure('plugin_boot_failed', `The plugin's folder has more than ${limits[limit]} ${words}`);
  }
  const { code } = error as { code?: string };
  if (isFull(code)) {
    return new Failure('overloaded', "There is no room left for a copy of the plugin's folder", { cause: error });
  }
  if (code === undefined) return Failure.from(error);
  const words = `The plugin's folder cannot be copied (${code}): see that it can be read, and reload`;
  return new Failure('plugin_boot_failed', words, { cause: error });
}
