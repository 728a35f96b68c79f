import { DECODER, DEEPEST, PREVIEW } from './answer.ts';
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, isBlank, OPEN_BRACE, OPEN_BRACKET, QUOTE } from './json-signs.ts';

/**
 * Cuts a stream of bytes into JSON objects. They end with their last bracket, as for Go's decoder, so it does not matter
 * whether there is a newline between them, or how they were cut into chunks. Only brackets and strings are looked at: an
 * object may still turn out to be no JSON. Whoever pushes sees to it that it is not too much.
 */
export class JsonObjects {
  readonly #onObject: (text: string) => void;
  #begun: Buffer[] = [];
  #depth = 0;
  #inString = false;
  #isEscaped = false;

  constructor(onObject: (text: string) => void) {
    this.#onObject = onObject;
  }

  /** Throws an `Unfit` for what can be no object, and an `Unfit` that `onObject` throws. */
  push(chunk: Buffer): void {
    /** Where in the chunk the present object goes on. */
    let from = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      if (this.#depth === 0) {
        if (byte === OPEN_BRACE) {
          from = at;
          this.#depth = 1;
        } else if (!isBlank(byte)) throw new Unfit('is no JSON object', preview(chunk.subarray(at)));
      } else if (this.#inString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === BACKSLASH) this.#isEscaped = true;
        else if (byte === QUOTE) this.#inString = false;
      } else if (byte === QUOTE) this.#inString = true;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (++this.#depth <= DEEPEST) continue;
        this.#begun.push(chunk.subarray(from, at));
        throw new Unfit(`is nested deeper than ${DEEPEST} levels`, preview(...this.#begun));
      } else if ((byte === CLOSE_BRACE || byte === CLOSE_BRACKET) && --this.#depth === 0) {
        this.#begun.push(chunk.subarray(from, at + 1));
        const text = DECODER.decode(Buffer.concat(this.#begun));
        this.#begun = [];
        this.#onObject(text);
      }
    }
    if (this.#depth > 0) this.#begun.push(chunk.subarray(from));
  }

  /** The beginning of an object whose end has not come; null without one. */
  get unfinished(): string | null {
    return this.#begun.length === 0 ? null : preview(...this.#begun);
  }
}

/** What is no answer of the protocol: why, as the end of a sentence, and how it begins. */
export class Unfit extends Error {
  override readonly name = 'Unfit';
  readonly preview: string;

  constructor(why: string, preview: string) {
    super(why);
    this.preview = preview.slice(0, PREVIEW);
  }
}

function preview(...pieces: readonly Buffer[]): string {
  // No character has more than four bytes.
  return DECODER.decode(Buffer.concat(pieces, Math.min(4 * PREVIEW, lengthOf(pieces)))).slice(0, PREVIEW);
}

function lengthOf(pieces: readonly Buffer[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}
