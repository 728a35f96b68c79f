/**
 * Unpacked archives, one folder each, called by the hash of the archive, for all tenants of this node.
 *
 * What counts is what the database says: a folder is used only after all of it was read and found to be what the
 * archive unpacks to; else it is unpacked anew. A folder gets its name when it is whole. So several processes may work
 * on one cache, a crash leaves nothing that counts, and what a program may have changed in here is not run.
 */
import { mkdir, readdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../core/failure.ts';
import { passingName, passingSince, placed, removeFolder } from './folders.ts';
import { roomOf, SEALED, type Tree } from './tree.ts';
import type { Unpacker } from './unpacker.ts';

export type UnpackCacheOptions = {
  dir: string;
  /** For what is installed already: tenants that are loaded wait for this one. */
  unpacker: Unpacker;
  /** For archives of which nothing is known yet, which take their time. */
  stranger: Unpacker;
  /** What is not in use is removed beyond so many bytes on the disk, least recently used first. */
  bytes: number;
};

/** An archive that is kept, and how to get at it. */
export type Bundle = { sha256: string; treeHash: string | null; archive(): Promise<Buffer> };

/** An unpacked archive. It is not removed before it is let go of. */
export type Held = { dir: string; tree: Tree } & Disposable;

/** An archive that was just unpacked, to be looked at. Unless it is kept, it is gone at the end of its scope. */
export type Fresh = {
  archive: Buffer;
  sha256: string;
  dir: string;
  tree: Tree;
  keep(): Promise<void>;
} & AsyncDisposable;

type Known = { bytes: number | null; usedAt: number; holders: number };

export class UnpackCache {
  readonly #options: UnpackCacheOptions;
  readonly #known = new Map<string, Known>();
  /** One after the other for each archive: whoever comes second finds what the first has unpacked. */
  readonly #turns = new Map<string, Promise<unknown>>();
  #opened: Promise<void> | undefined;

  constructor(options: UnpackCacheOptions) {
    this.#options = options;
  }

  /** Unpacks an archive of which nothing is known yet. Throws `package_rejected`. */
  async unpack(archive: Buffer): Promise<Fresh> {
    await this.#open();
    const dir = join(this.#options.dir, passingName());
    const unpacked = await this.#options.stranger.unpack(archive, dir, SEALED);
    return {
      ...unpacked,
      dir,
      keep: async () => {
        await this.#inTurn(unpacked.sha256, () => this.#put(dir, unpacked.sha256, unpacked.tree));
        await this.#makeRoom();
      },
      [Symbol.asyncDispose]: () => removeFolder(dir),
    };
  }

  /** The folder of an archive, which is what it was when it was installed. Throws a Failure where it cannot be. */
  async open(bundle: Bundle): Promise<Held> {
    await this.#open();
    const { sha256, treeHash } = bundle;
    const dir = join(this.#options.dir, sha256);
    const { tree, known, isNew } = await this.#inTurn(sha256, async () => {
      const found = await this.#verified(dir, treeHash);
      const tree = found ?? (await this.#unpackAgain(bundle));
      const known = this.#enter(sha256);
      known.holders += 1;
      known.bytes = roomOf(tree);
      known.usedAt = Date.now();
      await utimes(dir, new Date(), new Date());
      return { tree, known, isNew: found === null };
    });
    const held = { dir, tree, [Symbol.dispose]: once(() => (known.holders -= 1)) };
    if (isNew) await this.#makeRoom();
    return held;
  }

  async #unpackAgain({ sha256, treeHash, archive }: Bundle): Promise<Tree> {
    const dir = join(this.#options.dir, passingName());
    try {
      const unpacked = await this.#options.unpacker.unpack(await archive(), dir, SEALED);
      if (unpacked.sha256 !== sha256 || (treeHash !== null && unpacked.tree.hash !== treeHash)) {
        throw new Failure('internal', `The package ${sha256} does not unpack to what it did when it was installed`);
      }
      await this.#put(dir, sha256, unpacked.tree);
      return unpacked.tree;
    } finally {
      await removeFolder(dir);
    }
  }

  /** Gives a whole folder its name, in the place of any that is not the same. */
  async #put(from: string, sha256: string, tree: Tree): Promise<void> {
    const dir = join(this.#options.dir, sha256);
    for (let tries = 0; !(await placed(from, dir)); tries += 1) {
      if ((await this.#verified(dir, tree.hash)) !== null) break;
      if (tries === TRIES) throw new Error(`${dir} is put back again and again by somebody else`);
      await this.#takeAway(dir);
    }
    const known = this.#enter(sha256);
    known.bytes = roomOf(tree);
    known.usedAt = Date.now();
  }

  async #verified(dir: string, treeHash: string | null): Promise<Tree | null> {
    if (treeHash === null) return null;
    const tree = await this.#options.unpacker.walk(dir, SEALED);
    return tree?.hash === treeHash ? tree : null;
  }

  async #takeAway(dir: string): Promise<void> {
    const away = join(this.#options.dir, passingName());
    // Whatever has its name is in nobody's way as soon as it has another.
    if (await placed(dir, away).catch(notThere)) await removeFolder(away);
  }

  // ── room ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #open(): Promise<void> {
    this.#opened ??= this.#start().catch((error) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  async #start(): Promise<void> {
    const { dir } = this.#options;
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await this.#sweep();
    for (const name of await readdir(dir)) {
      if (!SHA256.test(name)) continue;
      const { mtimeMs } = await stat(join(dir, name)).catch(() => ({ mtimeMs: 0 }));
      this.#enter(name).usedAt = mtimeMs;
    }
    await this.#makeRoom();
  }

  /** Removes what was left half done. Whatever another process is unpacking now is younger than that can last. */
  async #sweep(): Promise<void> {
    const { dir, unpacker } = this.#options;
    for (const name of await readdir(dir)) {
      const since = passingSince(name);
      if (since !== null && Math.abs(Date.now() - since) > unpacker.wallMs * 2) await removeFolder(join(dir, name));
    }
  }

  async #makeRoom(): Promise<void> {
    const { dir, unpacker } = this.#options;
    await this.#sweep();
    let all = 0;
    for (const [sha256, known] of this.#known) {
      known.bytes ??= await unpacker.size(join(dir, sha256)).catch(() => 0);
      all += known.bytes;
    }
    const idle = [...this.#known].filter(([, { holders }]) => holders === 0);
    for (const [sha256, known] of idle.sort(([, one], [, other]) => one.usedAt - other.usedAt)) {
      if (all <= this.#options.bytes) break;
      await this.#inTurn(sha256, async () => {
        // Somebody may have come for it meanwhile.
        if (known.holders > 0 || this.#known.get(sha256) !== known) return;
        this.#known.delete(sha256);
        all -= known.bytes ?? 0;
        await this.#takeAway(join(dir, sha256));
      });
    }
  }

  #enter(sha256: string): Known {
    const known = this.#known.get(sha256) ?? { bytes: null, usedAt: Date.now(), holders: 0 };
    this.#known.set(sha256, known);
    return known;
  }

  async #inTurn<T>(sha256: string, does: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(sha256);
    const mine = (before ?? Promise.resolve()).then(does, does);
    const over = mine.catch(() => {});
    this.#turns.set(sha256, over);
    try {
      return await mine;
    } finally {
      if (this.#turns.get(sha256) === over) this.#turns.delete(sha256);
    }
  }
}

const SHA256 = /^[0-9a-f]{64}$/;
const TRIES = 10;

function once(does: () => void): () => void {
  let done = false;
  return () => {
    if (!done) does();
    done = true;
  };
}

function notThere(error: unknown): boolean {
  if ((error as { code?: string }).code === 'ENOENT') return false;
  throw error;
}
