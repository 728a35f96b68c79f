import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { basename, resolve, sep } from 'node:path';
import { Failure } from '../../src/core/failure.ts';
import type { Limits } from '../../src/core/limits.ts';
import type { Usage } from '../../src/core/outcome.ts';
import type { Plugin } from '../../src/core/plugin.ts';
import type { Suitability } from './suitability.ts';
import type { LoadHead } from './wire.ts';

/** The longest that a brief run may hold an executor's main thread, in ms. */
export const SLICE_MS = 5;
/** Processor time of a long run, in ms, below which it would have been done in a slice with room to spare. */
const QUICK_MS = SLICE_MS / 2;
/** Quick long runs, more than others, before a program is run briefly. */
const CREDIT_FIRST = 2;
/** The same, for one whose brief runs did not succeed. */
const CREDIT_AGAIN = 300;
/**
 * Brief runs that had to be done again, before a program is not run briefly any more. Many good ones outweigh a bad
 * one: on a busy machine any run can be kept waiting for longer than its slice.
 */
const MISSES_MOST = 3;
const MISS_OUTWEIGHED_BY = 100;
/** Executors that died with it in them, before it is never run briefly again. */
const SUSPICIONS_MOST = 3;
/** What a brief run is taken to cost, in ms of processor time, until it is known. */
const COST_FIRST_MS = 0.3;

const SOURCE_BYTES_MOST = 8 * 1024 * 1024;

/** On a thread of its own; or on the executor's main thread, in a fresh context or a frozen realm. */
export type Way = 'long' | 'fresh' | 'frozen';

export const WAY_WORDS: Record<Way, string> = {
  long: 'a fresh context on a thread of its own',
  fresh: 'a fresh context made ahead',
  frozen: 'a frozen realm',
};

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
  /** Its code as V8 has compiled it, and in whose executor that was. */
  cachedData: Uint8Array = new Uint8Array(0);
  compiledBy: string | undefined;
  /** JSON text of the server connection, before and after the cookie's value. */
  connection: { before: string; after: string } | undefined;
  /** Expected processor time of a brief run, in ms: how much work it is to have one in the queue. */
  costMs = COST_FIRST_MS;
  #suitability: Suitability | undefined;
  #way: Way = 'long';
  #why = 'it has not been run often enough to know it';
  #credit = 0;
  #misses = 0;
  #suspicions = 0;
  /** Why it is not run in a frozen realm, though its source would allow it. */
  #thawed: string | undefined;

  constructor(number: number, plugin: Plugin, source: Buffer, limits: Limits) {
    this.number = number;
    this.plugin = plugin;
    this.source = source;
    this.limits = limits;
    this.hash = createHash('sha256').update(source).digest('base64url');
  }

  get way(): Way {
    return this.#way;
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
    return { way: WAY_WORDS[this.#way], because: this.#why };
  }

  /** A long run ended; with the processor time and the host calls that it took. */
  ranLong({ ok, usage }: { ok: boolean; usage: Usage }): void {
    if (this.#way !== 'long') return;
    if (!ok && this.#suitability === undefined) this.#why = 'it has not succeeded yet';
    const quick = ok && usage.hostCalls === 0 && usage.cpuMs < QUICK_MS;
    if (quick) this.#credit += 1;
    else if (this.#credit > 0) this.#credit -= 1;
    this.#promote();
  }

  ranBrief(cpuMs: number): void {
    if (this.#misses > 0) this.#misses = Math.max(0, this.#misses - 1 / MISS_OUTWEIGHED_BY);
    this.costMs += (cpuMs + 0.01 - this.costMs) / 16;
  }

  /** A brief run did not count. `endedWell` tells how the same run ended the long way. */
  missed(why: string, endedWell: boolean): void {
    if (this.#way === 'long') return;
    this.#misses += 1;
    const differs = why !== 'slow' && endedWell;
    if (this.#way === 'frozen' && (differs || this.#misses >= MISSES_MOST)) {
      this.#thawed = differs ? 'it behaved differently in a frozen realm' : `it is too ${why} for a frozen realm`;
      this.#misses = 0;
      this.#enter('fresh', this.#thawed);
    } else if (why.startsWith('gql.') || why.startsWith('util.')) {
      this.#credit = Number.NEGATIVE_INFINITY;
      this.#enter('long', `it calls ${why.split(' ')[0]}`);
    } else if (this.#misses >= MISSES_MOST) {
      this.#credit = CREDIT_FIRST - CREDIT_AGAIN;
      this.#enter('long', `its quick runs did not succeed (${why})`);
    }
  }

  /**
   * An executor died while this was in it on the brief lane. It may have been another that did it, so it can earn its
   * way back, which takes ever longer: who is always there when it happens, stays where verdicts are found.
   */
  suspected(): void {
    this.#suspicions += 1;
    const lost = this.#suspicions < SUSPICIONS_MOST ? CREDIT_AGAIN ** this.#suspicions : Number.POSITIVE_INFINITY;
    this.#credit = CREDIT_FIRST - lost;
    this.#enter('long', 'an executor died while it ran');
  }

  head(): LoadHead {
    const { heapMb, logBytes, logLines, outputBytes } = this.limits;
    const filename = basename((this.plugin.program as { file: string }).file);
    return { filename, sourceBytes: this.source.length, heapMb, logBytes, logLines, outputBytes, sliceMs: SLICE_MS };
  }

  #promote(): void {
    const suitability = this.#suitability;
    if (suitability === undefined || this.#way !== 'long') return;
    if (!suitability.brief) this.#why = suitability.because;
    if (!suitability.brief || this.#credit < CREDIT_FIRST) return;
    this.#misses = 0;
    const frozen = suitability.frozen && this.#thawed === undefined;
    this.#enter(frozen ? 'frozen' : 'fresh', this.#thawed ?? suitability.because);
  }

  #enter(way: Way, why: string): void {
    this.#way = way;
    this.#why = why;
    this.costMs = COST_FIRST_MS;
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
    // Whoever opens a pipe waits for a writer, unless they say that they do not.
    await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
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
