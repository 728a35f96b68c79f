import type { Limits } from '../core/limits.ts';
import { type LogLine, sheltered, type Watch } from '../core/outcome.ts';

/** What one run of a program that stays has logged, as far as that may be kept. */
export class RunJournal {
  readonly logs: LogLine[] = [];
  /** Lines beyond `logLines` or `logBytes`. */
  dropped = 0;
  progress: number | null = null;
  readonly #limits: Pick<Limits, 'logLines' | 'logBytes'>;
  readonly #startedAt: number;
  readonly #watch: Watch | undefined;
  #bytes = 0;
  #told = 0;
  #telling: NodeJS.Timeout | undefined;

  /** `startedAt` is what `atMs` counts from. `watch` is told of all that is kept, as it comes. */
  constructor(limits: Pick<Limits, 'logLines' | 'logBytes'>, startedAt: number, watch?: Watch) {
    this.#limits = limits;
    this.#startedAt = startedAt;
    this.#watch = watch === undefined ? undefined : sheltered(watch);
  }

  log({ level, message }: Pick<LogLine, 'level' | 'message'>): void {
    const { logLines, logBytes } = this.#limits;
    const bytes = Buffer.byteLength(message);
    if (this.logs.length >= logLines || this.#bytes + bytes > logBytes) {
      this.dropped += 1;
      return;
    }
    this.#bytes += bytes;
    this.logs.push({ level, message, atMs: performance.now() - this.#startedAt });
    if (this.#watch !== undefined) this.#telling ??= setTimeout(() => this.#tell(), TELL_AFTER_MS);
  }

  /** 0 to 1. */
  progressed(value: number): void {
    this.progress = Math.min(1, Math.max(0, value));
    this.#watch?.progressed(this.progress);
  }

  /** The run is over: whoever watches is told the rest. */
  close(): void {
    clearTimeout(this.#telling);
    this.#tell();
  }

  #tell(): void {
    this.#telling = undefined;
    if (this.logs.length === this.#told) return;
    const lines = this.logs.slice(this.#told);
    this.#told = this.logs.length;
    this.#watch?.logged(lines);
  }
}

/** What comes so soon after each other is told together. */
const TELL_AFTER_MS = 50;
