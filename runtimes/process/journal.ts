import type { Limits } from '../../src/core/limits.ts';
import type { LogLevel, LogLine } from '../../src/core/outcome.ts';
import { logPrefix, type Plugin } from '../../src/core/plugin.ts';
import { goFloat } from './go-float.ts';
import { Lines } from './lines.ts';

/**
 * The standard error of a plugin, read as Stash does: a line is SOH, a letter for the level, STX and the text; any
 * other line is taken whole at the level `errLog` of the manifest. Contract: Stash `pkg/logger/plugin.go`.
 */
export class Journal {
  readonly logs: LogLine[] = [];
  /** Lines beyond `logLines` or `logBytes`. */
  dropped = 0;
  progress: number | null = null;

  readonly #lines: Lines;
  readonly #prefix: string;
  readonly #unmarked: Level;
  readonly #limits: Pick<Limits, 'logLines' | 'logBytes'>;
  readonly #startedAt: number;
  #bytes = 0;

  /** `startedAt` is what `atMs` counts from. */
  constructor(
    plugin: Pick<Plugin, 'id' | 'name' | 'errLog'>,
    limits: Pick<Limits, 'logLines' | 'logBytes'>,
    startedAt: number,
  ) {
    this.#prefix = logPrefix(plugin);
    this.#unmarked = UNMARKED.has(plugin.errLog ?? '') ? (plugin.errLog as Level) : 'error';
    this.#limits = limits;
    this.#startedAt = startedAt;
    this.#lines = new Lines((line, truncated) => this.#read(line, truncated));
  }

  push(chunk: Buffer): void {
    this.#lines.push(chunk);
  }

  /** No more will come: the last line may lack its newline. */
  end(): void {
    this.#lines.end();
  }

  /** Takes back all of it and hands it over: the program never ran, and what came was the words of the shell. */
  disown(): string {
    this.dropped = 0;
    return this.logs
      .splice(0)
      .map(({ message }) => message.slice(this.#prefix.length))
      .join('\n');
  }

  #read(line: Buffer, truncated: boolean): void {
    if (line.at(-1) === 13) line = line.subarray(0, -1);
    if (line.length === 0) return;
    const mark = line.length >= 4 && line[0] === 1 && line[2] === 2 ? MARKS[line[1] as number] : undefined;
    const level = mark ?? this.#unmarked;
    const text = mark === undefined ? line : line.subarray(3);
    if (level === 'none') return;
    if (level === 'progress') this.#move(trimmed(text.toString()), truncated);
    // Decided before the text is decoded, so that a flood stays cheap.
    else if (this.#full(text.length)) this.dropped++;
    else this.#write(level, mark === undefined ? text.toString() : trimmed(text.toString()), truncated);
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
