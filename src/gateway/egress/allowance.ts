import { Transform, type TransformCallback } from 'node:stream';
import { Crumbs } from '../../core/crumbs.ts';

export type AllowanceLimits = {
  /** Connections at once. */
  connections: number;
  /** Both ways, of all of them together. */
  bytes: number;
};

/** A single byte takes a hundred of our memory while it waits. */
export const AHEAD_BYTES = 4_096;

/** Attempts of one invocation, allowed or not: each is a line in our log. */
const ATTEMPTS_MOST = 1_000;

/** What one invocation may take of the network. */
export class Allowance {
  readonly #limits: AllowanceLimits;
  readonly #exhausted: () => void;
  readonly #crumbs = new Crumbs();
  #attempts = 0;
  #connections = 0;
  #bytes = 0;
  #isExhausted = false;

  /** `exhausted` is told once, when more bytes come than there may be. */
  constructor(limits: AllowanceLimits, exhausted: () => void) {
    this.#limits = limits;
    this.#exhausted = exhausted;
  }

  /** There are no bytes left. */
  get isExhausted(): boolean {
    return this.#isExhausted;
  }

  /** Whether it may be tried, and be told of. The last one is told of as one too many. */
  attempt(): 'fine' | 'last' | 'untold' {
    this.#attempts += 1;
    if (this.#attempts < ATTEMPTS_MOST) return 'fine';
    return this.#attempts === ATTEMPTS_MOST ? 'last' : 'untold';
  }

  /** Takes a place for a connection, if there is one. Leave with what it gives. */
  enter(): (() => void) | null {
    if (this.#connections >= this.#limits.connections || this.#isExhausted) return null;
    this.#connections += 1;
    let isIn = true;
    return () => {
      if (isIn) this.#connections -= 1;
      isIn = false;
    };
  }

  /** Whether there is room for so many bytes more. */
  take(bytes: number): boolean {
    this.#bytes += bytes;
    if (this.#bytes <= this.#limits.bytes) return true;
    if (!this.#isExhausted) {
      this.#isExhausted = true;
      this.#exhausted();
    }
    return false;
  }

  /** Passes on what may be passed on, as fast as we can carry it beside others, and fails with the first byte too many. */
  counted(): Transform {
    const transform = (chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback) => {
      if (!this.take(chunk.length)) return done(new Error('More bytes than there may be'));
      const waitMs = this.#crumbs.take(chunk.length, performance.now());
      if (waitMs === 0) done(null, chunk);
      else setTimeout(() => counted.destroyed || done(null, chunk), waitMs);
    };
    const counted = new Transform({ transform, highWaterMark: AHEAD_BYTES });
    return counted;
  }
}
