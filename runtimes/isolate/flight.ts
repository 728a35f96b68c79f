import type { Failure } from '../../src/core/failure.ts';
import type { Invocation } from '../../src/core/invocation.ts';
import { type LogLevel, type LogLine, sheltered, type Usage, type Watch } from '../../src/core/outcome.ts';
import { logPrefix } from '../../src/core/plugin.ts';
import type { LogHead } from './wire.ts';

const LEVELS: Readonly<Record<string, LogLevel>> = { t: 'trace', d: 'debug', i: 'info', w: 'warning', e: 'error' };

/** What a run has told so far: logs, progress. Everything in a head comes from a guest, and is looked at as such. */
export class Telling {
  readonly logs: LogLine[] = [];
  progress: number | null = null;
  dropped = 0;
  readonly #prefix: string;
  readonly #linesMost: number;
  readonly #bytesMost: number;
  /** An operation is not something that progresses. */
  readonly #progresses: boolean;
  readonly #watch: Watch | undefined;
  #bytes = 0;

  constructor({ plugin, limits, entry, watch }: Pick<Invocation, 'plugin' | 'limits' | 'entry' | 'watch'>) {
    this.#prefix = logPrefix(plugin);
    this.#linesMost = limits.logLines;
    this.#bytesMost = limits.logBytes;
    this.#progresses = entry.kind !== 'operation';
    this.#watch = watch === undefined ? undefined : sheltered(watch);
  }

  add(head: LogHead): void {
    const before = this.logs.length;
    this.#read(head);
    if (this.#watch === undefined) return;
    if (this.logs.length > before) this.#watch.logged(this.logs.slice(before));
    if (typeof head.progress === 'number' && this.progress !== null) this.#watch.progressed(this.progress);
  }

  #read(head: LogHead): void {
    if (typeof head.dropped === 'number') this.dropped += head.dropped;
    if (typeof head.progress === 'number' && this.#progresses) this.progress = Math.min(1, Math.max(0, head.progress));
    if (!Array.isArray(head.lines)) return;
    for (let at = 0; at + 2 < head.lines.length; at += 3) {
      const letter = String(head.lines[at]);
      const level = LEVELS[letter.toLowerCase()] ?? 'error';
      const words = String(head.lines[at + 2]);
      // The guest has counted letters; what counts is bytes.
      this.#bytes += Buffer.byteLength(words);
      if (this.logs.length >= this.#linesMost || this.#bytes > this.#bytesMost) {
        this.dropped += 1;
        continue;
      }
      // Capital letters come from `console`, which has no prefix.
      const message = letter >= 'a' ? this.#prefix + words : words;
      this.logs.push({ level, message, atMs: Number(head.lines[at + 1]) || 0 });
    }
  }
}

/** How one flight ended. */
export type Landing =
  | { kind: 'done'; output: string }
  | { kind: 'failed'; failure: Failure }
  /** The executor died, and it is not known to be this one's fault. `suspect`: it may be. */
  | { kind: 'lost'; suspect: boolean };

export type Landed = { landing: Landing; telling: Telling; usage: Usage; bootMs: number; hostMs: number };
