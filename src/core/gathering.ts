/** Where it begins to be a buffer of its own. */
const LEAST_BYTES = 512;

/**
 * Small pieces of something, as one buffer: however many they are, they take no more than what they say. The usual case is
 * one piece, which is given as it came.
 */
export class Gathering {
  readonly #most: number;
  #held: Buffer | null = null;
  #length = 0;
  #owner: 'other' | 'self' = 'other';

  /** `most`: as many bytes as whoever gathers lets come together. No more room than that is made ahead. */
  constructor(most: number) {
    this.#most = most;
  }

  /** In bytes. */
  get length(): number {
    return this.#length;
  }

  add(piece: Buffer): void {
    if (this.#held === null) this.#held = piece;
    else {
      const length = this.#length + piece.length;
      if (this.#owner === 'other' || this.#held.length < length) this.#grow(this.#held, length);
      piece.copy(this.#held, this.#length);
    }
    this.#length += piece.length;
  }

  /** All of it, which is nobody else's from then on; null where there is nothing. */
  take(): Buffer | null {
    const all = this.#held?.subarray(0, this.#length) ?? null;
    this.#held = null;
    this.#length = 0;
    this.#owner = 'other';
    return all;
  }

  #grow(held: Buffer, length: number): void {
    const room = Math.max(length, Math.min(this.#most, 2 * length), LEAST_BYTES);
    const larger = Buffer.allocUnsafeSlow(room);
    held.copy(larger, 0, 0, this.#length);
    this.#held = larger;
    this.#owner = 'self';
  }
}
