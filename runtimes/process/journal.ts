import type { Limits } from '../../src/core/limits.ts';
import { type LogLevel, type LogLine, sheltered, type Watch } from '../../src/core/outcome.ts';
import { logPrefix, type Plugin } from '../../src/core/plugin.ts';
import { Lines } from '../../src/programs/lines.ts';
import { goFloat } from './go-float.ts';

/**
 * The standard error of a plugin, read as Stash does: a line is SOH, a letter for the level, STX and the text; any
 * other line is taken whole at the level `errLog` of the manifest. Contract: Stash `pkg/logger/plugin.go`.
 */
export class Journal {
  readonly logs: LogLine[] = [];
  /** Lines beyond `logLines` or `logBytes`. */
  dropped = 0;
  progress: number | null = null;
  /** All that was ever written, in bytes. */
  written = 0;

  readonly #lines: Lines;
  readonly #prefix: string;
  readonly #unmarked: Level;
  readonly #limits: Pick<Limits, 'logLines' | 'logBytes'>;
  readonly #startedAt: number;
  readonly #watch: Watch | undefined;
  /** How much of it the watch knows. */
  #told: { lines: number; progress: number | null } = { lines: 0, progress: null };
  #telling: NodeJS.Timeout | undefined;
  #bytes = 0;
  #moves = 0;
  #chunk: Buffer | null = null;
  /** Where in `#chunk` the last message of progress lies that was not looked at yet. */
  #last: Readonly<{ from: number; to: number }> = NOTHING;

  /** `startedAt` is what `atMs` counts from. `watch` is told of all that is kept, as it comes. */
  constructor(
    plugin: Pick<Plugin, 'id' | 'name' | 'errLog'>,
    limits: Pick<Limits, 'logLines' | 'logBytes'>,
    startedAt: number,
    watch?: Watch,
  ) {
    this.#prefix = logPrefix(plugin);
    this.#unmarked = UNMARKED.has(plugin.errLog ?? '') ? (plugin.errLog as Level) : 'error';
    this.#limits = limits;
    this.#startedAt = startedAt;
    this.#watch = watch === undefined ? undefined : sheltered(watch);
    this.#lines = new Lines((bytes, from, to, truncated) => this.#read(bytes, from, to, truncated));
  }

  push(chunk: Buffer): void {
    this.written += chunk.length;
    this.#chunk = chunk;
    this.#lines.push(chunk);
    const { from, to } = this.#last;
    if (to > 0) this.#move(trimmed(chunk.toString('utf8', from, to)), false);
    this.#last = NOTHING;
    this.#chunk = null;
    if (this.#watch !== undefined) this.#telling ??= setTimeout(() => this.#tell(), TELL_AFTER_MS);
  }

  /** No more will come: the last line may lack its newline. */
  end(): void {
    this.#lines.end();
  }

  /** The run is over, and nothing is taken back any more: whoever watches is told the rest. */
  close(): void {
    clearTimeout(this.#telling);
    this.#tell();
  }

  /**
   * Takes back all of it and hands it over: the program never ran, and what came was the words of the shell. Those come
   * at once or not at all; where a machine is so slow that somebody was told of them, they stay.
   */
  disown(): string {
    if (this.#told.lines > 0) return this.#words(this.logs);
    this.dropped = 0;
    return this.#words(this.logs.splice(0));
  }

  /** What it has logged last, for whoever wants to know why it ended; '' for nothing. */
  get lastWords(): string {
    return this.#words(this.logs.slice(-LAST_LINES));
  }

  #tell(): void {
    this.#telling = undefined;
    const { lines, progress } = this.#told;
    this.#told = { lines: this.logs.length, progress: this.progress };
    if (this.logs.length > lines) this.#watch?.logged(this.logs.slice(lines));
    if (this.progress !== null && this.progress !== progress) this.#watch?.progressed(this.progress);
  }

  #words(lines: readonly LogLine[]): string {
    return lines.map(({ message }) => message.slice(this.#prefix.length)).join('\n');
  }

  /** Decided by the bytes, and only what is kept becomes a text: so a flood stays cheap. */
  #read(bytes: Buffer, from: number, to: number, truncated: boolean): void {
    if (to > from && bytes[to - 1] === 13) to--;
    if (to === from) return;
    const isMarked = to - from >= 4 && bytes[from] === 1 && bytes[from + 2] === 2;
    const mark = isMarked ? MARKS[bytes[from + 1] as number] : undefined;
    const level = mark ?? this.#unmarked;
    if (mark !== undefined) from += 3;
    if (level === 'none') return;
    if (level === 'progress') {
      // Who tells it that often is not listened to every time: what stands in one chunk nobody sees but the last.
      if (++this.#moves > this.#limits.logLines && bytes === this.#chunk) this.#last = { from, to };
      else this.#move(trimmed(bytes.toString('utf8', from, to)), truncated);
    } else if (this.#full(to - from)) this.dropped++;
    else {
      const text = bytes.toString('utf8', from, to);
      this.#write(level, mark === undefined ? text : trimmed(text), truncated);
    }
  }

  #move(text: string, truncated: boolean): void {
    const value = goFloat(text);
    if (value === null) {
      const complaint = `Error parsing progress value '${text}': invalid syntax`;
      if (this.#full(complaint.length)) this.dropped++;
      else this.#write('error', complaint, truncated);
    } else if (!Number.isNaN(value)) this.progress = Math.min(1, Math.max(0, value));
  }

  #write(level: LogLevel, text: string, truncated: boolean): void {
    this.#bytes += Buffer.byteLength(text);
    const message = this.#prefix + text + (truncated ? ' … (the rest of this line was cut off)' : '');
    this.logs.push({ level, message, atMs: performance.now() - this.#startedAt });
  }

  /** Whether so many bytes are more than may be kept. */
  #full(bytes: number): boolean {
    return this.logs.length >= this.#limits.logLines || this.#bytes + bytes > this.#limits.logBytes;
  }
}

/** What comes so soon after each other is told together. */
const TELL_AFTER_MS = 50;

const NOTHING = { from: 0, to: 0 };

type Level = LogLevel | 'progress' | 'none';

/** The letter of a marked line; NUL is Stash's own "none". */
const MARKS: Record<number, Level> = {
  0: 'none',
  100: 'debug',
  101: 'error',
  105: 'info',
  112: 'progress',
  116: 'trace',
  119: 'warning',
};

/** What `errLog` may say. Stash checks it nowhere, and takes what it does not know for `error`. */
const UNMARKED: ReadonlySet<string> = new Set<Level>([
  'trace',
  'debug',
  'info',
  'warning',
  'error',
  'progress',
  'none',
]);

/** As Go's `strings.TrimSpace`: the white space of Unicode, to which NEL belongs and a byte order mark does not. */
function trimmed(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isSpace(text[from] as string)) from++;
  while (to > from && isSpace(text[to - 1] as string)) to--;
  return text.slice(from, to);
}

function isSpace(char: string): boolean {
  return char === '\u0085' || (char !== '\ufeff' && char.trim() === '');
}

/** Enough for the end of a traceback. */
const LAST_LINES = 10;
