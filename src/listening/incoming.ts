import { IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';

/** Pieces of a body that are smaller wait for others, up to so much, and not longer. */
const SMALL_BYTES = 512;
const TOGETHER_BYTES = 16_384;
const TOGETHER_MS = 10;
/** More pieces than this at a time, which are smaller on average, are sent for the sake of it. */
const PIECES_MOST = 1_000;
const PIECE_BYTES = 16;

/** What a server's `clientError` is told as the code of its error. */
export const CRUMBS = 'ISOPOD_CRUMBS';

/**
 * A request whose body comes in pieces that are worth their while. To Node each chunk is an object and an event, however
 * small it is: who sends single bytes would have us hold hundreds of times what they have sent. So small ones are handed
 * on together, a moment later or when the body ends, and a flood of them ends the connection.
 *
 * To be given to a server as its `IncomingMessage`: its parser calls `push`.
 */
export class Incoming extends IncomingMessage {
  #held: Buffer | null = null;
  #length = 0;
  #pieces = 0;
  #wanted = true;
  #flooded = false;
  #timer: NodeJS.Timeout | undefined;

  override push(piece: Buffer | null, encoding?: BufferEncoding): boolean {
    if (piece === null) {
      this.#handOn();
      return super.push(null);
    }
    if (this.#flooded) return false;
    if (piece.length >= SMALL_BYTES) {
      this.#handOn();
      return super.push(piece, encoding);
    }
    this.#hold(piece);
    return this.#wanted;
  }

  override _read(bytes: number): void {
    this.#wanted = true;
    super._read(bytes);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    super._destroy(error, done);
  }

  #hold(piece: Buffer): void {
    // The usual small body is one piece, and is handed on as it is.
    if (this.#held === null) this.#held = piece;
    else {
      if (this.#pieces === 1 || this.#held.length < this.#length + piece.length) this.#grow(piece.length);
      piece.copy(this.#held, this.#length);
    }
    this.#length += piece.length;
    this.#pieces += 1;
    if (this.#pieces > PIECES_MOST && this.#length < this.#pieces * PIECE_BYTES) this.#refuse();
    else if (this.#length >= TOGETHER_BYTES) this.#handOn();
    else this.#timer ??= setTimeout(() => this.#handOn(), TOGETHER_MS);
  }

  /** What was held is somebody's buffer, or too small. */
  #grow(more: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(SMALL_BYTES, 2 * (this.#length + more)));
    this.#held?.copy(larger, 0, 0, this.#length);
    this.#held = larger;
  }

  #handOn(): void {
    const held = this.#held;
    if (held === null) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const together = held.subarray(0, this.#length);
    this.#held = null;
    this.#length = 0;
    this.#pieces = 0;
    this.#wanted = super.push(together);
  }

  #refuse(): void {
    this.#flooded = true;
    this.#held = null;
    clearTimeout(this.#timer);
    const socket = this.socket as Socket & { server?: Server };
    const error = Object.assign(new Error('The body comes in crumbs'), { code: CRUMBS });
    // The parser is at work.
    process.nextTick(() => {
      if (socket.server?.emit('clientError', error, socket) !== true) socket.destroy();
    });
  }
}
