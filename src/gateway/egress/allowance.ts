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

/**
 * Attempts in a minute, for each is a line in our log: those to reach what was granted, and all others, which take nothing
 * from those. An invocation that goes on for ever may make as many of them in each.
 */
const ATTEMPTS_MOST = 1_000;
const ASTRAY_MOST = 100;
const MINUTE_MS = 60_000;

/** What one session may take of the network: that of an invocation, or of an hour of a program that stays. */
export class Allowance {
  readonly #limits: AllowanceLimits;
  readonly #exhausted: () => void;
  readonly #crumbs = new Crumbs();
  #attempts = { granted: 0, astray: 0 };
  #countedUntil = 0;
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

  /** Whether it may be tried, and be told of. The last one of a minute is told of as one too many. */
  attempt(kind: 'granted' | 'astray', now: number): 'fine' | 'last' | 'untold' {
    if (now >= this.#countedUntil) {
      this.#attempts = { granted: 0, astray: 0 };
      this.#countedUntil = now + MINUTE_MS;
    }
    this.#attempts[kind] += 1;
    const left = (kind === 'granted' ? ATTEMPTS_MOST : ASTRAY_MOST) - this.#attempts[kind];
    if (left > 0) return 'fine';
    return left === 0 ? 'last' : 'untold';
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
