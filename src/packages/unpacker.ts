/**
 * Opens strangers' archives in a thread with a heap and a time of its own, and nothing of ours within reach but one new
 * folder. What a zip may be is said in zip.ts and entry-path.ts; how much of it there may be, in archive-limits.ts.
 *
 * An archive is handed over to the thread and back, not copied. One is opened at a time: else one would wait behind
 * another while its own clock runs.
 */
import { mkdir, rm } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Piscina } from 'piscina';
import { Failure } from '../core/failure.ts';
import { ARCHIVE_LIMITS, type ArchiveLimits } from './archive-limits.ts';
import { packageRejected } from './rejected.ts';
import type { CopyTask, Unpacked, UnpackTask, WalkTask } from './thread.ts';
import { FOLDER_MODE, type Modes, type Tree, WRITABLE } from './tree.ts';

export type ThreadLimits = {
  /** Wall clock for one archive or one folder, the start of the thread included. */
  wallMs: number;
  /** V8 heap of the thread. */
  heapMb: number;
  /** How long an idle thread is kept. */
  idleMs: number;
};

const DEFAULTS: ThreadLimits = { wallMs: 60_000, heapMb: 128, idleMs: 5_000 };

// Of the same kind as this file: `.ts` in the repository, `.js` where it was compiled.
const THREAD = fileURLToPath(new URL(`./thread${extname(import.meta.url)}`, import.meta.url));

export class Unpacker implements AsyncDisposable {
  readonly limits: ArchiveLimits;
  readonly #thread: ThreadLimits;
  #pool: Promise<Piscina> | null = null;
  #closed = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(limits: Partial<ArchiveLimits> = {}, thread: Partial<ThreadLimits> = {}) {
    this.limits = { ...ARCHIVE_LIMITS, ...limits };
    this.#thread = { ...DEFAULTS, ...thread };
  }

  /** The longest that anything here takes. */
  get wallMs(): number {
    return this.#thread.wallMs;
  }

  /**
   * Unpacks into `dir`, which must not be there yet. The archive is taken away, and given back where it was good.
   * Throws `package_rejected`, and leaves nothing behind then.
   */
  async unpack(
    archive: Buffer,
    dir: string,
    modes: Modes = WRITABLE,
  ): Promise<{ archive: Buffer; sha256: string; tree: Tree }> {
    const { archiveBytes } = this.limits;
    if (archive.length > archiveBytes) {
      const limit = {
        name: 'packages.archiveBytes',
        allowed: archiveBytes,
        observed: archive.length,
        unit: 'bytes',
      } as const;
      throw new Failure('payload_too_large', `The archive is larger than ${archiveBytes} bytes`, { limit });
    }
    const bytes = owned(archive);
    await mkdir(dir, { mode: FOLDER_MODE });
    let unpacked: Unpacked;
    try {
      const task: UnpackTask = { archive: bytes, dir, modes, limits: this.limits };
      unpacked = await this.#run('unpack', task, [bytes.buffer]);
    } catch (error) {
      await removed(dir);
      throw this.#tooMuch(error);
    }
    if (!unpacked.ok) {
      await removed(dir);
      throw packageRejected(unpacked.rejection);
    }
    const { archive: back, sha256, tree } = unpacked;
    return { archive: Buffer.from(back.buffer, back.byteOffset, back.length), sha256, tree };
  }

  /** What is in a folder; null where it holds anything that we would not have put there, or is not there. */
  walk(dir: string, modes: Modes): Promise<Tree | null> {
    const task: WalkTask = { dir, modes, limits: this.limits };
    return this.#run('walk', task);
  }

  /** What a folder takes of a disk, whatever is in it. */
  size(dir: string): Promise<number> {
    return this.#run('size', { dir });
  }

  /** Copies such a folder to where there is none, with files that may be written to. The tree is of the copy. */
  async copy(from: string, to: string, modes: Modes): Promise<Tree> {
    await mkdir(to, { mode: FOLDER_MODE });
    try {
      const task: CopyTask = { from, to, modes, limits: this.limits };
      return await this.#run('copy', task);
    } catch (error) {
      await removed(to);
      throw error;
    }
  }

  /** What is being done now rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const pool = await this.#pool;
    await pool?.destroy();
    await this.#turn;
  }

  #run<T>(name: string, task: object, handedOver: ArrayBuffer[] = []): Promise<T> {
    const result = this.#turn.then(async () => {
      if (this.#closed) throw new Error('The unpacker is closed');
      this.#pool ??= this.#start();
      const pool = await this.#pool;
      const signal = AbortSignal.timeout(this.#thread.wallMs);
      // Piscina takes the type of the list from a signature that is not about lists any more.
      const transferList: object = handedOver;
      return (await pool.run(task, { name, signal, transferList })) as T;
    });
    this.#turn = result.catch(() => {});
    return result;
  }

  async #start(): Promise<Piscina> {
    // Here, not above: it costs start-up time that is only due when there are packages.
    const { Piscina } = await import('piscina');
    const pool = new Piscina({
      filename: THREAD,
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: this.#thread.idleMs,
      resourceLimits: { maxOldGenerationSizeMb: this.#thread.heapMb, maxYoungGenerationSizeMb: 16 },
      // Neither our secrets nor our flags.
      env: {},
      execArgv: [],
      recordTiming: false,
    });
    // A thread that dies between two archives: the next one gets another.
    pool.on('error', () => {});
    return pool;
  }

  #tooMuch(error: unknown): unknown {
    const { wallMs, heapMb } = this.#thread;
    const { name, code } = error as { name?: string; code?: string };
    if (name === 'AbortError') {
      return packageRejected({ entry: null, problem: `it takes longer than ${wallMs} ms to unpack`, kind: 'bytes' });
    }
    if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
      const problem = `it takes more than ${heapMb} MB of memory to unpack`;
      return packageRejected({ entry: null, problem, kind: 'bytes' });
    }
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      return new Failure('overloaded', 'There is no room left to unpack the archive', { cause: error });
    }
    return error;
  }
}

/** Bytes that can be handed over: a Buffer may be a part of what others use, too. */
function owned(archive: Buffer): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, length } = archive;
  if (buffer instanceof ArrayBuffer && byteOffset === 0 && length === buffer.byteLength) return new Uint8Array(buffer);
  return new Uint8Array(archive);
}

/** A thread that is being ended may still write into it once. */
async function removed(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true, maxRetries: 5 });
}
