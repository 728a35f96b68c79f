import type { Static, TObject } from 'typebox';
import { Value } from 'typebox/value';

/** What is looked at of each kind of frame, by its `t`. */
export type Frames = Readonly<Record<string, TObject>>;

/** Any of them, as it was looked at. */
export type FrameIn<All extends Frames> = { [Kind in keyof All]: Static<All[Kind]> }[keyof All];

/**
 * Cuts what a resident says into frames, and believes nothing of it: it may have been written by the plugin. Whatever is no
 * frame is told as a violation, after which nothing more is read.
 */
export class FrameReader<All extends Frames> {
  readonly #frames: All;
  readonly #most: () => number;
  readonly #told: Told<All>;
  /** What has come of a frame, and room for more of it. */
  #begun: Buffer = Buffer.alloc(0);
  #length = 0;
  #state: 'open' | 'closed' = 'open';

  /** `most` is how long a frame may be now, in bytes. */
  constructor(frames: All, most: () => number, told: Told<All>) {
    this.#frames = frames;
    this.#most = most;
    this.#told = told;
  }

  push(chunk: Buffer): void {
    let from = 0;
    while (this.#state === 'open') {
      const end = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      if (this.#length + part.length > this.#most()) return this.#refuse('a frame longer than any may be');
      // The usual case, a frame that lies in one chunk, is read where it lies.
      if (end >= 0 && this.#length === 0) this.#timed(part);
      else {
        this.#keep(part);
        if (end < 0) return;
        const line = this.#begun.subarray(0, this.#length);
        this.#length = 0;
        this.#timed(line);
      }
      from = end + 1;
    }
  }

  /** However small the pieces are in which it comes, there is one buffer. */
  #keep(part: Buffer): void {
    const length = this.#length + part.length;
    if (this.#begun.length < length) {
      const larger = Buffer.allocUnsafe(Math.max(LEAST, 2 * length));
      this.#begun.copy(larger, 0, 0, this.#length);
      this.#begun = larger;
    }
    part.copy(this.#begun, this.#length);
    this.#length = length;
  }

  #timed(line: Buffer): void {
    const before = performance.now();
    this.#read(line);
    this.#told.onRead(performance.now() - before);
    if (this.#length === 0 && this.#begun.length > MOST_KEPT) this.#begun = Buffer.alloc(0);
  }

  #read(line: Buffer): void {
    let value: unknown;
    try {
      value = JSON.parse(line.toString('utf8'));
    } catch {
      return this.#refuse('something that is no JSON');
    }
    const kind = typeof value === 'object' && value !== null && 't' in value ? value.t : undefined;
    const schema = typeof kind === 'string' && Object.hasOwn(this.#frames, kind) ? this.#frames[kind] : undefined;
    if (schema === undefined || !Value.Check(schema, value)) return this.#refuse('a frame that is none');
    this.#told.onFrame(value as FrameIn<All>, line.length);
  }

  #refuse(what: string): void {
    this.#state = 'closed';
    this.#begun = Buffer.alloc(0);
    this.#told.onViolation(what);
  }
}

const NEWLINE = 10;
const LEAST = 1_024;
const MOST_KEPT = 65_536;

type Told<All extends Frames> = {
  onFrame(frame: FrameIn<All>, bytes: number): void;
  onViolation(what: string): void;
  /** How long it took to read a frame, and to do what it says; in ms. */
  onRead(ms: number): void;
};
