/**
 * Cuts a stream of bytes into lines without ever holding more than one, and of that one no more than `LONGEST`:
 * the rest of a longer line is skipped and the line is marked. Stash closes the pipe on such a line, which kills the
 * plugin; here it costs the plugin the end of that line.
 */
export class Lines {
  /** Go's scanner stops at lines of 65,536 bytes; below that everything is kept. */
  static readonly LONGEST = 65_535;

  readonly #onLine: (line: Buffer, truncated: boolean) => void;
  #begun: Buffer | null = null;
  #length = 0;
  #truncated = false;

  constructor(onLine: (line: Buffer, truncated: boolean) => void) {
    this.#onLine = onLine;
  }

  push(chunk: Buffer): void {
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(10, from);
      if (end === -1) break;
      // The usual case, a line that lies in one chunk, is handed on where it lies.
      if (this.#length === 0 && end - from <= Lines.LONGEST) this.#onLine(chunk.subarray(from, end), false);
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
    const line = this.#begun.subarray(0, this.#length);
    const truncated = this.#truncated;
    this.#length = 0;
    this.#truncated = false;
    this.#onLine(line, truncated);
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
