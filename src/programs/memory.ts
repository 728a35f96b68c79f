import type { Sample, Tree } from '../confinement/tree.ts';

/**
 * How much memory a tree takes, against what it may. A sum over its processes counts what they share for each of them:
 * as long as that is no more than allowed it is good enough, and it is there for nothing. Beyond, the kernel is asked
 * for exact numbers. That is dear, since it walks all pages of each process, so it is asked off our thread, and after it
 * has taken long not again before ten times as long has passed.
 */
export class Memory {
  readonly allowed: number;
  /** The kernel sees to it, and needs nobody to look. */
  readonly isBounded: boolean;
  #peakBytes = 0;
  #weighing = false;
  #notBefore = 0;

  constructor(allowed: number, isBounded = false) {
    this.allowed = allowed;
    this.isBounded = isBounded;
  }

  /** The most that was seen: exact, or the sum as long as that is within what is allowed. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  see({ residentBytes, largestBytes }: Sample): void {
    // Of a larger sum all that is certain is what one process has.
    this.#peak(residentBytes <= this.allowed ? residentBytes : largestBytes);
  }

  /** By the kernel's own account. */
  reached(bytes: number): void {
    this.#peak(bytes);
  }

  /** Whether it is time to ask for exact numbers. */
  isDue({ residentBytes }: Sample): boolean {
    return !this.isBounded && residentBytes > this.allowed && !this.#weighing && performance.now() >= this.#notBefore;
  }

  /** Asks for them. */
  async weigh(tree: Pick<Tree, 'proportionalBytes'>): Promise<number> {
    this.#weighing = true;
    const before = performance.now();
    try {
      let { bytes, isSteady } = await tree.proportionalBytes(this.allowed);
      // Twice is no accident.
      if (bytes > this.allowed && !isSteady) ({ bytes } = await tree.proportionalBytes(this.allowed));
      this.#peak(bytes);
      return bytes;
    } finally {
      this.#weighing = false;
      const now = performance.now();
      this.#notBefore = now + REST * (now - before);
    }
  }

  #peak(bytes: number): void {
    this.#peakBytes = Math.max(this.#peakBytes, bytes);
  }
}

const REST = 10;
