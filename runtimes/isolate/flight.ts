import type { Failure } from '../../src/core/failure.ts';
import type { LogLevel, LogLine, Usage } from '../../src/core/outcome.ts';
import type { LogHead } from './wire.ts';

const LEVELS: Readonly<Record<string, LogLevel>> = { t: 'trace', d: 'debug', i: 'info', w: 'warning', e: 'error' };

/** What a run has told so far: logs, progress. Everything in a head comes from a guest, and is looked at as such. */
export class Telling {
  readonly logs: LogLine[] = [];
  progress: number | null = null;
  dropped = 0;
  readonly #prefix: string;
  readonly #linesMost: number;

  constructor(pluginName: string, linesMost: number) {
    this.#prefix = `[Plugin / ${pluginName}] `;
    this.#linesMost = linesMost;
  }

  add(head: LogHead): void {
    if (typeof head.dropped === 'number') this.dropped += head.dropped;
    if (typeof head.progress === 'number') this.progress = Math.min(1, Math.max(0, head.progress));
    if (!Array.isArray(head.lines)) return;
    for (let at = 0; at + 2 < head.lines.length; at += 3) {
      if (this.logs.length >= this.#linesMost) {
        this.dropped += 1;
        continue;
      }
      const letter = String(head.lines[at]);
      const level = LEVELS[letter.toLowerCase()] ?? 'error';
      const words = String(head.lines[at + 2]);
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
