import { IncomingMessage } from 'node:http';
import { Gathering } from '../core/gathering.ts';

/** Pieces of a body that are smaller wait for others, up to so much, and not longer. */
const SMALL_BYTES = 512;
const TOGETHER_BYTES = 16_384;
const TOGETHER_MS = 10;
/** Crumbs cost us more than they bring: so many may come at once, and so many in each ms after that. */
const CRUMB_BYTES = 64;
const CRUMBS_AT_ONCE = 2_000;
const CRUMBS_PER_MS = 2;

/**
 * A request whose body comes in pieces that are worth their while. To Node each chunk is an object and an event, however
 * small it is: who sends single bytes would have us hold hundreds of times what they have sent. So small ones are handed
 * on together, a moment later or when the body ends, and who sends very many of them is read more slowly.
 *
 * To be given to a server as its `IncomingMessage`: its parser calls `push`, and stops reading where that says so; `_read`
 * starts it again.
 */
export class Incoming extends IncomingMessage {
  readonly #held = new Gathering(TOGETHER_BYTES);
  #isWanted = true;
  #handing: NodeJS.Timeout | undefined;
  /** Crumbs that came before their time, by when that was last reckoned. */
  #crumbs = 0;
  #reckonedAt = 0;
  #pausing: NodeJS.Timeout | undefined;

  override push(piece: Buffer | null, encoding?: BufferEncoding): boolean {
    if (piece === null) {
      this.#handOn();
      return super.push(null);
    }
    if (piece.length >= SMALL_BYTES) {
      this.#handOn();
      this.#isWanted = super.push(piece, encoding);
    } else this.#hold(piece);
    if (piece.length < CRUMB_BYTES) this.#count();
    return this.#isWanted && this.#pausing === undefined;
  }

  override _read(bytes: number): void {
    this.#isWanted = true;
    if (this.#pausing === undefined) super._read(bytes);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#handing);
    clearTimeout(this.#pausing);
    super._destroy(error, done);
  }

  #hold(piece: Buffer): void {
    this.#held.add(piece);
    if (this.#held.length >= TOGETHER_BYTES) this.#handOn();
    else this.#handing ??= setTimeout(() => this.#handOn(), TOGETHER_MS);
  }

  #handOn(): void {
    const together = this.#held.take();
    if (together === null) return;
    clearTimeout(this.#handing);
    this.#handing = undefined;
    this.#isWanted = super.push(together);
  }

  #count(): void {
    if (this.#crumbs === 0) this.#reckonedAt = performance.now();
    this.#crumbs += 1;
    // All that one look at the socket has brought comes at once, and is reckoned with afterwards.
    if (this.#crumbs > CRUMBS_AT_ONCE && this.#pausing === undefined) this.#pause();
  }

  #pause(): void {
    const now = performance.now();
    this.#crumbs = Math.max(0, this.#crumbs - (now - this.#reckonedAt) * CRUMBS_PER_MS);
    this.#reckonedAt = now;
    const early = this.#crumbs - CRUMBS_AT_ONCE;
    if (early <= 0) this.#goOn();
    else this.#pausing = setTimeout(() => this.#pause(), Math.max(1, early / CRUMBS_PER_MS));
  }

  #goOn(): void {
    if (this.#pausing === undefined) return;
    this.#pausing = undefined;
    if (this.#isWanted) super._read(0);
  }
}
