/** The local scripts, or styles, of a plugin as one file: each in its order, with a line feed after it. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Failure } from '../core/failure.ts';
import { mayTake } from '../core/fairness.ts';
import type { Plugin } from '../core/plugin.ts';
import { type Missing, PluginFile } from './plugin-file.ts';

/** A part that is not in it, by its place in the list that was given, counted from 0. */
export type LeftOut = { at: number; why: Missing | 'changed' | 'too large' | 'too many' };

export type Bundle = {
  bytes: number;
  /** The same for the same files only. */
  hash: string;
  leftOut: LeftOut[];
  read(from: number, length: number): Readable;
} & AsyncDisposable;

export type BundleLimits = {
  /** One bundle. */
  bytes: number;
  files: number;
  /** All bundles that are being sent. */
  bytesAtOnce: number;
};

const LIMITS: BundleLimits = { bytes: 8 * 1024 * 1024, files: 200, bytesAtOnce: 64 * 1024 * 1024 };

/**
 * Reads bundles. One is in memory until it has been sent, since its hash is due before its first byte; so all of them
 * have a bound together, of which no tenant gets everything.
 */
export class Bundles {
  readonly #limits: BundleLimits;
  readonly #held = new Map<string, number>();
  #all = 0;

  constructor(limits: Partial<BundleLimits> = {}) {
    this.#limits = { ...LIMITS, ...limits };
  }

  /** `parts` are paths below the plugin's folder. What cannot be read is left out, and told. */
  async read(tenant: string, { realDir }: Pick<Plugin, 'realDir'>, parts: readonly string[]): Promise<Bundle> {
    const { bytes: most, files } = this.#limits;
    await using scope = new AsyncDisposableStack();
    const hash = createHash('sha256');
    const chunks: Buffer[] = [];
    const leftOut: LeftOut[] = [];
    let bytes = 0;
    for (const [at, part] of parts.entries()) {
      if (at === files) {
        leftOut.push({ at, why: 'too many' });
        break;
      }
      const opened = await PluginFile.open(realDir, join(realDir, part));
      if (typeof opened === 'string') {
        leftOut.push({ at, why: opened });
        continue;
      }
      await using file = opened;
      if (bytes + file.bytes + 1 > most) {
        leftOut.push({ at, why: 'too large' });
        continue;
      }
      scope.use(this.#hold(tenant, file.bytes + 1));
      const content = await contentOf(file);
      if (content === null) leftOut.push({ at, why: 'changed' });
      else {
        hash.update(content.digest);
        chunks.push(...content.chunks, NEWLINE);
        bytes += file.bytes + 1;
      }
    }
    const held = scope.move();
    return {
      bytes,
      hash: hash.digest('base64url'),
      leftOut,
      read: (from, length) => Readable.from(sliced(chunks, from, length), { objectMode: false }),
      [Symbol.asyncDispose]: () => held.disposeAsync(),
    };
  }

  #hold(tenant: string, bytes: number): Disposable {
    const { bytesAtOnce } = this.#limits;
    const mine = this.#held.get(tenant) ?? 0;
    if (this.#all + bytes > bytesAtOnce || !mayTake(mine, bytesAtOnce - this.#all)) {
      const observed = this.#all + bytes;
      const limit = { name: 'bundleBytesAtOnce', allowed: bytesAtOnce, observed, unit: 'bytes' } as const;
      throw new Failure('overloaded', 'Too many scripts and styles of plugins are being sent', {
        limit,
        retryable: true,
      });
    }
    this.#all += bytes;
    this.#held.set(tenant, mine + bytes);
    return {
      [Symbol.dispose]: () => {
        this.#all -= bytes;
        const left = (this.#held.get(tenant) ?? 0) - bytes;
        if (left > 0) this.#held.set(tenant, left);
        else this.#held.delete(tenant);
      },
    };
  }
}

const NEWLINE = Buffer.from('\n');

/** Null where it becomes shorter meanwhile. */
async function contentOf(file: PluginFile): Promise<{ chunks: Buffer[]; digest: Buffer } | null> {
  // Hashed as it comes in, so that nobody waits for megabytes of it.
  const hash = createHash('sha256');
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of file.read(0, file.bytes)) {
      hash.update(chunk);
      chunks.push(chunk);
    }
  } catch {
    return null;
  }
  return { chunks, digest: hash.digest() };
}

function* sliced(chunks: readonly Buffer[], from: number, length: number): Generator<Buffer> {
  let begin = from;
  let left = length;
  for (const chunk of chunks) {
    if (left === 0) return;
    if (begin >= chunk.length) {
      begin -= chunk.length;
      continue;
    }
    const piece = chunk.subarray(begin, begin + left);
    begin = 0;
    left -= piece.length;
    yield piece;
  }
}
