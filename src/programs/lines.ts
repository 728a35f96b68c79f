/**
 * Cuts a stream of bytes into lines without ever holding more than one, and of that one no more than `LONGEST`:
 * the rest of a longer line is skipped and the line is marked. Stash closes the pipe on such a line, which kills the
 * plugin; here it costs the plugin the end of that line.
 */
export class Lines {
  /** Go's scanner stops at lines of 65,536 bytes; below that everything is kept. */
  static readonly LONGEST = 65_535;

  readonly #onLine: OnLine;
  #begun: Buffer | null = null;
  #length = 0;
  #truncated = false;

  constructor(onLine: OnLine) {
    this.#onLine = onLine;
  }

  push(chunk: Buffer): void {
    let from = 0;
    for (;;) {
      const end = newline(chunk, from);
      if (end === -1) break;
      // The usual case, a line that lies in one chunk, is handed on where it lies.
      if (this.#length === 0 && end - from <= Lines.LONGEST) this.#onLine(chunk, from, end, false);
      else {
        this.#keep(chunk, from, end);
        this.end();
      }
      from = end + 1;
    }
    this.#keep(chunk, from, chunk.length);
  }

  /** What is left without a newline is a line too. */
  end(): void {
    if (this.#begun === null || this.#length === 0) return;
    const length = this.#length;
    const truncated = this.#truncated;
    this.#length = 0;
    this.#truncated = false;
    this.#onLine(this.#begun, 0, length, truncated);
  }

  #keep(chunk: Buffer, from: number, to: number): void {
    const room = Lines.LONGEST - this.#length;
    const count = Math.min(to - from, room);
    if (to - from > room) this.#truncated = true;
    if (count === 0) return;
    if (this.#begun === null || this.#begun.length < this.#length + count) {
      const larger = Buffer.allocUnsafe(Math.min(Lines.LONGEST, Math.max(1024, 2 * (this.#length + count))));
      this.#begun?.copy(larger, 0, 0, this.#length);
      this.#begun = larger;
    }
    chunk.copy(this.#begun, this.#length, from, from + count);
    this.#length += count;
  }
}

/**
 * Is told of each line by where it lies, from `from` up to `to`, and only while it is being told: to make a Buffer of
 * every line would cost a flood of short ones many times what it costs to find them.
 */
export type OnLine = (bytes: Buffer, from: number, to: number, truncated: boolean) => void;

// The native search is the quicker one in what is long, and takes longer to be called than a short line to be read.
function newline(bytes: Buffer, from: number): number {
  const near = Math.min(bytes.length, from + SHORT);
  for (let at = from; at < near; at++) if (bytes[at] === NEWLINE) return at;
  return near === bytes.length ? -1 : bytes.indexOf(NEWLINE, near);
}

const NEWLINE = 10;
const SHORT = 64;
