import { createHash } from 'node:crypto';
import { open, realpath } from 'node:fs/promises';
import { basename, resolve, sep } from 'node:path';
import { Failure } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Suitability } from './suitability.ts';
import type { LoadHead } from './wire.ts';

/** The longest that a brief run may hold an executor's main thread, in ms. */
export const SLICE_MS = 5;
/** Long runs that were quick, without a host call, before a program is run briefly. */
const QUICK_RUNS_FIRST = 2;
/** Brief runs in a row that had to be done again, before a program is not run briefly any more. */
const MISSES_MOST = 3;

const SOURCE_BYTES_MOST = 8 * 1024 * 1024;

/**
 * What is known of an embedded program, and in which way it is run next. It starts on the long lane, which is always
 * right, and earns the brief one: by reading (suitability.ts) and by having been quick. What goes wrong there costs
 * it the frozen realm first, then the lane.
 */
export class Program {
  readonly number: number;
  readonly plugin: Plugin;
  readonly source: Buffer;
  readonly hash: string;
  readonly limits: Limits;
  cachedData: Uint8Array = new Uint8Array(0);
  /** JSON text of the server connection, before and after the session's value. */
  connection: { before: string; after: string } | undefined;
  /** Expected processor time of a brief run, in ms: how much work it is to have one in the queue. */
  costMs = 0.3;
  #suitability: Suitability | undefined;
  #quickRuns = 0;
  #misses = 0;
  #brief = false;
  #frozen = false;
  #why = 'it has not been run often enough to know it';

  constructor(number: number, plugin: Plugin, source: Buffer, limits: Limits) {
    this.number = number;
    this.plugin = plugin;
    this.source = source;
    this.limits = limits;
    this.hash = createHash('sha256').update(source).digest('base64url');
  }

  get isBrief(): boolean {
    return this.#brief;
  }

  get isFrozen(): boolean {
    return this.#frozen;
  }

  get suitability(): Suitability | undefined {
    return this.#suitability;
  }

  set suitability(suitability: Suitability) {
    this.#suitability = suitability;
    this.#promote();
  }

  /** In words, for its author. */
  get explanation(): { way: string; because: string } {
    if (!this.#brief) return { way: 'a fresh context on a thread of its own', because: this.#why };
    return { way: this.#frozen ? 'a frozen realm' : 'a fresh context made ahead', because: this.#why };
  }

  /** A long run ended. `quick`: well, inside a slice, and without the host. */
  ranLong(quick: boolean): void {
    if (this.#brief) return;
    this.#quickRuns = quick ? this.#quickRuns + 1 : 0;
    this.#promote();
  }

  ranBrief(cpuMs: number): void {
    this.#misses = 0;
    this.costMs += (cpuMs + 0.01 - this.costMs) / 16;
  }

  /** A brief run did not count. `endedWell` tells how the same run ended the long way. */
  missed(why: string, endedWell: boolean): void {
    this.#misses += 1;
    if (this.#frozen && (endedWell || why === 'slow')) {
      this.#frozen = false;
      this.costMs = 0.3;
      this.#why = why === 'slow' ? 'it is quicker without a frozen realm' : 'it behaved differently in a frozen realm';
      return;
    }
    const host = why.startsWith('gql.') || why.startsWith('util.');
    if (!host && this.#misses < MISSES_MOST) return;
    this.#brief = false;
    // It may earn its way back, but it takes longer each time.
    this.#quickRuns = host ? Number.NEGATIVE_INFINITY : -100 * this.#misses;
    this.#why = host ? `it calls ${why.split(' ')[0]}` : `its quick runs did not succeed (${why})`;
  }

  /** An executor died while this was in it on the brief lane. */
  suspected(): void {
    this.#brief = false;
    this.#quickRuns = -100;
    this.#why = 'an executor died while it ran';
  }

  head(): LoadHead {
    const { heapMb, logBytes, logLines, outputBytes } = this.limits;
    const filename = basename((this.plugin.program as { file: string }).file);
    return { filename, sourceBytes: this.source.length, heapMb, logBytes, logLines, outputBytes, sliceMs: SLICE_MS };
  }

  #promote(): void {
    const suitability = this.#suitability;
    if (suitability === undefined || this.#brief) return;
    if (!suitability.brief) {
      this.#why = suitability.because;
      return;
    }
    if (this.#quickRuns < QUICK_RUNS_FIRST) return;
    this.#brief = true;
    this.#frozen = suitability.frozen && !this.#why.includes('frozen');
    this.#misses = 0;
    if (!this.#why.includes('frozen')) this.#why = suitability.because;
  }
}

/**
 * The source of a plugin's script. Throws `plugin_boot_failed`. Never reads outside the plugin's folder, whatever
 * links there are, and nothing but plain files.
 */
export async function readSource(plugin: Plugin): Promise<Buffer> {
  const file = plugin.program.runtime === 'isolate' ? plugin.program.file : null;
  if (file === null) throw new Failure('plugin_boot_failed', 'No script specified: "exec" is empty');
  try {
    const root = await realpath(plugin.dir);
    const path = await realpath(resolve(root, file));
    if (!path.startsWith(root + sep)) {
      throw new Failure('plugin_boot_failed', `The script ${JSON.stringify(file)} is outside the plugin's folder`);
    }
    await using handle = await open(path, 'r');
    const stat = await handle.stat();
    if (!stat.isFile()) throw new Failure('plugin_boot_failed', `The script ${JSON.stringify(file)} is not a file`);
    if (stat.size > SOURCE_BYTES_MOST) {
      const limit = { name: 'sourceBytes', allowed: SOURCE_BYTES_MOST, observed: stat.size, unit: 'bytes' } as const;
      throw new Failure('plugin_boot_failed', `The script ${JSON.stringify(file)} is too large`, { limit });
    }
    const bytes = await handle.readFile();
    // A byte order mark is no part of the script.
    return bytes.subarray(bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0);
  } catch (error) {
    if (error instanceof Failure) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new Failure('plugin_boot_failed', `The script ${JSON.stringify(file)} cannot be read (${code})`, {
      cause: error,
    });
  }
}
